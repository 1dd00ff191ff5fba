"""Different tensors of real recordings, as the service would send them."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any, Final

from tritonclient.grpc import service_pb2

from loadtest.clips import Clip
from loadtest.tapes import LONGEST_CLIP_S, mulaw_of
from preprocess_service import preparation
from preprocess_service.deadline import Deadline
from preprocess_service.features import inputs
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, AudioFormat, Encoding
from preprocess_service.preparation import Question
from preprocess_service.repository import ServedModel
from preprocess_service.triton import Arrays, input_tensors

MULAW: Final = AudioFormat(Encoding.MULAW, TELEPHONE_RATE_HZ, 1)
PATIENCE_S: Final = 60.0  # the first transcript starts the Java machine


def make_arrays(served: ServedModel, clips: Sequence[Clip], count: int, seed: int) -> list[Arrays]:
    """The arrays (1, *shape) of the last window of `count` recordings; raises ValueError where there are fewer."""
    if len(clips) < count:
        raise ValueError(
            f"{len(clips)} recordings; {count} are needed, so that no two requests near each other are alike"
        )
    return [_arrays(served, clip) for clip in random.Random(seed).sample(list(clips), count)]


def infer_requests(served: ServedModel, name: str, arrays: Sequence[Arrays]) -> list[bytes]:
    """Serialised ModelInferRequests to the model of that name."""
    return [_request(served, name, each).SerializeToString() for each in arrays]


def _arrays(served: ServedModel, clip: Clip) -> Arrays:
    question = Question(mulaw_of(clip.path), MULAW, clip.text)
    prepared, _ = preparation.prepare(question, served, LONGEST_CLIP_S, Deadline(PATIENCE_S))
    return inputs.batch(served.spec, prepared.samples, prepared.ids, prepared.rows[-1:])


def _request(served: ServedModel, name: str, arrays: Arrays) -> Any:
    tensors, contents = input_tensors(served.spec, arrays)
    return service_pb2.ModelInferRequest(model_name=name, inputs=tensors, raw_input_contents=contents)
