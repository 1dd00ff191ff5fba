from __future__ import annotations

import numpy as np
import pytest
import soundfile
import soxr

from preprocess_service.errors import InvalidAudio
from preprocess_service.features import g711
from preprocess_service.features.audio import AudioFormat, Channel, Encoding, decode, duration_s
from tests.unit.recordings import (
    REAL_RECORDINGS,
    file_bytes,
    speech_like,
    wav_header,
)

MAX_S = 60.0
FILE = AudioFormat()
MULAW = AudioFormat(Encoding.MULAW, 8000, 1)
ALAW = AudioFormat(Encoding.ALAW, 8000, 1)


def pcm16(rate_hz: int, channels: int = 1, channel: Channel = Channel.MIX) -> AudioFormat:
    return AudioFormat(Encoding.PCM16, rate_hz, channels, channel)


def as_pcm16(samples):
    return np.round(samples * 32767).astype("<i2")


class TestFormats:
    @pytest.mark.parametrize(
        ("container", "subtype", "tolerance"),
        [
            ("WAV", "PCM_U8", 1 / 128),
            ("WAV", "PCM_16", 1 / 32768),
            ("WAV", "PCM_24", 1e-6),
            ("WAV", "PCM_32", 1e-6),
            ("WAV", "FLOAT", 1e-7),
            ("WAV", "DOUBLE", 1e-7),
            ("WAVEX", "PCM_16", 1 / 32768),
            ("WAV", "ULAW", 0.02),
            ("WAV", "ALAW", 0.02),
            ("FLAC", "PCM_16", 1 / 32768),
            ("FLAC", "PCM_24", 1e-6),
        ],
    )
    def test_decodes_files_at_8000_hz_sample_by_sample(self, container, subtype, tolerance):
        samples = speech_like(1.5, 8000)

        decoded = decode(file_bytes(samples, 8000, container, subtype), FILE, MAX_S)

        np.testing.assert_allclose(decoded, samples, atol=tolerance)

    @pytest.mark.parametrize(("container", "subtype"), [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
    def test_decodes_lossy_files_to_about_the_same_sound(self, container, subtype):
        samples = speech_like(2, 24000)

        decoded = decode(file_bytes(samples, 24000, container, subtype), FILE, MAX_S)

        assert abs(len(decoded) - 16000) < 0.2 * 8000  # codecs pad
        assert np.sqrt(np.mean(decoded**2)) == pytest.approx(np.sqrt(np.mean(samples**2)), rel=0.1)

    @pytest.mark.parametrize(("encoding", "encode"), [(MULAW, g711.encode_mulaw), (ALAW, g711.encode_alaw)])
    def test_decodes_headerless_g711(self, encoding, encode):
        samples = speech_like(1, 8000)

        decoded = decode(encode(as_pcm16(samples)).tobytes(), encoding, MAX_S)

        np.testing.assert_allclose(decoded, samples, atol=0.02)

    @pytest.mark.parametrize("rate_hz", [8000, 11025, 16000, 22050, 44100, 48000])
    def test_brings_every_rate_to_8000_hz_as_one_resampling_would(self, rate_hz):
        samples = speech_like(25, rate_hz)  # several blocks
        reference = soxr.resample(samples, rate_hz, 8000, quality="HQ")

        decoded = decode(file_bytes(samples, rate_hz, "WAV", "FLOAT"), FILE, MAX_S)

        assert len(decoded) == len(reference)
        np.testing.assert_allclose(decoded, reference, atol=1e-6)

    @pytest.mark.parametrize("path", REAL_RECORDINGS, ids=lambda path: path.stem)
    def test_decodes_real_recordings(self, path):
        reference, rate_hz = soundfile.read(path, dtype="float32")

        decoded = decode(path.read_bytes(), FILE, MAX_S)

        np.testing.assert_allclose(decoded, soxr.resample(reference, rate_hz, 8000, quality="HQ"), atol=1e-6)

    def test_reads_a_recorders_wav_of_unknown_length_to_its_end(self):
        samples = as_pcm16(speech_like(1, 8000))

        decoded = decode(wav_header(data_bytes=0xFFFFFFFF) + samples.tobytes(), FILE, MAX_S)

        np.testing.assert_allclose(decoded, samples / 32768, atol=1e-6)


class TestStereo:
    left, right = speech_like(1, 8000, 1), speech_like(1, 8000, 2)

    @pytest.mark.parametrize("headerless", [False, True])
    @pytest.mark.parametrize(
        ("channel", "expected"),
        [(Channel.FIRST, left), (Channel.SECOND, right), (Channel.MIX, (left + right) / 2)],
    )
    def test_takes_the_chosen_channel(self, channel, expected, headerless):
        both = np.stack([self.left, self.right], axis=1)
        if headerless:
            decoded = decode(as_pcm16(both).tobytes(), pcm16(8000, 2, channel), MAX_S)
        else:
            decoded = decode(file_bytes(both, 8000, "WAV"), AudioFormat(channel=channel), MAX_S)

        np.testing.assert_allclose(decoded, expected, atol=2e-4)

    def test_rejects_the_second_channel_of_mono(self):
        with pytest.raises(InvalidAudio, match="second channel.*has 1 channel"):
            decode(bytes(1600), pcm16(8000, 1, Channel.SECOND), MAX_S)


WAV = file_bytes(speech_like(1, 8000), 8000, "WAV")
FLAC = file_bytes(speech_like(1, 8000), 8000, "FLAC")
NOISE = np.random.default_rng(1).integers(0, 256, 3_000_000, dtype=np.uint8).tobytes()


class TestBadInput:
    @pytest.mark.parametrize(
        ("audio", "audio_format", "message"),
        [
            (b"", FILE, "0 bytes of audio"),
            (b"", MULAW, "0 bytes of audio"),
            (b"RIFF", FILE, "begins with bytes 52 49 46 46"),
            (WAV[:20], FILE, "`fmt ` chunk has 0 bytes"),
            (WAV[:36], FILE, "no `data` chunk"),
            (WAV[:44], FILE, "promises 16000 bytes of samples and 0 are there"),
            (WAV[:-100], FILE, "promises 16000 bytes of samples and 15900 are there"),
            (FLAC[: len(FLAC) // 2], FILE, "promises 8000 samples|cannot be decoded"),
            (wav_header(data_bytes=1600, rate_hz=0) + bytes(1600), FILE, "0 Hz in the WAV header"),
            (wav_header(data_bytes=1600, rate_hz=4000) + bytes(1600), FILE, "4000 Hz; the rate must be 8000 to 48000"),
            (
                wav_header(data_bytes=1600, rate_hz=96000) + bytes(1600),
                FILE,
                "96000 Hz; the rate must be",
            ),
            (wav_header(data_bytes=1600, channels=5) + bytes(1600), FILE, "5 channels; audio must be mono or stereo"),
            (wav_header(data_bytes=0), FILE, "0 s of audio"),
            (wav_header(data_bytes=80) + bytes(80), FILE, "0.005 s of audio; at least 0.1 s"),
            (NOISE, FILE, "is no WAV, FLAC, Ogg or MP3 file"),
            (b"ID3\x04\x00\x00\x00\x00\x00\x0a" + NOISE, FILE, "is no WAV, FLAC, Ogg or MP3 file"),
            (b"OggS" + NOISE, FILE, "cannot be decoded"),
            (b"fLaC" + NOISE, FILE, "cannot be decoded"),
            (WAV, AudioFormat(sample_rate_hz=16000), "16000 Hz stated, 8000 Hz in the file's header"),
            (WAV, AudioFormat(channels=2), "2 channels stated, 1 in the file's header"),
            (bytes(1600), AudioFormat(Encoding.ALAW, 11025), "11025 Hz A-law; A-law is 8000 Hz"),
            (bytes(1600), AudioFormat(Encoding.MULAW, 0), "0 Hz mu-law; mu-law is 8000 Hz"),
            (bytes(1600), pcm16(0), "0 Hz; the rate must be 8000 to 48000 Hz"),
            (bytes(1601), pcm16(8000), "1601 bytes of PCM16; the length must be a multiple of 2"),
            (bytes(1602), pcm16(8000, 2), "multiple of 4"),
            (bytes(1600), pcm16(8000, 3), "3 channels"),
            (bytes(40 * 60 * 8000), MULAW, "2400.0 s of audio; at most 60 s"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_is_refused_with_value_and_rule(self, audio, audio_format, message):
        with pytest.raises(InvalidAudio, match=message):
            decode(audio, audio_format, MAX_S)

    @pytest.mark.parametrize(("bad", "shown"), [(np.nan, "nan"), (np.inf, "inf"), (-np.inf, "-inf"), (1e9, "1e\\+09")])
    def test_names_the_sample_that_is_no_sound(self, bad, shown):
        samples = speech_like(15, 8000)
        samples[90_000] = bad  # in the second block

        with pytest.raises(InvalidAudio, match=f"sample 90000 is {shown}; samples must be finite"):
            decode(file_bytes(samples, 8000, "WAV", "FLOAT"), FILE, MAX_S)

    @pytest.mark.parametrize("container", ["WAV", "FLAC", "OGG", "MP3"])
    def test_rejects_a_long_file(self, container):
        long = file_bytes(np.zeros(61 * 8000, np.float32), 8000, container)

        with pytest.raises(InvalidAudio, match="at most 60 s"):
            decode(long, FILE, MAX_S)

    def test_survives_every_truncation_of_every_container(self):
        for container in ("WAV", "FLAC", "OGG", "MP3"):
            whole = file_bytes(speech_like(0.5, 16000), 16000, container)
            for length in range(0, len(whole), max(1, len(whole) // 97)):
                try:
                    decode(whole[:length], FILE, MAX_S)
                except InvalidAudio as error:
                    assert str(error)  # any other exception fails the test

    def test_survives_random_damage(self):
        random = np.random.default_rng(5)
        for container in ("WAV", "FLAC", "OGG", "MP3"):
            whole = np.frombuffer(file_bytes(speech_like(0.5, 16000), 16000, container), np.uint8)
            for _ in range(60):
                damaged = whole.copy()
                at = random.integers(0, len(damaged), 8)
                damaged[at] = random.integers(0, 256, 8)
                try:
                    decode(damaged.tobytes(), FILE, MAX_S)
                except InvalidAudio as error:
                    assert str(error)


class TestDuration:
    @pytest.mark.parametrize(
        ("audio", "audio_format", "seconds"),
        [
            (WAV, FILE, 1),
            (bytes(16000), MULAW, 2),
            (bytes(32000), pcm16(8000, 2), 1),
            (bytes(16000), pcm16(16000), 0.5),
        ],
        ids=lambda _: "",
    )
    def test_is_what_the_bytes_hold(self, audio, audio_format, seconds):
        assert duration_s(audio, audio_format) == seconds

    @pytest.mark.parametrize(
        ("audio", "audio_format", "message"),
        [
            (b"", FILE, "0 bytes"),
            (NOISE, FILE, "is no WAV"),
            (bytes(1601), pcm16(8000), "multiple of 2"),
            (bytes(1600), pcm16(0), "0 Hz"),
            (WAV[:-100], FILE, "truncated"),
            (WAV, AudioFormat(channels=2), "2 channels stated"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_refuses_as_decoding_does(self, audio, audio_format, message):
        with pytest.raises(InvalidAudio, match=message):
            duration_s(audio, audio_format)
