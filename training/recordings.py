"""Scores of whole recordings, by the steps of the service: other codings of a clip, and calls of a minute."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from preprocess_service.contract import Contract
from preprocess_service.features import g711, inputs, mel
from preprocess_service.features.audio import (
    PCM16_FULL_SCALE,
    TELEPHONE_RATE_HZ,
    AudioFormat,
    Encoding,
    Samples,
    decode,
    resample,
)
from preprocess_service.model_spec import PROBABILITY, ModelSpec
from preprocess_service.verdict import calibrated
from training.dataset import LONGEST_CLIP_S, Corpus, token_ids

Pcm16 = NDArray[np.int16]
CLIPS_PER_CALL: Final = 10  # about a minute


@dataclass(frozen=True)
class Scorer:
    """One exported graph with its contract."""

    runtime: Any
    spec: ModelSpec
    contract: Contract

    def probability(self, telephone: Samples, ids: list[int]) -> float:
        """The calibrated probability of a recording (n,) at 8000 Hz, as a verdict would give it."""
        samples = resample(telephone, TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)
        rows = inputs.rows(self.spec, len(samples), len(ids))
        (answers,) = self.runtime.run([PROBABILITY.name], inputs.batch(self.spec, samples, ids, rows))
        return float(calibrated(rows, answers[:, 0], self.contract).max())

    def ids(self, corpus: Corpus, clips: Iterable[int]) -> list[list[int]]:
        """Token ids of each clip's transcript; none for a model that reads no text."""
        chosen = [corpus.clips[index] for index in clips]
        return token_ids(chosen, self.contract.text) if self.contract.text else [[] for _ in chosen]


def _file(container: str) -> Callable[[Pcm16], tuple[bytes, AudioFormat]]:
    def encode(pcm: Pcm16) -> tuple[bytes, AudioFormat]:
        buffer = io.BytesIO()
        soundfile.write(buffer, pcm, TELEPHONE_RATE_HZ, format=container)
        return buffer.getvalue(), AudioFormat()

    return encode


CODINGS: Final[dict[str, Callable[[Pcm16], tuple[bytes, AudioFormat]]]] = {
    "WAV": _file("WAV"),
    "FLAC": _file("FLAC"),
    "mu-law": lambda pcm: (g711.encode_mulaw(pcm).tobytes(), AudioFormat(Encoding.MULAW, TELEPHONE_RATE_HZ)),
    "A-law": lambda pcm: (g711.encode_alaw(pcm).tobytes(), AudioFormat(Encoding.ALAW, TELEPHONE_RATE_HZ)),
}


def coding_differences(scorer: Scorer, corpus: Corpus, clips: NDArray[np.int64]) -> dict[str, NDArray[np.float64]]:
    """The change of the probability of each clip (len(clips),) against the clip's own file, by coding."""
    ids = scorer.ids(corpus, clips)
    telephone = [corpus.samples(index) for index in clips]
    reference = np.array([scorer.probability(*pair) for pair in zip(telephone, ids, strict=True)])
    differences = {}
    for name, encode in CODINGS.items():
        decoded = [decode(*encode(_as_pcm16(samples)), LONGEST_CLIP_S) for samples in telephone]
        scores = np.array([scorer.probability(*pair) for pair in zip(decoded, ids, strict=True)])
        differences[name] = scores - reference
    return differences


@dataclass(frozen=True)
class LongCalls:
    """Calls of about a minute: CLIPS_PER_CALL normal clips one after another, and the same with one of them replaced by
    an emergency."""

    calls: int
    mean_s: float
    normal_flagged: float
    emergency_flagged: float


def long_calls(
    scorer: Scorer, corpus: Corpus, normal: NDArray[np.int64], emergency: NDArray[np.int64]
) -> LongCalls | None:
    """How often such calls are judged an emergency; None where the clips do not make one."""
    count = min(len(normal) // CLIPS_PER_CALL, len(emergency))
    if not count:
        return None
    normal_calls = np.split(normal[: count * CLIPS_PER_CALL], count)
    threshold = scorer.contract.decision.with_transcript.threshold

    def flagged(calls: list[NDArray[np.int64]]) -> float:
        return float(np.mean([_probability_of_call(scorer, corpus, call) >= threshold for call in calls]))

    mixed = [call.copy() for call in normal_calls]
    for index, call in enumerate(mixed):
        call[index % CLIPS_PER_CALL] = emergency[index]
    mean_s = np.mean([sum(corpus.clips[index].duration_s for index in call) for call in normal_calls])
    return LongCalls(len(normal_calls), float(mean_s), flagged(normal_calls), flagged(mixed))


def _probability_of_call(scorer: Scorer, corpus: Corpus, clips: NDArray[np.int64]) -> float:
    telephone = np.concatenate([corpus.samples(index) for index in clips])
    return scorer.probability(telephone, list(chain.from_iterable(scorer.ids(corpus, clips))))


def _as_pcm16(samples: Samples) -> Pcm16:
    return np.clip(np.round(samples * PCM16_FULL_SCALE), -PCM16_FULL_SCALE, PCM16_FULL_SCALE - 1).astype(np.int16)
