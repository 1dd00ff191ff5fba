"""Figures as words: estimates with their intervals, and what a figure was measured on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import numpy as np

from training.report.alarms import Delays
from training.report.findings import Findings
from training.report.intervals import Estimate

UNKNOWN: Final = "unknown"


def share(estimate: Estimate, digits: int = 3) -> str:
    """A share or an AUC with its interval: "0.952 (0.918-0.973)"."""
    if not np.isfinite(estimate.value):
        return UNKNOWN
    value = f"{estimate.value:.{digits}f}"
    if not np.isfinite(estimate.low):
        return value
    return f"{value} ({estimate.low:.{digits}f}–{estimate.high:.{digits}f})"


def number(value: float, unit: str = "", digits: int = 2) -> str:
    """A number with its unit, "unknown" where it is not finite."""
    return f"{value:.{digits}f}{unit}" if np.isfinite(value) else UNKNOWN


def listed(thresholds: Sequence[float]) -> str:
    """One threshold, or that of clips without words beside that of clips with: "0.512 or 0.640"."""
    return " or ".join(f"{each:.3f}" for each in thresholds)


def yes_no(true: bool) -> str:
    return "yes" if true else "no"


def waited(delays: Delays, quantile_s: float) -> str:
    """A quantile of the delays, or why there is none."""
    if delays.counted == 0:
        return "alarms sounding already"
    return f"{quantile_s:.1f} s" if np.isfinite(quantile_s) else "not reached: too many missed"


def measured_on(findings: Findings, what: str, model: str = "", split: str = "test split") -> str:
    """What a figure was measured on: it stands under every picture and every table."""
    there = findings.surroundings
    parts = [model, what, f"corpus {there.sources}", split, there.date, there.machine]
    parts.append(f"Python {there.versions['Python']}, ONNX Runtime {there.versions.get('onnxruntime-gpu', UNKNOWN)}")
    if there.synthetic_share:
        parts.append("SYNTHETIC" if there.synthetic_share == 1 else f"{there.synthetic_share:.0%} SYNTHETIC")
    if findings.status == "INVALID":
        parts.append("INVALID: shortcuts")
    return " · ".join(part for part in parts if part)
