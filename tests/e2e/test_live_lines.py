"""The same call over every line: what a bridge delivers is what was sent, and so is what is found in it."""

from __future__ import annotations

import asyncio

import pytest

from loadtest.bridge_process import Where
from loadtest.lines import BRIDGED, LINES, PCMU, TWILIO, Plan, compare_lines
from loadtest.lines_tables import Limits, document, line_result, shortcomings
from loadtest.loss import Sweep, loss_table, sweep_loss
from tests.e2e.conftest import DATA
from tests.service_process import ServiceProcess

LIMITS = Limits()


@pytest.fixture(scope="module")
def patient(triton, tmp_path_factory):
    """The address of a service that judges every hop, however long it takes: speed is not what is asked."""
    log = tmp_path_factory.mktemp("patient") / "log"
    waits = {"triton_timeout_s": 120, "live_deadline_s": 120, "live_longest_lag_s": 120}
    with ServiceProcess(log=log, triton_address=triton.grpc_address, **waits) as process:
        yield process.address


@pytest.fixture(scope="module")
def compared(patient, corpus):
    """Two clips and a longer call, over all lines at once, in real time."""
    plan = Plan(DATA, count=3, long=1, long_s=12.0, parallel=3, seed=1)
    return asyncio.run(compare_lines(Where(patient), None, plan))


@pytest.mark.parametrize("line", LINES)
def test_all_of_the_audio_arrives_and_nothing_else(compared, line):
    for each in compared:
        assert each.heard[line].audio_s == pytest.approx(each.recording.seconds, abs=LIMITS.audio_s)
        assert each.heard[line].lost_s == 0
    assert line_result(line, compared).faults == {}


@pytest.mark.parametrize("line", BRIDGED)
def test_a_bridges_updates_are_those_of_the_stream(compared, line):
    for each in compared:
        apart = each.from_stream(line)
        assert apart.unmatched == apart.scored_otherwise == 0
        assert max(apart.probability, default=0) <= LIMITS.of(line)


@pytest.mark.parametrize("line", [PCMU, TWILIO])
def test_mulaw_arrives_byte_for_byte(compared, line):
    # The same bytes in other batches: the rest is the arithmetic's.
    for each in compared:
        assert max(each.from_stream(line).probability, default=0) <= 0.01


@pytest.mark.parametrize("line", LINES)
def test_the_last_update_of_a_short_call_is_the_verdict_on_its_file(compared, line):
    short = [each for each in compared if not each.is_long]
    assert len(short) == 2
    for each in short:
        assert each.heard[line].last == pytest.approx(each.file.probability, abs=LIMITS.of(line))


def test_with_its_transcript_a_stream_ends_with_the_verdict_on_the_file(compared):
    apart = [each.text_apart for each in compared if each.with_text is not None]
    assert len(apart) == 2
    assert max(apart) <= LIMITS.probability


def test_the_report_finds_nothing_and_has_every_recording(compared):
    results = [line_result(line, compared) for line in LINES]

    written = document(results, compared)

    assert shortcomings(results, compared, LIMITS) == []
    for each in compared:
        assert each.recording.name in written


def test_lost_packets_are_counted_and_take_their_time(patient, corpus):
    sweep = Sweep(DATA, calls=2, seconds=8.0, rates=[0.1], seeds=1, parallel=8, seed=1, level=0.5)

    results, held = asyncio.run(sweep_loss(Where(patient), None, sweep))

    for each in held:
        counts = each.heard.counts
        assert counts["lost"] == each.lost
        assert counts["concealed_frames"] + counts["lost_frames"] == 160 * each.lost
        assert each.heard.audio_s == pytest.approx(8.0)
        assert each.heard.lost_s == pytest.approx(counts["lost_frames"] / 8000)
    assert [(each.rate, each.way) for each in results] == [(0.0, "alone"), (0.1, "alone"), (0.1, "in bursts")]
    assert results[0].lost_counted == 0
    assert results[0].most_drift is None or results[0].most_drift <= 0.01
    assert all(each.lost_sent and each.unmatched == 0 for each in results[1:])
    assert loss_table(results, 0.5).count("\n") == 1 + len(results)
