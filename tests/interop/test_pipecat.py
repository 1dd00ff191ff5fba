"""The dialects beside an independent implementation, pipecat's serializers, in an environment of its own.

`uv pip sync requirements/interop.txt`, then `python -m pytest tests/interop`; skipped where pipecat is not installed.
"""

import json
import warnings
from collections.abc import Awaitable, Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from client.bridges.calls import Audio, BridgedCall
from client.formats import Encoding
from preprocess_service.features import g711
from tests.unit.bridge_callers import (
    CHUNK,
    STREAM_SID,
    Message,
    bridge,
    code_words,
    dial,
    heard,
    joined,
    next_call,
    send_all,
    telnyx_media,
    telnyx_start,
    telnyx_stop,
    twilio_chunks,
    twilio_start,
    twilio_stop,
    update,
)

pytest.importorskip("pipecat", reason="an environment of its own: requirements/interop.txt")
pytestmark = pytest.mark.filterwarnings("default")  # pipecat's own

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # at its import, by what it imports
    from pipecat.frames.frames import (  # type: ignore[import-not-found]
        InputAudioRawFrame,
        OutputAudioRawFrame,
        StartFrame,
    )
    from pipecat.serializers.telnyx import TelnyxFrameSerializer  # type: ignore[import-not-found]
    from pipecat.serializers.twilio import TwilioFrameSerializer  # type: ignore[import-not-found]

RATE_HZ = 8000
AUDIO = code_words(50 * CHUNK)


async def twilio() -> TwilioFrameSerializer:
    params = TwilioFrameSerializer.InputParams(auto_hang_up=False)
    serializer = TwilioFrameSerializer(stream_sid=STREAM_SID, params=params)
    await serializer.setup(StartFrame(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ))
    return serializer


async def telnyx(encoding: str = "PCMU") -> TelnyxFrameSerializer:
    params = TelnyxFrameSerializer.InputParams(auto_hang_up=False)
    serializer = TelnyxFrameSerializer(
        stream_id="stream", outbound_encoding=encoding, inbound_encoding=encoding, params=params
    )
    await serializer.setup(StartFrame(audio_in_sample_rate=RATE_HZ, audio_out_sample_rate=RATE_HZ))
    return serializer


def telnyx_chunks(audio: bytes) -> list[Message]:
    return [telnyx_media(1 + n, 20 * n, audio[n * CHUNK : (n + 1) * CHUNK]) for n in range(len(audio) // CHUNK)]


async def understood(serializer: TwilioFrameSerializer | TelnyxFrameSerializer, messages: Sequence[Message]) -> bytes:
    """The PCM16 that pipecat hears in a provider's messages."""
    frames = [await serializer.deserialize(json.dumps(message)) for message in messages]
    return b"".join(frame.audio for frame in frames if isinstance(frame, InputAudioRawFrame))


async def bridged(path: str, messages: Sequence[Message]) -> tuple[BridgedCall, list[Audio]]:
    async with bridge() as listening, dial(listening, path) as far_side:
        await send_all(far_side, messages)
        call = await next_call(listening)
        return call, await heard(call)


def decoded(call: BridgedCall, events: Sequence[Audio]) -> NDArray[np.int16]:
    """The samples that the service makes of what the bridge heard."""
    decode = {Encoding.MULAW: g711.decode_mulaw, Encoding.ALAW: g711.decode_alaw}[call.format.encoding]
    return decode(np.frombuffer(joined(events), dtype=np.uint8))


Make = Callable[[], Awaitable[TwilioFrameSerializer | TelnyxFrameSerializer]]


@pytest.mark.parametrize(
    ("path", "make", "messages"),
    [
        ("/twilio", twilio, [*twilio_start(), *twilio_chunks(AUDIO), twilio_stop(52)]),
        ("/telnyx", telnyx, [*telnyx_start(), *telnyx_chunks(AUDIO), telnyx_stop()]),
        ("/telnyx", lambda: telnyx("PCMA"), [*telnyx_start("PCMA"), *telnyx_chunks(AUDIO), telnyx_stop()]),
    ],
    ids=["twilio", "telnyx mu-law", "telnyx A-law"],
)
async def test_pipecat_and_the_bridge_hear_the_same_samples(path: str, make: Make, messages: list[Message]) -> None:
    theirs = np.frombuffer(await understood(await make(), messages), dtype="<i2")
    call, events = await bridged(path, messages)
    assert len(theirs) == len(AUDIO)
    assert np.array_equal(decoded(call, events), theirs)


@pytest.mark.parametrize("make", [twilio, telnyx], ids=["twilio", "telnyx"])
async def test_what_pipecat_serializes_is_read_as_it_was_meant(make: Make) -> None:
    """Its media messages go to a provider and lack what providers add, such as tracks and timestamps."""
    serializer = await make()
    samples = np.random.default_rng(2).integers(-20000, 20000, 10 * CHUNK).astype("<i2")
    sent = []
    for piece in samples.reshape(10, CHUNK):
        message = await serializer.serialize(OutputAudioRawFrame(piece.tobytes(), RATE_HZ, 1))
        assert isinstance(message, str)
        sent.append(json.loads(message))
    is_twilio = make is twilio
    messages = [*twilio_start(), *sent, twilio_stop(2)] if is_twilio else [*telnyx_start(), *sent, telnyx_stop()]
    call, events = await bridged("/", messages)
    expected = g711.decode_mulaw(g711.encode_mulaw(samples))
    error = np.abs(decoded(call, events).astype(int) - expected.astype(int))
    assert error.shape == samples.shape
    # Encoders differ in how they round: by one level at most, 1024 at the loudest.
    assert error.max() <= 1024


@pytest.mark.parametrize(
    ("path", "make", "start"), [("/twilio", twilio, twilio_start()), ("/telnyx?tracks=inbound", telnyx, telnyx_start())]
)
async def test_pipecat_bears_the_marks_of_alerts(path: str, make: Make, start: list[Message]) -> None:
    async with bridge(tell_by_mark=True) as listening, dial(listening, path) as far_side:
        await send_all(far_side, start)
        call = await next_call(listening)
        await call.tell(update("raised"))
        assert await (await make()).deserialize(await far_side.recv()) is None
