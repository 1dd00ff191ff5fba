"""Telephone samples for Triton's front end, a model that makes the log-mel of windows on its own machine.

Whole recordings are resampled before windows are cut, so a row carries what the filter needs beside its window: one
period of input at either side, and where its window begins between two periods. A period is the least time that is a
whole number of samples at both rates, 20 ms.

Rows are int16, a quarter less to send than the features and half of float32: G.711 and 16-bit PCM at 8 kHz are exactly
that. What is not, because it was mixed or resampled on its way to 8 kHz, has its features computed here instead:
rounded to 16 bits, a quiet recording would be another one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.features import mel, text
from preprocess_service.features.audio import PCM16_FULL_SCALE, TELEPHONE_RATE_HZ, Samples
from preprocess_service.features.inputs import Row
from preprocess_service.model_spec import MEL, MODELS, MULTIMODAL, ModelSpec, Profile, ProfileName, TensorSpec

Arrays = dict[str, NDArray[np.float32] | NDArray[np.int32] | NDArray[np.int16]]

_DIVISOR: Final = math.gcd(TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)
PERIOD: Final = TELEPHONE_RATE_HZ // _DIVISOR  # samples in
PERIOD_OUT: Final = mel.SAMPLE_RATE_HZ // _DIVISOR  # samples out
# A window that begins between two periods touches one more than it is long; soxr's filter reaches 16 ms to either side.
PERIODS: Final = math.ceil(mel.MULTIMODAL_SAMPLES / PERIOD_OUT) + 1 + 2

TELEPHONE: Final = TensorSpec("telephone", "INT16", (PERIODS * PERIOD,))
# Where the window begins in its second period (samples at 22,050 Hz), how long it is, and 1 where the recording begins.
SPAN: Final = TensorSpec("span", "INT32", (3,))


@dataclass(frozen=True)
class FrontEnd:
    """The front end as Triton sees it; its version is 1 for ever, as its weights follow from the code."""

    name: str = "front_end"
    inputs: tuple[TensorSpec, ...] = (TELEPHONE, SPAN)
    outputs: tuple[TensorSpec, ...] = (MEL,)
    version: int = 1

    def profile(self, name: ProfileName) -> Profile:
        """Batches as the model behind it, in float32 throughout.

        TF32, CUDA's default, keeps 10 bits of a product's factors: noise at -60 dB, where quiet bands are.
        """
        on_cpu = name == "cpu"
        return replace(
            MULTIMODAL.profile("cpu" if on_cpu else "gpu"),
            graph_file="model.onnx",
            parameters=MULTIMODAL.cpu.parameters if on_cpu else (),
            accelerator=None if on_cpu else "cuda",
            accelerator_parameters=() if on_cpu else (("use_tf32", "0"),),
        )


@dataclass(frozen=True)
class Ensemble:
    """The front end and a model in one request; its versions are the model's."""

    model: ModelSpec

    @property
    def name(self) -> str:
        return f"{self.model.name}_from_audio"

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return (*FRONT_END.inputs, *(() if self.model.tokens is None else (self.model.tokens,)))

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return self.model.outputs

    @property
    def names_kind(self) -> bool:
        return self.model.names_kind


FRONT_END: Final = FrontEnd()
ENSEMBLES: Final = {spec.name: Ensemble(spec) for spec in MODELS.values() if spec.audio == MEL}  # by the model's name


def resampled_length(n_samples: int) -> int:
    """Samples at 22,050 Hz of a recording of so many at 8 kHz, as `features.audio.resample` gives them."""
    return (2 * n_samples * PERIOD_OUT + PERIOD) // (2 * PERIOD)  # halves are rounded up


def pcm16(telephone: Samples) -> NDArray[np.int16] | None:
    """Samples (n,) at 8 kHz as the int16 that they are; None where they are no int16."""
    scaled = telephone * np.float32(PCM16_FULL_SCALE)
    # Also false where a sample is not a number.
    if not (scaled.min(initial=0) >= -PCM16_FULL_SCALE and scaled.max(initial=0) < PCM16_FULL_SCALE):
        return None
    exact = scaled.astype(np.int16)
    return exact if np.array_equal(exact, scaled) else None


def batch(spec: ModelSpec, pcm: NDArray[np.int16], ids: Sequence[int], rows: Sequence[Row]) -> Arrays:
    """The ensemble's input arrays by name, (rows, *shape), from a whole recording (n,) at 8 kHz and its token ids."""
    arrays: Arrays = {
        TELEPHONE.name: np.stack([_around(pcm, row.start // PERIOD_OUT) for row in rows]),
        SPAN.name: np.array([(row.start % PERIOD_OUT, row.end - row.start, row.start == 0) for row in rows], np.int32),
    }
    if spec.tokens:
        arrays[spec.tokens.name] = np.stack([text.last_tokens(ids[: row.ids_end]) for row in rows])
    return arrays


def _around(pcm: NDArray[np.int16], period: int) -> NDArray[np.int16]:
    """PERIODS periods from the one before `period` on, silence before the recording and after it."""
    first = (period - 1) * PERIOD
    found = np.zeros(TELEPHONE.shape, np.int16)
    held = pcm[max(0, first) : first + len(found)]
    skipped = max(0, -first)
    found[skipped : skipped + len(held)] = held
    return found
