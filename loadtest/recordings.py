"""Recordings whose way over the lines is compared: short ones, and longer calls made of several clips."""

from __future__ import annotations

import csv
import io
import random
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from client.formats import G711_RATE_HZ
from loadtest.clips import MANIFEST_NAME, Clip
from loadtest.tapes import LONGEST_PAUSE_S, MULAW_SILENCE, SHORTEST_PAUSE_S, mulaw_of
from preprocess_service.features import g711

NORMAL, EMERGENCY = "normal", "emergency"
TEST_SPLIT: Final = "test"
COLUMNS: Final = ("path", "text", "label", "split")


@dataclass(frozen=True)
class Recording:
    """What is sent over every line: mu-law code words at 8 kHz; `text` is empty where no transcript goes with it."""

    name: str
    label: str
    code_words: bytes
    text: str = ""

    @property
    def seconds(self) -> float:
        return len(self.code_words) / G711_RATE_HZ

    @property
    def pcm16(self) -> bytes:
        """The same as 16-bit PCM, little-endian."""
        levels = g711.decode_mulaw(np.frombuffer(self.code_words, np.uint8))
        return levels.astype("<i2").tobytes()

    @property
    def wav(self) -> bytes:
        """The same as a WAV file of 16-bit PCM."""
        file = io.BytesIO()
        with wave.open(file, "wb") as writer:
            writer.setnchannels(1)
            writer.setsampwidth(2)
            writer.setframerate(G711_RATE_HZ)
            writer.writeframes(self.pcm16)
        return file.getvalue()


class ClipsInTurn:
    """Clips of the test split by their label, in an order of the seed; endless, so they come again in the end."""

    def __init__(self, folder: Path, seed: int) -> None:
        """Raises OSError, or ValueError for a folder without a manifest that has COLUMNS, or without both labels."""
        self._clips = {label: _shuffled(folder, label, seed) for label in (NORMAL, EMERGENCY)}
        self._at = dict.fromkeys(self._clips, 0)

    def take(self, label: str) -> Clip:
        """The next clip of that label."""
        clips, at = self._clips[label], self._at[label]
        self._at[label] += 1
        return clips[at % len(clips)]


def short_recordings(clips: ClipsInTurn, count: int, longest_s: float) -> list[Recording]:
    """Single clips of at most so many seconds, emergencies and others in turn."""
    made: list[Recording] = []
    while len(made) < count:
        label = EMERGENCY if len(made) % 2 == 0 else NORMAL
        clip = clips.take(label)
        recording = Recording(clip.path.stem, label, mulaw_of(clip.path), clip.text)
        if recording.seconds <= longest_s:
            made.append(recording)
    return made


def long_recordings(clips: ClipsInTurn, count: int, seconds: float, seed: int) -> list[Recording]:
    """Calls of several clips: by turns emergencies after a normal clip, and normal throughout."""
    made = []
    for number in range(count):
        is_emergency = number % 2 == 0
        lead_in, rest = NORMAL, EMERGENCY if is_emergency else NORMAL
        code_words = _call(clips, lead_in, rest, seconds, random.Random(f"{seed} {number}"))
        made.append(Recording(f"call-{number + 1}", rest, code_words))
    return made


def emergency_calls(clips: ClipsInTurn, count: int, seconds: float, seed: int) -> list[Recording]:
    """Calls that begin with a normal clip and go on with emergencies."""
    return [
        Recording(
            f"call-{number + 1}", EMERGENCY, _call(clips, NORMAL, EMERGENCY, seconds, random.Random(f"{seed} {number}"))
        )
        for number in range(count)
    ]


def _call(clips: ClipsInTurn, lead_in: str, rest: str, seconds: float, chance: random.Random) -> bytes:
    """A clip of the lead-in's label and as many of the other as fill the time, with pauses; cut at the end."""
    frames = round(seconds * G711_RATE_HZ)
    code_words, label = bytearray(), lead_in
    while len(code_words) < frames:
        pause_s = chance.uniform(SHORTEST_PAUSE_S, LONGEST_PAUSE_S)
        code_words += MULAW_SILENCE * round(pause_s * G711_RATE_HZ) + mulaw_of(clips.take(label).path)
        label = rest
    return bytes(code_words[:frames])


def _shuffled(folder: Path, label: str, seed: int) -> Sequence[Clip]:
    manifest = folder / MANIFEST_NAME
    with manifest.open(encoding="utf-8-sig", newline="") as stream:
        rows = csv.DictReader(stream)
        missing = set(COLUMNS) - set(rows.fieldnames or ())
        if missing:
            raise ValueError(f"{manifest} lacks the column {', '.join(sorted(missing))}")
        clips = [
            Clip(folder / row["path"], row["text"] or "")
            for row in rows
            if row["split"] == TEST_SPLIT and row["label"] == label
        ]
    if not clips:
        raise ValueError(f"{manifest} has no clip of the {TEST_SPLIT} split with the label {label}")
    random.Random(seed).shuffle(clips)
    return clips
