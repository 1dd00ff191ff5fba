"""Graphs of lower precision, made from the exported one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from onnxruntime.transformers.float16 import convert_float_to_float16
from onnxruntime.transformers.onnx_model import OnnxModel

from preprocess_service.model_spec import PICTURE, ModelSpec
from training.dataset import Rows
from training.precision.casts import join_float_parts
from training.precision.marking import mark_weights
from training.precision.parts import LINEAR, after, answering, before_logarithms, dense, first_linear
from training.scoring import row_inputs

CALIBRATION_ROWS: Final = 256
CALIBRATION_ROWS_OF_PICTURES: Final = 64  # VGG-16 takes ten times as long; the ranges of its pixels are known
CALIBRATION_BATCH: Final = 16
CALIBRATION_SEED: Final = 1
WITHOUT_TEXT: Final = 3  # every third row, where the model reads
# What OpenVINO computes in int8. Pooling and the like stand between these and take over their inputs' scales.
QUANTISED: Final = ("Conv", "Gemm", "MatMul", "MaxPool")
# Dense layers of no more weights cost next to nothing, and int8 there moves the answer more than in all others.
SMALL_DENSE: Final = 65_536
RECORD_KEY: Final = "precision"  # of the graph's metadata: how it was made


@dataclass(frozen=True)
class Int8Recipe:
    """Which parts of a network stay float, besides its last and its small dense layers, and how a tensor's range comes
    from batches: their greatest extremes, or the mean of their extremes, which cuts rare peaks off."""

    mean_extremes: bool = False
    float_dense: bool = False
    float_stem: bool = False

    def kept_float(self, graph: onnx.GraphProto) -> list[str]:
        """The names of the linear nodes that are not quantised."""
        kept = answering(graph) | before_logarithms(graph)
        kept |= dense(graph) if self.float_dense else dense(graph, SMALL_DENSE)
        if self.float_stem:
            kept |= first_linear(graph)
        return sorted(node.name for node in kept.values() if node.op_type in LINEAR)


# In the order of preference: the first that passes the gate is taken.
INT8_RECIPES: Final = (
    Int8Recipe(),
    Int8Recipe(mean_extremes=True),
    Int8Recipe(float_dense=True),
    Int8Recipe(float_dense=True, float_stem=True),
)


def calibration_batches(spec: ModelSpec, rows: Rows) -> list[dict[str, NDArray[Any]]]:
    """Inputs of training rows, drawn once and for all; some without their transcript."""
    chosen = rows.rows_of("train")
    random = np.random.default_rng(CALIBRATION_SEED)
    count = CALIBRATION_ROWS_OF_PICTURES if spec.audio == PICTURE else CALIBRATION_ROWS
    chosen = random.permutation(chosen)[:count]
    batches = []
    for start in range(0, len(chosen), CALIBRATION_BATCH):
        arrays = row_inputs(spec, rows, np.sort(chosen[start : start + CALIBRATION_BATCH]))
        if spec.tokens:
            tokens = arrays[spec.tokens.name].copy()
            tokens[::WITHOUT_TEXT] = 0
            arrays[spec.tokens.name] = tokens
        batches.append(arrays)
    return batches


class Int8Maker:
    """Makes int8 graphs of one exported graph: static, QDQ, per channel. Ranges are measured once per way to do it."""

    def __init__(self, model_file: Path, spec: ModelSpec, rows: Rows, folder: Path) -> None:
        """`folder` takes temporary files and must outlive this object."""
        self._folder, self._batches = folder, calibration_batches(spec, rows)
        self._prepared = folder / "prepared.onnx"
        quant_pre_process(model_file, self._prepared, skip_symbolic_shape=True)
        self._original = onnx.load(model_file, load_external_data=False)
        prepared = onnx.load(self._prepared)
        for index, node in enumerate(prepared.graph.node):
            node.name = node.name or f"{node.op_type}_{index}"
        onnx.save(prepared, self._prepared)
        self._graph = prepared.graph

    def quantisable(self, recipe: Int8Recipe) -> int:
        """How many linear nodes the recipe makes int8."""
        kept = recipe.kept_float(self._graph)
        return sum(node.op_type in LINEAR and node.name not in kept for node in self._graph.node)

    def make(self, recipe: Int8Recipe, made: Path) -> None:
        """Writes the int8 graph; its metadata names the recipe and the nodes that stayed float."""
        kept = recipe.kept_float(self._graph)
        quantize_static(
            self._prepared,
            made,
            _Batches(self._batches),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            op_types_to_quantize=list(QUANTISED),
            nodes_to_exclude=kept,
            calibration_cache_path=self._folder / f"ranges-{recipe.mean_extremes}.json",
            extra_options={"CalibMovingAverage": recipe.mean_extremes},
        )
        model = onnx.load(made)
        _finish(model, self._original, {"precision": "int8", **vars(recipe), "float_nodes": kept})
        onnx.save(model, made)


def make_fp16(model_file: Path, made: Path) -> None:
    """Writes the graph in half precision, with its inputs and outputs as they were.

    The last layer stays float, since half precision has no steps near a probability of 1; so does a spectrum before its
    logarithm, whose powers half precision cannot hold.
    """
    original = onnx.load(model_file)
    kept = after(original.graph, answering(original.graph)) | before_logarithms(original.graph)
    names = sorted(node.name for node in kept.values())
    half = convert_float_to_float16(onnx.load(model_file), keep_io_types=True, node_block_list=names)
    join_float_parts(half.graph)
    OnnxModel.graph_topological_sort(half.graph)  # the conversion puts its casts at the end
    mark_weights(half.graph)
    _finish(half, original, {"precision": "fp16", "float_nodes": names})
    onnx.save(half, made)


class _Batches(CalibrationDataReader):  # type: ignore[misc]
    """What quantize_static reads its calibration inputs from."""

    def __init__(self, batches: list[dict[str, NDArray[Any]]]) -> None:
        self._left: Iterator[dict[str, NDArray[Any]]] = iter(batches)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        return next(self._left, None)


def _finish(model: onnx.ModelProto, original: onnx.ModelProto, record: dict[str, Any]) -> None:
    """Gives a converted model the format version of the exported one, and the record of its making."""
    model.ir_version = original.ir_version
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {RECORD_KEY: json.dumps(record)})
    onnx.checker.check_model(model)
