"""What can be done with a request before Triton is asked: bytes to samples, text to token ids, rows that pair them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service import front_end
from preprocess_service.admission import Priority
from preprocess_service.deadline import Deadline
from preprocess_service.features import inputs, mel, text
from preprocess_service.features.audio import (
    TELEPHONE_RATE_HZ,
    AudioFormat,
    Encoding,
    Samples,
    decode,
    duration_s,
    resample,
)
from preprocess_service.features.inputs import Row
from preprocess_service.features.live.activity import SILENT_LEVEL
from preprocess_service.features.live.audio import CLIPPED_LEVEL
from preprocess_service.repository import ServedModel
from preprocess_service.triton import Arrays
from preprocess_service.verdict import Times, VerdictWarning

CLIPPED_SHARE: Final = 0.01
SHORT_S: Final = 1.0
SHORT_BYTES: Final = 2**17  # of a WAV file: 16 s of mu-law, and at most about two minutes in any encoding
SHORT_CHARS: Final = 150  # about 3 ms of Okt
LONG_WINDOWS: Final = 3  # thresholds are fitted on recordings of one or two windows


@dataclass(frozen=True)
class Question:
    """What a caller asks."""

    audio: bytes
    audio_format: AudioFormat = field(default_factory=AudioFormat)
    transcript: str = ""
    model: str = ""
    model_version: str = ""  # the one in service
    priority: Priority = Priority.NORMAL


@dataclass(frozen=True)
class Batch:
    """The tensors of some rows."""

    arrays: Arrays
    audio_ms: float  # that they took


@dataclass(frozen=True)
class Prepared:
    """A question as far as it can be brought without Triton."""

    served: ServedModel
    samples: Samples  # (n,) at 22,050 Hz; none where `pcm` is to be asked about
    pcm: NDArray[np.int16] | None  # (n,) at 8 kHz
    ids: Sequence[int]
    rows: Sequence[Row]
    warnings: tuple[VerdictWarning, ...]
    audio_s: float

    def batch(self, rows: Sequence[Row]) -> Batch:
        """What Triton is asked about some of the rows."""
        started = time.perf_counter()
        arrays: Arrays
        if self.pcm is None:
            arrays = inputs.batch(self.served.spec, self.samples, self.ids, rows)
        else:
            arrays = front_end.batch(self.served.spec, self.pcm, self.ids, rows)
        return Batch(arrays, 1000 * (time.perf_counter() - started))


def cost(question: Question, max_s: float) -> int:
    """What a question weighs at the door, in short questions: a minute of audio or 500 signs of text weigh as one.

    Audio of unknown length weighs as the longest that is taken. Raises InvalidAudio where the header is none, but for
    short WAV files, which are not opened twice.
    """
    audio_s = 0.0 if _is_short_wav(question) else duration_s(question.audio, question.audio_format)
    return 1 + int(min(audio_s, max_s) / 60) + len(question.transcript) // 500


def is_quickly_weighed(question: Question) -> bool:
    """Whether `cost` takes less time than a thread would to be asked for it."""
    return question.audio_format.encoding is not Encoding.FILE or _is_short_wav(question)


def is_short(question: Question) -> bool:
    """Whether its features take a few milliseconds."""
    return (
        is_quickly_weighed(question) and len(question.audio) <= SHORT_BYTES and len(question.transcript) <= SHORT_CHARS
    )


def _is_short_wav(question: Question) -> bool:
    audio = question.audio
    return question.audio_format.encoding is Encoding.FILE and audio[:4] == b"RIFF" and len(audio) <= SHORT_BYTES


def check(question: Question, max_s: float) -> None:
    """Raises InvalidAudio where `prepare` would."""
    decode(question.audio, question.audio_format, max_s)


def prepare(
    question: Question, served: ServedModel, max_s: float, deadline: Deadline, *, by_audio: bool = False
) -> tuple[Prepared, Times]:
    """Bytes to samples, text to token ids, and the rows that pair them; raises DeadlinePassed between the steps.

    `by_audio`: samples stay at 8 kHz where the front end in Triton can take them exactly.
    """
    started = time.perf_counter()
    telephone = decode(question.audio, question.audio_format, max_s)
    pcm = front_end.pcm16(telephone) if by_audio else None
    samples = np.zeros(0, np.float32) if pcm is not None else resample(telephone, TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)
    n_samples = len(samples) if pcm is None else front_end.resampled_length(len(pcm))
    decoded = time.perf_counter()
    settings = served.contract.text
    ids: list[int] = []
    if settings is not None and question.transcript:
        words = text.morphemes(question.transcript, settings.stop_words, deadline.remaining_s)
        ids = text.word_ids(words, settings.ids_by_word)
    read = time.perf_counter()
    prepared = Prepared(
        served,
        samples,
        pcm,
        ids,
        inputs.rows(served.spec, n_samples, len(ids)),
        tuple(_warnings(question, telephone, ids, served)),
        audio_s=len(telephone) / TELEPHONE_RATE_HZ,
    )
    return prepared, Times(decode_ms=1000 * (decoded - started), text_ms=1000 * (read - decoded))


def _warnings(question: Question, telephone: Samples, ids: Sequence[int], served: ServedModel) -> list[VerdictWarning]:
    level = np.abs(telephone)
    found = {
        VerdictWarning.CLIPPED: bool(np.count_nonzero(level >= CLIPPED_LEVEL) > CLIPPED_SHARE * len(level)),
        VerdictWarning.SILENT: float(level.max()) < SILENT_LEVEL,
        VerdictWarning.TOO_SHORT: len(telephone) < SHORT_S * TELEPHONE_RATE_HZ,
        VerdictWarning.NO_TRANSCRIPT: served.spec.tokens is not None and not ids,
        VerdictWarning.TRANSCRIPT_UNUSED: served.spec.tokens is None and bool(question.transcript),
        VerdictWarning.LONG_RECORDING: len(telephone) > LONG_WINDOWS * served.spec.window_s * TELEPHONE_RATE_HZ,
        VerdictWarning.UNTRAINED_BASE: served.contract.pretrained_base is False,
    }
    return [warning for warning, holds in found.items() if holds]
