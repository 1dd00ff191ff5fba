"""The part of the page that says what was measured on, and how."""

from __future__ import annotations

from typing import Final

from training.report.findings import Findings
from training.report.html import Markup, paragraph, section, table
from training.report.intervals import LEVEL, RESAMPLES

_TEXT: Final = f"""
Intervals hold {LEVEL:.0%}. Those of shares are the wider of Wilson's interval and of the percentiles of {RESAMPLES}
seeded bootstrap resamples of whole groups of clips (callers where known, else recordings); AUC has the bootstrap's
only. With few groups intervals are rough, and tend to be too narrow.

PPV is Bayes' rule on recall and false-positive rate at the stated prevalence; its interval comes from both rates'
posteriors under Jeffreys' prior and takes clips as independent.

Recall at a false-positive rate takes its threshold from the test clips themselves: it tells how well scores separate,
not what a threshold fixed beforehand would give. Where the rate is less than one of the normal clips, it is the recall
without any false positive.

Every model hears the clips as training does, through one telephone path, and answers by its exported graph in single
precision under ONNX Runtime. Long calls are normal test clips one after another, with one window a second; words are
spread evenly over their clip; alarms less than ten seconds apart count once. The alert policy of live calls, chosen on
such calls of validation clips, hears the same calls from their first second on; a false alarm is then an alert that it
raises, and a call whose alert was raised before its emergency began is neither heard nor missed.
"""


def method(findings: Findings) -> Markup:
    """Facts about the corpus and the machine, and how the intervals are made."""
    there = findings.surroundings
    facts = [
        ["corpus", there.sources],
        ["fingerprint", there.fingerprint],
        *([f"{split} clips", str(count)] for split, count in there.clips.items()),
        ["synthetic share of the test split", f"{there.synthetic_share:.0%}"],
        ["date", there.date],
        ["machine", there.machine],
        *([name, version] for name, version in there.versions.items()),
    ]
    texts = [paragraph(" ".join(each.split())) for each in _TEXT.strip().split("\n\n")]
    return section("method", "Method and corpus", *texts, table("Measured on", ["what", "value"], facts))
