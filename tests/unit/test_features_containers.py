"""Files of every container are decoded whole or refused: nothing of a recording is cut in silence."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import soundfile

from preprocess_service.errors import InvalidAudio
from preprocess_service.features import mpeg
from preprocess_service.features.audio import AudioFormat, decode, duration_s
from tests.unit.recordings import file_bytes, ogg_pages, speech_like, wav_header, with_flac_length, with_xing_frames

MAX_S = 60.0
FILE = AudioFormat()


def vbr_mp3(seconds: float, rate_hz: int = 16000) -> bytes:
    """Loud noise, then silence: the bit rate at the start says nothing about the rest."""
    samples = np.random.default_rng(2).standard_normal(round(seconds * rate_hz)).astype(np.float32) * 0.2
    samples[len(samples) // 2 :] = 0
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate_hz, format="MP3", bitrate_mode="VARIABLE")
    return buffer.getvalue()


VBR = vbr_mp3(40)
XING = mpeg.frame_header(VBR, 0)
assert XING is not None
XING_BYTES = XING.frame_bytes
MP3 = file_bytes(speech_like(5, 16000), 16000, "MP3")
FLAC_30_S = file_bytes(speech_like(30, 8000), 8000, "FLAC")
VORBIS = file_bytes(speech_like(20, 16000), 16000, "OGG", "VORBIS")
OPUS = file_bytes(speech_like(20, 16000), 16000, "OGG", "OPUS")
ID3V1 = b"TAG" + bytes(125)
APE = b"APETAGEX" + (2000).to_bytes(4, "little") * 2 + bytes(16)


@pytest.mark.parametrize(
    ("audio", "seconds"),
    [
        (VBR, 40),
        (VBR[XING_BYTES:], 40),
        (with_xing_frames(VBR, 20), 40),
        (MP3 + VBR, 45),
        (VBR + MP3, 45),
        (MP3 + ID3V1 + MP3, 10),
        (MP3 + b"junk" * 25 + MP3, 10),
        (MP3 + ID3V1, 5),
        (b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10) + MP3, 5),
        (MP3 + bytes(10_000), 5),
        (FLAC_30_S, 30),
        (VORBIS, 20),
        (OPUS, 20),
    ],
    ids=lambda _: "",
)
def test_decodes_the_whole_recording_and_says_its_length_before(audio, seconds):
    decoded = decode(audio, FILE, MAX_S)

    assert -0.01 < len(decoded) / 8000 - seconds < 0.25  # codecs pad
    assert duration_s(audio, FILE) == pytest.approx(len(decoded) / 8000, abs=0.2)


def test_decodes_a_flac_file_that_states_no_length():
    streamed = with_flac_length(FLAC_30_S, 0)

    np.testing.assert_array_equal(decode(streamed, FILE, MAX_S), decode(FLAC_30_S, FILE, MAX_S))
    assert duration_s(streamed, FILE) == math.inf
    with pytest.raises(InvalidAudio, match="at most 15 s"):
        decode(streamed, FILE, 15)


@pytest.mark.parametrize(
    ("audio", "message"),
    [
        (with_xing_frames(VBR, 5000), "promises 5000 frames and 11.. are there: truncated"),
        (VBR[: len(VBR) // 2], "promises .* frames and .* are there: truncated"),
        (MP3 + file_bytes(speech_like(5, 24000), 24000, "MP3"), "change their rate or channels at byte"),
        (MP3 + b"junk" * 300 + MP3, "1200 bytes of the MP3 file are no frames, room for 0.2. s of sound"),
        (MP3[:1000] + b"junk" * 250 + MP3[2000:], "are no frames, room for"),
        (bytes([1]) * 1000 + MP3[1000 - 1000 % 72 :], "are no frames|no WAV"),
        (MP3 + APE[:12] + b"\xff" * 4 + APE[16:], "holds no frames"),
        (MP3 + b"junk" * 2000 + MP3, "are no frames; at most 4096"),
        (with_flac_length(FLAC_30_S, 8000), "promises 8000 samples and more are there"),
        (with_flac_length(FLAC_30_S, 30 * 8000 - 1), "promises 239999 samples and more are there"),
        (with_flac_length(FLAC_30_S, 30 * 8000 + 1), "promises 240001 samples and 240000 are there"),
        (VORBIS + VORBIS, "a second stream begins at byte"),
        (OPUS + OPUS, "a second stream begins at byte"),
        (OPUS + VORBIS, "a second stream begins at byte"),
        (VORBIS[: len(VORBIS) // 2], "truncated"),
        (b"".join(ogg_pages(OPUS)[:-1]), "no last page after .* pages: truncated"),
        (b"".join(ogg_pages(OPUS)[:4] + ogg_pages(OPUS)[5:]), "Ogg page 5 follows 4 pages"),
        (OPUS + bytes(100), "100 bytes follow the end"),
        (wav_header(data_bytes=8000) + bytes([1]) * 800_000, "bytes follow the samples"),
        (b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * 2000, "more than 1000 chunks"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refuses_what_would_be_cut(audio, message):
    with pytest.raises(InvalidAudio, match=message):
        decode(audio, FILE, MAX_S)


def test_decodes_behind_an_ape_tag():
    tagged = MP3 + bytes([1]) * (2000 - 32) + APE

    np.testing.assert_array_equal(decode(tagged, FILE, MAX_S), decode(MP3, FILE, MAX_S))


@pytest.mark.parametrize("whole", [VBR, FLAC_30_S, VORBIS, OPUS], ids=["MP3", "FLAC", "Vorbis", "Opus"])
def test_damage_never_shortens_in_silence(whole):
    full = len(decode(whole, FILE, MAX_S))
    random = np.random.default_rng(6)
    for _ in range(40):
        damaged = np.frombuffer(whole, np.uint8).copy()
        at = random.integers(XING_BYTES if whole is VBR else 64, len(damaged), 4)
        damaged[at] = random.integers(0, 256, 4)
        try:
            decoded = decode(damaged.tobytes(), FILE, MAX_S)
        except InvalidAudio as error:
            assert str(error)
        else:
            assert len(decoded) >= full - 0.2 * 8000


@pytest.mark.parametrize("whole", [VBR, FLAC_30_S, VORBIS, OPUS], ids=["MP3", "FLAC", "Vorbis", "Opus"])
def test_refuses_every_long_truncation(whole):
    for percent in range(0, 100, 7):
        with pytest.raises(InvalidAudio):
            decode(whole[: len(whole) * percent // 100], FILE, MAX_S)
