from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess_service.features import audio as decoding
from preprocess_service.features import g711, inputs
from preprocess_service.features.audio import AudioFormat, Encoding, headerless_samples, resample
from preprocess_service.features.live.audio import LiveAudio
from preprocess_service.features.live.resampling import Resampler
from preprocess_service.features.live.sliding import Sliding
from preprocess_service.model_spec import MODELS, MULTIMODAL
from tests.unit.recordings import speech_like

DECIBELS = 2e-3  # 5e-4 of a power; what the resampler's rounding makes of the quietest bands
LEVELS = 0.01  # of a picture's 255


def pcm16(samples):
    return (np.clip(samples, -1, 1) * 32767).astype("<i2")


def coded(samples, encoding):
    if encoding is Encoding.PCM16:
        return pcm16(samples).tobytes()
    encode = g711.encode_mulaw if encoding is Encoding.MULAW else g711.encode_alaw
    return encode(pcm16(samples)).tobytes()


def cut(random, length, largest):
    """Positions that cut a length at random into pieces of 1 to `largest`."""
    at = [0]
    while at[-1] < length:
        at.append(min(length, at[-1] + int(np.exp(random.uniform(0, np.log(largest))))))
    return at


@settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 2**31),
    seconds=st.floats(0.3, 25),
    layout=st.sampled_from(
        [
            (Encoding.MULAW, 8000),
            (Encoding.ALAW, 8000),
            (Encoding.PCM16, 8000),
            (Encoding.PCM16, 16000),
            (Encoding.PCM16, 44100),
        ]
    ),
)
def test_a_window_is_the_unary_one_however_the_call_is_cut(seed, seconds, layout):
    encoding, rate_hz = layout
    random = np.random.default_rng(seed)
    samples = speech_like(seconds, rate_hz, seed % 100) + random.normal(0, 1e-3, round(seconds * rate_hz))
    data, stated = coded(samples, encoding), AudioFormat(encoding, rate_hz, 1)
    frame_bytes = decoding.headerless_frame_bytes(stated)
    whole = resample(decoding.decode(data, stated, 60), decoding.TELEPHONE_RATE_HZ, 22050)
    heard, at = LiveAudio(rate_hz), cut(random, len(data) // frame_bytes, 10 * rate_hz)

    for start, end in itertools.pairwise(at):
        heard.feed(headerless_samples(data[start * frame_bytes : end * frame_bytes], stated)[:, 0])
        if end == at[-1]:
            heard.finish()
        if end == at[-1] or random.random() < 0.05:
            check_windows(heard, whole)

    assert heard.available == len(whole)


def check_windows(heard, whole):
    for name, spec in MODELS.items():
        span = heard.span(spec)
        if span.end - span.start < 0.1 * 22050:
            continue
        feature = heard.feature(spec, span)
        unary = inputs.audio_feature(spec, whole[span.start : span.end])
        tolerance = LEVELS if "picture" in spec.audio.name else DECIBELS
        assert feature.dtype == np.float32
        np.testing.assert_allclose(feature, unary, rtol=0, atol=tolerance, err_msg=name)


@settings(deadline=None, max_examples=30)
@given(
    seed=st.integers(0, 2**31),
    rates=st.sampled_from([(8000, 22050), (16000, 8000), (11025, 8000), (44100, 8000), (48000, 8000), (8001, 8000)]),
    seconds=st.floats(0, 4),
)
def test_resampling_in_pieces_is_resampling_at_once(seed, rates, seconds):
    from_hz, to_hz = rates
    random, resampler = np.random.default_rng(seed), Resampler(from_hz, to_hz)
    samples = random.normal(0, 0.1, round(seconds * from_hz)).astype(np.float32)
    at = cut(random, len(samples), from_hz)

    pieces = [resampler.resample(samples[start:end]) for start, end in itertools.pairwise(at)]
    held_back_s = seconds - sum(map(len, pieces)) / to_hz
    pieces.append(resampler.resample(samples[:0], last=True))

    np.testing.assert_allclose(np.concatenate(pieces), resample(samples, from_hz, to_hz), atol=1e-6)
    assert held_back_s <= resampler.latency_s + 1 / to_hz


def test_little_is_held_back_of_a_telephone_call():
    heard = LiveAudio(8000)
    for second in range(1, 4):
        heard.feed(np.zeros(8000, np.float32))
        assert second - heard.available / 22050 == pytest.approx(0.02, abs=1e-3)


def test_memory_does_not_grow_with_the_call():
    heard, second = LiveAudio(8000), speech_like(1, 8000)
    before = heard.memory_bytes

    for _ in range(600):
        for after in range(0, 8000, 2):
            heard.lose(after, 1)
        heard.conceal(80, 80)
        heard.feed(second)

    assert heard.memory_bytes == before < 1.2 * 2**20
    assert len(heard._lost) < 20
    assert len(heard._concealed) < 20


def test_lost_and_concealed_audio_is_known_to_be_so():
    heard = LiveAudio(8000)
    heard.lose(8000, 8000)
    heard.conceal(16000, 160)
    heard.feed(np.concatenate([speech_like(1, 8000), np.zeros(8000, np.float32), speech_like(1, 8000)]))
    heard.finish()
    span = heard.span(MULTIMODAL)

    assert heard.available == 3 * 22050
    assert heard.has_lost(span)
    assert heard.has_concealed(span)


def test_the_peak_and_the_clipped_share_of_a_window():
    heard, samples = LiveAudio(22050), np.full(9 * 22050, 0.25, np.float32)
    samples[-22050:] = 1.0
    heard.feed(samples)
    heard.finish()

    peak, clipped = heard.levels(heard.span(MULTIMODAL))

    assert peak == pytest.approx(1, abs=0.2)  # a step rings in a resampler
    assert clipped == pytest.approx(1 / 7, abs=0.01)


def test_what_has_left_the_window_is_not_its_fault():
    heard = LiveAudio(8000)
    heard.lose(0, 800)
    heard.feed(speech_like(9, 8000))

    assert not heard.has_lost(heard.span(MULTIMODAL))


@given(pieces=st.lists(st.integers(0, 7), max_size=60))
def test_a_sliding_array_keeps_its_newest_columns(pieces):
    sliding, total = Sliding(2, kept=5, slack=7), 0
    for count in pieces:
        sliding.append(np.tile(np.arange(total, total + count, dtype=np.float32), (2, 1)))
        total += count
        begin = max(0, total - 5)
        assert sliding.end == total
        np.testing.assert_array_equal(sliding.view(begin, total)[1], np.arange(begin, total))
