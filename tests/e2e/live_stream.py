"""A live call over a bare gRPC stub: the test says which messages go, and when."""

from __future__ import annotations

import queue
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from types import TracebackType

import grpc
import numpy as np

from preprocess_service.proto.wigeup.v1 import triage_pb2 as pb
from preprocess_service.proto.wigeup.v1 import triage_pb2_grpc

LIMIT_S = 60
MULAW = pb.AudioFormat(encoding=pb.AUDIO_ENCODING_MULAW, sample_rate_hz=8000, channels=1)


def config(audio_format: pb.AudioFormat = MULAW, **fields) -> pb.StreamRequest:
    return pb.StreamRequest(config=pb.StreamConfig(format=audio_format, **fields))


def audio(sequence: int, data: bytes = b"", **fields) -> pb.StreamRequest:
    return pb.StreamRequest(audio=pb.StreamAudio(sequence=sequence, audio=data, **fields))


def transcript(sequence: int, text: str, *, is_final: bool = True, **fields) -> pb.StreamRequest:
    return pb.StreamRequest(transcript=pb.StreamTranscript(sequence=sequence, text=text, is_final=is_final, **fields))


def pieces(data: bytes, frame_bytes: int, seed: int, largest_s: float = 2.0) -> list[bytes]:
    """The bytes cut at random into whole frames, from one frame to `largest_s` seconds of 8 kHz."""
    random, cut, at = np.random.default_rng(seed), [], 0
    while at < len(data):
        frames = int(np.exp(random.uniform(0, np.log(largest_s * 8000))))
        cut.append(data[at : at + frames * frame_bytes])
        at += len(cut[-1])
    return cut


def messages(data: bytes, *, seed: int = 1, frame_bytes: int = 1, text: str = "", **fields) -> list[pb.StreamRequest]:
    """A configuration, the transcript and the audio in random pieces."""
    made = [config(**fields)]
    if text:
        made.append(transcript(1, text, start_s=0, end_s=len(data) / frame_bytes / 8000))
    made += [audio(len(made) + index, piece) for index, piece in enumerate(pieces(data, frame_bytes, seed))]
    return made


@dataclass
class Heard:
    """What came back of a call that ended well."""

    updates: list[pb.CallUpdate]
    summary: pb.CallSummary


def converse(address: str, requests: Iterable[pb.StreamRequest]) -> Heard:
    """A whole call; raises grpc.RpcError."""
    with Stream(address) as stream:
        for request in requests:
            stream.send(request)
        return stream.finish()


class Stream:
    """An open stream; a context manager."""

    def __init__(self, address: str) -> None:
        self._channel = grpc.insecure_channel(address, options=(("grpc.enable_http_proxy", 0),))
        self._outgoing: queue.SimpleQueue[pb.StreamRequest | None] = queue.SimpleQueue()
        stub = triage_pb2_grpc.TriageStub(self._channel)
        self._call = stub.ClassifyStream(iter(self._outgoing.get, None), timeout=LIMIT_S)

    def send(self, request: pb.StreamRequest) -> None:
        self._outgoing.put(request)

    def update(self) -> pb.CallUpdate:
        """The next response, which must be an update; raises grpc.RpcError."""
        response = next(self._call)
        assert response.HasField("update"), response
        return response.update

    def updates(self, count: int) -> list[pb.CallUpdate]:
        return [self.update() for _ in range(count)]

    def finish(self) -> Heard:
        """Half-closes and takes what is left."""
        self._outgoing.put(None)
        left: list[pb.StreamResponse] = list(self._responses())
        assert left, "no summary"
        assert left[-1].HasField("summary")
        return Heard([each.update for each in left[:-1]], left[-1].summary)

    def _responses(self) -> Iterator[pb.StreamResponse]:
        yield from self._call

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._call.cancel()
        self._outgoing.put(None)
        self._channel.close()
