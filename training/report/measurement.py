"""Everything that the report says of one model, measured."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.alert import AlertPolicy
from training.dataset import Corpus, Rows, drawn_from
from training.recordings import Scorer
from training.report.ablations import ablate
from training.report.alarms import Delays, FalseAlarms, HeardCall, delays, false_alarms
from training.report.alerts import AlertFindings, judge
from training.report.answers import answers
from training.report.calibration import fit_temperature
from training.report.intervals import Estimate, resampling
from training.report.judgement import Band, Calibrations, Judgement
from training.report.kinds import KindFigures, measure_kinds
from training.report.metrics import Metrics, measure
from training.report.sampling import Sizes
from training.report.shortcuts import SourcePairs, group_of
from training.report.simulation import Simulator
from training.report.streaming import hear

AUDIO_AND_TEXT: Final = "audio and text"
GIVEN: Final = (AUDIO_AND_TEXT, "audio only")  # in the order of `hear`


@dataclass(frozen=True)
class Measured:
    """The figures of one version on the test split."""

    test_clips: int
    groups: int  # that the bootstrap draws
    by_clip: bool
    metrics: Metrics
    calibrations: Calibrations
    band: Band
    recall_by_kind: dict[str, Estimate]
    false_positives_by_topic: dict[str, Estimate]
    accuracy_of_parts: dict[str, Estimate]
    kinds: KindFigures | None
    sources: SourcePairs
    ablation_clips: int
    ablations: dict[str, Metrics]
    false_alarms: FalseAlarms
    delays: Delays
    alerts: dict[str, AlertFindings]  # of the alert policy, by what the model is given
    seconds: float


def measure_model(
    scorer: Scorer, corpus: Corpus, rows: Rows, sizes: Sizes, say: Callable[[str], None]
) -> tuple[Measured, Judgement]:
    """Measures one model on the test split, which needs both classes; `say` is told what is being done.

    The judgement holds the single answers, for plots.
    """
    started, name = time.monotonic(), scorer.spec.name
    test = rows.drawn("test", sizes.test_clips)
    validation = rows.drawn("validation", sizes.validation_clips)
    say(f"{name}: {len(test)} test clips, {len(validation)} validation clips")
    judgement = Judgement(*answers(scorer, rows, test), tuple(corpus.clips[each] for each in test))
    bare_of_validation, _ = answers(scorer, rows, validation)
    temperature = fit_temperature(bare_of_validation, rows.is_emergency[validation])
    kinds = measure_kinds(scorer, rows, corpus.clips, test)

    fewer = drawn_from(test, judgement.labels, sizes.ablation_clips)
    say(f"{name}: {len(fewer)} clips with something taken away or spoilt")
    ablations = _ablations(scorer, corpus, fewer)

    simulator = Simulator(scorer, corpus, test[~judgement.labels], test[judgement.labels])
    live = _live(scorer, simulator, sizes, say)

    measured = Measured(
        test_clips=len(test),
        groups=judgement.bootstrap.groups,
        by_clip=judgement.bootstrap.by_clip,
        metrics=judgement.metrics(),
        calibrations=judgement.calibrations(temperature, len(validation)),
        band=judgement.band(),
        recall_by_kind=judgement.said_by_kind("emergency"),
        false_positives_by_topic=judgement.said_by_kind("normal"),
        accuracy_of_parts=judgement.subsets(),
        kinds=kinds,
        sources=judgement.sources(),
        ablation_clips=len(fewer),
        ablations=ablations,
        false_alarms=live.false_alarms,
        delays=live.delays,
        alerts=live.alerts,
        seconds=time.monotonic() - started,
    )
    return measured, judgement


@dataclass(frozen=True)
class _Live:
    """What is measured on calls under way, as `Measured` has it."""

    false_alarms: FalseAlarms
    delays: Delays
    alerts: dict[str, AlertFindings]


def _live(scorer: Scorer, simulator: Simulator, sizes: Sizes, say: Callable[[str], None]) -> _Live:
    say(f"{scorer.spec.name}: {sizes.long_calls} long calls of {sizes.long_call_s:g} s")
    normal = [hear(scorer, stream) for stream in simulator.long_calls(sizes.long_calls, sizes.long_call_s)]
    say(f"{scorer.spec.name}: {sizes.emergency_calls} calls with an emergency")
    calls = [
        [HeardCall(each, call.onset_s, call.end_s) for each in hear(scorer, call.stream)]
        for call in simulator.emergencies(sizes.emergency_calls)
    ]
    policy, window_s = AlertPolicy(scorer.contract.alert), scorer.spec.window_s
    alerts = {
        name: judge(policy, [each[number] for each in normal], [each[number] for each in calls], window_s)
        for number, name in enumerate(GIVEN)
        if name != AUDIO_AND_TEXT or scorer.spec.tokens
    }
    return _Live(
        false_alarms(scorer, [read for read, _ in normal]), delays(scorer, [read for read, _ in calls]), alerts
    )


def _ablations(scorer: Scorer, corpus: Corpus, clips: NDArray[np.int64]) -> dict[str, Metrics]:
    chosen = [corpus.clips[index] for index in clips]
    labels = np.array([clip.label == "emergency" for clip in chosen])
    bootstrap = resampling([group_of(clip) for clip in chosen])
    return {
        each.name: measure(each.scores, labels, each.thresholds, bootstrap) for each in ablate(scorer, corpus, clips)
    }
