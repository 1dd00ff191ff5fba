"""From a planned clip to its mu-law code words."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.features.g711 import CodeWords
from training.synthetic.backgrounds import LINE_RATE_HZ, take
from training.synthetic.plan import PlannedClip
from training.synthetic.speech import SPEECH_RATE_HZ, speak
from training.synthetic.telephone import (
    active_rms,
    echoed,
    from_db,
    overdriven,
    telephone,
    tilted,
    to_line_rate,
    write_mulaw,
)

Samples = NDArray[np.float32]

LENGTH_TOLERANCE: Final = 0.015  # of the planned speech length; beyond it the sentence is spoken again
SPEAKINGS: Final = 3
BAND_LIMITED_SHARE: Final = 0.8


def _spoken(planned: PlannedClip) -> Samples:
    """The sentence at the planned length: the rate makes up for what the estimate missed."""
    voice = planned.voice
    samples = speak(planned.spoken, voice)
    for _ in range(SPEAKINGS - 1):
        stretch = samples.size / SPEECH_RATE_HZ / planned.speech_s
        if abs(stretch - 1) <= LENGTH_TOLERANCE:
            break
        voice = replace(voice, rate_wpm=round(voice.rate_wpm * stretch))
        samples = speak(planned.spoken, voice)
    return tilted(to_line_rate(samples, SPEECH_RATE_HZ), planned.tilt_db)


def _placed(speech: Samples, planned: PlannedClip, samples: int) -> Samples:
    """The speech in a clip of `samples`; only an echo's tail may be cut at the end."""
    start = round(planned.lead_s * LINE_RATE_HZ)
    part = speech[: samples - start]
    clip = np.zeros(samples, np.float32)
    clip[start : start + part.size] = part
    return clip


def _background(planned: PlannedClip, samples: int, rng: np.random.Generator) -> Samples:
    """A window of the take, mean square 1."""
    whole = take(planned.clip.background, planned.take_seed)
    start = int(rng.integers(0, whole.size - samples + 1))
    window = whole[start : start + samples]
    return window / np.float32(max(float(np.sqrt(np.mean(window**2))), 1e-3))


def render(planned: PlannedClip) -> CodeWords:
    """The clip's mu-law code words (duration * 8000,), from its seed alone."""
    clip = planned.clip
    rng = np.random.default_rng(clip.seed)
    samples = round(clip.duration_s * LINE_RATE_HZ)
    speech = _spoken(planned)
    level = from_db(clip.level_dbfs or 0.0)
    speech = speech * np.float32(level / active_rms(speech))
    if clip.echo_s is not None:
        speech = echoed(speech, clip.echo_s, rng)
    mixed = _placed(speech, planned, samples)
    noise_level = level * from_db(-(clip.snr_db or 0.0))
    mixed += np.float32(noise_level) * _background(planned, samples, rng)
    if clip.overdrive_db is not None:
        mixed = overdriven(mixed, clip.overdrive_db)
    return telephone(mixed, band_limited=bool(rng.uniform() < BAND_LIMITED_SHARE))


def render_to(folder: Path, planned: PlannedClip) -> None:
    """Write the clip below `folder`, unless it is there."""
    path = folder / planned.clip.path
    if not path.exists():
        write_mulaw(path, render(planned))
