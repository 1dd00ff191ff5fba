"""Scores of whole recordings, by the steps of the service, and of the same recording in other codings."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable
from dataclasses import dataclass
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
from training.dataset import Corpus, token_ids
from training.line import LONGEST_CLIP_S

Pcm16 = NDArray[np.int16]


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


def _as_pcm16(samples: Samples) -> Pcm16:
    return np.clip(np.round(samples * PCM16_FULL_SCALE), -PCM16_FULL_SCALE, PCM16_FULL_SCALE - 1).astype(np.int16)
