"""Clips to the tensors that the service would make of them, computed once and kept on disk."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.progress import track

from preprocess_service.contract import TextSettings, feature_settings
from preprocess_service.errors import InvalidAudio
from preprocess_service.features import inputs, mel, text
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, AudioFormat, Samples, decode, resample
from preprocess_service.model_spec import ModelSpec
from training.manifest import LABELS, MANIFEST_NAME, SPLITS, Clip, ManifestError, Split, check_splits, read_manifest

LONGEST_CLIP_S: Final = 1800.0
CLIPS_PER_TASK: Final = 32
VOCABULARY_SIZE: Final = 902  # padding and unknown included
# Particles, endings and fillers that carry no content; Okt's stems.
_STOP_WORDS: Final = """
은 는 이 가 을 를 의 에 에서 에게 께 와 과 도 로 으로 만 까지 부터 랑 이랑 하고 요 네 예 음 어 저 그 좀 . , ! ? … ~
"""
STOP_WORDS: Final = frozenset(_STOP_WORDS.split())


@dataclass(frozen=True)
class Corpus:
    """The clips of one manifest and where they lie."""

    folder: Path
    clips: tuple[Clip, ...]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the manifest and the bytes of every clip."""
        digest = hashlib.sha256((self.folder / MANIFEST_NAME).read_bytes())
        for clip in self.clips:
            digest.update(hashlib.sha256((self.folder / clip.path).read_bytes()).digest())
        return digest.hexdigest()

    @property
    def sources(self) -> str:
        return ", ".join(sorted({clip.source or "unnamed" for clip in self.clips}))


def read_corpus(folder: Path) -> Corpus:
    """Reads `folder`/manifest.csv; raises ManifestError where it breaks a rule or a split lacks a class, SplitError
    where two splits share what they must not."""
    clips = tuple(read_manifest(folder / MANIFEST_NAME))
    check_splits(clips)
    there = {(clip.split, clip.label) for clip in clips}
    for split, label in product(SPLITS, LABELS):
        if (split, label) not in there:
            raise ManifestError(f"{folder / MANIFEST_NAME}: no {label} clip in {split}; every split needs both classes")
    return Corpus(folder, clips)


@dataclass(frozen=True)
class Rows:
    """The rows that the service would send for every clip of a corpus, in order of clips."""

    audio: NDArray[np.float32]  # (windows, *spec.audio.shape), a memory map
    tokens: NDArray[np.int32] | None  # (rows, TOKENS)
    window_of_row: NDArray[np.int64]
    clip_of_row: NDArray[np.int64]
    is_emergency: NDArray[np.bool_]  # (clips,)
    splits: NDArray[np.str_]  # (clips,)

    def rows_of(self, split: Split) -> NDArray[np.int64]:
        """Indices of the split's rows."""
        return np.flatnonzero(self.splits[self.clip_of_row] == split)

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """1 for emergency: (rows,)."""
        return self.is_emergency[self.clip_of_row[rows]].astype(np.float32)


def load_waveform(path: Path) -> Samples:
    """A clip as the models hear it: samples (n,) at 22,050 Hz; raises InvalidAudio naming the file."""
    try:
        telephone = decode(path.read_bytes(), AudioFormat(), LONGEST_CLIP_S)
    except InvalidAudio as error:
        raise InvalidAudio(f"{path}: {error}") from error
    return resample(telephone, TELEPHONE_RATE_HZ, mel.SAMPLE_RATE_HZ)


def learn_text_settings(clips: Iterable[Clip]) -> TextSettings:
    """The vocabulary of the training split: its most frequent morphemes, ties in the order of the alphabet."""
    counts = Counter(word for clip in clips if clip.split == "train" for word in text.morphemes(clip.text, STOP_WORDS))
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return TextSettings(
        tokens=text.TOKENS, vocabulary=tuple(ranked[: VOCABULARY_SIZE - text.FIRST_WORD_ID]), stop_words=STOP_WORDS
    )


