"""The part of the page that is about one model."""

from __future__ import annotations

from training.plotting import EMERGENCY_COLOUR, NORMAL_COLOUR
from training.report import plots
from training.report.findings import Findings, Model
from training.report.html import Markup, notice, paragraph, picture, section, table
from training.report.kinds import KindFigures
from training.report.live_section import streams
from training.report.words import listed, measured_on, number, share, yes_no


def model_section(findings: Findings, name: str) -> Markup:
    """Everything about one model that was measured."""
    model = findings.models[name]
    parts = (_decisions, _discrimination, _calibration, _kinds, _parts, _ablations, streams)
    content = [each for part in parts for each in part(findings, model)]
    return section(f"model-{name}", model.name, *_facts(model), *content, *_history(model))


def _note(findings: Findings, model: Model, what: str = "") -> str:
    measured = model.measured
    groups = "clips drawn" if measured.by_clip else f"{measured.groups} groups"
    return measured_on(findings, what or f"n = {measured.test_clips} clips, {groups}", model.name)


def _facts(model: Model) -> list[Markup]:
    contract = model.contract
    trained_on = f"{contract.training_data.clips} clips of {contract.training_data.corpus}"
    facts = [paragraph(f"Trained on {trained_on}; measured in {model.measured.seconds:.0f} s.")]
    if not model.same_corpus:
        text = "This version was trained on another corpus: whether it has heard these test clips cannot be told."
        facts.append(notice("warn", paragraph(text)))
    if contract.pretrained_base is False:
        text = "Its convolutions are untrained (no ImageNet weights at hand): these are the figures of its head alone."
        facts.append(notice("warn", paragraph(text)))
    return facts


def _decisions(findings: Findings, model: Model) -> list[Markup]:
    metrics, band, note = model.measured.metrics, model.measured.band, _note(findings, model)
    counts = metrics.confusion
    confusion = [
        ["emergency", str(counts.true_positives), str(counts.false_negatives)],
        ["normal", str(counts.false_positives), str(counts.true_negatives)],
    ]
    rows = [
        ["accuracy at a probability of 0.5", share(metrics.accuracy)],
        [f"beats chance (the larger class has {metrics.larger_class:.3f})", yes_no(metrics.beats_chance)],
        ["accuracy at the threshold", share(metrics.accuracy_at_threshold)],
        ["recall", share(metrics.recall)],
        ["false-positive rate", share(metrics.false_positive_rate)],
        *([f"recall at {rate:.1%} false positives", share(each)] for rate, each in metrics.recall_at.items()),
        *([f"PPV where {rate:.1%} of calls are emergencies", share(each)] for rate, each in metrics.ppv.items()),
        ["AUC", share(metrics.auc)],
        ["average precision", share(metrics.average_precision)],
        ["equal error rate", number(metrics.equal_error_rate, digits=3)],
        [f"emergencies left to a human ({listed(band.uncertain_from)} on)", share(band.uncertain_emergency)],
        ["normal clips left to a human", share(band.uncertain_normal)],
        ["emergencies that no human sees", share(band.lost_emergency)],
    ]
    return [
        table(f"Decisions at the threshold {listed(metrics.thresholds)}", ["figure", "value (95 %)"], rows, note),
        table("Confusion matrix", ["truth", "judged emergency", "judged normal"], confusion, note),
    ]


def _discrimination(findings: Findings, model: Model) -> list[Markup]:
    alternative = f"ROC, DET and precision-recall curve of {model.name}; AUC {share(model.measured.metrics.auc)}"
    return [picture(plots.discrimination(model.judgement), alternative, _note(findings, model))]


def _calibration(findings: Findings, model: Model) -> list[Markup]:
    found, note = model.measured.calibrations, _note(findings, model)
    named = {
        "bare output": found.bare,
        f"temperature {found.temperature:.3f}": found.tempered,
        "as served (Platt)": found.platt,
    }
    rows = [
        [name, number(each.ece, digits=4), number(each.brier, digits=4), number(each.log_loss, digits=4)]
        for name, each in named.items()
    ]
    caption = f"Calibration; both scalings were fitted on validation clips (temperature: {found.validation_clips})"
    drawn = picture(plots.calibration(found, model.judgement), f"Reliability diagram of {model.name}", note)
    return [table(caption, ["probability", "ECE", "Brier", "log loss"], rows, note), drawn]


def _kinds(findings: Findings, model: Model) -> list[Markup]:
    measured, note = model.measured, _note(findings, model)
    recall = plots.shares(measured.recall_by_kind, "Emergencies found, by kind", EMERGENCY_COLOUR)
    false = plots.shares(measured.false_positives_by_topic, "Normal clips flagged, by topic", NORMAL_COLOUR)
    rows = [[kind, str(each.n), share(each)] for kind, each in measured.recall_by_kind.items()]
    content = [
        table("Recall by kind of emergency", ["kind", "clips", "recall (95 %)"], rows, note),
        picture(recall, "Recall of every kind of emergency with its interval", note),
        picture(false, "Share of normal clips of every topic that are flagged", note),
    ]
    return content if measured.kinds is None else [*content, *_named(measured.kinds, note)]


def _named(kinds: KindFigures, note: str) -> list[Markup]:
    rows = [[name, *map(str, row)] for name, row in zip(kinds.names, kinds.confusion, strict=True)]
    text = f"The kind is right in {share(kinds.top_1)} of the emergencies, and among the first three in "
    header = ["truth \\ likeliest kind", *kinds.names]
    return [paragraph(f"{text}{share(kinds.top_3)}."), table("Kinds of emergency", header, rows, note)]


def _parts(findings: Findings, model: Model) -> list[Markup]:
    rows = [[name, str(each.n), share(each)] for name, each in model.measured.accuracy_of_parts.items()]
    if not rows:
        return []
    header = ["part", "clips", "accuracy at 0.5 (95 %)"]
    return [table("Accuracy on parts of the test split", header, rows, _note(findings, model))]


def _ablations(findings: Findings, model: Model) -> list[Markup]:
    rows = [
        [name, *map(share, (each.accuracy, each.recall, each.false_positive_rate, each.recall_at[0.01], each.auc))]
        for name, each in model.measured.ablations.items()
    ]
    note = _note(findings, model, f"n = {model.measured.ablation_clips} clips")
    header = ["the clips", "accuracy", "recall", "false positives", "recall at 1 % FPR", "AUC"]
    return [table("With something taken away or spoilt", header, rows, note)]


def _history(model: Model) -> list[Markup]:
    found = model.history
    if found is None or not found.curves:
        return [paragraph("Its training left no record of losses and accuracies by epoch.")]
    took = "" if found.seconds is None else f", {found.seconds:.0f} s"
    where = " · ".join(each for each in (model.name, found.date, found.machine) if each)
    note = f"Training and validation split of {model.contract.training_data.corpus} · {where}{took}"
    return [picture(plots.history(found.curves), f"Loss and accuracy of every epoch of {model.name}", note)]
