"""A sweep in Markdown: circumstances, what follows, every setting, and where the time goes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from loadtest.markdown import number, table
from loadtest.tune.bare import Bare
from loadtest.tune.measuring import CLIENT, Point, Sample
from loadtest.tune.picture import pareto_front, ranked
from loadtest.tune.proposal import Proposal
from loadtest.tune.server import SERVER, STUBS
from loadtest.tune.sweep import Swept

MS_A_S = 1000


@dataclass(frozen=True)
class Subject:
    """What was tuned and how."""

    model: str  # NAME/VERSION
    profile: str
    graph: str  # file, precision and provider
    command: str
    callers: int
    inputs: int
    around: Mapping[str, Any]


def document(
    subject: Subject, swept: Swept, proposal: Proposal | None, bare: Bare | None, bare_samples: list[Sample]
) -> str:
    """All of it, without the picture."""
    parts = [
        f"# Triton's settings for `{subject.model.partition('/')[0]}`, profile {subject.profile}",
        _circumstances(subject),
        verdict(swept, proposal),
        settings_table(swept),
        *_asides(swept),
    ]
    if bare is not None:
        parts.append(where_it_goes(bare, bare_samples, int(subject.around["machine"]["cores"])))
    return "\n\n".join(parts) + "\n"


def verdict(swept: Swept, proposal: Proposal | None) -> str:
    """What follows, in a paragraph."""
    of_point, of_final = (
        f"{each.throughput:.1%} of throughput and {each.latency:.1%} of latency"
        for each in (swept.noise, swept.final_noise)
    )
    told = f"**Noise** (the present setting against itself, 95 of 100): {of_point}; of the last look {of_final}. "
    if swept.noise.is_unsteady:
        return told + "**Nothing can be told**: the machine is too unsteady; the present setting stays."
    if proposal is None:
        if swept.final is None:
            return told + "**The present setting stays**: no other that may be served is better by more than that."
        return told + (
            f"**The present setting stays**: the best, {swept.final.label}, measured anew gave throughput × "
            f"{swept.final.throughput:.3f} and latency × {swept.final.latency:.3f}: not better by more than that."
        )
    lines = "\n".join(proposal.lines)
    return told + (
        f"**Proposed**: {proposal.point.label}; measured anew, throughput × {proposal.point.throughput:.3f} and "
        f"latency × {proposal.point.latency:.3f}. In the profile of preprocess_service/model_spec.py, then "
        f"`python -m training configs`:\n\n```text\n{lines}\n```"
    )


def settings_table(swept: Swept) -> str:
    """A row a setting: ratios to the present setting measured beside it, and absolute figures."""
    front = pareto_front(list(swept.points.values()))
    header = ("", "setting", "", "throughput ×", "latency ×", "server CPU ×", "a second", "p50 alone, ms",
              "p99 full, ms", "rows a batch", "server CPU an answer, ms")  # fmt: skip
    present = swept.present_samples
    rows = [("", "as now", _mark(None in front), "1", "1", "1", *_absolutes(lambda figure: _median(present, figure)))]
    for place, point in enumerate(ranked(swept), start=1):
        mark = _mark(point in front) + (" failures" if point.failures else "")
        ratios = number(point.throughput), number(point.latency), number(point.server_cpu)
        rows.append((str(place), point.label, mark, *ratios, *_absolutes(point.median)))
    if swept.final is not None:
        final = swept.final
        ratios = number(final.throughput), number(final.latency), number(final.server_cpu)
        rows.append(("", f"{final.label}, anew", "", *ratios, *_absolutes(final.median)))
    return table(header, rows, texts=3)


def where_it_goes(bare: Bare, samples: list[Sample], cores: int) -> str:
    """Triton's batching beside ONNX Runtime alone, and whose time the difference is."""
    per_s = _median(samples, lambda each: each.per_s)
    cpu = {program: _median(samples, _cpu_of(program)) for program in (CLIENT, SERVER, STUBS)}
    whole = cores * MS_A_S / per_s
    rows = [
        ("ONNX Runtime alone", number(bare.best_cpu_ms)),
        ("model instances (backend and ONNX Runtime)", number(cpu[STUBS])),
        ("tritonserver (gRPC, queue, shared memory)", number(cpu[SERVER])),
        ("the client, on the same cores", number(cpu[CLIENT])),
        ("idle, or somebody else's", number(whole - sum(cpu.values()))),
    ]
    of_servers = bare.best_cpu_ms / (cpu[STUBS] + cpu[SERVER])
    return (
        f"**Against ONNX Runtime alone** (same graph, provider and threads, a process an instance, batches of "
        f"{bare.best_batch}, its best; in turn with Triton): {per_s:.0f} a second of {bare.best_per_s:.0f}, "
        f"{per_s / bare.best_per_s:.2f}. By processor time, which other work on the machine changes less: "
        f"{bare.best_cpu_ms / cpu[STUBS]:.2f} of what the model instances spend is ONNX Runtime's own, and "
        f"{of_servers:.2f} of what Triton spends in all. Milliseconds an answer:\n\n"
        + table(("processor time", "ms"), rows)
    )


def _circumstances(subject: Subject) -> str:
    machine, versions = subject.around["machine"], subject.around["versions"]
    return (
        f"{subject.around['date'][:10]}, `{subject.command}`: {subject.model}, {subject.graph}, by Triton "
        f"{versions['triton']} on {machine['cores']} cores of {machine['processor']} (load before "
        f"{machine['load_before'][0]:g}), Python {versions['python']}, grpcio {versions['grpcio']}. gRPC clients "
        f"past the service, on the same cores as the server: one caller for latency, {subject.callers} for throughput, "
        f"{subject.inputs} different inputs made of recordings. Every setting was measured in turn with the present "
        f"one, and × is the median ratio to it; • marks the front."
    )


def _asides(swept: Swept) -> list[str]:
    told = []
    if swept.refused:
        told.append("Refused: " + "; ".join(f"{label} ({why})" for label, why in swept.refused.items()))
    if swept.left_out:
        told.append("No time for: " + "; ".join(swept.left_out))
    return told


def _absolutes(median: Callable[[Callable[[Sample], float]], float]) -> list[str]:
    return [
        number(median(lambda each: each.per_s), 0),
        number(median(lambda each: each.latency_ms), 2),
        number(median(lambda each: each.saturated.latency.p99_ms), 0),
        number(median(lambda each: each.mean_batch), 1),
        number(median(lambda each: each.server_cpu_ms), 2),
    ]


def _median(samples: list[Sample], figure: Callable[[Sample], float]) -> float:
    return statistics.median(figure(each) for each in samples)


def _cpu_of(program: str) -> Callable[[Sample], float]:
    return lambda sample: sample.cpu_ms[program]


def _mark(is_on_front: bool) -> str:
    return "•" if is_on_front else ""


def point_dicts(swept: Swept) -> list[dict[str, Any]]:
    """Every setting with all of its repetitions, for JSON."""
    points = [Point("as now, against itself", swept.against_itself), *swept.points.values()]
    return [each.to_dict() for each in [*points, *([swept.final] if swept.final else [])]]