def token_ids(clips: Sequence[Clip], settings: TextSettings) -> list[list[int]]:
    """All token ids of every clip's transcript."""
    return [text.word_ids(text.morphemes(clip.text, settings.stop_words), settings.ids_by_word) for clip in clips]


def load_rows(corpus: Corpus, spec: ModelSpec, text_settings: TextSettings | None, cache: Path, workers: int) -> Rows:
    """The corpus as model inputs; audio features come from `cache` where they are there already."""
    folder = cached_audio(corpus, spec, cache, workers)
    samples_of_clip = np.load(folder / "samples.npy")
    ids = token_ids(corpus.clips, text_settings) if text_settings else [[] for _ in corpus.clips]
    windows, clip_of_row, window_of_row, tokens = 0, [], [], []
    for clip, (n_samples, clip_ids) in enumerate(zip(samples_of_clip, ids, strict=True)):
        starts = {start: windows + at for at, (start, _) in enumerate(inputs.windows(spec, int(n_samples)))}
        for row in inputs.rows(spec, int(n_samples), len(clip_ids)):
            clip_of_row.append(clip)
            window_of_row.append(starts[row.start])
            tokens.append(text.last_tokens(clip_ids[: row.ids_end]))
        windows += len(starts)
    return Rows(
        audio=np.load(folder / "audio.npy", mmap_mode="r"),
        tokens=np.stack(tokens) if text_settings else None,
        window_of_row=np.array(window_of_row),
        clip_of_row=np.array(clip_of_row),
        is_emergency=np.array([clip.label == "emergency" for clip in corpus.clips]),
        splits=np.array([clip.split for clip in corpus.clips]),
    )


def cached_audio(corpus: Corpus, spec: ModelSpec, cache: Path, workers: int) -> Path:
    """The folder with audio.npy (windows, *shape) and samples.npy (clips,), made if it is not there.

    Features are computed over processes and appear under their name only when complete.
    """
    settings = feature_settings(spec).model_dump_json()
    key = hashlib.sha256((f"{corpus.fingerprint}{settings}{spec.hop_s}{_feature_code()}").encode()).hexdigest()
    folder = cache / f"{spec.audio.name}-{key[:16]}"
    if folder.exists():
        return folder
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    partial.mkdir(parents=True)
    try:
        _write_audio(corpus, spec, partial, workers)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def _feature_code() -> str:
    """A digest of the code behind the features: other code may round otherwise."""
    digest = hashlib.sha256()
    for path in sorted(Path(inputs.__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _write_audio(corpus: Corpus, spec: ModelSpec, folder: Path, workers: int) -> None:
    paths = [corpus.folder / clip.path for clip in corpus.clips]
    tasks = [paths[start : start + CLIPS_PER_TASK] for start in range(0, len(paths), CLIPS_PER_TASK)]
    raw, samples_of_clip, windows = folder / "audio.raw", [], 0
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool, raw.open("wb") as file:
        results = pool.map(_audio_features, [spec.name] * len(tasks), tasks)
        for counts, features in track(results, f"{spec.audio.name} features", total=len(tasks)):
            samples_of_clip += counts
            windows += len(features)
            features.tofile(file)
    audio = np.memmap(raw, np.float32, "r", shape=(windows, *spec.audio.shape))
    np.save(folder / "audio.npy", audio)
    raw.unlink()
    np.save(folder / "samples.npy", np.array(samples_of_clip))


def _audio_features(model: str, paths: Sequence[Path]) -> tuple[list[int], NDArray[np.float32]]:
    from preprocess_service.model_spec import model_spec

    spec = model_spec(model)
    counts, features = [], []
    for path in paths:
        samples = load_waveform(path)
        counts.append(len(samples))
        features += [
            inputs.audio_feature(spec, samples[start:end]) for start, end in inputs.windows(spec, len(samples))
        ]
    return counts, np.stack(features)
