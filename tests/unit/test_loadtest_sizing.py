"""The simulator beside what theory says of queues, and the sizing that stands on it."""

from __future__ import annotations

import json
import math
import random
from dataclasses import replace
from functools import partial
from statistics import fmean

import pytest

from loadtest.__main__ import main
from loadtest.open_loop import arrivals_s
from loadtest.sizing.batcher import NORMAL, URGENT, Batcher, BatcherShape
from loadtest.sizing.calibration import LiveStep, UnaryStep
from loadtest.sizing.capacity import calls_need
from loadtest.sizing.command import KEPT, Measured
from loadtest.sizing.comparison import bracket, most, next_calls, unary_compared
from loadtest.sizing.demand import calls_at_once, most_at_once
from loadtest.sizing.engine import Machine, Threads
from loadtest.sizing.inputs import Inputs
from loadtest.sizing.live import Rhythm, simulate_live
from loadtest.sizing.path import LiveCosts, Node, Service, TritonCosts, UnaryCosts, UnaryRequest, between
from loadtest.sizing.speeds import line_of_speeds
from loadtest.sizing.unary import simulate_unary
from preprocess_service.settings import Settings

SEED = 7
WORK_SEED = 8  # not the arrivals': the same chance twice would make long work follow long pauses
FREE = 1e-9
NODE = Node(
    speeds=(1.0, 2.0),
    processes=1,
    batcher=BatcherShape(2, 8),
    max_in_flight=32,
    max_waiting=128,
    live_workers=3,
    live_batch=8,
    live_gather_s=0.0,
    longest_lag_s=2.0,
    has_generator=False,
)
TWO_PROCESSES = replace(NODE, processes=2)
FREE_TRITON = TritonCosts({1: FREE}, FREE)


def sojourn_s(machine, threads, rate, seconds, draw):
    """The mean time that work spends in the queue and at work."""
    took = []
    for at_s in arrivals_s(rate, seconds, SEED):
        work_s = draw()

        def arrive(at_s=at_s, work_s=work_s):
            threads.do(work_s, lambda: took.append(machine.now_s - at_s))

        machine.at(at_s, arrive)
    machine.run()
    return fmean(took)


def exponential(mean_s):
    return lambda chance=random.Random(WORK_SEED): chance.expovariate(1 / mean_s)  # noqa: B008 - one for all draws


def test_one_thread_with_exponential_work_is_the_queue_m_m_1():
    machine = Machine([1.0])

    mean_s = sojourn_s(machine, Threads(machine, 1), 0.8, 400_000, exponential(1.0))

    assert mean_s == pytest.approx(1 / (1 - 0.8), rel=0.05)


def test_one_thread_with_constant_work_is_the_queue_m_d_1():
    machine = Machine([1.0])

    mean_s = sojourn_s(machine, Threads(machine, 1), 0.8, 200_000, lambda: 1.0)

    assert mean_s == pytest.approx(1 + 0.8 / (2 * (1 - 0.8)), rel=0.05)  # Pollaczek-Khinchine


def test_three_threads_on_three_cores_are_the_queue_m_m_3():
    machine, load, servers = Machine([1.0, 2.0, 3.0]), 0.8, 3
    offered = load * servers
    waits = offered**servers / math.factorial(servers) / (1 - load)
    waits /= sum(offered**n / math.factorial(n) for n in range(servers)) + waits  # Erlang C

    mean_s = sojourn_s(machine, Threads(machine, servers), offered, 120_000, exponential(1.0))

    assert mean_s == pytest.approx(1 + waits / (servers - offered), rel=0.05)


@pytest.mark.parametrize("spread", ["constant", "two kinds"])
def test_many_threads_on_one_core_share_it_whatever_the_spread_of_their_work(spread):
    machine, chance = Machine([1.0]), random.Random(WORK_SEED)
    draw = (lambda: 1.0) if spread == "constant" else (lambda: 5.5 if chance.random() < 0.1 else 0.5)

    mean_s = sojourn_s(machine, Threads(machine, 10_000), 0.7, 200_000, draw)

    assert mean_s == pytest.approx(1 / (1 - 0.7), rel=0.05)  # M/G/1 with processor sharing


