"""The parts of the page that are about all models."""

from __future__ import annotations

from typing import Final

from training.report import plots
from training.report.findings import Findings, Model
from training.report.headline import headline
from training.report.html import Markup, element, notice, paragraph, picture, section, table
from training.report.measurement import Measured
from training.report.original import ORIGINAL, warning
from training.report.words import measured_on, share, waited, yes_no

_HEADER: Final = (
    *("model", "accuracy", "beats chance", "recall", "false positives", "recall at 1 % FPR", "AUC"),
    *("kind right", "kind among the first three", "false alarms an hour", "median delay"),
    *("false alerts an hour, live calls", "median delay, live calls"),
)
_KIND = {"INVALID": "bad", "UNPROVEN": "bad", "SYNTHETIC": "warn", "VALID": "good"}


def verdict(findings: Findings) -> Markup:
    """The first paragraph, under a word that cannot be overlooked."""
    title = element("strong", f"{findings.status}. ")
    box = notice(_KIND[findings.status], paragraph(title, " ".join(headline(findings))))
    return section("verdict", "Verdict", box)


def comparison(findings: Findings) -> Markup:
    """All models in one table and one picture, the untrained by name."""
    rows = [_row(name, model) for name, model in findings.models.items()]
    rows += [[name, "not trained", *[""] * (len(_HEADER) - 2)] for name in findings.missing]
    clips = sorted({model.measured.test_clips for model in findings.models.values()})
    note = measured_on(findings, f"n = {' or '.join(map(str, clips)) or 0} clips, each at its model's threshold")
    content = [table("Models on the test split, with 95 % intervals", _HEADER, rows, note)]
    if findings.models:
        judged = {name: model.judgement for name, model in findings.models.items()}
        content.append(picture(plots.comparison(judged), f"ROC curves of {', '.join(judged)}", note))
    return section("models", "Models", *content)


def _row(name: str, model: Model) -> list[str]:
    measured, metrics = model.measured, model.measured.metrics
    rate = measured.false_alarms.per_hour
    return [
        f"{name}/{model.contract.version}",
        share(metrics.accuracy),
        yes_no(metrics.beats_chance),
        share(metrics.recall),
        share(metrics.false_positive_rate),
        share(metrics.recall_at[0.01]),
        share(metrics.auc),
        *(("names none", "") if measured.kinds is None else map(share, (measured.kinds.top_1, measured.kinds.top_3))),
        share(rate, 1),
        waited(measured.delays, measured.delays.median_s),
        *_alerts(measured),
    ]


def _alerts(measured: Measured) -> tuple[str, str]:
    """By the alert policy with all that the model takes."""
    found = next(iter(measured.alerts.values()))
    return share(found.false_alarms.per_hour, 1), waited(found.delays, found.delays.median_s)


def original(findings: Findings) -> Markup:
    """The published figures beside ours, with the reason why they are not comparable."""
    rows = []
    for each in ORIGINAL:
        model = findings.models.get(each.model)
        theirs = "none" if each.accuracy is None else f"{each.accuracy:.4f}".rstrip("0")
        loss = "none" if each.loss is None else f"{each.loss:g}"
        ours = share(model.measured.metrics.accuracy) if model else "not trained"
        rows.append([each.model, theirs, loss, each.remark, ours])
    header = ["model", "accuracy there", "loss there", "remark there", "accuracy here (95 %)"]
    made = table("The original work and this one", header, rows, measured_on(findings, "column on the right only"))
    why = notice("warn", paragraph(warning(findings.surroundings.without_speaker)))
    return section("original", "The original work", why, made)
