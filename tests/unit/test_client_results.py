"""Conversions of answers, and how they are shown, where no server is needed."""

import json
import math

import pytest

from client.command.panels import STYLES, WARNING_WORDS, WORDS, strongest, warning_words
from client.replies import verdict
from client.results import Tensor, WindowScore
from preprocess_service.proto.wigeup.v1 import triage_pb2


@pytest.mark.parametrize("number", [0.1, 0.93, 1 / 3, 1e-7, 0.0, 1.0, 16777217.0, 3.4028234663852886e38])
def test_probabilities_keep_their_single_precision_value(number: float) -> None:
    message = triage_pb2.Verdict(probability=number)

    assert triage_pb2.Verdict(probability=verdict(message).probability) == message


@pytest.mark.parametrize(("number", "shown"), [(0.93, 0.93), (0.1, 0.1), (1 / 3, 0.33333334)])
def test_probabilities_are_shown_in_their_fewest_digits(number: float, shown: float) -> None:
    assert verdict(triage_pb2.Verdict(probability=number)).probability == shown


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_become_null(number: float) -> None:
    plain = verdict(triage_pb2.Verdict(probability=number)).to_dict()

    assert json.loads(json.dumps(plain, allow_nan=False))["probability"] is None


def test_tensor_contents_become_base64() -> None:
    plain = Tensor("ids", "INT32", (1, 12), b"\x01\x00").to_dict()

    assert plain == {"name": "ids", "datatype": "INT32", "shape": [1, 12], "raw_contents": "AQA="}


def test_every_warning_of_the_api_has_words() -> None:
    names = {name.removeprefix("WARNING_").lower() for name in triage_pb2.Warning.keys()} - {"unspecified"}  # noqa: SIM118

    assert set(WARNING_WORDS) == names


def test_a_warning_of_a_newer_service_is_kept() -> None:
    message = triage_pb2.Verdict.FromString(
        triage_pb2.Verdict(warnings=[triage_pb2.WARNING_CLIPPED]).SerializeToString()[:-1] + b"\x63"
    )

    assert verdict(message).warnings == ("unknown_99",)
    assert warning_words("unknown_99") == "unknown 99"


@pytest.mark.parametrize(
    ("message", "decision"),
    [
        (triage_pb2.Verdict(decision=triage_pb2.DECISION_UNCERTAIN), "uncertain"),
        (triage_pb2.Verdict(decision=triage_pb2.DECISION_NORMAL), "normal"),
        (triage_pb2.Verdict(decision=triage_pb2.DECISION_EMERGENCY, emergency=True), "emergency"),
        (triage_pb2.Verdict(emergency=True), "emergency"),
        (triage_pb2.Verdict(), "normal"),
    ],
)
def test_a_decision_is_named_also_where_an_older_service_says_none(message: triage_pb2.Verdict, decision: str) -> None:
    assert verdict(message).decision == decision


def test_every_decision_of_the_api_has_words_and_a_colour_of_its_own() -> None:
    names = {name.removeprefix("DECISION_").lower() for name in triage_pb2.Decision.keys()} - {"unspecified"}  # noqa: SIM118

    assert set(WORDS) == set(STYLES) == names
    assert len(set(STYLES.values())) == 3


def test_a_long_timeline_is_shown_by_its_strongest_windows() -> None:
    timeline = [WindowScore(n, n + 7.0, n / 100) for n in range(45)]

    shown = strongest(timeline, 20)

    assert len(shown) == 15
    assert shown[0] == WindowScore(0, 9.0, 0.02)
    assert shown[-1] == WindowScore(42, 51.0, 0.44)
    assert strongest([], 20) == []