def test_cores_that_slow_each_other_do_together_what_was_measured():
    machine, ended = Machine(line_of_speeds(1.5, 2)), []
    for work_s in (3.0, 3.0, 3.0):
        machine.work(work_s, lambda: ended.append(machine.now_s))

    machine.run()

    assert ended == pytest.approx([6.0] * 3)
    assert machine.busy_s == pytest.approx(9.0)


def test_a_thread_that_slept_has_more_work_with_its_next():
    machine = Machine([1.0])
    threads, ended = Threads(machine, 1, wake_s=0.25), []
    for _ in range(2):
        threads.do(1.0, lambda: ended.append(machine.now_s))

    machine.run()

    assert ended == pytest.approx([1.25, 2.25])


def test_a_service_looks_at_what_has_come_between_two_pieces():
    machine, ended = Machine([1.0]), list[str]()
    service = Service(machine)
    for number in range(3):
        service.compute(1.0, partial(ended.append, f"piece {number}"))
    machine.at(0.5, lambda: service.do(0.25, partial(ended.append, "answer")))

    machine.run()

    assert ended == ["piece 0", "answer", "piece 1", "piece 2"]
    assert machine.now_s == pytest.approx(3.25)


def test_the_batcher_is_the_bulk_queue_m_m_1_with_at_most_four_served_together():
    rate, most_rows, machine = 2.5, 4, Machine([1.0])
    draw = exponential(1.0)

    def computed(rows, done):
        machine.work(draw(), done)

    batcher = Batcher(machine, BatcherShape(1, most_rows), computed)
    for at_s in arrivals_s(rate, 100_000, SEED):
        machine.at(at_s, lambda: batcher.ask(1, lambda: None))
    machine.run()
    # Bailey; Neuts' rule (1, b): with work of mean 1 the chance that n wait beside a busy server falls as root**n.
    low, high = 0.0, 1 - 1e-9
    for _ in range(100):
        root = (low + high) / 2
        low, high = (root, high) if root ** (most_rows + 1) - (rate + 1) * root + rate > 0 else (low, root)
    norm = 1 / (1 / rate + 1 / (1 - root))

    assert fmean(batcher.queued_s) == pytest.approx(norm * root / (1 - root) ** 2 / rate, rel=0.05)
    rows = sum(size * count for size, count in batcher.batches.items()) / batcher.batches.total()
    assert rows == pytest.approx(rate * (1 - root) / norm, rel=0.03)


def test_the_batcher_waits_for_a_whole_batch_no_longer_than_its_delay():
    machine, ended = Machine([1.0]), []
    batcher = Batcher(machine, BatcherShape(1, 3, delay_s=0.5), lambda _, done: machine.work(0.1, done))
    for at_s in (0.0, 0.2, 2.0, 2.1, 2.2):
        machine.at(at_s, lambda: batcher.ask(1, lambda: ended.append(round(machine.now_s, 6))))

    machine.run()

    assert ended == [0.6, 0.6, 2.3, 2.3, 2.3]
    assert batcher.batches == {2: 1, 3: 1}


def test_the_batcher_takes_urgent_requests_first_and_cuts_none():
    machine = Machine([1.0])
    ended: list[str] = []
    batcher = Batcher(machine, BatcherShape(1, 4), lambda _, done: machine.work(1.0, done))
    for name, rows, priority in [
        ("running", 1, NORMAL),
        ("first", 3, NORMAL),
        ("second", 2, NORMAL),
        ("urgent", 1, URGENT),
    ]:
        batcher.ask(rows, partial(ended.append, name), priority)

    machine.run()

    assert ended == ["running", "urgent", "first", "second"]
    with pytest.raises(ValueError, match="5 rows; a batch has 1 to 4"):
        batcher.ask(5, lambda: None)


