"""One recording that is cut into many clips, and their features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile

from preprocess_service.model_spec import MODELS
from tests.unit.small_corpus import RATE_HZ, speech_like
from training.feature_store import Treatment, open_windows
from training.line_store import Recording

LSTM = MODELS["lstm"]
CLIPS = 300  # three shards
CLIP_S = 0.2


def recordings_of(clips):
    return [Recording(f"clip-{at}", "long.wav", at * CLIP_S, (at + 1) * CLIP_S, "mark") for at in range(clips)]


def write_recording(folder: Path, clips=CLIPS):
    soundfile.write(folder / "long.wav", speech_like(CLIP_S * clips, seed=1), RATE_HZ, subtype="PCM_16")


def windows_of(lines, cache, treatment=Treatment(), spec=LSTM, chosen=None, workers=1):  # noqa: B008 - frozen
    ids = [f"clip-{at}" for at in range(len(lines))]
    chosen = np.ones(len(lines), bool) if chosen is None else chosen
    return open_windows(lines, ids, chosen, spec, treatment, cache, workers)
