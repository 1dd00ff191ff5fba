from __future__ import annotations

import numpy as np
import pytest

from preprocess_service.contract import KindSettings
from preprocess_service.model_spec import KINDS
from preprocess_service.verdict import Times, Verdict, VerdictDecision, likeliest_kinds

NAMES = tuple(f"kind {number}" for number in range(KINDS.shape[0]))


@pytest.mark.parametrize(
    ("probability", "decision"),
    [
        (0.0, VerdictDecision.NORMAL),
        (0.299, VerdictDecision.NORMAL),
        (0.3, VerdictDecision.UNCERTAIN),
        (0.799, VerdictDecision.UNCERTAIN),
        (0.8, VerdictDecision.EMERGENCY),
        (1.0, VerdictDecision.EMERGENCY),
    ],
)
def test_the_bands_begin_with_their_thresholds(probability, decision):
    verdict = Verdict("multimodal", 1, probability, 0.8, 0.3, (), 7.0, (), Times(), ())

    assert verdict.decision is decision
    assert verdict.emergency is (decision is VerdictDecision.EMERGENCY)


def test_no_band_is_left_where_both_thresholds_are_one():
    verdicts = [Verdict("cnn", 1, each, 0.5, 0.5, (), 7.0, (), Times(), ()) for each in (0.499, 0.5)]

    assert [each.decision for each in verdicts] == [VerdictDecision.NORMAL, VerdictDecision.EMERGENCY]


@pytest.mark.parametrize("temperature", [1.0, 2.0, 0.5])
def test_the_three_likeliest_kinds_are_told_with_calibrated_probabilities(temperature):
    answers = np.full(KINDS.shape, 0.01, np.float32)
    answers[[2, 7, 9]] = 0.2, 0.6, 0.09

    told = likeliest_kinds(answers, KindSettings(names=NAMES, temperature=temperature))

    assert [each.name for each in told] == ["kind 7", "kind 2", "kind 9"]
    powers = answers ** (1 / temperature)
    assert told[0].probability == pytest.approx(powers[7] / powers.sum(), abs=1e-5)


def test_a_model_that_names_no_kinds_tells_none():
    assert likeliest_kinds(None, None) == ()
