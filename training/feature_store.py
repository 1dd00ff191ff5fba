"""Feature windows on disk, in shards read at random through memory maps.

A shard holds `audio.npy` (windows, *shape) and `samples.npy` (clips,), the clips' lengths at 22,050 Hz, 0 for a clip
that has no windows here. Its name is a digest of the clips, the settings and the code that it is made from, so a corpus
that grows keeps the shards it has, and 3,500 hours need no index but two numbers a window.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from preprocess_service.contract import feature_settings
from preprocess_service.features import inputs, mel
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, Samples, resample
from preprocess_service.model_spec import ModelSpec
from training import augmentation, impairments, line, shards
from training.line_store import CLIPS_PER_SHARD, LineStore, shard_code_words
from training.synthetic import backgrounds, telephone

Channel = Literal["line", "augmented", "shifted"]
Dtype = Literal["float32", "float16"]

OPEN_SHARDS: Final = 256  # each holds a file open
_RECIPES: Final[dict[Channel, Callable[[Samples, np.random.Generator], Samples]]] = {
    "line": lambda samples, _: samples,
    "augmented": augmentation.augmented,
    "shifted": augmentation.shifted_channel,
}


@dataclass(frozen=True)
class Treatment:
    """What is done to a clip before its features are computed; `variant` and `seed` tell repetitions apart."""

    channel: Channel = "line"
    variant: int = 0
    seed: int = 0
    dtype: Dtype = "float32"  # on disk; float16 halves it, at a resolution of 0.06 dB around -80 dB


@dataclass(frozen=True)
class WindowStore:
    """Windows that lie in shards, indexed like an array: by an integer, a slice, a mask or an array of integers."""

    name: str  # the tensor's
    window_shape: tuple[int, ...]
    folders: tuple[Path, ...]
    shard: NDArray[np.int32]  # (windows,) index into `folders`
    place: NDArray[np.int32]  # (windows,) index into the shard; -1 where there is no such window

    def __len__(self) -> int:
        return len(self.shard)

    @property
    def shape(self) -> tuple[int, ...]:
        return (len(self), *self.window_shape)

    def __getitem__(self, index: int | slice | NDArray[np.int64] | NDArray[np.bool_]) -> NDArray[np.float32]:
        """Copies of windows (…, *window_shape) float32; raises IndexError for windows that were never computed."""
        windows = self.take(np.atleast_1d(np.arange(len(self))[index]))
        return windows[0] if isinstance(index, (int, np.integer)) else windows

    def take(self, indices: NDArray[np.int64]) -> NDArray[np.float32]:
        """Copies of the windows of those indices (n,), in their order, repeats allowed: (n, *window_shape) float32."""
        windows = np.empty((len(indices), *self.window_shape), np.float32)
        shard, place = self.shard[indices], self.place[indices]
        if len(place) and place.min() < 0:
            missing = int(np.asarray(indices)[np.argmin(place)])
            raise IndexError(f"window {missing} is of a clip that this store was not made for")
        order = np.lexsort((place, shard))
        for group in np.split(order, np.flatnonzero(np.diff(shard[order])) + 1):
            if len(group):
                windows[group] = _mapped(self.folders[shard[group[0]]])[place[group]]
        return windows

    def select(self, indices: NDArray[np.int64]) -> WindowStore:
        """A view of some windows in another order, nothing copied."""
        return replace(self, shard=self.shard[indices], place=self.place[indices])

    def spread(self, present: NDArray[np.bool_]) -> WindowStore:
        """A view that has these windows where `present` (n,) says so, and none elsewhere."""
        shard, place = np.zeros(len(present), np.int32), np.full(len(present), -1, np.int32)
        shard[present], place[present] = self.shard, self.place
        return replace(self, shard=shard, place=place)


def put_windows(folder: Path, name: str, windows: NDArray[np.float32]) -> WindowStore:
    """A store of one shard below `folder` that holds these windows (n, *shape) of a tensor of that name."""
    with shards.new_shard(
        folder, shard := shards.digest(name, windows.shape, hashlib.sha256(windows.tobytes()).hexdigest())
    ) as at:
        np.save(at / "audio.npy", windows)
    place = np.arange(len(windows), dtype=np.int32)
    return WindowStore(name, windows.shape[1:], (folder / shard,), np.zeros_like(place), place)


@lru_cache(maxsize=OPEN_SHARDS)
def _mapped(folder: Path) -> NDArray[Any]:
    mapped: NDArray[Any] = np.load(folder / "audio.npy", mmap_mode="r")
    return mapped


@dataclass(frozen=True)
class _Job:
    line_shard: Path
    clip_ids: tuple[str | None, ...]  # None for a clip that is left out
    spec: ModelSpec
    treatment: Treatment

    def __len__(self) -> int:
        return sum(clip_id is not None for clip_id in self.clip_ids)


def open_windows(
    lines: LineStore,
    clip_ids: list[str],
    chosen: NDArray[np.bool_],
    spec: ModelSpec,
    treatment: Treatment,
    cache: Path,
    workers: int,
) -> tuple[WindowStore, NDArray[np.int64]]:
    """The windows of the chosen clips (clips,), in order, made as far as `cache` lacks them, and the length of every
    clip in samples at 22,050 Hz (clips,): 0 for clips not chosen and clips that cannot be used."""
    folder = cache / f"{spec.audio.name}-{treatment.channel}-{_settings(spec, treatment)}"
    jobs = {}
    for index, line_shard in enumerate(lines.folders):
        clips = range(index * CLIPS_PER_SHARD, min((index + 1) * CLIPS_PER_SHARD, len(lines)))
        ids = tuple(clip_ids[clip] if chosen[clip] and lines.lengths[clip] else None for clip in clips)
        # The folder of the line names the code that made it.
        made_from = f"{line_shard.parent.name}/{line_shard.name}"
        jobs[shards.digest(folder.name, made_from, ids)] = _Job(line_shard, ids, spec, treatment)
    shards.fill(folder, jobs, _write, workers, _title(spec, treatment))
    folders = tuple(folder / name for name in jobs)
    samples = [np.load(each / "samples.npy") for each in folders]
    counts = [sum(len(inputs.windows(spec, int(n))) for n in each if n) for each in samples]
    shard = np.repeat(np.arange(len(folders), dtype=np.int32), counts)
    place = np.concatenate([np.arange(count, dtype=np.int32) for count in counts])
    return WindowStore(spec.audio.name, spec.audio.shape, folders, shard, place), np.concatenate(samples)


def derive(
    source: WindowStore,
    folder: Path,
    compute: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    batch_size: int,
    title: str,
) -> WindowStore:
    """The store of `compute(windows)` for every window, such as a frozen network's output, made in this process.

    `folder` must be another one for another `compute`. Shards that are there are kept; windows keep their indices.
    """
    folders = tuple(folder / each.name for each in source.folders)
    missing = [(made, each) for made, each in zip(folders, source.folders, strict=True) if not made.is_dir()]
    for made, each in track(missing, title, console=Console(stderr=True), disable=not missing):
        _derive_shard(each, made, compute, batch_size)
    first = np.flatnonzero(source.place >= 0)[0]
    return replace(source, folders=folders, window_shape=_mapped(folders[source.shard[first]]).shape[1:])


def _derive_shard(
    source: Path, made: Path, compute: Callable[[NDArray[np.float32]], NDArray[np.float32]], batch_size: int
) -> None:
    windows = np.load(source / "audio.npy", mmap_mode="r")
    starts = range(0, len(windows), batch_size)
    results = (compute(np.asarray(windows[start : start + batch_size], np.float32)) for start in starts)
    with shards.new_shard(made.parent, made.name) as partial:
        first = next(results, np.empty((0,), np.float32))
        with shards.ArrayFile(partial / "audio.npy", first.shape[1:], np.dtype(np.float32)) as file:
            file.append(first)
            for result in results:
                file.append(result)


def _settings(spec: ModelSpec, treatment: Treatment) -> str:
    feature_code = Path(inputs.__file__).parent.glob("*.py")
    recipe_code = [Path(module.__file__ or "") for module in (augmentation, impairments, line, backgrounds, telephone)]
    code = [*feature_code, *(recipe_code if treatment.channel != "line" else ())]
    settings = feature_settings(spec).model_dump_json()
    return shards.digest(settings, spec.audio, spec.hop_s, treatment, shards.code_digest(*code))[:16]


def _title(spec: ModelSpec, treatment: Treatment) -> str:
    return f"{spec.audio.name} features" + ("" if treatment.channel == "line" else f", {treatment.channel} channel")


def _write(job: _Job, folder: Path) -> None:
    samples_of_clip = np.zeros(len(job.clip_ids), np.int64)
    shape, dtype = job.spec.audio.shape, np.dtype(job.treatment.dtype)
    with shards.ArrayFile(folder / "audio.npy", shape, dtype) as file:
        for position, clip_id in enumerate(job.clip_ids):
            if clip_id is None:
                continue
            samples = _treated(shard_code_words(job.line_shard, position), clip_id, job.treatment)
            samples_of_clip[position] = len(samples)
            for start, end in inputs.windows(job.spec, len(samples)):
                file.append(inputs.audio_feature(job.spec, samples[start:end])[np.newaxis])
    np.save(folder / "samples.npy", samples_of_clip)


def _treated(code_words: NDArray[np.uint8], clip_id: str, treatment: Treatment) -> Samples:
    """Samples (n,) at 22,050 Hz."""
    rng = augmentation.clip_rng(clip_id, treatment.channel, treatment.variant, treatment.seed)
    telephone_samples = _RECIPES[treatment.channel](line.heard(code_words), rng)
    return resample(telephone_samples, TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)
