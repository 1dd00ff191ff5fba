from __future__ import annotations

from pathlib import Path

import pytest

from loadtest.clips import Clip
from loadtest.stages import STAGES, measure
from preprocess_service.model_spec import MULTIMODAL
from tests.e2e.tiny_models import contract

CONTRACT = contract(MULTIMODAL, 1, graphs={}, files={})
CLIP = Clip(Path("clip.wav"), "여기 불이 났어요 빨리 와 주세요")


def test_every_stage_of_a_call_costs_something():
    costs = measure(
        [(bytes(range(256)) * 100, CLIP)] * 8, MULTIMODAL, contract(MULTIMODAL, 1, graphs={}, files={}), 2, 2
    )

    assert set(costs) == set(STAGES)
    assert costs.pop("java") >= 0  # it may have nothing to compile
    assert min(costs.values()) > 0


def test_too_few_clips_are_told():
    with pytest.raises(ValueError, match="1 clips are too few for 10 s"):
        measure([(bytes(8000), CLIP)], MULTIMODAL, CONTRACT, 1, 2)
