"""What one writes in a day with FastAPI, librosa, konlpy and ONNX Runtime: the service that ours is compared with.

    OMP_NUM_THREADS=1 BENCH_MODEL=model_repository/multimodal/1 \\
        uvicorn --workers 2 --no-access-log loadtest.bench.plain_service:app

One worker a core, everything loaded once, one thread a library, since the workers share the cores already. The body of
a request is the recording, mu-law at 8 kHz; the transcript comes in the query.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from fastapi import FastAPI, Request  # type: ignore[import-not-found]  # an environment of its own

from loadtest.bench.plain_features import ids_of, mel_of, open_tokenizer, tokens_of


class Model:
    """The exported graph and what its contract says."""

    def __init__(self, folder: Path) -> None:
        contract = json.loads((folder / "contract.json").read_text(encoding="utf-8"))
        self._stop_words = frozenset(contract["text"]["stop_words"])
        self._ids = ids_of(contract["text"]["vocabulary"])
        self._decision = contract["decision"]
        self._tokenizer = open_tokenizer()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(folder / "model.onnx", options, providers=["CPUExecutionProvider"])

    def classify(self, mulaw: bytes, transcript: str) -> dict[str, Any]:
        """Probability and verdict."""
        tokens = tokens_of(self._tokenizer, transcript, self._stop_words, self._ids)
        feed = {"mel": mel_of(mulaw)[None, :, :, None], "tokens": tokens[None]}
        probability = float(self._session.run(["probability"], feed)[0][0, 0])
        point = self._decision["with_transcript" if tokens.any() else "without_transcript"]
        clipped = min(max(probability, 1e-7), 1 - 1e-7)
        logit = point["scale"] * math.log(clipped / (1 - clipped)) + point["offset"]
        calibrated = 1 / (1 + math.exp(-logit))
        return {"probability": calibrated, "emergency": calibrated >= point["threshold"]}


@asynccontextmanager
async def lifespan(started: FastAPI) -> AsyncIterator[None]:
    started.state.model = Model(Path(os.environ["BENCH_MODEL"]))
    # The first call compiles librosa's own parts and Java's; no caller should wait for it.
    started.state.model.classify(np.full(56000, 0xFF, np.uint8).tobytes(), "여기 불이 났어요, 빨리 와 주세요!")
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/health")  # type: ignore[untyped-decorator]
async def health() -> dict[str, str]:
    return {"status": "ok"}


@app.post("/classify")  # type: ignore[untyped-decorator]
async def classify(request: Request, transcript: str = "") -> dict[str, Any]:
    """In the loop itself: a worker has a core, and threads would only take it from one another."""
    model: Model = request.app.state.model
    return model.classify(await request.body(), transcript)
