"""Answers of one graph by the very code that Triton's backend serves it with, for whoever has no Triton at hand.

    .venv-triton/bin/python deploy/triton/run_graph.py MODEL.onnx CONFIG.json

CONFIG.json is the model's configuration as Triton hands it to its backend. The first line on standard output names the
providers; then every line on standard input, `{"inputs": FOLDER, "outputs": FOLDER, "names": [...], "runs": 1}`, is
answered with one line, `{"seconds": [...]}` or `{"error": "..."}`. Arrays lie in the folders as NAME.npy.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

import numpy as np

if TYPE_CHECKING:
    from ort_session import RunnableGraph

BACKEND = Path(__file__).resolve().parent / "backends" / "onnxruntime"


def open_graph(model_file: Path, config: dict[str, Any]) -> RunnableGraph:
    """What an instance of the backend on a CPU would hold; raises its Refusal by the same rules."""
    sys.path.insert(0, str(BACKEND))
    from ort_session import RunnableGraph

    return RunnableGraph(model_file, config, "CPU", "0")


def answer(graph: RunnableGraph, request: dict[str, Any]) -> dict[str, Any]:
    """Runs one request, `runs` times over, and writes the last answers."""
    folder = Path(request["inputs"])
    feed = {each.name: np.load(folder / f"{each.name}.npy", mmap_mode="r") for each in graph.inputs}
    # A memory map is an array of a type of its own, which ONNX Runtime takes only as a plain view.
    plain = {name: np.asarray(array) for name, array in feed.items()}
    names, seconds, outputs = request["names"], [], []
    for _ in range(request.get("runs", 1)):
        started = time.process_time()
        outputs = graph.run(names, plain)
        seconds.append(time.process_time() - started)
    for name, array in zip(names, outputs, strict=True):
        np.save(Path(request["outputs"]) / f"{name}.npy", array)
    return {"seconds": seconds}


def serve(model_file: Path, config: dict[str, Any], replies: TextIO) -> None:
    """Answers standard input's lines until it ends."""
    graph = open_graph(model_file, config)
    print(json.dumps({"providers": graph.providers}), file=replies, flush=True)
    for line in sys.stdin:
        try:
            reply = answer(graph, json.loads(line))
        except Exception as error:  # whatever it is, it is the caller's to judge
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies, flush=True)


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    # Libraries that greet on standard output must not do so between the replies.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        serve(Path(sys.argv[1]), json.loads(Path(sys.argv[2]).read_text(encoding="utf-8")), replies)
    except Exception as error:  # a Refusal, or what ONNX Runtime says of a broken file
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=replies, flush=True)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
