"""`python -m training features`: computes features ahead of training, or measures how fast this machine would be.

The measurement counts CPU time of one process a core, all at once, so that it holds while every core is busy.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
import soxr
from rich.console import Console
from rich.table import Table

from preprocess_service.errors import ModelNotFound
from preprocess_service.features import inputs, mel
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, Samples, resample
from preprocess_service.model_spec import MODELS, ModelSpec, model_spec
from training import line
from training.augmentation import augmented, clip_rng
from training.dataset import Corpus, learn_text_settings, load_rows, read_corpus
from training.line_store import Recording
from training.pipeline import quiet_tensorflow
from training.recording_files import read_recording

ROUNDS: Final = 5
PLANNED_HOURS: Final = 3500  # of AI Hub 170
WIDE_BAND_HZ: Final = 44_100  # what most of it comes in, at 32 bit
PLANNED_CORES: Final = 16
TRAINING_SHARE: Final = 0.75
LINE: Final = "clips to the line"
WIDE: Final = f"clips to the line, {WIDE_BAND_HZ / 1000} kHz 32 bit"
AUGMENTED: Final = "augmented variant"

Seconds = dict[str, float]


@dataclass(frozen=True)
class Speeds:
    """What one core does: CPU seconds a clip by stage, and what a clip is on average."""

    clips: int
    cores: int
    seconds: Seconds  # stage to median CPU seconds a clip
    clip_s: float  # length of a clip on the line
    windows: dict[str, float]  # audio tensor to windows a clip
    specs: tuple[ModelSpec, ...]

    def planned_h(self, spec: ModelSpec, cores: int) -> float:
        """Hours of work for the features of PLANNED_HOURS of wide-band recordings."""
        return self._planned_clips() * (self.seconds[WIDE] + self.seconds[spec.audio.name]) / cores / 3600

    def planned_variant_h(self, spec: ModelSpec, cores: int) -> float:
        """The same for one augmented variant of the training split, from the line."""
        per_clip_s = self.seconds[AUGMENTED] + self.seconds[spec.audio.name]
        return TRAINING_SHARE * self._planned_clips() * per_clip_s / cores / 3600

    def planned_gb(self, spec: ModelSpec) -> float:
        """Gigabytes on disk of the same in float32."""
        window_bytes = 4 * int(np.prod(spec.audio.shape))
        return self._planned_clips() * self.windows[spec.audio.name] * window_bytes / 1e9

    def _planned_clips(self) -> float:
        return PLANNED_HOURS * 3600 / self.clip_s


def run(arguments: argparse.Namespace) -> int:
    """Computes the features of the chosen models ahead, or measures with `--measure`; 0 fine, 2 for unknown models."""
    console = Console(width=None if sys.stdout.isatty() else 110)  # tables stay readable in a log file, too
    try:
        chosen = [model_spec(name) for name in arguments.models or MODELS]
    except ModelNotFound as error:
        console.print(str(error), style="red", markup=False)
        return 2
    corpus = read_corpus(arguments.data)
    specs = by_tensor(chosen)
    if arguments.measure:
        show(measure(corpus, specs, arguments.measure, os.cpu_count() or 1), console)
        return 0
    if any(spec.tokens for spec in chosen):
        learn_text_settings(corpus.clips, arguments.cache, arguments.workers)
    with quiet_tensorflow():  # workers do without
        from training.recipes import RECIPES
    for spec in specs:
        variants = 0 if RECIPES[spec.name].base else arguments.variants
        rows = load_rows(
            *(corpus, spec, None, arguments.cache, arguments.workers, variants),
            seed=arguments.seed,
            dtype=arguments.dtype,
        )
        used = len(np.unique(rows.clip_of_row))
        console.print(f"{spec.audio.name}: {len(rows.audio)} windows of {used} clips, {variants} variants")
    return 0


def by_tensor(specs: Sequence[ModelSpec]) -> tuple[ModelSpec, ...]:
    """One model for every audio tensor: the others share its features."""
    first: dict[str, ModelSpec] = {}
    for spec in specs:
        first.setdefault(spec.audio.name, spec)
    return tuple(first.values())


def measure(corpus: Corpus, specs: tuple[ModelSpec, ...], clips: int, cores: int) -> Speeds:
    """Measures `clips` clips of the corpus in `cores` processes at once: the median of ROUNDS rounds of every process,
    the stages in turn."""
    recordings = corpus.recordings[:clips]
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_rounds, corpus.root, recordings, specs) for _ in range(cores)]
        measured = [job.result() for job in jobs]
    rounds = [each for _, _, seconds in measured for each in seconds]
    medians = {stage: statistics.median(each[stage] for each in rounds) for stage in rounds[0]}
    clip_s, windows, _ = measured[0]
    return Speeds(len(recordings), cores, medians, clip_s, windows, specs)


def _rounds(
    root: Path, recordings: Sequence[Recording], specs: tuple[ModelSpec, ...]
) -> tuple[float, dict[str, float], list[Seconds]]:
    files = [read_recording(root, each.path) for each in recordings]
    words = [line.line_code_words(file, each.start_s, each.end_s) for file, each in zip(files, recordings, strict=True)]
    heard = [line.heard(each) for each in words]
    wide = [_wide_band(each) for each in heard]
    sounds = [_model_rate(each) for each in heard]
    stages: dict[str, Callable[[int], object]] = {
        LINE: lambda at: line.line_code_words(files[at], recordings[at].start_s, recordings[at].end_s),
        WIDE: lambda at: line.line_code_words(wide[at]),
        AUGMENTED: lambda at: augmented(heard[at], clip_rng(recordings[at].clip_id, "augmented", 1, 0)),
    }
    for spec in specs:
        stages[spec.audio.name] = lambda at, spec=spec: _features(spec, heard[at])  # type: ignore[misc]
    rounds = [{name: _cpu_s(stage, len(files)) for name, stage in stages.items()} for _ in range(ROUNDS + 1)]
    windows = {
        spec.audio.name: statistics.mean(len(inputs.windows(spec, len(each))) for each in sounds) for spec in specs
    }
    clip_s = statistics.mean(len(each) for each in words) / TELEPHONE_RATE_HZ
    return clip_s, windows, rounds[1:]  # the first fills caches


def _cpu_s(stage: Callable[[int], object], clips: int) -> float:
    started = time.process_time()
    for clip in range(clips):
        stage(clip)
    return (time.process_time() - started) / clips


def _features(spec: ModelSpec, heard: Samples) -> None:
    samples = _model_rate(heard)
    for start, end in inputs.windows(spec, len(samples)):
        inputs.audio_feature(spec, samples[start:end])


def _model_rate(heard: Samples) -> Samples:
    return resample(heard, TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)


def _wide_band(heard: Samples) -> bytes:
    file = io.BytesIO()
    samples = soxr.resample(heard, TELEPHONE_RATE_HZ, WIDE_BAND_HZ)
    soundfile.write(file, samples, WIDE_BAND_HZ, format="WAV", subtype="PCM_32")
    return file.getvalue()


def show(speeds: Speeds, console: Console) -> None:
    """Prints what was measured and what PLANNED_HOURS would take at that speed."""
    table = Table(title=f"{speeds.clips} clips of {speeds.clip_s:.1f} s on average, median of {ROUNDS} rounds a core")
    for heading in ("one core", "ms a clip", "clips/s"):
        table.add_column(heading, justify="left" if heading == "one core" else "right")
    for stage, seconds in speeds.seconds.items():
        table.add_row(stage, f"{1000 * seconds:.2f}", f"{1 / seconds:.0f}")
    console.print(table)
    table = Table(title=f"{PLANNED_HOURS} hours at {WIDE_BAND_HZ / 1000} kHz, 32 bit, at this speed")
    cores = (speeds.cores, PLANNED_CORES)
    times = [f"{what}, {count} cores" for what in ("all", "variant") for count in cores]
    for heading in ("features", *times, "float32", "float16"):
        table.add_column(heading, justify="left" if heading == "features" else "right")
    for spec in speeds.specs:
        hours = [speeds.planned_h(spec, count) for count in cores]
        hours += [speeds.planned_variant_h(spec, count) for count in cores]
        size_gb = speeds.planned_gb(spec)
        sizes = (f"{each:.0f} GB" for each in (size_gb, size_gb / 2))
        table.add_row(spec.audio.name, *(f"{each:.1f} h" for each in hours), *sizes)
    console.print(table)
    line_gb = PLANNED_HOURS * 3600 * TELEPHONE_RATE_HZ / 1e9
    read_gb = PLANNED_HOURS * 3600 * WIDE_BAND_HZ * 4 / 1e9
    console.print(
        f"CPU time only: the disk has to read {read_gb:.0f} GB once; the line, kept, takes {line_gb:.0f} GB. "
        f"A variant is one augmented repetition of the training split ({TRAINING_SHARE:.0%})."
    )
