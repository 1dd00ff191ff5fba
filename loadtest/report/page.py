"""The page: one HTML file that needs nothing else, in light and dark, with an alternative text for every picture."""

from __future__ import annotations

from typing import Final

from loadtest.report import sections
from loadtest.report.findings import Findings
from loadtest.report.method import method
from training.report.html import Markup, element, joined

_CONTENTS: Final = (
    ("answer", "The answer"),
    ("load", "Calls against load"),
    ("triton", "Batches and queue"),
    ("processor", "Where the time goes"),
    ("live", "Live calls"),
    ("method", "Method"),
)
_STYLE: Final = Markup(
    """
:root { color-scheme: light dark; --ink: #1d2328; --paper: #fff; --soft: #5b6770; --line: #dde2e6; --raised: #f4f6f8;
  --warn: #8a5a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --paper: #14181c; --soft: #a3afb8; --line: #36404a;
  --raised: #1d242b; --warn: #f0c36d; } }
body { margin: 0 auto; max-width: 60rem; padding: 1rem 1.5rem 4rem; color: var(--ink); background: var(--paper);
  font: 16px/1.55 system-ui, sans-serif; }
h1 { line-height: 1.2; margin-bottom: 0; } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
nav ol { display: flex; flex-wrap: wrap; gap: 0 1.5rem; padding: 0; list-style: none; } a { color: inherit; }
small, figcaption { color: var(--soft); } small { font-size: .85rem; } figcaption { max-width: 46rem; }
.answers { display: grid; grid-template-columns: max-content 1fr; gap: .6rem 1.2rem; align-items: baseline; }
.answers dt { font-size: 1.5rem; font-weight: 700; line-height: 1.2; text-align: right; white-space: nowrap; }
.answers dd { margin: 0; }
@media (max-width: 40rem) { .answers { display: block; } .answers dt { text-align: left; margin-top: .8rem; } }
.notice { border-left: .4rem solid var(--warn); background: var(--raised); padding: .6rem 1rem; margin: 1.2rem 0; }
.wide { overflow-x: auto; margin: 1rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .7rem; text-align: left; vertical-align: top; }
thead th { background: var(--raised); } tbody th { font-weight: 500; }
code { font-size: .92em; }
summary { cursor: pointer; } figure { margin: 1.8rem 0; } figure img { max-width: 100%; height: auto; }
"""
)


def page(findings: Findings) -> str:
    """The whole report as HTML."""
    title = f"Load report: {findings.model.name} on {findings.around['machine']['cores']} cores"
    body = element(
        "main",
        element("h1", title),
        sections.contents(_CONTENTS),
        sections.answer(findings),
        sections.load(findings),
        sections.triton(findings),
        sections.processor(findings),
        sections.live(findings),
        method(findings),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", _STYLE),
    )
    return joined([Markup("<!DOCTYPE html>\n"), element("html", head, element("body", body), lang="en")])
