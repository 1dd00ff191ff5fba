"""Sentences that make Java compile what it needs of Okt: one sentence alone, however often, leaves most of it cold."""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final

_OPENINGS: Final = ("", "", "여보세요", "저기요", "아 네", "119죠?", "빨리요!", "죄송한데요", "급해요,")
_WHO: Final = ("아이가", "남편이", "어머니께서", "옆집 할아버지가", "어떤 사람이", "친구들이", "저희 직원이", "제가")
_WHERE: Final = ("집에서", "3층 계단에서", "강남역 앞에서", "공사장에서", "운동장에서", "도로에서", "욕실에서", "")
_WHAT: Final = (
    "갑자기 쓰러졌어요",
    "숨을 못 쉬고 있어요",
    "피를 많이 흘렸는데요",
    "불이 나서 연기가 계속 올라와요",
    "문이 잠겨서 갇혔습니다",
    "차에 치였는데 의식이 없는 것 같아요",
    "칼로 위협했다고 합니다",
    "예약을 바꾸고 싶어서 전화드렸어요",
    "택배를 아직 못 받았거든요",
    "가스 냄새가 난다고 하더라고요",
    "물에 빠졌다가 겨우 나왔네요",
    "요금이 얼마인지 알고 싶은데요",
)
_ENDINGS: Final = (
    "",
    "빨리 와 주세요",
    "어떻게 해야 하나요?",
    "구급차 좀 보내 주시겠어요?",
    "좀 도와주십시오.",
    "확인 부탁드릴게요",
)


def sentences(count: int, seed: int = 1) -> Iterator[str]:
    """So many sentences as callers say them, drawn from some ten thousand."""
    chance = random.Random(seed)
    for _ in range(count):
        yield " ".join(filter(None, map(chance.choice, (_OPENINGS, _WHO, _WHERE, _WHAT, _ENDINGS))))
