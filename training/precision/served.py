"""A graph as the CPU profile serves it: run by Triton's own environment, through the backend's own code.

OpenVINO's answers to an int8 graph differ from those of ONNX Runtime's CPU provider, and only Triton's environment has
OpenVINO; so the graph runs in a process of that environment, and arrays go to and fro as files.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from google.protobuf.json_format import MessageToDict
from numpy.typing import NDArray

from preprocess_service.model_spec import ModelSpec
from training.triton_config import model_config

ROOT: Final = Path(__file__).resolve().parent.parent.parent
TRITON_PYTHON: Final = Path(os.environ.get("TRITON_PYTHON") or ROOT / ".venv-triton/bin/python")
RUN_GRAPH: Final = ROOT / "deploy/triton/run_graph.py"
_LOG_TAIL: Final = 2000


class TritonEnvironmentMissing(FileNotFoundError):
    """Triton's environment, which holds OpenVINO, is not installed."""


class GraphFailed(RuntimeError):
    """The backend refuses the graph or fails to run it; the message carries what it said."""


class ServedGraph:
    """One graph in a process of its own, with the CPU profile's session options; `run` is ONNX Runtime's.

    `accelerated=False` leaves out the profile's accelerator: ONNX Runtime's CPU provider with the same threads.
    """

    def __init__(
        self, graph_file: Path, spec: ModelSpec, *, accelerated: bool = True, python: Path = TRITON_PYTHON
    ) -> None:
        if not python.exists():
            raise TritonEnvironmentMissing(f"{python} is missing; `make .venv-triton/.done` installs it")
        self._graph_file = graph_file
        self._folder = tempfile.TemporaryDirectory(prefix="graph-")
        self._files = Path(self._folder.name)
        (self._files / "config.json").write_text(json.dumps(_triton_json(spec, accelerated)), encoding="utf-8")
        with (self._files / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [python, "-I", RUN_GRAPH, graph_file.resolve(), self._files / "config.json"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},  # as in the launcher
            )
        try:
            self._providers: list[str] = self._reply()["providers"]
        except BaseException:
            self.close()
            raise

    def get_providers(self) -> list[str]:
        return self._providers

    def run(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """The outputs of those names, in their order."""
        self._ask(names, arrays, runs=1)
        return [np.load(self._files / f"{name}.npy") for name in names]

    def seconds(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]], runs: int) -> list[float]:
        """How long each of `runs` equal runs took."""
        reply = self._ask(names, arrays, runs)
        return [float(each) for each in reply["seconds"]]

    def close(self) -> None:
        with self._process as process:  # closes its standard input, at which it ends
            if process.stdin:
                process.stdin.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, names: Sequence[str], arrays: Mapping[str, NDArray[Any]], runs: int) -> dict[str, Any]:
        for name, array in arrays.items():
            np.save(self._files / f"{name}.npy", array)
        request = {"inputs": str(self._files), "outputs": str(self._files), "names": list(names), "runs": runs}
        assert self._process.stdin  # noqa: S101 - it was opened as a pipe
        try:
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise self._dead() from None
        return self._reply()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout  # noqa: S101 - it was opened as a pipe
        line = self._process.stdout.readline()
        if not line:
            raise self._dead()
        reply: dict[str, Any] = json.loads(line)
        if "error" in reply:
            raise GraphFailed(f"{self._graph_file}: {reply['error']}")
        return reply

    def _dead(self) -> GraphFailed:
        log = (self._files / "log").read_text(encoding="utf-8", errors="replace")[-_LOG_TAIL:]
        return GraphFailed(f"{self._graph_file}: the process ended with {self._process.wait()}; its log ends:\n{log}")


def _triton_json(spec: ModelSpec, accelerated: bool) -> dict[str, Any]:
    config = model_config(spec, "cpu")
    if not accelerated:
        config.ClearField("optimization")
    return MessageToDict(config, preserving_proto_field_name=True)
