"""Small files of exactly the shapes that the published corpora have on disk; the recordings are made here."""

from __future__ import annotations

import argparse
import csv
import io
import json
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from tests.unit.recordings import file_bytes, speech_like
from training.importers.findings import Findings

HEADER_263 = ["wav_id", "발화문", "상황"]
HEADER_263 += [f"{rater}번 감정{part}" for rater in range(1, 6) for part in ("", "세기")] + ["나이", "성별"]


@cache
def wav(seconds: float = 1.0, rate_hz: int = 8000, bits: int = 16, seed: int = 0) -> bytes:
    """A speech-like WAV file."""
    return file_bytes(speech_like(seconds, rate_hz, seed), rate_hz, "WAV", f"PCM_{bits}")


def put(path: Path, content: bytes | str) -> Path:
    """Writes a file and the folders above it; text is UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def annotation(category: str = "전기사고", start: float = 0.0, end: float = 1.0, **changed: Any) -> dict[str, Any]:
    """One annotation of AI Hub 170; a key set to None is left out."""
    whole = {
        "audio_id": 1,
        "area": {"start": start, "end": end},
        "categories": {"category_01": "사고", "category_02": category, "category_03": "감전"},
        "note": f"여기 {category} 났어요",
        "audioType": "음성",
        "gender": "여",
        "generation": "30대",
        "dialect": "경상",
        **changed,
    }
    return {key: value for key, value in whole.items() if value is not None}


def label_170(*annotations: dict[str, Any]) -> str:
    """One label file of AI Hub 170."""
    audio = {"fileName": "x.wav", "fileSize": 1, "duration": 1.0}
    return json.dumps({"audio": audio, "annotations": annotations}, ensure_ascii=False)


def put_170(
    root: Path, stem: str, *annotations: dict[str, Any], part: str = "Training", recording: bytes | None = None
) -> None:
    """A recording and its label under the published names; `stem` begins with number and class: 8.전기사고_1."""
    name = stem.rpartition("_")[0]
    put(root / part / f"[원천]{name}_1" / f"{stem}_label.wav", recording or wav())
    put(root / part / f"[라벨]{name}" / f"{stem}.json", label_170(*(annotations or (annotation(),))))


def row_263(wav_id: str, votes: Sequence[str], text: str = "오늘 날씨가 좋네요", **changed: str) -> list[str]:
    """One row of AI Hub 263 with intensities 0, 1, 2, 0, 1."""
    age, sex = changed.get("age", "30"), changed.get("sex", "남")
    marks = [cell for rater, vote in enumerate(votes) for cell in (vote, str(rater % 3))]
    return [wav_id, text, "상황", *marks, age, sex]


def table_263(rows: Sequence[Sequence[str]], header: Sequence[str] = HEADER_263) -> bytes:
    """One csv of AI Hub 263 in its encoding."""
    text = io.StringIO()
    csv.writer(text).writerows([header, *rows])
    return text.getvalue().encode("cp949")


def put_call(
    root: Path,
    stem: str,
    utterances: Sequence[dict[str, Any]],
    *,
    category: str = "구급",
    seconds: float = 20.0,
    part: str = "Training",
    **fields: Any,
) -> None:
    """A conversation of AI Hub 71768 under the published names."""
    initial = part[0]
    label = {"_id": stem, "recordId": stem, "audioPath": f"{stem}.wav", "utterances": utterances, "gender": "F"}
    label |= {"symptom": "", "disasterMedium": "구급", "urgencyLevel": "상", "sentiment": "", **fields}
    put(root / part / "1.원천데이터" / f"{initial}S_서울_{category}" / f"{stem}.wav", wav(seconds))
    text = json.dumps(label, ensure_ascii=False)
    put(root / part / "2.라벨링데이터" / f"{initial}L_서울_{category}" / f"{stem}.json", text)


def said(text: str, start: float, end: float, speaker: str = "신고자") -> dict[str, Any]:
    """One utterance of AI Hub 71768."""
    return {"text": text, "startAt": start, "endAt": end, "speaker": speaker}


def zipped(folder: Path, archive: Path) -> None:
    """Every file of `folder` in a new archive, by its path within."""
    with zipfile.ZipFile(archive, "w") as files:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                files.write(path, path.relative_to(folder).as_posix())


def options(module: Any, *words: str) -> argparse.Namespace:
    """An importer's arguments as its command line gives them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--workers", type=int, default=2)
    module.add_arguments(parser)
    return parser.parse_args(words)


def not_taken(findings: Findings) -> set[tuple[str, str, str]]:
    """Group, reason and file name of everything that was not taken."""
    return {(entry.group, entry.reason, entry.item.rpartition("/")[2]) for entry in findings.entries}
