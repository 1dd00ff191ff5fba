"""The report as JSON: every number that the page shows, and those that it leaves out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from typing import Any, Final

import numpy as np

from training.report.findings import Findings
from training.report.headline import headline
from training.report.original import ORIGINAL, warning
from training.report.shortcuts import LARGEST_SILENCE_AUC

FORMAT_VERSION: Final = 3


def to_json(findings: Findings) -> dict[str, Any]:
    """Every number of the report; what is unknown is null."""
    return {
        "format_version": FORMAT_VERSION,
        "status": findings.status,
        "valid": findings.shortcuts.valid,
        "headline": headline(findings),
        "surroundings": plain(findings.surroundings),
        "shortcuts": {"limit": LARGEST_SILENCE_AUC, **plain(findings.shortcuts)},
        "models": {
            name: {
                "version": model.contract.version,
                "trained_on": plain(model.contract.training_data.model_dump()),
                "pretrained_base": model.contract.pretrained_base,
                "alert_policy": plain(model.contract.alert.model_dump()),
                "onnx_keras_difference": plain(model.contract.figures.get("onnx_keras_difference")),
                "trained_on_this_corpus": model.same_corpus,
                **plain(model.measured),
                "history": plain(model.history),
            }
            for name, model in findings.models.items()
        },
        "not_trained": list(findings.missing),
        "original_work": {"not_comparable": warning(findings.surroundings.without_speaker), "models": plain(ORIGINAL)},
    }


def plain(value: Any) -> Any:
    """Dataclasses, arrays and tuples as JSON knows them; numbers that are not finite become null."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(each) for each in value]
    if isinstance(value, float):
        return float(value) if np.isfinite(value) else None
    return value
