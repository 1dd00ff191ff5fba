"""The part of the page that says how everything was measured, and on what."""

from __future__ import annotations

from typing import Final

from loadtest.report.findings import Findings
from training.report.html import Markup, element, paragraph, section, table

_UNARY: Final = """
The service was warmed up for {plan.warm_up_s:g} s, as Java compiles what runs often only after a while. Then came
{plan.rounds} rounds: one caller for {plan.alone_s:g} s, {plan.full_callers} callers for {plan.full_s:g} s, and every
load for {plan.seconds:g} s, from the lowest to the highest. A repetition lies a whole round after the one before, so
that the bands show what the machine did meanwhile, too.

Offered load is open: calls arrive as a Poisson process and wait for no answer, and the time of each counts from the
moment at which it was due. Callers who wait for their answers would come less often when the service is slow, and hide
its slowest answers. Callers who wait are used for two figures only: what a call takes that is alone, and what the
service answers when there is always more to do (saturation).

A load is held if every call was answered, the p99, in the middle of the rounds, is at most {limit_ms:g} ms, and all
lower loads are held. The figure in the answer is a load that was tried.

The knee is the load with the greatest power, which is calls answered a second over their median time (Kleinrock, “Power
and deterministic rules of thumb for probabilistic problems in computer communications”, ICC 1979): up to it one per
cent more load costs less than one per cent more time. It is found in every round, between the loads by the parabola
through the best one and its neighbours, and the median of the rounds is told. A knee at the lowest or the highest load
may lie outside of what was measured, and counts as none.

Percentiles are by nearest rank: times that were measured. A load at which the generator itself was late in most rounds
counts as not held. Clips and sentences are many and differ, so that no cache flatters the service.

Batches, queue and computing are Triton's own statistics, read before and after every load. Processor time is that of
the processes that listen on the servers' ports and of the generator, with all processes below them; others are whatever
else the machine was busy with.
"""
_LIVE: Final = """
{plan.live_calls} live calls were held once to warm up and {plan.live_repeats} times more, for {plan.live_seconds:g} s
each, in real time, with messages of 200 ms, an update a second and transcripts for half of the callers.
"""
_SEARCH: Final = """
Then, as far as {plan.live_search_s:g} s allowed, it was more in steps of 10 %, or fewer where those were too many.
"""
_CARRIED: Final = """
Calls are carried if the p99 of the lag is within its limit, no hop is skipped, a model answered for every update and
every call ended with its summary. A longer search is `make live-capacity`.
"""
_COMPARED: Final = """
The JSON beside this page holds every figure with its repetitions: `python -m loadtest compare OLD.json NEW.json` names
what got worse by more than they differ.
"""


def method(findings: Findings) -> Markup:
    """How, and on what."""
    texts = (_UNARY.format(plan=findings.plan, limit_ms=findings.limit_ms), _live(findings), _COMPARED)
    paragraphs = [" ".join(each.split()) for text in texts for each in text.strip().split("\n\n")]
    return section("method", "Method", *(_paragraph(text) for text in paragraphs if text), _facts(findings))


def _live(findings: Findings) -> str:
    if findings.live is None:
        return ""
    parts = [_LIVE, _SEARCH if findings.plan.live_search_s else "", _CARRIED]
    return " ".join(part.strip() for part in parts).format(plan=findings.plan)


def _paragraph(text: str) -> Markup:
    """What stands between backticks is code."""
    parts = text.split("`")
    return paragraph(*(element("code", part) if number % 2 else part for number, part in enumerate(parts)))


def _facts(findings: Findings) -> Markup:
    around, model, machine = findings.around, findings.model, findings.around["machine"]
    rows = [
        ("model", f"{model.name}/{model.version}"),
        ("precision and provider", f"{model.precision}, {model.provider}"),
        ("date", around["date"]),
        ("commit", around["commit"] or "unknown"),
        ("processor", f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB"),
        ("system", machine["system"]),
        ("load of the machine before", ", ".join(f"{each:g}" for each in machine["load_before"])),
        *((name, str(version)) for name, version in around["versions"].items()),
    ]
    plan = [(name, str(value)) for name, value in findings.plan.to_dict().items()]
    measured = element("details", element("summary", "The plan in numbers"), table("Plan", ("what", "value"), plan))
    return element("div", table("Measured on", ("what", "value"), rows), measured)
