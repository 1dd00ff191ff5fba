"""The page: one HTML file that needs nothing else, readable in light and dark and by a screen reader."""

from __future__ import annotations

from typing import Final

from training.report.findings import Findings
from training.report.font import FAMILY, font_face
from training.report.html import Markup, element, joined
from training.report.method import method
from training.report.model_sections import model_section
from training.report.sections import comparison, original, verdict
from training.report.shortcut_section import shortcuts

_STYLE: Final = Markup(
    """
:root { color-scheme: light dark; --ink: #1d2328; --paper: #fff; --soft: #5b6770; --line: #d5dbe0; --raised: #f4f6f8;
  --bad: #a4161a; --warn: #8a5a00; --good: #2d6a4f; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --paper: #14181c; --soft: #a3afb8; --line: #36404a;
  --raised: #1d242b; --bad: #ff8b8e; --warn: #f0c36d; --good: #8fd3ae; } }
body { margin: 0 auto; max-width: 72rem; padding: 1rem 1.5rem 4rem; color: var(--ink); background: var(--paper);
  font: 16px/1.55 "HANGUL", "Noto Sans KR", "Apple SD Gothic Neo", "Malgun Gothic", system-ui, sans-serif; }
h1 { line-height: 1.2; } h2 { margin-top: 3rem; border-bottom: 1px solid var(--line); }
nav ol { columns: 14rem; } a { color: inherit; } small, figcaption { color: var(--soft); font-size: .8rem; }
.wide { overflow-x: auto; margin: 1.5rem 0; } .wide p { margin: .3rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
caption { text-align: left; font-weight: 600; padding: .3rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .3rem .7rem; text-align: left; vertical-align: top; }
thead th { background: var(--raised); } tbody th { font-weight: 500; }
figure { margin: 1.5rem 0; } figure img { max-width: 100%; background: #fff; border-radius: 6px; padding: .4rem;
  box-sizing: border-box; }
.notice { border-left: .4rem solid var(--soft); background: var(--raised); padding: .2rem 1rem; margin: 1rem 0; }
.bad { border-color: var(--bad); } .bad strong { color: var(--bad); font-size: 1.4rem; }
.warn { border-color: var(--warn); } .warn strong { color: var(--warn); }
.good { border-color: var(--good); } .good strong { color: var(--good); }
""".replace("HANGUL", FAMILY)
)


def page(findings: Findings) -> str:
    """The whole report as HTML."""
    there = findings.surroundings
    contents = [
        ("verdict", "Verdict"),
        ("models", "Models"),
        ("shortcuts", "Shortcuts"),
        *((f"model-{name}", model.name) for name, model in findings.models.items()),
        ("original", "The original work"),
        ("method", "Method and corpus"),
    ]
    links = [element("li", element("a", title, href=f"#{identifier}")) for identifier, title in contents]
    title = f"Emergency-call triage on {there.sources}, {there.date}"
    body = element(
        "main",
        element("h1", title),
        verdict(findings),
        element("nav", element("ol", *links), aria_label="Contents"),
        comparison(findings),
        shortcuts(findings),
        *(model_section(findings, name) for name in findings.models),
        original(findings),
        method(findings),
    )
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("title", title),
        element("style", joined([font_face(title + body), _STYLE])),
    )
    return joined([Markup("<!DOCTYPE html>\n"), element("html", head, element("body", body), lang="en")])
