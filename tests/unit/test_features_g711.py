from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile

from preprocess_service.features import g711

ALL_SAMPLES = np.arange(-32768, 32768).astype(np.int16)
LAWS = pytest.mark.parametrize(
    ("encode", "decode", "subtype"),
    [(g711.encode_mulaw, g711.decode_mulaw, "ULAW"), (g711.encode_alaw, g711.decode_alaw, "ALAW")],
)


@LAWS
def test_decodes_every_code_word_as_libsndfile_does(encode, decode, subtype):
    code_words = np.arange(256, dtype=np.uint8)
    reference, _ = soundfile.read(
        io.BytesIO(code_words.tobytes()),
        dtype="int16",
        samplerate=8000,
        channels=1,
        format="RAW",
        subtype=subtype,
    )

    np.testing.assert_array_equal(decode(code_words), reference)


@LAWS
def test_encodes_every_sample_to_the_nearest_level(encode, decode, subtype):
    levels = np.unique(decode(np.arange(256, dtype=np.uint8)).astype(np.int32))
    error = np.abs(decode(encode(ALL_SAMPLES)).astype(np.int32) - ALL_SAMPLES)

    above = np.searchsorted(levels, ALL_SAMPLES).clip(1, len(levels) - 1)
    least = np.minimum(np.abs(levels[above] - ALL_SAMPLES), np.abs(levels[above - 1] - ALL_SAMPLES))
    np.testing.assert_array_equal(error, least)


@LAWS
def test_a_second_round_trip_changes_nothing(encode, decode, subtype):
    once = decode(encode(ALL_SAMPLES))

    np.testing.assert_array_equal(decode(encode(once)), once)
