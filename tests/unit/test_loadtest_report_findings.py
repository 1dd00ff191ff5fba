"""What the load report concludes: loads that are held, the knee, live calls, doubts, and the figures to compare by."""

import pytest

from loadtest.report.headline import answers
from loadtest.report.knee import held, knee
from loadtest.report.points import Band
from tests.unit.loadtest_findings import findings, live, step, unary

# Loads, p50 and p99 of a service that bends between 60 and 80 calls a second.
BENDING = [(20, 10, 20), (40, 11, 25), (60, 13, 40), (80, 40, 150), (100, 300, 900)]


def bending(others_s=0.0, **changes):
    steps = [step(*each, others_s=others_s) for each in BENDING]
    return findings(unary([steps, steps, steps]), **changes)


def texts(found):
    return {each.figure: each.meaning for each in answers(found)}


def test_the_knee_is_where_answers_over_time_is_greatest():
    rates, p50s = [each[0] for each in BENDING], [each[1] for each in BENDING]
    found = knee(rates, rates, p50s)

    assert found is not None
    assert 50 < found < 70


def test_the_knee_between_loads_is_the_top_of_a_parabola():
    # Powers whose logarithms lie on -(rate - 5.5)^2: the top is at 5.5.
    rates = [2, 5, 7, 9]
    times_ms = [rate / 2.718281828459045 ** (-((rate - 5.5) ** 2)) for rate in rates]

    assert knee(rates, rates, times_ms) == pytest.approx(5.5)


@pytest.mark.parametrize("p50s", [[10, 10, 10], [10, 40, 160]])
def test_a_knee_outside_of_the_loads_is_none(p50s):
    assert knee([10, 20, 30], [10, 20, 30], p50s) is None


def test_a_load_at_which_nothing_is_answered_is_no_knee():
    assert knee([10, 20, 30, 40], [10, 20, 30, 0], [10, 11, 30, 0]) == pytest.approx(20)
    assert knee([10, 20, 30], [10, 20, 0], [10, 11, 0]) == 20


def test_times_of_a_load_that_was_not_answered_are_no_figures():
    def names(p50_ms):
        found = findings(unary([[step(20, 10, 20), step(70, p50_ms, p50_ms, failed=5)]]))
        return {each["name"] for each in found.to_dict()["figures"]}

    assert names(9) - names(0) == {f"{quantile} at 70% of saturation" for quantile in ("p50", "p90", "p99")}


def test_the_load_that_is_held_lies_between_two_measured_ones():
    assert held([10, 20, 40], [10, 50, 200], [True, True, True], 100) == pytest.approx(30)
    assert held([10, 20], [10, 20], [True, True], 100) == 20
    assert held([10, 20], [10, 20], [True, False], 100) == 10
    assert held([10, 20], [101, 20], [True, True], 100) is None


def test_the_answer_names_the_highest_load_within_the_limit_and_what_is_wrong_beyond():
    found = bending()

    assert found.held_rate == 60
    assert "99 of 100 within 40 ms (limit 100 ms)" in texts(found)["60 calls/s"]
    assert "at 80/s, the next load that was tried, the p99 is 150 ms" in texts(found)["60 calls/s"]


def test_a_load_with_a_failed_call_is_not_held_and_none_above_it():
    rounds = [[step(20, 10, 20), step(40, 10, 20, failed=1), step(60, 10, 20)]]
    found = findings(unary(rounds))

    assert found.held_rate == 20
    assert "1 of 101 calls failed" in texts(found)["20 calls/s"]


def test_where_no_load_is_held_the_answer_says_why():
    found = findings(unary([[step(20, 90, 120), step(40, 100, 130)]]))

    assert found.held_rate is None
    assert "at 20/s the p99 is 120 ms" in texts(found)["no load"]
    assert "load held" not in "".join(each["name"] for each in found.to_dict()["figures"])


def test_a_late_generator_makes_doubts_and_no_held_load():
    found = findings(unary([[step(20, 10, 20), step(40, 10, 20, late_ms=80)]]))

    assert found.held_rate == 20
    assert not found.is_valid
    assert any("late at 40/s" in doubt for doubt in found.doubts)


def test_a_late_generator_beyond_saturation_leaves_the_report_valid():
    assert findings(unary([[step(20, 10, 20), step(120, 10, 20, late_ms=80)]])).is_valid


def test_a_model_that_was_replaced_meanwhile_is_a_doubt():
    assert not bending().doubts
    assert bending(after="2").doubts == ["version 2 of the model took over from 1 meanwhile"]


def test_other_programs_at_work_are_a_doubt():
    busy = bending(others_s=0.6)

    assert busy.others_cores == pytest.approx(0.4)
    assert busy.doubts == ["other programs kept 0.4 of the 2 cores busy meanwhile"]


def test_live_calls_that_were_carried_and_the_first_that_were_not():
    found = bending(calls=live(100, [80, 120, 700]))

    assert found.live_carried == (110, 121)
    assert "121 are not: p99 lag 700 ms, above 500 ms" in texts(found)["110 live calls"]


def test_live_calls_none_of_which_were_carried():
    found = bending(calls=live(1, [700]))

    assert found.live_carried is None
    assert "with 1 at once: p99 lag 700 ms, above 500 ms" in texts(found)["no live calls"]


def test_a_search_that_ended_before_it_found_the_most_says_so():
    assert "more were not tried" in texts(bending(calls=live(100, [80])))["100 live calls"]


def test_figures_carry_all_rounds_and_the_live_repetitions():
    figures = {each["name"]: each for each in bending(calls=live(100, [80, 120, 700])).to_dict()["figures"]}

    assert figures["answered at saturation"]["values"] == [100, 100, 100]
    assert figures["p99 at 60% of saturation"] == {
        "name": "p99 at 60% of saturation", "unit": "ms", "better": "lower", "values": [40, 40, 40],
    }  # fmt: skip
    assert figures["p99 lag of 100 live calls"]["values"] == [80, 88]
    assert figures["live calls carried"]["values"] == [110, 121]
    assert len(figures["knee"]["values"]) == 3


def test_given_loads_are_named_by_their_rate_and_not_by_their_share():
    names = [each["name"] for each in bending(rates=(20, 40, 60, 80, 100)).to_dict()["figures"]]

    assert "p99 at 60 calls/s" in names


def test_batches_and_cores_come_from_all_rounds():
    point = bending().points[0]

    assert point.batching is not None
    assert point.batching.mean_batch == pytest.approx(1.2)
    assert point.batching.queue_ms == pytest.approx(1)
    assert point.cores["service"] == pytest.approx(1)  # 1 s in the 1.5 s of which half a second was waiting
    assert point.server_cpu_ms == Band((15, 15, 15))


def test_the_stages_of_a_call_add_up_to_its_time():
    assert sum(bending().alone_stages_ms.values()) == pytest.approx(10)
