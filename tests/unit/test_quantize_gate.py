"""The gate: another graph is accepted only if it decides as the exported one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from preprocess_service.contract import Decision, OperatingPoint
from preprocess_service.model_spec import CNN, MULTIMODAL, TensorSpec
from training.dataset import Rows
from training.precision.gate import LEAST_CLIPS, Comparison, Gate, shortage

CLIPS = 400
POINT = OperatingPoint(scale=1.0, offset=0.0, threshold=0.5, uncertain_from=0.3)
DECISION = Decision(with_transcript=POINT, without_transcript=POINT)
HEARS = replace(CNN, audio=TensorSpec("mel", "FP32", (1,)))
READS = replace(MULTIMODAL, audio=TensorSpec("mel", "FP32", (1,)), names_kind=False)
SAME = Comparison(
    clips=CLIPS,
    label_agreement=1.0,
    decision_agreement=1.0,
    recall_change=0.0,
    lost_emergency_change=0.0,
    greatest_difference=0.0,
)
GOOD = replace(SAME, greatest_difference=0.01, kind_agreement=1.0)


class Curve:
    """A runtime whose probability is a function of the sound and of whether there is text."""

    def __init__(self, answer):
        self._answer = answer

    def run(self, names, arrays):
        assert names == ["probability"]
        reads = arrays["tokens"].any(axis=1) if "tokens" in arrays else np.zeros(len(arrays["mel"]), bool)
        return [self._answer(arrays["mel"][:, 0], reads)[:, np.newaxis].astype(np.float32)]

    def get_providers(self):
        return ["curve"]


@pytest.fixture
def rows():
    """Clips of one row each; their sound is a number, greater for emergencies but for a few."""
    random = np.random.default_rng(3)
    is_emergency = np.arange(CLIPS) % 2 == 0
    loudness = np.clip(np.where(is_emergency, 0.75, 0.25) + random.normal(0, 0.12, CLIPS), 0.01, 0.99)
    windows: Any = loudness.astype(np.float32)[:, np.newaxis]
    index = np.arange(CLIPS)
    return Rows(
        audio=windows,
        tokens=np.ones((CLIPS, 12), np.int32),
        window_of_row=index,
        clip_of_row=index,
        is_emergency=is_emergency,
        splits=np.array(["test"] * CLIPS),
    )


def compare(rows, answer, spec=HEARS, decision=DECISION):
    gate = Gate(Curve(lambda sound, _: sound), spec, rows, decision, "test")
    return gate.compare(Curve(answer))


def test_the_same_answers_pass(rows):
    comparison = compare(rows, lambda sound, _: sound)

    assert comparison == SAME
    assert comparison.objections == []


def test_a_shift_that_turns_decisions_is_refused(rows):
    comparison = compare(rows, lambda sound, _: sound + 0.05)

    assert comparison.label_agreement < 0.99
    assert any("label agreement" in each for each in comparison.objections)


def test_lost_order_is_refused_for_its_recall(rows):
    """Every decision stays, but the surest emergencies no longer stand above the surest normal calls."""
    comparison = compare(rows, lambda sound, _: np.where(sound > 0.5, 0.51, sound))

    assert comparison.label_agreement == 1.0
    assert [each.split(" -")[0] for each in comparison.objections] == ["recall change"]


def test_emergencies_that_no_human_sees_any_more_are_counted(rows):
    """What was uncertain becomes normal: nothing that is called an emergency changes, and the order stays."""
    comparison = compare(rows, lambda sound, _: np.where(sound < 0.5, sound * 0.59, sound))

    was_uncertain = (rows.audio[:, 0] >= 0.3) & (rows.audio[:, 0] < 0.5)
    assert comparison.label_agreement == 1.0
    assert comparison.recall_change == 0.0
    assert comparison.decision_agreement == pytest.approx(1 - was_uncertain.mean())
    assert comparison.lost_emergency_change == pytest.approx(was_uncertain[rows.is_emergency].mean())
    assert [each.split(" 0")[0].split(" +")[0] for each in comparison.objections] == [
        "decision agreement",
        "lost emergencies change",
    ]


def test_clips_without_words_have_the_thresholds_of_heard_calls(rows):
    """A shift from 0.45 to 0.55 turns the decision only where the threshold is 0.5."""
    heard = OperatingPoint(scale=1.0, offset=0.0, threshold=0.9, uncertain_from=0.05)
    decision = Decision(with_transcript=POINT, without_transcript=heard)
    silent = replace(rows, tokens=np.zeros((CLIPS, 12), np.int32))

    def up(sound, reads):
        return np.where((sound > 0.45) & (sound < 0.55), 0.55, sound)

    assert compare(rows, up, READS, decision).label_agreement < 1
    assert compare(silent, up, READS, decision).label_agreement == 1


def test_only_the_split_that_is_asked_for_counts(rows):
    halves = replace(rows, splits=np.array(["test"] * (CLIPS // 2) + ["validation"] * (CLIPS // 2)))
    wrong = Curve(lambda sound, _: np.where(np.isin(sound, rows.audio[: CLIPS // 2, 0]), sound, 1 - sound))
    gates = [
        Gate(Curve(lambda sound, _: sound), HEARS, halves, DECISION, split).compare(wrong)
        for split in ("test", "validation")
    ]

    assert [each.clips for each in gates] == [CLIPS // 2, CLIPS // 2]
    assert gates[0].objections == []
    assert gates[1].label_agreement < 0.1


def test_a_fault_without_a_transcript_counts(rows):
    comparison = compare(rows, lambda sound, reads: np.where(reads, sound, 1 - sound), READS)

    assert comparison.label_agreement < 0.2
    assert comparison.objections


def test_answers_that_are_no_numbers_are_refused(rows):
    comparison = compare(rows, lambda sound, _: np.where(sound > 0.95, np.nan, sound))

    assert "answers that are no numbers" in comparison.objections


@pytest.mark.parametrize(
    ("change", "accepted"),
    [
        ({"label_agreement": 0.995}, True),
        ({"label_agreement": 0.9949}, False),
        ({"decision_agreement": 0.99}, True),
        ({"decision_agreement": 0.9899}, False),
        ({"lost_emergency_change": 0.005}, True),
        ({"lost_emergency_change": 0.0051}, False),
        ({"lost_emergency_change": -0.2}, True),
        ({"lost_emergency_change": float("nan")}, False),
        ({"recall_change": -0.005}, True),
        ({"recall_change": -0.0051}, False),
        ({"recall_change": 0.1}, True),
        ({"kind_agreement": 0.949}, False),
        ({"kind_agreement": None}, True),
        ({"label_agreement": float("nan")}, False),
    ],
)
def test_the_limits_are_those_of_the_rules(change, accepted):
    assert (replace(GOOD, **change).objections == []) == accepted


def test_few_clips_are_no_ground_to_judge_on(rows):
    splits = ["test"] * LEAST_CLIPS + ["validation"] * (LEAST_CLIPS - 1)
    scarce = replace(rows, splits=np.array(splits + ["train"] * (CLIPS - len(splits))))

    assert shortage(scarce, "test") is None
    assert shortage(scarce, "test", "validation") == "cannot be judged: 49 validation clips; at least 50"
