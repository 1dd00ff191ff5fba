# ruff: noqa: E501  (Hangul counts double; a pattern stays on one line)
"""Fillings of emergency calls about collapses, storms and earthquakes."""

from __future__ import annotations

from typing import Final

SLOTS: Final[dict[str, tuple[str, ...]]] = {
    "structure": (
        "건물 벽", "천장", "담장", "옹벽", "공사장 비계", "지붕", "축대", "간판", "철거하던 건물", "주차장 천장", "창고 지붕", "계단",
        "베란다", "비닐하우스", "지하 통로", "외벽", "철골",
    ),
    "rubble": ("벽돌", "콘크리트", "흙더미", "철근", "돌", "잔해", "자재", "토사", "판넬"),
    "blown": ("간판", "지붕", "유리창", "비닐하우스", "공사장 가림막", "옥상 물탱크", "현수막", "컨테이너", "천막", "안테나", "판자"),
    "toppled": ("나무", "가로수", "전봇대", "담장", "신호등", "공사장 울타리", "가로등", "입간판", "크레인"),
    "shaken": ("책장", "냉장고", "텔레비전", "그릇장", "장식장", "거울", "옷장", "선반", "화분", "신발장"),
    "flooded": ("집", "지하 주차장", "반지하", "가게", "도로", "다리", "마을", "상가", "지하도"),
}
