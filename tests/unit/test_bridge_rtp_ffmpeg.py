"""Calls that ffmpeg sends: an RTP sender that is not ours."""

from __future__ import annotations

import asyncio
import subprocess
from dataclasses import replace

import imageio_ffmpeg  # type: ignore[import-untyped]
import numpy as np
import pytest
import soundfile

from client.bridges.calls import Audio
from client.bridges.rtp import RtpOptions, open_bridge
from client.bridges.rtp.payloads import STATIC_PAYLOADS, Codec, Payload
from client.formats import AudioFormat

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
SECONDS = 2.0
G722_DELAY = 22  # frames, of its two filter banks
OPTIONS = RtpOptions(first_port=0, idle_s=30, payloads={**STATIC_PAYLOADS, 96: Payload(Codec.L16, 8000)})


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Two seconds of a sweep in noise at 16 kHz."""
    path = tmp_path_factory.mktemp("sent") / "sweep.wav"
    times_s = np.arange(round(SECONDS * 16000)) / 16000
    noise = np.random.default_rng(1).normal(0, 0.02, len(times_s))
    soundfile.write(path, 0.4 * np.sin(2 * np.pi * (200 + 400 * times_s) * times_s) + noise, 16000)
    return path


def encoded(recording, codec, container, rate_hz, channels=1):
    """What ffmpeg makes of the recording when it writes a file."""
    command = [FFMPEG, "-v", "error", "-i", str(recording), "-ar", str(rate_hz), "-ac", str(channels)]
    return subprocess.run(
        [*command, "-c:a", codec, "-f", container, "-"], capture_output=True, check=True, timeout=60
    ).stdout


async def sent_by_ffmpeg(recording, codec, rate_hz, channels=1, payload_type=None, packet_bytes=160):
    """The call that ffmpeg sends in real time: its format, its audio, its counts. A BYE ends it."""
    bridge = await open_bridge(OPTIONS)
    port = int(bridge.address.rpartition(":")[2])
    number = [] if payload_type is None else ["-payload_type", str(payload_type)]
    process = await asyncio.create_subprocess_exec(
        *(FFMPEG, "-v", "error", "-re", "-i", str(recording), "-ar", str(rate_hz), "-ac", str(channels)),
        *("-c:a", codec, *number, "-rtpflags", "send_bye", "-f", "rtp"),
        f"rtp://127.0.0.1:{port}?pkt_size={12 + packet_bytes}",
        stdout=subprocess.DEVNULL,
    )
    try:
        call = await anext(bridge.calls())
        pieces = [piece async for piece in call.events() if isinstance(piece, Audio)]
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await bridge.close()
    assert not any(piece.lost_frames for piece in pieces)
    return call.format, b"".join(piece.data for piece in pieces), call.counts


def assert_nothing_went_wrong(counts):
    wrong = {name: count for name, count in counts.items() if count and name not in ("packets", "jitter_us")}
    assert wrong == {}


@pytest.mark.parametrize(
    ("codec", "container", "audio_format"),
    [("pcm_mulaw", "mulaw", AudioFormat.mulaw()), ("pcm_alaw", "alaw", AudioFormat.alaw())],
)
async def test_g711_arrives_byte_for_byte(recording, codec, container, audio_format):
    heard_format, heard, counts = await sent_by_ffmpeg(recording, codec, 8000)

    assert heard_format == audio_format
    assert heard == encoded(recording, codec, container, 8000)
    assert_nothing_went_wrong(counts)


@pytest.mark.parametrize(("rate_hz", "channels", "payload_type"), [(44100, 1, None), (44100, 2, None), (8000, 1, 96)])
async def test_l16_arrives_sample_for_sample(recording, rate_hz, channels, payload_type):
    heard_format, heard, counts = await sent_by_ffmpeg(
        recording, "pcm_s16be", rate_hz, channels, payload_type, packet_bytes=1280
    )

    assert heard_format == AudioFormat.pcm16(rate_hz, channels)
    assert heard == encoded(recording, "pcm_s16le", "s16le", rate_hz, channels)
    assert_nothing_went_wrong(counts)


async def test_g722_sounds_as_the_recording_does(recording):
    heard_format, heard, counts = await sent_by_ffmpeg(recording, "g722", 16000)

    spoken, _ = soundfile.read(recording, dtype="int16")
    samples = np.frombuffer(heard, "<i2")
    assert heard_format == AudioFormat.pcm16(16000)
    assert len(samples) == len(spoken)
    assert np.corrcoef(spoken[:-G722_DELAY], samples[G722_DELAY:])[0, 1] > 0.99
    assert_nothing_went_wrong(counts)


async def test_without_a_goodbye_the_call_ends_when_nothing_comes(recording):
    bridge = await open_bridge(replace(OPTIONS, idle_s=0.5))
    port = int(bridge.address.rpartition(":")[2])
    process = await asyncio.create_subprocess_exec(
        *(FFMPEG, "-v", "error", "-re", "-t", "0.5", "-i", str(recording), "-ar", "8000", "-c:a", "pcm_mulaw"),
        *("-f", "rtp", f"rtp://127.0.0.1:{port}?pkt_size=172"),
        stdout=subprocess.DEVNULL,
    )
    try:
        call = await anext(bridge.calls())
        frames = sum([len(piece.data) async for piece in call.events() if isinstance(piece, Audio)])
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await bridge.close()

    assert frames == 4000