def test_costs_between_measured_batches_lie_on_a_line():
    assert [between({1: 2.0, 4: 5.0}, rows) for rows in (1, 2, 4, 6)] == pytest.approx([2.0, 3.0, 5.0, 7.0])


def test_unary_requests_saturate_where_their_costs_fill_the_cores():
    costs = UnaryCosts(0.002, (UnaryRequest(0.004, 1),), 0.0)
    triton = TritonCosts({1: 0.014, 8: 0.112}, 0.0)  # a batch saves nothing

    outcome = simulate_unary(NODE, costs, triton, rate=110, seconds=60, seed=SEED)

    # The service has 0.6 of a core to do, which one process can; refusals cost it a visit each.
    assert outcome.answered_per_s == pytest.approx(2 / 0.020, rel=0.06)
    assert outcome.refused > 0
    assert outcome.cores_busy == pytest.approx(2.0, rel=0.02)


def test_a_process_saturates_alone_and_a_second_process_doubles_what_is_answered():
    costs = UnaryCosts(0.004, (UnaryRequest(0.006, 1),), 0.0)

    one_s, two_s = (
        simulate_unary(node, costs, FREE_TRITON, rate=rate, seconds=60, seed=SEED).cores_busy
        for node, rate in ((NODE, 150), (TWO_PROCESSES, 300))
    )

    assert one_s == pytest.approx(1.0, rel=0.02)
    assert two_s == pytest.approx(2.0, rel=0.02)


def live(calls, node=TWO_PROCESSES, features_s=0.010):
    costs = LiveCosts(FREE, FREE, FREE, features_s, 1.0, FREE)
    each = [(number / calls, 20.0) for number in range(calls)]
    return simulate_live(node, costs, FREE_TRITON, each, (1.0, 20.0), Rhythm(), SEED)


def test_live_calls_are_carried_until_their_hops_fill_the_cores():
    below, above = live(190), live(250)

    assert below.is_carried(0.5)
    assert below.cores_busy == pytest.approx(1.9, rel=0.02)
    assert below.calls == 190
    assert not above.is_carried(0.5)
    assert above.skipped_hops > 0


def test_hops_that_fall_due_together_are_judged_together():
    costs = LiveCosts(FREE, FREE, FREE, FREE, 1.0, FREE)
    node = replace(NODE, live_workers=1)
    each = [(0.0, 10.0)] * 9

    outcome = simulate_live(node, costs, FREE_TRITON, each, (0.0, 10.0), Rhythm(), SEED)

    assert outcome.batches == {1: 10, 8: 10}
    assert outcome.lag.count == 90


@pytest.mark.parametrize(
    ("gather_s", "apart_s", "batches"), [(0.03, 0.005, {1: 10, 6: 10}), (0.03, 0.04, {1: 70}), (0.0, 0.005, {1: 70})]
)
def test_hops_that_fall_due_close_together_wait_for_each_other(gather_s, apart_s, batches):
    costs = LiveCosts(FREE, FREE, FREE, FREE, 1.0, FREE)
    node = replace(NODE, live_gather_s=gather_s)
    calls = [(apart_s * number, 10.0) for number in range(7)]

    outcome = simulate_live(node, costs, FREE_TRITON, calls, (0.0, 10.5), Rhythm(), SEED)

    assert outcome.batches == batches


@pytest.mark.parametrize(("mean", "most_calls"), [(0.5, 4), (10, 21), (1000, 1098), (100_000, 100_978)])
def test_calls_at_once_are_poisson_distributed(mean, most_calls):
    assert most_at_once(mean) == most_calls


