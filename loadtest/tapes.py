"""What the callers of a live load test say: long recordings made of clips, as messages ready to be sent.

A tape is written once and shared by all calls that play it, so that sending costs the generator next to nothing.
"""

from __future__ import annotations

import functools
import itertools
import random
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np

from client.formats import G711_RATE_HZ
from client.recordings import format_of
from loadtest.clips import Clip
from preprocess_service.features import audio, g711
from preprocess_service.proto.wigeup.v1 import triage_pb2

MULAW_SILENCE: Final = b"\xff"
SHORTEST_PAUSE_S, LONGEST_PAUSE_S = 0.3, 2.0  # between two clips
RECOGNISER_DELAY_S: Final = 0.5  # from the end of a sentence to its final transcript
LONGEST_CLIP_S: Final = 60.0
PCM16_PEAK: Final = 32767


@dataclass(frozen=True, slots=True)
class Message:
    """One StreamRequest, serialised; `at_s` after the call's beginning it can be sent."""

    at_s: float
    data: bytes


@dataclass(frozen=True)
class Tape:
    """The messages of one caller in order of time; message `audio_messages[i]` completes `audio_ends_s[i]` of audio."""

    messages: tuple[Message, ...]
    audio_messages: tuple[int, ...]
    audio_ends_s: tuple[float, ...]

    @property
    def audio_s(self) -> float:
        return self.audio_ends_s[-1]

    def completes(self, covered_s: float) -> int:
        """The index of the message with which the audio up to that second is sent; the last audio beyond the end."""
        place = bisect_left(self.audio_ends_s, covered_s - 0.5 / G711_RATE_HZ)
        return self.audio_messages[min(place, len(self.audio_messages) - 1)]


@dataclass(frozen=True, slots=True)
class _Sentence:
    text: str
    start_s: float
    end_s: float


@dataclass
class _Speech:
    """Mu-law code words and what is said in them."""

    code_words: bytearray = field(default_factory=bytearray)
    sentences: list[_Sentence] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        return len(self.code_words) / G711_RATE_HZ


def make_tapes(
    clips: Sequence[Clip], count: int, seconds: float, message_s: float, transcript_share: float, seed: int
) -> list[Tape]:
    """`count` tapes of `seconds` of audio each in messages of `message_s`; that share of them carries transcripts.

    The same arguments make the same tapes. Raises OSError, ValueError or InvalidAudio for a clip that cannot be read.
    """
    tapes = []
    for number in range(count):
        speech = _speak(clips, seconds, random.Random(f"{seed} {number}"))
        # Spread evenly: tapes 1, 3, 5, ... of ten for a half.
        with_text = int((number + 1) * transcript_share) > int(number * transcript_share)
        tapes.append(_tape(speech, message_s, with_text=with_text))
    return tapes


def _speak(clips: Sequence[Clip], seconds: float, chance: random.Random) -> _Speech:
    speech = _Speech()
    for index in _endlessly(len(clips), chance):
        pause_s = chance.uniform(SHORTEST_PAUSE_S, LONGEST_PAUSE_S)
        speech.code_words += MULAW_SILENCE * round(pause_s * G711_RATE_HZ)
        start_s = speech.seconds
        if start_s >= seconds:
            break
        speech.code_words += mulaw_of(clips[index].path)
        speech.sentences.append(_Sentence(clips[index].text, start_s, speech.seconds))
    del speech.code_words[round(seconds * G711_RATE_HZ) :]
    return speech


def _endlessly(count: int, chance: random.Random) -> Iterator[int]:
    """Indices in random order, none twice before all have come."""
    while True:
        yield from chance.sample(range(count), count)


@functools.lru_cache(maxsize=1024)
def mulaw_of(path: Path) -> bytes:
    named = format_of(path)
    audio_format = audio.AudioFormat(audio.Encoding[named.encoding.name], named.sample_rate_hz, named.channels)
    samples = audio.decode(path.read_bytes(), audio_format, LONGEST_CLIP_S)
    pcm16 = np.rint(np.clip(samples, -1, 1) * PCM16_PEAK).astype(np.int16)
    return g711.encode_mulaw(pcm16).tobytes()


def _tape(speech: _Speech, message_s: float, *, with_text: bool) -> Tape:
    size = round(message_s * G711_RATE_HZ)
    events: list[tuple[float, float | None, triage_pb2.StreamRequest]] = []
    for start in range(0, len(speech.code_words), size):
        chunk = bytes(speech.code_words[start : start + size])
        end_s = (start + len(chunk)) / G711_RATE_HZ
        events.append((end_s, end_s, triage_pb2.StreamRequest(audio=triage_pb2.StreamAudio(audio=chunk))))
    if with_text:
        events += [(at_s, None, request) for at_s, request in _transcripts(speech)]
    events.sort(key=lambda event: event[0])  # stable: audio before the words about it
    for sequence, (_, _, request) in zip(itertools.count(1), events, strict=False):
        _number(request, sequence)
    heard = [(index, end_s) for index, (_, end_s, _) in enumerate(events) if end_s is not None]
    messages = tuple(Message(at_s, request.SerializeToString()) for at_s, _, request in events)
    return Tape(messages, tuple(index for index, _ in heard), tuple(end_s for _, end_s in heard))


def _number(request: triage_pb2.StreamRequest, sequence: int) -> None:
    if request.HasField("audio"):
        request.audio.sequence = sequence
    else:
        request.transcript.sequence = sequence


def _transcripts(speech: _Speech) -> Iterator[tuple[float, triage_pb2.StreamRequest]]:
    """Of every sentence the first half, not final, while it is spoken, and all of it after its end."""
    for sentence in speech.sentences:
        middle_s = (sentence.start_s + sentence.end_s) / 2
        words = sentence.text.split()
        half = " ".join(words[: len(words) // 2])
        for text, end_s, is_final in ((half, middle_s, False), (sentence.text, sentence.end_s, True)):
            at_s = end_s + RECOGNISER_DELAY_S
            if text and at_s < speech.seconds:
                yield at_s, _transcript(text, sentence.start_s, end_s, is_final=is_final)


def _transcript(text: str, start_s: float, end_s: float, *, is_final: bool) -> triage_pb2.StreamRequest:
    said = triage_pb2.StreamTranscript(text=text, is_final=is_final, start_s=start_s, end_s=end_s)
    return triage_pb2.StreamRequest(transcript=said)
