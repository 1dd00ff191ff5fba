"""Features for the probes, of clips as the models hear them and as their files lie on disk."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from rich.progress import track

from preprocess_service.errors import InvalidAudio
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, Samples, resample
from training import line
from training.dataset import Corpus
from training.manifest import Clip
from training.recording_files import read_recording
from training.report import sound
from training.report.intervals import Floats

CLIPS_PER_TASK: Final = 32


@dataclass(frozen=True)
class Heard:
    """Features of clips, one row a clip: the first two of what the models hear, the others of the files."""

    silence: Floats
    high_band: Floats
    silence_of_file: Floats
    file: Floats
    file_band: Floats


def listen(corpus: Corpus, clips: Iterable[int], workers: int) -> Heard:
    """Features of the clips of those indices, over processes; raises InvalidAudio or OSError for an unusable clip."""
    chosen = [corpus.clips[index] for index in clips]
    tasks = [chosen[start : start + CLIPS_PER_TASK] for start in range(0, len(chosen), CLIPS_PER_TASK)]
    work = partial(_features, corpus.root)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        parts = list(track(pool.map(work, tasks), "shortcut features", total=len(tasks)))
    return Heard(*(np.concatenate([part[number] for part in parts]) for number in range(5)))


def _features(root: Path, clips: Sequence[Clip]) -> tuple[Floats, ...]:
    rows = [_features_of(root, clip) for clip in clips]
    return tuple(np.stack(column) for column in zip(*rows, strict=True))


def _features_of(root: Path, clip: Clip) -> tuple[Floats, ...]:
    audio = read_recording(root, clip.path)
    telephone = line.heard(line.line_code_words(audio, clip.start_s, clip.end_s))
    raw, rate_hz = as_stored(audio, clip)
    raw_telephone = resample(raw, rate_hz, TELEPHONE_RATE_HZ)
    return (
        sound.silence(telephone),
        sound.high_band(telephone),
        sound.silence(raw_telephone),
        sound.of_file(audio, clip.duration_s),
        sound.file_band(raw, rate_hz),
    )


def as_stored(audio: bytes, clip: Clip) -> tuple[Samples, int]:
    """The clip's stretch of a file, mono (n,) at the file's own rate in Hz; raises InvalidAudio naming the file."""
    try:
        with soundfile.SoundFile(io.BytesIO(audio)) as file:
            start = round(clip.start_s * file.samplerate)
            end = file.frames if clip.end_s is None else round(clip.end_s * file.samplerate)
            file.seek(min(start, file.frames))
            frames = file.read(max(1, end - start), dtype="float32", always_2d=True)
            return frames.mean(axis=1), file.samplerate
    except soundfile.LibsndfileError as error:
        raise InvalidAudio(f"{clip.path}: the file cannot be decoded: {error.error_string.strip()}") from error