def test_calls_of_a_simulation_are_as_many_as_asked_for_at_every_moment():
    calls = calls_at_once(2000, 300.0, 1.0, SEED, call_s=60.0)

    at_once = [sum(begins_s <= at_s < begins_s + lasts_s for begins_s, lasts_s in calls) for at_s in (2, 100, 250)]

    assert at_once == pytest.approx([2000] * 3, rel=0.07)  # three standard deviations


@pytest.mark.parametrize("first", [1, 500, 5000])
def test_the_most_calls_are_found_to_a_hundredth_from_any_guess(first):
    assert most(lambda calls: calls <= 777, first) == pytest.approx(777, rel=0.01)
    assert most(lambda _: False, first) == 0


def step(calls, *, carried, valid=True):
    return LiveStep(calls, 20.0, 0.0, 10.0, 20.0, 0, 1.0, 1.5, carried, valid)


def test_live_calls_are_held_until_saturation_lies_between_two_numbers():
    following = next_calls(300)
    up = [step(270, carried=True)]
    down = [step(270, carried=False)]

    assert following([]) == 270
    assert following(up) == 310
    assert following(down) == 235
    assert following([*up, step(310, carried=False)]) is None
    assert bracket([*up, step(310, carried=False)]) == (270, 310)
    assert bracket([step(270, carried=True, valid=False)]) == (0, None)


INPUTS = Inputs(
    model="multimodal",
    speeds=(1.0, 2.0),
    processes=1,
    batcher=BatcherShape(2, 8),
    triton=TritonCosts({1: 0.04, 8: 0.18}, 0.005),  # a slow machine, so that there is little to simulate
    unary=UnaryCosts(0.04, (UnaryRequest(0.04, 1),), 0.01),
    live=LiveCosts(0.001, 0.015, 0.004, 0.02, 1.0, 0.01),
    unary_alone_ms=130.0,
)


def unary_step(answered_per_s, *, rate=100.0, others=0.0):
    return UnaryStep(rate, 5.0, others, answered_per_s, 1, 10.0, 20.0, 1.0, 1.5, True)


def test_a_saturation_is_reproduced_within_15_percent_only():
    simulated = unary_compared(INPUTS, Settings(), [unary_step(1.0)]).simulated

    near, far = (unary_compared(INPUTS, Settings(), [unary_step(simulated * share)]) for share in (0.9, 0.8))

    assert near.is_reproduced
    assert near.apart == pytest.approx(1 / 0.9 - 1)
    assert not far.is_reproduced


def test_a_saturation_beside_other_programs_is_not_believed():
    found = unary_compared(INPUTS, Settings(), [unary_step(10.0, others=0.5)])

    assert not found.is_reproduced
    assert found.why == "other programs used 0.50 cores, above 0.30"


def test_the_command_gives_the_page_of_what_was_measured(tmp_path, capsys):
    kept = tmp_path / "sizing.json"
    steps = (step(10, carried=True), step(12, carried=False))
    kept.write_bytes(KEPT.dump_json(Measured(INPUTS, (unary_step(1.0),), steps)))

    code = main(["sizing", "--keep", str(kept), "--json", str(tmp_path / "out.json")])

    page, figures = capsys.readouterr().out, json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
    assert code == 1  # a service that answers one request a second is not what these inputs make
    assert "| live calls | 11 |" in page
    assert "| 100,000 live calls at once in the busiest hour | 2 |" in page
    assert not figures["reproduced"]
    assert [machine["cores"] for machine in figures["machines"]] == [2, 8]
    assert figures["saturation"]["live"]["measured"] == 11


def test_the_command_needs_a_measurement(tmp_path, capsys):
    assert main(["sizing", "--keep", str(tmp_path / "none.json")]) == 2
    assert "run --calibrate first" in capsys.readouterr().err


def test_a_machine_more_is_provided_than_carries_the_calls():
    need = calls_need(1000, peak_to_mean=1.0, carried=250, cores=2)

    assert (need.provided, need.machines, need.cores) == (1098, 7, 14)  # 200 calls each, and one may fail
