"""What a caller sees: verdicts while all is well, an honest refusal while Triton is away."""

from __future__ import annotations

import io
import json
import math
import random
import struct
import time
import wave
from typing import Final

import grpc

from client import AudioFormat, ServiceUnavailable, TriageClient, TriageError, Verdict
from deploy.compose_check.engine import Engine
from deploy.compose_check.report import demand

TRANSCRIPT: Final = "집에 불이 났어요 빨리 와 주세요"
CALL_ID: Final = "compose-check"
_RATE_HZ: Final = 8000
_SECONDS: Final = 4
RECOVERY_LIMIT_S: Final = 90


def recording() -> bytes:
    """A WAV file of a gliding tone in noise, mono, 8,000 Hz."""
    noise = random.Random(1)
    times = (n / _RATE_HZ for n in range(_RATE_HZ * _SECONDS))
    samples = (math.sin(2 * math.pi * (300 + 60 * t) * t) + noise.gauss(0, 0.1) for t in times)
    frames = b"".join(struct.pack("<h", round(8000 * max(-4.0, min(4.0, sample)))) for sample in samples)
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(_RATE_HZ)
        file.writeframes(frames)
    return buffer.getvalue()


class Caller:
    """The project's own client at the published port."""

    def __init__(self, engine: Engine, address: str) -> None:
        self._engine, self._address = engine, address

    def verdicts(self) -> str:
        """One verdict of every model."""
        with TriageClient(self._address) as client:
            models = client.list_models()
        demand(bool(models), "the service lists no models")
        return "; ".join(_shown(self._classify(model.name)) for model in models)

    def status(self) -> str:
        """The health that grpc.health.v1 tells; the name of the error where it tells none."""
        try:
            with TriageClient(self._address) as client:
                return client.health(deadline_s=5).status
        except TriageError as error:
            return error.status.name

    def outage(self) -> str:
        """Stops Triton, asks, starts it again, asks again."""
        triton, service = (self._engine.container(name) for name in ("triton", "preprocess"))
        start = time.monotonic()
        self._engine.podman("stop", triton, timeout_s=90)
        self._engine.wait("NOT_SERVING", lambda: self.status() == "NOT_SERVING", RECOVERY_LIMIT_S)
        noticed_s = time.monotonic() - start
        refusal = self._refusal()
        demand(not self._engine.healthy("preprocess"), "the health check of the container still passes")
        self._engine.podman("start", triton, timeout_s=60)
        back_s = self._engine.wait("SERVING again", lambda: self.status() == "SERVING", RECOVERY_LIMIT_S)
        verdict = self._classify("")
        demand(self._engine.container("preprocess") == service, "the service was started anew")
        return (
            f"NOT_SERVING {noticed_s:.1f} s after Triton was told to stop, calls refused with {refusal}; "
            f"SERVING {back_s:.1f} s after its start; {_shown(verdict)}"
        )

    def _refusal(self) -> str:
        try:
            self._classify("")
        except ServiceUnavailable as error:
            demand(error.status is grpc.StatusCode.UNAVAILABLE, f"the refusal was {error.status.name}")
            return f"{error.status.name} ({error.message})"
        demand(False, "a verdict came without Triton")
        raise AssertionError

    def _classify(self, model: str) -> Verdict:
        with TriageClient(self._address) as client:
            verdict = client.classify(
                recording(),
                format=AudioFormat.file(),
                transcript=TRANSCRIPT,
                model=model,
                call_id=CALL_ID,
                deadline_s=30,
            )
        demand(0 <= verdict.probability <= 1, f"probability {verdict.probability}")
        demand(abs(verdict.audio_s - _SECONDS) < 0.1, f"{verdict.audio_s} s of audio seen, {_SECONDS} s sent")
        return verdict


def _shown(verdict: Verdict) -> str:
    return (
        f"{verdict.model} version {verdict.model_version} says {verdict.probability:.3f} "
        f"in {verdict.times.total_ms:.0f} ms"
    )


def check_logs(engine: Engine) -> str:
    """Each line of the service's log is JSON; the call is found by its id, and what was said is not in there."""
    output = engine.podman("logs", engine.container("preprocess"))
    lines = (output.stdout + output.stderr).splitlines()
    records = []
    for line in lines:
        try:
            records.append(json.loads(line))
        except ValueError:
            demand(False, f"not JSON: {line[:200]!r}")
    mine = [record for record in records if record.get("call_id") == CALL_ID]
    demand(any(record["message"] == "classified" for record in mine), f"{CALL_ID!r} is not among {len(lines)} lines")
    said = [word for word in TRANSCRIPT.split() if any(word in line for line in lines)]
    demand(not said, "the transcript is in the log")
    return f"{len(lines)} lines of JSON, {len(mine)} of them with this check's call id, no transcript"
