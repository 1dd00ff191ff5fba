"""What a promotion asks of those that serve: Triton and the service, or on a machine without them the graphs alone."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import grpc
from tritonclient.grpc import service_pb2, service_pb2_grpc

from client import AudioFormat, ModelNotFound, Overloaded, TriageClient, TriageError, Verdict
from preprocess_service.contract import MODEL_FILE, Contract, read_contract
from preprocess_service.model_spec import ModelSpec
from training import golden
from training.golden import GoldenCall

PAUSE_S: Final = 0.1
ANSWER_LIMIT_S: Final = 30.0  # for one call; the first one may wait for Triton to load the model
_SILENCE: Final = b"\xff" * 8000  # a second of it, as mu-law
_CPU: Final = "CPUExecutionProvider"


class ServingFailed(Exception):
    """Triton or the service does not do what it must; the message says which, and what."""


class Serving(Protocol):
    """Where a model is served."""

    def load(self, versions: Sequence[int]) -> None:
        """Has the newest versions loaded, as they are now on disk; `versions` must be among them."""

    def serves(self, version: int) -> bool:
        """Whether that version may be in use."""

    def await_default(self, version: int | None, limit_s: float | None = None) -> None:
        """Returns when default traffic is answered by that version, or with None by none; raises ServingFailed."""

    def check(self, calls: Sequence[GoldenCall], folder: Path, *, by_number: bool) -> None:
        """Raises ServingFailed unless the version in `folder` answers the golden clips right, asked for by its number
        or as default traffic."""


class LiveServing:
    """A Triton in explicit model-control mode, and one service before it, for one model.

    `check_interrupted` is called at least ten times a second, and may raise.
    """

    def __init__(
        self,
        spec: ModelSpec,
        triton_address: str,
        client: TriageClient,
        limit_s: float,
        check_interrupted: Callable[[], None],
    ) -> None:
        self._spec, self._client, self._limit_s, self._check_interrupted = spec, client, limit_s, check_interrupted
        self._triton_address = triton_address
        options = (("grpc.enable_http_proxy", 0),)
        self._channel = grpc.insecure_channel(triton_address, options=options)
        self._stub: Any = service_pb2_grpc.GRPCInferenceServiceStub(self._channel)

    def close(self) -> None:
        self._channel.close()

    def load(self, versions: Sequence[int]) -> None:
        if versions:
            self._ask_triton("RepositoryModelLoad", service_pb2.RepositoryModelLoadRequest(model_name=self._spec.name))
        else:
            request = service_pb2.RepositoryModelUnloadRequest(model_name=self._spec.name)
            self._ask_triton("RepositoryModelUnload", request)
        for version in versions:
            if not self.serves(version):
                raise ServingFailed(f"Triton has loaded {self._spec.name}, but does not serve its version {version}")

    def serves(self, version: int) -> bool:
        request = service_pb2.ModelReadyRequest(name=self._spec.name, version=str(version))
        return bool(self._ask_triton("ModelReady", request).ready)

    def await_default(self, version: int | None, limit_s: float | None = None) -> None:
        wanted, answered = "" if version is None else str(version), "nothing"
        limit_s = min(limit_s or self._limit_s, self._limit_s)
        end = time.monotonic() + limit_s
        while time.monotonic() < end:
            try:
                answered = self._ask(_SILENCE, "", "", end).model_version or "without a version"
            except ModelNotFound:
                answered = ""
            except TriageError as error:
                answered = f"{error.status.name}: {error}"
            if answered == wanted:
                return
            self._pause(PAUSE_S)
        told = f"version {answered}" if answered.isdecimal() else answered or "that it has none"
        raise ServingFailed(
            f"not within {limit_s:g} s was {self._spec.name} answered by {f'version {wanted}' if wanted else 'none'}; "
            f"the service says {told}"
        )

    def check(self, calls: Sequence[GoldenCall], folder: Path, *, by_number: bool) -> None:
        version = folder.name
        contract = read_contract(folder, self._spec)
        allowed = golden.drift(contract, self._graph_file(version, contract))
        end = time.monotonic() + self._limit_s
        for call in calls:
            try:
                verdict = self._ask(call.code_words.tobytes(), call.transcript, version if by_number else "", end)
            except TriageError as error:
                raise ServingFailed(f"golden clip {call.clip.clip_id}: {error.status.name}: {error}") from error
            if verdict.model_version != version:
                raise ServingFailed(f"golden clip {call.clip.clip_id}: version {verdict.model_version} has answered")
            if wrong := golden.fault(call.clip, verdict.probability, verdict.decision, contract, allowed):
                raise ServingFailed(wrong)

    def _graph_file(self, version: str, contract: Contract) -> str:
        request = service_pb2.ModelConfigRequest(name=self._spec.name, version=version)
        name = str(self._ask_triton("ModelConfig", request).config.default_model_filename) or MODEL_FILE
        if name not in contract.graphs:
            raise ServingFailed(f"Triton serves {name!r}; the contract knows {', '.join(contract.graphs)}")
        return name

    def _ask(self, code_words: bytes, transcript: str, version: str, end: float) -> Verdict:
        """Asks again, until then, where the service has too much to do."""
        while True:
            self._check_interrupted()
            try:
                return self._client.classify(
                    code_words,
                    format=AudioFormat.mulaw(),
                    transcript=transcript,
                    model=self._spec.name,
                    model_version=version,
                    call_id="promotion",
                    deadline_s=ANSWER_LIMIT_S,
                )
            except Overloaded as error:
                if time.monotonic() > end:
                    raise
                self._pause((error.retry_after_ms or 1000) / 1000)

    def _ask_triton(self, method: str, request: Any) -> Any:
        future = getattr(self._stub, method).future(request, timeout=self._limit_s)
        try:
            while True:
                self._check_interrupted()
                try:
                    return future.result(timeout=PAUSE_S)
                except grpc.FutureTimeoutError:
                    continue
        except grpc.RpcError:
            reason = (future.details() or "").strip().partition("\n")[0]  # a traceback follows
            raise ServingFailed(
                f"Triton at {self._triton_address} refuses {method}: {future.code().name}: {reason}"
            ) from None

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._check_interrupted()
            time.sleep(min(PAUSE_S, left))


class NoServing:
    """No Triton and no service runs: golden clips are asked of the graphs that ONNX Runtime's own provider judges."""

    def __init__(self, spec: ModelSpec, data: Path) -> None:
        self._spec, self._data = spec, data

    def load(self, versions: Sequence[int]) -> None:
        """Triton will, when it starts."""

    def serves(self, version: int) -> bool:  # noqa: ARG002 - the protocol's
        return True  # for all that is known here

    def await_default(self, version: int | None, limit_s: float | None = None) -> None:
        """Nobody asks."""

    def check(self, calls: Sequence[GoldenCall], folder: Path, *, by_number: bool) -> None:  # noqa: ARG002
        from training.pipeline import quiet_tensorflow

        with quiet_tensorflow():
            from training.dataset import read_corpus
            from training.recordings import Scorer
            from training.scoring import session

        contract, corpus = read_contract(folder, self._spec), read_corpus(self._data)
        judged_here = [name for name, graph in contract.graphs.items() if name == MODEL_FILE or graph.provider == _CPU]
        for name in {contract.files[each]: each for each in judged_here}.values():  # links to one file once
            scorer = Scorer(session(folder / name), self._spec, contract)
            if wrong := golden.faults(calls, corpus, scorer, golden.drift(contract, name)):
                raise ServingFailed(f"{name}: {'; '.join(wrong)}")
