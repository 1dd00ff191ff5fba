"""The service asked without a bridge: a whole file through Classify, and the same over ClassifyStream."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Final

import grpc

from client import AsyncTriageClient, Verdict
from client.channel import ChannelSettings, open_aio_channel
from client.errors import error_from_rpc
from client.formats import G711_RATE_HZ, AudioFormat, Priority
from client.live.messages import stream_config
from client.live.replies import call_summary, call_update
from client.results import ModelInfo
from client.stubs import AioStubs
from loadtest.comparison import Heard, heard_of
from loadtest.recordings import Recording
from loadtest.senders import in_real_time
from preprocess_service.proto.wigeup.v1 import triage_pb2

LONGEST_CHUNK_S: Final = 2.0
LIMIT_S: Final = 60.0  # beyond the audio's length


async def model_asked(client: AsyncTriageClient, name: str) -> ModelInfo:
    """The model of that name, "" for the default; raises ValueError where there is none, TriageError."""
    for model in await client.list_models():
        if model.name == name or (not name and model.is_default):
            return model
    raise ValueError(f"the service has no model {name or 'by default'}")


async def by_file(client: AsyncTriageClient, recording: Recording, model: str, *, with_text: bool = False) -> Verdict:
    """The verdict on the recording as a WAV file; raises TriageError."""
    transcript = recording.text if with_text else ""
    return await client.classify(recording.wav, transcript=transcript, model=model, deadline_s=LIMIT_S)


async def by_stream(
    settings: ChannelSettings, recording: Recording, model: str, *, seed: int, with_text: bool = False
) -> Heard:
    """The recording over ClassifyStream, in real time, in chunks of one sample to 2 s; raises TriageError.

    The transcript goes first, as said from the beginning to the end.
    """
    channel = open_aio_channel(settings)
    try:
        requests = _requests(recording, model, random.Random(seed), with_text=with_text)
        call = AioStubs(channel).triage.ClassifyStream(requests, timeout=recording.seconds + LIMIT_S)
        responses = [response async for response in call]
    except grpc.RpcError as error:
        raise error_from_rpc(error) from error
    finally:
        await channel.close()
    updates = [call_update(each.update).to_dict() for each in responses[:-1]]
    return heard_of(updates, call_summary(responses[-1].summary).to_dict())


def chunks_of(code_words: bytes, chance: random.Random) -> list[bytes]:
    """The bytes cut at random: short and long chunks come alike often."""
    chunks, at, longest = [], 0, LONGEST_CHUNK_S * G711_RATE_HZ
    while at < len(code_words):
        size = int(longest ** chance.random())
        chunks.append(code_words[at : at + size])
        at += size
    return chunks


async def _requests(
    recording: Recording, model: str, chance: random.Random, *, with_text: bool
) -> AsyncIterator[triage_pb2.StreamRequest]:
    config = stream_config(
        AudioFormat.mulaw(),
        call_id=f"stream-{recording.name}",
        model=model,
        model_version="",
        priority=Priority.NORMAL,
        hop_s=0,
    )
    yield triage_pb2.StreamRequest(config=config)
    sequence = 0
    if with_text:
        sequence += 1
        said = triage_pb2.StreamTranscript(
            sequence=sequence, text=recording.text, is_final=True, end_s=recording.seconds
        )
        yield triage_pb2.StreamRequest(transcript=said)
    async for chunk in in_real_time(chunks_of(recording.code_words, chance), G711_RATE_HZ):
        sequence += 1
        yield triage_pb2.StreamRequest(audio=triage_pb2.StreamAudio(sequence=sequence, audio=chunk))
