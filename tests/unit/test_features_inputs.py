from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess_service.features import inputs, mel, text
from preprocess_service.model_spec import MODELS, MULTIMODAL, VGG16
from tests.unit.recordings import speech_like

SPECS = pytest.mark.parametrize("spec", MODELS.values(), ids=list(MODELS))
lengths = st.integers(min_value=1, max_value=1800 * mel.SAMPLE_RATE_HZ)


def test_a_recording_of_one_window_is_one_row():
    assert inputs.rows(MULTIMODAL, 7 * mel.SAMPLE_RATE_HZ, 8) == [inputs.Row(0, 7 * mel.SAMPLE_RATE_HZ, 8)]


def test_windows_overlap_by_half_and_end_with_the_recording():
    rate_hz = mel.SAMPLE_RATE_HZ

    seconds = [(start / rate_hz, end / rate_hz) for start, end in inputs.windows(MULTIMODAL, 20 * rate_hz)]

    assert seconds == [(0, 7), (3.5, 10.5), (7, 14), (10.5, 17.5), (13, 20)]


@given(n_samples=lengths, spec=st.sampled_from(list(MODELS.values())))
def test_windows_cover_every_sample(n_samples, spec):
    windows = inputs.windows(spec, n_samples)

    assert windows[0][0] == 0
    assert windows[-1][1] == n_samples
    assert all(after[0] <= before[1] for before, after in itertools.pairwise(windows))
    assert len(set(windows)) == len(windows)
    assert all(end - start <= round(spec.window_s * mel.SAMPLE_RATE_HZ) for start, end in windows)


@given(n_samples=lengths, n_ids=st.integers(min_value=0, max_value=5000))
def test_every_word_is_read_in_some_row(n_samples, n_ids):
    read: set[int] = set()
    for row in inputs.rows(MULTIMODAL, n_samples, n_ids):
        read.update(range(max(0, row.ids_end - text.TOKENS), row.ids_end))

    assert read == set(range(n_ids))


@given(n_samples=lengths, n_ids=st.integers(min_value=0, max_value=5000))
def test_words_do_not_come_before_their_time(n_samples, n_ids):
    for row in inputs.rows(MULTIMODAL, n_samples, n_ids):
        assert row.ids_end <= round(n_ids * row.end / n_samples)


def test_a_model_that_reads_no_text_gets_no_rows_for_it():
    assert inputs.rows(VGG16, 5 * mel.SAMPLE_RATE_HZ, 100) == [inputs.Row(0, 5 * mel.SAMPLE_RATE_HZ, 0)]


@SPECS
def test_batches_have_the_shapes_and_types_of_the_spec(spec):
    samples = speech_like(12, mel.SAMPLE_RATE_HZ)
    rows = inputs.rows(spec, len(samples), 40)

    arrays = inputs.batch(spec, samples, list(range(2, 42)), rows)

    assert {name: (array.shape, array.dtype.name) for name, array in arrays.items()} == {
        tensor.name: ((len(rows), *tensor.shape), {"FP32": "float32", "INT32": "int32"}[tensor.datatype])
        for tensor in spec.inputs
    }


@SPECS
def test_a_row_holds_the_features_of_its_stretch_alone(spec):
    samples = speech_like(12, mel.SAMPLE_RATE_HZ)
    rows = inputs.rows(spec, len(samples), 0)

    arrays = inputs.batch(spec, samples, [], rows)

    for index, row in enumerate(rows):
        alone = inputs.audio_feature(spec, samples[row.start : row.end].copy())
        np.testing.assert_array_equal(arrays[spec.audio.name][index], alone)
