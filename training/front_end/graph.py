"""The front end as a graph: telephone samples of a window to the log-mel of `features.mel.multimodal_mel`.

Only matrix products, gathers and element-wise operators, all in float32: ONNX Runtime's CUDA provider and TensorRT have
every one of them, while neither has STFT. Its weights follow from the code alone; none is trained.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from preprocess_service.features import mel
from preprocess_service.features.audio import PCM16_FULL_SCALE
from preprocess_service.front_end import PERIOD, PERIOD_OUT, PERIODS, SPAN, TELEPHONE
from preprocess_service.model_spec import MEL, TensorSpec
from training.front_end import resampling, spectrum

OPSET: Final = 17
IR_VERSION: Final = 8  # what every ONNX Runtime from Triton 24.10 on reads
FRAMES: Final = mel.frame_count(mel.MULTIMODAL_SAMPLES)  # the loudest may be the last, which is then left out
_NEVER: Final = np.int32(2**30)  # a position behind the end of every window
_TYPES: Final = {"INT16": onnx.TensorProto.INT16, "INT32": onnx.TensorProto.INT32, "FP32": onnx.TensorProto.FLOAT}


def build() -> onnx.ModelProto:
    """The checked graph from TELEPHONE and SPAN to MEL, with a dynamic batch axis."""
    graph = _Graph()
    sound = _resampled(graph)
    power = _mel_power(graph, _framed(graph, sound))
    _decibels(graph, power)
    made = helper.make_model(
        helper.make_graph(
            graph.nodes,
            "front_end",
            [_value(each) for each in (TELEPHONE, SPAN)],
            [_value(MEL)],
            graph.constants,
        ),
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
        producer_name="wigeup",
    )
    onnx.checker.check_model(made, full_check=True)
    return made


class _Graph:
    """Nodes in order; each call of `node` names its only output and returns the name."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def node(self, operator: str, *inputs: str, named: str = "", **attributes: Any) -> str:
        output = named or f"{operator.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, inputs, [output], name=f"make_{output}", **attributes))
        return output

    def constant(self, value: NDArray[Any] | float | Sequence[int]) -> str:
        """Floats become float32, shapes and axes int64."""
        array = np.asarray(value)
        if array.dtype == np.float64:
            array = array.astype(np.float32)
        name = f"constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def part(self, tensor: str, start: int, end: int, axis: int) -> str:
        return self.node("Slice", tensor, *(self.constant([each]) for each in (start, end, axis)))

    def reshape(self, tensor: str, *shape: int) -> str:
        """With the batch axis ahead, as it is."""
        return self.node("Reshape", tensor, self.constant([0, *shape]))


def _resampled(graph: _Graph) -> str:
    """(n, 1 + outputs): the sound at 22,050 Hz, with a 0 ahead of it."""
    whole, outputs = resampling.filter_matrix(), PERIODS - 2
    full_scale = graph.constant(1 / PCM16_FULL_SCALE)
    samples = graph.node("Mul", graph.node("Cast", TELEPHONE.name, to=onnx.TensorProto.FLOAT), full_scale)
    periods = graph.reshape(samples, PERIODS, PERIOD)
    neighbours = graph.node("Concat", *(graph.part(periods, at, at + outputs, 1) for at in range(3)), axis=2)
    sound = graph.reshape(graph.node("MatMul", neighbours, graph.constant(whole)), outputs * PERIOD_OUT)
    begins = graph.node("Cast", graph.part(SPAN.name, 2, 3, 1), to=onnx.TensorProto.FLOAT)  # (n, 1)
    onset = graph.constant(resampling.onset_matrix(whole))
    added = graph.node("Mul", graph.node("MatMul", graph.part(samples, PERIOD, 2 * PERIOD, 1), onset), begins)
    first = graph.node("Add", graph.part(sound, 0, resampling.ONSET, 1), added)
    rest = graph.part(sound, resampling.ONSET, outputs * PERIOD_OUT, 1)
    return graph.node("Concat", graph.node("Mul", begins, graph.constant(0.0)), first, rest, axis=1)


def _framed(graph: _Graph, sound: str) -> str:
    """(n, FINE, COARSE, FRAMES): the samples FINE * a + b of every frame by b and a; 0 beside the window."""
    rows = (FRAMES - 1) * mel.HOP // spectrum.FINE + spectrum.COARSE
    positions = np.arange(rows * spectrum.FINE, dtype=np.int32) - mel.FFT_SIZE // 2
    positions[positions < 0] = _NEVER
    at = graph.constant(positions.reshape(rows, spectrum.FINE).T.reshape(1, -1))
    begin, length = graph.part(SPAN.name, 0, 1, 1), graph.part(SPAN.name, 1, 2, 1)
    source = graph.node("Add", graph.node("Add", at, begin), graph.constant(np.array(1, np.int32)))
    inside = graph.node("Less", at, length)
    source = graph.node("Where", inside, source, graph.constant(np.array(0, np.int32)))
    window = graph.reshape(graph.node("GatherElements", sound, source, axis=1), spectrum.FINE, rows)
    frames = mel.HOP // spectrum.FINE * np.arange(FRAMES) + np.arange(spectrum.COARSE)[:, None]
    return graph.node("Gather", window, graph.constant(frames), axis=2)


def _mel_power(graph: _Graph, frames: str) -> str:
    """(n, BANDS, FRAMES)."""
    fine, columns = spectrum.FINE, spectrum.PHASES * FRAMES
    inner = graph.node("MatMul", graph.constant(spectrum.first_product()), frames)  # (n, FINE, 2 * PHASES, FRAMES)
    outer = graph.node("MatMul", graph.constant(spectrum.second_product()), graph.reshape(inner, 2 * fine, columns))
    parts = graph.reshape(graph.node("Mul", outer, outer), 2, fine, columns)  # real parts' and imaginary parts' squares
    power = graph.node("ReduceSum", parts, graph.constant([1]), keepdims=0)
    return graph.node(
        "MatMul", graph.constant(spectrum.mel_product()), graph.reshape(power, fine * spectrum.PHASES, FRAMES)
    )


def _decibels(graph: _Graph, power: str) -> None:
    heard = graph.node("Max", power, graph.constant(mel.SMALLEST_POWER))
    absolute = graph.node("Mul", graph.node("Log", heard), graph.constant(10 / math.log(10)))
    loudest = graph.node("ReduceMax", absolute, axes=[1, 2], keepdims=1)
    decibels = graph.node("Max", graph.node("Sub", absolute, loudest), graph.constant(-mel.TOP_DB))
    shown = graph.part(decibels, 0, mel.MULTIMODAL_FRAMES, 2)
    graph.node("Reshape", shown, graph.constant([0, *MEL.shape]), named=MEL.name)


def _value(tensor: TensorSpec) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(tensor.name, _TYPES[tensor.datatype], ["batch", *tensor.shape])
