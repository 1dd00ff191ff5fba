"""The table of clips that every corpus is brought to, synthetic or real: one CSV row a clip."""

from __future__ import annotations

import csv
import os
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Final, Literal, cast

from training import cells

Label = Literal["emergency", "normal"]
Split = Literal["train", "validation", "test"]

MANIFEST_NAME: Final = "manifest.csv"
LABELS: Final[tuple[Label, ...]] = ("emergency", "normal")
SPLITS: Final[tuple[Split, ...]] = ("train", "validation", "test")
EMERGENCY_KINDS: Final = (
    "강제추행(성범죄)",
    "강도범죄",
    "절도범죄",
    "폭력범죄",
    "화재",
    "갇힘",
    "응급의료",
    "전기사고",
    "가스사고",
    "낙상",
    "붕괴사고",
    "태풍-강풍",
    "지진",
    "도움요청",
)  # AI Hub 170, category_02 without its two normal classes


class ManifestError(ValueError):
    """A manifest that breaks a rule; the message names file, line, value and rule."""


class SplitError(ValueError):
    """Two splits that share what they must not share; the message names the clips and the shared value."""


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip, a stretch of a recording or all of it, and what is known about it.

    Columns after `duration_s` may be absent from a file.
    """

    clip_id: str
    path: str  # POSIX, relative to the audio root (see recording_files); may lead into a zip: "a.zip/b.wav"
    text: str  # the transcript, as a recogniser would hand it over
    label: Label
    kind: str  # one of EMERGENCY_KINDS, or the topic of a normal clip
    split: Split
    duration_s: float  # end_s - start_s
    seed: int = 0
    start_s: float = 0.0
    end_s: float | None = None  # None is the end of the recording
    sample_rate_hz: int | None = None  # of the recording as it lies on disk
    bit_depth: int | None = None  # the same
    source: str = ""  # the corpus
    source_clip: str = ""  # the recording or conversation; no value may occur in two splits; "" is unknown
    speaker_group: str = ""  # no value may occur in two splits; "" is unknown
    background_group: str = ""  # the same
    template_group: str = ""  # sentences of one pattern; splits may share these
    difficulty: str = ""  # "plain" or "hard"
    unseen_template: bool = False  # the pattern occurs in no other split
    transcript_noise: bool = False  # the transcript carries recognition errors
    spoken_text: str = ""  # what was really said; "" where it equals the transcript or is unknown
    voice: str = ""
    rate_wpm: float | None = None
    pitch: float | None = None
    pitch_range: float | None = None
    background: str = ""
    snr_db: float | None = None
    level_dbfs: float | None = None
    echo_s: float | None = None  # RT60; None is no echo
    overdrive_db: float | None = None  # gain into the clipper; None is no clipping
    audio_type: str = ""  # AI Hub 170: what is to be heard
    votes: str = ""  # the raters' judgements, most frequent first: "angry:3 sad:2"
    agreement: float | None = None  # share of the raters that chose the most frequent judgement
    intensities: str = ""  # of each judgement, 0 to 2, in the raters' order: "angry:2,1,1 sad:0,1"


COLUMNS: Final = tuple(field.name for field in fields(Clip))
REQUIRED_COLUMNS: Final = tuple(field.name for field in fields(Clip) if field.default is MISSING)
DURATION_TOLERANCE_S: Final = 0.01  # manifests round to milliseconds


_PARSERS: Final[dict[str, Callable[[str], object]]] = {
    "clip_id": cells.as_required,
    "path": cells.as_relative_path,
    "label": cells.as_one_of(LABELS),
    "kind": cells.as_required,
    "split": cells.as_one_of(SPLITS),
    "seed": cells.as_seed,
    "duration_s": cells.as_duration_s,
    "start_s": cells.as_start_s,
    "end_s": cells.as_number,
    "sample_rate_hz": cells.as_count,
    "bit_depth": cells.as_count,
    "unseen_template": cells.as_flag,
    "transcript_noise": cells.as_flag,
    "rate_wpm": cells.as_number,
    "pitch": cells.as_number,
    "pitch_range": cells.as_number,
    "snr_db": cells.as_number,
    "level_dbfs": cells.as_number,
    "echo_s": cells.as_number,
    "overdrive_db": cells.as_number,
    "agreement": cells.as_share,
}


def _check_header(path: Path, header: Sequence[str]) -> None:
    for column in REQUIRED_COLUMNS:
        if column not in header:
            raise ManifestError(f"{path}, line 1: column {column!r} is missing; it is required")
    for column in header:
        if column not in COLUMNS:
            raise ManifestError(f"{path}, line 1: column {column!r} is not one of {', '.join(COLUMNS)}")
        if header.count(column) > 1:
            raise ManifestError(f"{path}, line 1: column {column!r} occurs twice; a column occurs once")


def _to_clip(path: Path, line: int, row: Mapping[str | None, str | None]) -> Clip:
    if None in row or None in row.values():
        raise ManifestError(f"{path}, line {line}: {row.get(None) or 'too few cells'}: a row has one cell a column")
    values: dict[str, object] = {}
    for column, value in row.items():
        name, cell = cast("str", column), cast("str", value)
        if not cell and name not in REQUIRED_COLUMNS:
            continue  # the column's default
        try:
            values[name] = _PARSERS.get(name, cells.as_text)(cell)
        except ValueError as error:
            raise ManifestError(f"{path}, line {line}: {name} {cell!r} {error}") from None
    clip = Clip(**values)  # type: ignore[arg-type]  # the header check and the parsers make the types
    if (clip.kind in EMERGENCY_KINDS) != (clip.label == "emergency"):
        rule = "an emergency has one of the emergency kinds and a normal clip none of them"
        raise ManifestError(f"{path}, line {line}: kind {clip.kind!r} with label {clip.label!r}: {rule}")
    if clip.end_s is not None and abs(clip.end_s - clip.start_s - clip.duration_s) > DURATION_TOLERANCE_S:
        rule = f"the end is duration_s ({clip.duration_s:g}) after the start"
        raise ManifestError(f"{path}, line {line}: start_s {clip.start_s:g} and end_s {clip.end_s:g}: {rule}")
    return clip


def read_manifest(path: Path) -> list[Clip]:
    """Every clip of a manifest, in file order.

    Raises ManifestError for a bad column or row (naming file, line, value and rule) and OSError for a missing file.
    """
    clips: list[Clip] = []
    lines: dict[str, int] = {}
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        _check_header(path, reader.fieldnames or ())
        for row in reader:
            line = reader.line_num
            clip = _to_clip(path, line, cast("Mapping[str | None, str | None]", row))
            if clip.clip_id in lines:
                first = lines[clip.clip_id]
                raise ManifestError(
                    f"{path}, line {line}: clip_id {clip.clip_id!r} is on line {first} too; ids are unique"
                )
            lines[clip.clip_id] = line
            clips.append(clip)
    return clips


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(int(value))
    return str(value)


def write_manifest(path: Path, clips: Iterable[Clip]) -> None:
    """Write all clips as UTF-8 CSV; the file appears complete or not at all."""
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows([_cell(getattr(clip, column)) for column in COLUMNS] for clip in clips)
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)


def normalise_sentence(text: str) -> str:
    """The letters and digits of a sentence only, NFC and lower case: equal for equal words however they are written."""
    return "".join(char for char in unicodedata.normalize("NFC", text).casefold() if char.isalnum())


def _shared_keys(clip: Clip) -> list[tuple[str, str]]:
    keys = [
        ("sentence", normalise_sentence(clip.text)),
        ("sentence", normalise_sentence(clip.spoken_text)),
        ("source_clip", clip.source_clip),
        ("speaker_group", clip.speaker_group),
        ("background_group", clip.background_group),
    ]
    if clip.unseen_template:
        keys.append(("template_group", clip.template_group))
    return [key for key in keys if key[1]]


def check_splits(clips: Iterable[Clip]) -> None:
    """Raise SplitError where two splits share a sentence, recording, speaker, background or held-out template."""
    owners: dict[tuple[str, str], Clip] = {}
    held_out: dict[str, Clip] = {}
    clips = list(clips)
    for clip in clips:
        if clip.unseen_template:
            held_out.setdefault(clip.template_group, clip)
        for key in _shared_keys(clip):
            owner = owners.setdefault(key, clip)
            if owner.split != clip.split:
                raise _split_error(key, owner, clip)
    for clip in clips:
        holder = held_out.get(clip.template_group)
        if holder is not None and holder.split != clip.split:
            raise _split_error(("template_group", clip.template_group), holder, clip)


def _split_error(key: tuple[str, str], first: Clip, second: Clip) -> SplitError:
    return SplitError(
        f"{key[0]} {key[1]!r} is in clip {first.clip_id} ({first.split}) and clip {second.clip_id} ({second.split}); "
        "splits share none"
    )
