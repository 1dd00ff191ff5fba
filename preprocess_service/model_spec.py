"""The typed description of every model: its tensors, its window, its Triton profiles. All else derives from it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from preprocess_service.errors import ModelNotFound
from preprocess_service.features import mel, mfcc, picture, text, waveform

Datatype = Literal["FP32", "INT16", "INT32"]
ProfileName = Literal["gpu", "gpu-tensorrt", "cpu"]


@dataclass(frozen=True)
class TensorSpec:
    """A tensor by Triton's names; `shape` is without the batch axis."""

    name: str
    datatype: Datatype
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """How Triton runs a model on one kind of machine; figures and reasons in deploy/triton/README.md."""

    graph_file: str  # in the version folder: the precision that passed its gate for this kind of machine
    max_batch_size: int
    max_queue_delay_us: int
    max_queue_size: int
    instances: int
    warm_up_batch_sizes: tuple[int, ...]
    parameters: tuple[tuple[str, str], ...]
    accelerator: str | None = None  # of Triton's execution accelerators
    accelerator_parameters: tuple[tuple[str, str], ...] = ()
    preferred_batch_sizes: tuple[int, ...] = ()  # none: a batch goes as soon as an instance is free


class GraphSpec(Protocol):
    """What Triton must be told of a graph."""

    @property
    def name(self) -> str: ...

    @property
    def inputs(self) -> tuple[TensorSpec, ...]: ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...

    def profile(self, name: ProfileName) -> Profile: ...


@dataclass(frozen=True)
class ModelSpec:
    """One model: the audio tensor of a window, the token tensor where it reads text, and what it answers."""

    name: str
    audio: TensorSpec
    tokens: TensorSpec | None
    window_s: float
    names_kind: bool  # whether it answers KINDS, too
    gpu: Profile
    cpu: Profile
    gpu_tensorrt: Profile

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return (self.audio,) if self.tokens is None else (self.audio, self.tokens)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return (PROBABILITY, KINDS) if self.names_kind else (PROBABILITY,)

    @property
    def hop_s(self) -> float:
        """Windows overlap by half, so that no word stands on an edge in every window."""
        return self.window_s / 2

    def profile(self, name: ProfileName) -> Profile:
        return {"gpu": self.gpu, "gpu-tensorrt": self.gpu_tensorrt, "cpu": self.cpu}[name]


MEL: Final = TensorSpec("mel", "FP32", (mel.BANDS, mel.MULTIMODAL_FRAMES, 1))
PICTURE: Final = TensorSpec("picture", "FP32", (picture.SIZE, picture.SIZE, 3))
MFCC: Final = TensorSpec("mfcc", "FP32", (mfcc.FRAMES, mfcc.COEFFICIENTS))
WAVEFORM: Final = TensorSpec("waveform", "FP32", (waveform.WINDOW_SAMPLES,))
TOKENS: Final = TensorSpec("tokens", "INT32", (text.TOKENS,))
PROBABILITY: Final = TensorSpec("probability", "FP32", (1,))
# How likely each kind is, given that it is an emergency; their names, in this order, stand in the contract.
KINDS: Final = TensorSpec("kinds", "FP32", (14,))

# Two instances of one thread use two cores best; more threads an instance burn CPU by spinning. On some CPUs OpenVINO
# would compute what is not int8 in bfloat16: f32 makes the answers those of the gate on every machine. It would also
# bind a thread to a core while it infers, and every process to the same one: the instances would take turns on it,
# others idle.
_CPU_BATCHES: Final = Profile(
    graph_file="model.cpu.onnx",
    max_batch_size=8,
    max_queue_delay_us=0,
    max_queue_size=512,
    instances=2,
    warm_up_batch_sizes=(1, 2, 3, 4, 5, 6, 7, 8),
    parameters=(("intra_op_thread_count", "1"), ("inter_op_thread_count", "1")),
    accelerator="openvino",
    accelerator_parameters=(
        ("load_config", '{"CPU": {"INFERENCE_PRECISION_HINT": "f32", "ENABLE_CPU_PINNING": "NO"}}'),
    ),
)
# A batch saves OpenVINO no arithmetic, while a graph whose shapes are fixed takes half the time.
_CPU: Final = replace(
    _CPU_BATCHES, warm_up_batch_sizes=(1,), parameters=(*_CPU_BATCHES.parameters, ("row_by_row", "true"))
)
# Not the exhaustive search for convolution algorithms, which stops the server for seconds at every new shape. Two
# instances: Triton, which must not send ahead where requests have priorities, sleeps up to half a second past the end
# of a full batch where there is one instance only.
_GPU: Final = Profile(
    graph_file="model.gpu.onnx",
    max_batch_size=64,
    max_queue_delay_us=2000,
    max_queue_size=4096,
    instances=2,
    warm_up_batch_sizes=(1, 2, 4, 8, 16, 32, 64),
    parameters=(("cudnn_conv_algo_search", "1"),),
)
# TensorRT builds an engine in minutes and keeps it, and what it timed, in a folder. An engine serves the batch sizes
# between the least and the greatest that it has seen: these two are warmed up first, so that it is built twice and not
# seven times. FP16 on the exported graph would be a network that no gate has judged: this profile takes the fp16 graph,
# which is there only where it passed, and a model without one is not loaded.
ENGINE_FOLDER: Final = "/engines"  # docker-compose.yml mounts it
_GPU_TENSORRT: Final = replace(
    _GPU,
    graph_file="model.fp16.onnx",
    warm_up_batch_sizes=(1, 64, 2, 4, 8, 16, 32),
    preferred_batch_sizes=(8, 16, 32, 64),
    accelerator="tensorrt",
    accelerator_parameters=(
        ("precision_mode", "FP16"),
        ("max_workspace_size_bytes", str(2 << 30)),
        ("trt_engine_cache_enable", "1"),
        ("trt_engine_cache_path", ENGINE_FOLDER),
        ("trt_timing_cache_enable", "1"),
        ("trt_timing_cache_path", ENGINE_FOLDER),
    ),
)


def _spec(name: str, audio: TensorSpec, window_s: float, *, reads: bool = False, names_kind: bool = False) -> ModelSpec:
    return ModelSpec(name, audio, TOKENS if reads else None, window_s, names_kind, _GPU, _CPU, _GPU_TENSORRT)


MULTIMODAL: Final = _spec("multimodal", MEL, mel.MULTIMODAL_WINDOW_S, reads=True, names_kind=True)
VGG16: Final = _spec("vgg16", PICTURE, picture.WINDOW_S)
CNN: Final = _spec("cnn", MEL, mel.MULTIMODAL_WINDOW_S)
# LSTMs alone gain from batches: 0.13 ms a row of eight, 0.28 of one.
LSTM: Final = replace(_spec("lstm", MFCC, mel.MULTIMODAL_WINDOW_S), cpu=_CPU_BATCHES)
CNN_LSTM: Final = _spec("cnn_lstm", MEL, mel.MULTIMODAL_WINDOW_S)
YAMNET: Final = _spec("yamnet", WAVEFORM, waveform.WINDOW_S)
VGG16_LSTM: Final = _spec("vgg16_lstm", PICTURE, picture.WINDOW_S, reads=True)

MODELS: Final = {spec.name: spec for spec in (MULTIMODAL, VGG16, CNN, LSTM, CNN_LSTM, YAMNET, VGG16_LSTM)}


def model_spec(name: str) -> ModelSpec:
    """The model of that name; raises ModelNotFound with the names that there are."""
    try:
        return MODELS[name]
    except KeyError:
        raise ModelNotFound(f"model {name!r} is unknown; there are {', '.join(MODELS)}") from None
