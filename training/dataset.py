"""Clips to the tensors that the service would make of them, computed once and kept on disk."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from rich.console import Console

from preprocess_service.contract import TextSettings
from preprocess_service.features import inputs, mel, text
from preprocess_service.features.audio import Samples
from preprocess_service.model_spec import ModelSpec
from training import feature_store, fingerprint, line, line_store, morpheme_store
from training.feature_store import Channel, Dtype, Treatment, WindowStore
from training.line_store import LineStore, Recording
from training.manifest import (
    LABELS,
    MANIFEST_NAME,
    SPLITS,
    Clip,
    ManifestError,
    Split,
    check_splits,
    normalise_sentence,
    read_manifest,
)
from training.recording_files import audio_root, read_recording

# Padding and unknown included; at the 902 of the published table one word in six is unknown.
VOCABULARY_SIZE: Final = 3000
# Particles, endings and fillers that carry no content; Okt's stems.
_STOP_WORDS: Final = """
은 는 이 가 을 를 의 에 에서 에게 께 와 과 도 로 으로 만 까지 부터 랑 이랑 하고 요 네 예 음 어 저 그 좀 . , ! ? … ~
"""
STOP_WORDS: Final = frozenset(_STOP_WORDS.split())
UNUSABLE: Final = ""  # stands for the split of clips that have no rows
DRAWING_SEED: Final = 20_261_122


@dataclass(frozen=True)
class Corpus:
    """The clips of one manifest and where they lie."""

    folder: Path
    clips: tuple[Clip, ...]

    @cached_property
    def root(self) -> Path:
        return audio_root(self.folder)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the manifest and the mark of every recording, the same for every copy of the corpus."""
        digest = hashlib.sha256((self.folder / MANIFEST_NAME).read_bytes())
        for path, mark in sorted(self._marks.items()):
            digest.update(f"{path}\0{mark}\n".encode())
        return digest.hexdigest()

    @cached_property
    def recordings(self) -> list[Recording]:
        """What to read for every clip (clips,)."""
        marks = self._marks
        return [Recording(clip.clip_id, clip.path, clip.start_s, clip.end_s, marks[clip.path]) for clip in self.clips]

    @property
    def sources(self) -> str:
        return ", ".join(sorted({clip.source or "unnamed" for clip in self.clips}))

    def samples(self, clip: int) -> Samples:
        """A clip as the models hear it: (n,) at 8000 Hz; raises InvalidAudio or OSError where it cannot be used."""
        each = self.clips[clip]
        return line.heard(line.line_code_words(read_recording(self.root, each.path), each.start_s, each.end_s))

    @cached_property
    def _marks(self) -> dict[str, str]:
        return fingerprint.marks(self.root, sorted({clip.path for clip in self.clips}))


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


def read_matched(folder: Path, corpus: Corpus) -> Corpus:
    """Reads test clips that are recorded as the training clips of `corpus` are: raises ManifestError where one has a
    voice or a background that training has not, or a sentence that `corpus` has."""
    path = folder / MANIFEST_NAME
    clips = tuple(read_manifest(path))
    training = [clip for clip in corpus.clips if clip.split == "train"]
    for group in ("speaker_group", "background_group"):
        known = {getattr(clip, group) for clip in training}
        for clip in clips:
            if getattr(clip, group) not in known:
                value = getattr(clip, group)
                raise ManifestError(
                    f"{path}: {clip.clip_id}: {group} {value!r} is in no training clip of {corpus.folder}"
                )
    spoken = {normalise_sentence(each) for clip in corpus.clips for each in (clip.text, clip.spoken_text)} - {""}
    for clip in clips:
        if {normalise_sentence(clip.text), normalise_sentence(clip.spoken_text)} & spoken:
            raise ManifestError(f"{path}: {clip.clip_id}: its sentence is in {corpus.folder}, too")
    return Corpus(folder, clips)


