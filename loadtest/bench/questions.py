"""What is asked of everything that is compared: many different recordings, each one inference for the model.

A line of the file that the compared programs read is one question: `{"audio": BASE64, "transcript": TEXT}`.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import soundfile

from preprocess_service.contract import TextSettings
from preprocess_service.features import text

LEAST_S: Final = 6.5  # of the model's 7 s: resampling costs what the recording lasts


@dataclass(frozen=True, slots=True)
class Question:
    """Mu-law code words at 8 kHz, and what is said in them."""

    audio: bytes
    transcript: str


def make_questions(folder: Path, count: int, most_s: float, fits: Callable[[str], bool], seed: int) -> list[Question]:
    """`count` recordings of LEAST_S to `most_s` seconds whose transcripts `fits` takes, drawn from the folder's.

    Raises ValueError where it holds fewer, OSError for unreadable files.
    """
    from loadtest.clips import load_clips  # not needed by those that only read questions
    from loadtest.tapes import mulaw_of

    clips = load_clips(folder)
    questions: list[Question] = []
    for clip in random.Random(seed).sample(clips, len(clips)):
        if LEAST_S <= soundfile.info(clip.path).duration <= most_s and fits(clip.text):
            questions.append(Question(mulaw_of(clip.path), clip.text))
        if len(questions) == count:
            return questions
    raise ValueError(
        f"{folder} holds {len(questions)} recordings of {LEAST_S:g} to {most_s:g} s whose transcripts the model reads "
        f"at once; {count} are needed"
    )


def reads_at_once(settings: TextSettings) -> Callable[[str], bool]:
    """Whether a transcript has words and no more than the model reads in one inference."""

    def fits(transcript: str) -> bool:
        return 0 < len(text.morphemes(transcript, settings.stop_words)) <= text.TOKENS

    return fits


def write_questions(questions: Sequence[Question], path: Path) -> None:
    with path.open("w", encoding="utf-8") as file:
        for each in questions:
            line = {"audio": base64.b64encode(each.audio).decode("ascii"), "transcript": each.transcript}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def read_questions(path: Path) -> list[Question]:
    with path.open(encoding="utf-8") as file:
        lines = [json.loads(line) for line in file]
    return [Question(base64.b64decode(line["audio"]), line["transcript"]) for line in lines]
