"""Corpora of a few short clips, as the loaders leave them: a manifest and recordings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
from numpy.typing import NDArray

from training.manifest import MANIFEST_NAME, SPLITS, Clip, write_manifest

RATE_HZ = 8000
KINDS = {"emergency": "화재", "normal": "실내"}


def speech_like(duration_s: float, seed: int, rate_hz: int = RATE_HZ) -> NDArray[np.float64]:
    """Syllables of a buzzing voice below 3 kHz with a little breath: (n,) around -20 dB of full scale."""
    rng = np.random.default_rng(seed)
    time_s = np.arange(round(duration_s * rate_hz)) / rate_hz
    pitch_hz, syllable_hz = rng.uniform(100, 220), rng.uniform(3, 5)
    harmonics = range(1, int(3000 / pitch_hz))
    heights = rng.uniform(0.2, 1, len(harmonics))
    voice = sum(h * np.sin(2 * np.pi * pitch_hz * n * time_s) for n, h in zip(harmonics, heights, strict=True))
    sound = np.asarray(voice * (0.1 + np.sin(np.pi * syllable_hz * time_s) ** 2))
    return np.asarray(sound / np.abs(sound).max() * 0.4)


def write_corpus(folder: Path, clips_per_class_and_split: int = 4, duration_s: float = 0.5) -> list[Clip]:
    """A class-ordered corpus below `folder`: all emergencies first."""
    (folder / "clips").mkdir(parents=True, exist_ok=True)
    clips: list[Clip] = []
    for label, kind in KINDS.items():
        for split in SPLITS:
            for number in range(clips_per_class_and_split):
                name = f"{label}-{split}-{number}"
                sound = speech_like(duration_s, len(clips))
                soundfile.write(folder / f"clips/{name}.wav", sound, RATE_HZ, subtype="PCM_16")
                text = f"{'불이 났어요 빨리 와 주세요' if label == 'emergency' else '오늘 날씨가 참 좋네요'} {name}"
                clips.append(Clip(name, f"clips/{name}.wav", text, label, kind, split, duration_s))  # type: ignore[arg-type]
    write_manifest(folder / MANIFEST_NAME, clips)
    return clips
