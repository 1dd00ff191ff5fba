"""The part of the page that says whether the class can be told without words."""

from __future__ import annotations

from training.report import plots
from training.report.findings import Findings
from training.report.html import Markup, element, notice, paragraph, picture, section, table
from training.report.probes import FOLDS
from training.report.shortcuts import LARGEST_SILENCE_AUC
from training.report.words import measured_on, share


def shortcuts(findings: Findings) -> Markup:
    """Whether the class can be told without words."""
    found = findings.shortcuts
    note = measured_on(findings, f"n = {found.clips} clips of {found.groups} groups").replace(
        "test split", "all splits"
    )
    heard = {True: "yes", False: "no"}
    rows = [[each.name, each.what, heard[each.heard], share(each.result.auc)] for each in found.probes]
    by_name = {each.name: each.result.auc for each in found.probes if each.result.folds}
    text = (
        f"Each probe is a logistic regression on features that hold no word, their squares included, cross-validated "
        f"in {FOLDS} folds that share no caller. 0.5 is guessing. If silence only exceeds {LARGEST_SILENCE_AUC}, all "
        f"figures of this report are invalid. Probes of files see what the models do not hear; they show how much the "
        f"telephone path had to take away."
    )
    content = [_shortcut_notice(findings), paragraph(text)]
    header = ["probe", "what it gets", "heard by the models", "AUC (95 %)"]
    content.append(table("Can an emergency be told without its words?", header, rows, note))
    if by_name:
        content.append(picture(plots.probes(by_name), "AUC of every probe with its interval", note))
    return section("shortcuts", "Shortcuts", *content, *_sources(findings, note))


def _shortcut_notice(findings: Findings) -> Markup:
    found = findings.shortcuts
    if found.valid is None:
        return notice("bad", paragraph(element("strong", "UNPROVEN: "), "the silence probe could not be measured."))
    if not found.valid:
        text = f"the silence probe reaches AUC {found.silence_auc:.3f}; at most {LARGEST_SILENCE_AUC} is allowed."
        return notice("bad", paragraph(element("strong", "INVALID: "), text))
    text = f"The silence probe reaches AUC {found.silence_auc:.3f}, within the limit of {LARGEST_SILENCE_AUC}."
    return notice("good", paragraph(text))


def _sources(findings: Findings, note: str) -> list[Markup]:
    if not findings.shortcuts.sources:
        text = (
            f"All clips come from one source corpus ({findings.surroundings.sources}): none can be told from another."
        )
        return [paragraph(text)]
    rows = [
        [each.source, str(each.clips), str(each.emergencies), share(each.heard.auc), share(each.file.auc)]
        for each in findings.shortcuts.sources
    ]
    header = ["source", "clips", "emergencies", "AUC from what models hear", "AUC from the files"]
    probed = table("Can a source corpus be told from the others without words?", header, rows, note)
    pairs = [
        [name, share(model.measured.sources.within), share(model.measured.sources.across)]
        for name, model in findings.models.items()
    ]
    text = "A model that knows the corpus rather than the call does well across sources and poorly within one."
    header = ["model", "AUC within sources", "AUC across sources"]
    return [probed, table("AUC of the models within and across sources", header, pairs, measured_on(findings, text))]