@dataclass(frozen=True)
class Rows:
    """The rows that the service would send for every clip of a corpus, in order of clips."""

    audio: WindowStore  # (windows, *spec.audio.shape), on disk; arrays of windows do as well
    tokens: NDArray[np.int32] | None  # (rows, TOKENS)
    window_of_row: NDArray[np.int64]
    clip_of_row: NDArray[np.int64]
    is_emergency: NDArray[np.bool_]  # (clips,)
    splits: NDArray[np.str_]  # (clips,), UNUSABLE for clips without rows
    augmented: tuple[WindowStore, ...] = ()  # as `audio`, of variants; windows of the training split only

    def rows_of(self, split: Split) -> NDArray[np.int64]:
        """Indices of the split's rows."""
        return np.flatnonzero(self.splits[self.clip_of_row] == split)

    def drawn(self, split: Split, most: int) -> NDArray[np.int64]:
        """At most so many clips of the split that have rows, as `drawn_from` draws them."""
        clips = np.unique(self.clip_of_row[self.rows_of(split)]).astype(np.int64)
        return drawn_from(clips, self.is_emergency[clips], most)

    def labels(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """1 for emergency: (rows,)."""
        return self.is_emergency[self.clip_of_row[rows]].astype(np.float32)


def learn_text_settings(clips: Iterable[Clip], cache: Path | None = None, workers: int = 1) -> TextSettings:
    """The vocabulary of the training split: its most frequent morphemes, ties in the order of the alphabet."""
    clips = [clip for clip in clips if cache or clip.split == "train"]  # all, where they are kept: all will be needed
    words_of_clips = zip(clips, _morphemes([clip.text for clip in clips], STOP_WORDS, cache, workers), strict=True)
    counts = Counter(word for clip, words in words_of_clips if clip.split == "train" for word in words)
    ranked = sorted(counts, key=lambda word: (-counts[word], word))
    return TextSettings(
        tokens=text.TOKENS, vocabulary=tuple(ranked[: VOCABULARY_SIZE - text.FIRST_WORD_ID]), stop_words=STOP_WORDS
    )


def token_ids(
    clips: Sequence[Clip], settings: TextSettings, cache: Path | None = None, workers: int = 1
) -> list[list[int]]:
    """All token ids of every clip's transcript; with a `cache`, morphemes are computed over processes and kept."""
    texts = [clip.text for clip in clips]
    words_of_texts = _morphemes(texts, settings.stop_words, cache, workers)
    return [text.word_ids(words, settings.ids_by_word) for words in words_of_texts]


def _morphemes(
    texts: Sequence[str], stop_words: frozenset[str], cache: Path | None, workers: int
) -> Iterator[list[str]]:
    if cache is None:
        return (text.morphemes(each, stop_words) for each in texts)
    return morpheme_store.morphemes(texts, stop_words, cache, workers)


def load_rows(
    corpus: Corpus,
    spec: ModelSpec,
    text_settings: TextSettings | None,
    cache: Path,
    workers: int,
    variants: int = 0,
    *,
    seed: int = 0,
    channel: Channel = "line",
    splits: Collection[Split] = SPLITS,
    dtype: Dtype = "float32",
    most_clips: int | None = None,
) -> Rows:
    """The corpus as model inputs; what `cache` lacks is computed over processes.

    `augmented` holds `variants` stores of augmented training clips, drawn by `seed`. `channel` and `splits` choose
    what `audio` holds, such as the test split over the shifted channel. Of more than `most_clips` every split keeps its
    share. Clips that cannot be used are left out as `open_lines` says; raises ManifestError as it does.
    """
    lines = open_lines(corpus, cache, workers)
    clip_ids = [clip.clip_id for clip in corpus.clips]
    splits_of_clips = np.array([clip.split if clip.split in splits else UNUSABLE for clip in corpus.clips])
    splits_of_clips[list(lines.bad)] = UNUSABLE
    is_emergency = np.array([clip.label == "emergency" for clip in corpus.clips])
    if most_clips is not None:
        splits_of_clips[~_fewer(splits_of_clips, is_emergency, most_clips)] = UNUSABLE

    def windows(treatment: Treatment, chosen: NDArray[np.bool_]) -> tuple[WindowStore, NDArray[np.int64]]:
        return feature_store.open_windows(lines, clip_ids, chosen, spec, treatment, cache, workers)

    drawn = seed if channel != "line" else 0  # nothing is drawn for the line: its features serve every seed
    audio, lengths = windows(Treatment(channel, 0, drawn, dtype), splits_of_clips != UNUSABLE)
    ids = token_ids(corpus.clips, text_settings, cache, workers) if text_settings else [[] for _ in corpus.clips]
    clip_of_row, window_of_row, tokens = _paired(spec, lengths, ids)
    is_training = np.repeat(splits_of_clips == "train", _windows_of_clips(spec, lengths))
    variants_of_training = [
        windows(Treatment("augmented", variant, seed, dtype), splits_of_clips == "train")[0].spread(is_training)
        for variant in range(1, variants + 1)
    ]
    return Rows(
        audio=audio,
        tokens=tokens if text_settings else None,
        window_of_row=window_of_row,
        clip_of_row=clip_of_row,
        is_emergency=is_emergency,
        splits=splits_of_clips,
        augmented=tuple(variants_of_training),
    )


def _fewer(splits_of_clips: NDArray[np.str_], is_emergency: NDArray[np.bool_], most: int) -> NDArray[np.bool_]:
    """Which clips stay, (clips,), where at most so many of all splits do."""
    kept = np.zeros(len(splits_of_clips), np.bool_)
    share = most / np.count_nonzero(splits_of_clips != UNUSABLE)
    for split in SPLITS:
        clips = np.flatnonzero(splits_of_clips == split)
        kept[drawn_from(clips, is_emergency[clips], max(2, round(share * len(clips))))] = True
    return kept


def open_lines(corpus: Corpus, cache: Path, workers: int) -> LineStore:
    """The clips of a corpus as the models hear them.

    Those that cannot be used are counted on standard error and listed in bad_clips-<fingerprint>.csv in `cache`. Raises
    ManifestError where a split is without a class for want of them.
    """
    lines = line_store.open_line(corpus.root, corpus.recordings, cache, workers)
    path = cache / f"bad_clips-{corpus.fingerprint[:16]}.csv"
    if said := line_store.list_bad_clips(lines.bad, corpus.recordings, path):
        Console(stderr=True).print(said, style="bold yellow", markup=False, soft_wrap=True)
        _check_classes(corpus, lines, path)
    return lines


def _check_classes(corpus: Corpus, lines: LineStore, listed: Path) -> None:
    """Raises ManifestError where all clips of a class are unusable in a split; `listed` names them."""
    all_clips = Counter((clip.split, clip.label) for clip in corpus.clips)
    bad_clips = Counter((corpus.clips[clip].split, corpus.clips[clip].label) for clip in lines.bad)
    for (split, label), count in all_clips.items():
        if bad_clips[split, label] == count:
            reason = f"none of the {count} {label} clips in {split} can be used, {listed} says why"
            raise ManifestError(f"{corpus.folder / MANIFEST_NAME}: {reason}; every split needs both classes")


def _windows_of_clips(spec: ModelSpec, lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.array([len(inputs.windows(spec, int(length))) if length else 0 for length in lengths])


def _paired(
    spec: ModelSpec, lengths: NDArray[np.int64], ids: Sequence[list[int]]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int32]]:
    """Clip (rows,), window (rows,) and tokens (rows, TOKENS) of every row."""
    windows, clip_of_row, window_of_row = 0, [], []
    tokens = [np.empty((0, text.TOKENS), np.int32)]
    for clip in np.flatnonzero(lengths):
        n_samples, clip_ids = int(lengths[clip]), ids[int(clip)]
        starts = {start: windows + at for at, (start, _) in enumerate(inputs.windows(spec, n_samples))}
        rows = inputs.rows(spec, n_samples, len(clip_ids))
        clip_of_row += [int(clip)] * len(rows)
        window_of_row += [starts[row.start] for row in rows]
        if spec.tokens:
            tokens.append(np.stack([text.last_tokens(clip_ids[: row.ids_end]) for row in rows]))
        windows += len(starts)
    return np.array(clip_of_row), np.array(window_of_row), np.concatenate(tokens)


def drawn_from(clips: NDArray[np.int64], is_emergency: NDArray[np.bool_], most: int) -> NDArray[np.int64]:
    """At most so many of these clips in order, half of either class as far as there are so many; always the same."""
    if len(clips) <= most:
        return clips
    random = np.random.default_rng(DRAWING_SEED)
    halves = [random.permutation(clips[is_emergency == wanted])[: most // 2] for wanted in (True, False)]
    return np.sort(np.concatenate(halves))


def silent_window(spec: ModelSpec) -> NDArray[np.float32]:
    """The audio tensor of a window without any sound: (*shape)."""
    return inputs.audio_feature(spec, np.zeros(round(spec.window_s * mel.SAMPLE_RATE_HZ), np.float32))
