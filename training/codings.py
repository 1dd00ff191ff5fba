"""How far a verdict moves when the same recording comes in another coding."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
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
from training.dataset import LONGEST_CLIP_S, Corpus, token_ids

Pcm16 = NDArray[np.int16]


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


def coding_differences(
    runtime: Any, spec: ModelSpec, contract: Contract, corpus: Corpus, clips: NDArray[np.int64]
) -> dict[str, NDArray[np.float32]]:
    """The change of the calibrated probability of each clip (len(clips),) against the clip's own file, by coding."""
    chosen = [corpus.clips[index] for index in clips]
    ids = token_ids(chosen, contract.text) if contract.text else [[] for _ in chosen]

    def probabilities(recordings: Iterator[tuple[bytes, AudioFormat]]) -> NDArray[np.float32]:
        decoded = (decode(*recording, LONGEST_CLIP_S) for recording in recordings)
        scores = [_score(runtime, spec, samples, each) for samples, each in zip(decoded, ids, strict=True)]
        point = contract.decision.point(has_transcript=spec.tokens is not None)
        return point.calibrate(np.array(scores, np.float32))

    files = [(corpus.folder / clip.path).read_bytes() for clip in chosen]
    reference = probabilities((file, AudioFormat()) for file in files)
    pcm = [_as_pcm16(decode(file, AudioFormat(), LONGEST_CLIP_S)) for file in files]
    return {name: probabilities(encode(each) for each in pcm) - reference for name, encode in CODINGS.items()}


def _as_pcm16(samples: Samples) -> Pcm16:
    return np.clip(np.round(samples * PCM16_FULL_SCALE), -PCM16_FULL_SCALE, PCM16_FULL_SCALE - 1).astype(np.int16)


def _score(runtime: Any, spec: ModelSpec, telephone: Samples, ids: list[int]) -> float:
    samples = resample(telephone, TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)
    rows = inputs.rows(spec, len(samples), len(ids))
    (answers,) = runtime.run([PROBABILITY.name], inputs.batch(spec, samples, ids, rows))
    return float(answers.max())
