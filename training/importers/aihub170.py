"""AI Hub 170, emergency voice and sound: one clip an annotation; 14 emergency classes and two normal ones."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final

from preprocess_service.features.audio import SHORTEST_S
from training.importers.findings import BadItem, Finding, Findings
from training.importers.labels import list_of, read_label, stretch_s, text_of, time_of, unit_s
from training.importers.pairing import Pair, pair, part_of
from training.importers.parallel import each
from training.importers.tree import FoundFile, find_files, nfc
from training.importers.wav_header import WavHeader, read_wav_header
from training.manifest import EMERGENCY_KINDS, Clip

SOURCE: Final = "aihub170"
NORMAL_CLASSES: Final = ("실내", "실외")
ALIASES: Final = {"간헐": "갇힘", "태풍/강풍": "태풍-강풍"}
LABEL_SUFFIX: Final = "_label"  # 8.전기사고_226549.json belongs to 8.전기사고_226549_label.wav
UNITS: Final = {1.0: "labels with times in seconds", 0.001: "labels with times in milliseconds"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What stands for a speaker, whom this corpus does not name."""
    voice = "voice: clips of one gender, generation and dialect stay in one split"
    parser.add_argument("--group-by", choices=("none", "voice"), default="none", help=f"{voice} (default: %(default)s)")


def read(root: Path, arguments: argparse.Namespace, findings: Findings) -> list[Clip]:
    """Every annotation below `root` that has its recording, all in split "train"."""
    wavs, labels = find_files(root, (".wav", ".json"), findings)
    pairs = pair(wavs, labels, _wav_key, lambda file: (part_of(file), file.stem), findings)
    clips: list[Clip] = []
    read_pair = partial(_read_pair, root, arguments.group_by == "voice")
    for found, problems, unit in each(read_pair, pairs, arguments.workers, "labels"):
        clips += found
        findings.extend(problems)
        if unit:
            findings.notes[UNITS[unit]] += 1
    if arguments.group_by == "voice" and (ungrouped := sum(not clip.speaker_group for clip in clips)):
        findings.notes["clips of unknown voice, in no speaker group"] += ungrouped
    return clips


def _wav_key(file: FoundFile) -> tuple[str, str]:
    return part_of(file), file.stem.removesuffix(LABEL_SUFFIX)


def _read_pair(root: Path, by_voice: bool, files: Pair) -> tuple[list[Clip], list[Finding], float | None]:
    """The clips of one recording, what of it was not taken, and the unit of its times."""
    clips, problems, at = [], [], files.label.path
    try:
        annotations = list_of(read_label(root, files.label.path), "annotations")
        at = files.wav.path
        header = read_wav_header(root, files.wav.path)
        at = files.label.path
        unit = unit_s(list(_ends(annotations)), header.duration_s)
    except BadItem as error:
        return [], [Finding("bad", error.reason, at, error.detail)], None
    for number, annotation in enumerate(annotations):
        try:
            clip = _clip(files, number, annotation, unit, header)
            clips.append(replace(clip, speaker_group=_voice_group(annotation)) if by_voice else clip)
        except BadItem as error:
            problems.append(Finding("bad", error.reason, f"{files.label.path}#{number}", error.detail))
    return clips, problems, unit


def _ends(annotations: list[Any]) -> Iterator[float]:
    """The ends that can be read; an annotation without one is reported when its clip is made."""
    for annotation in annotations:
        try:
            yield time_of(_member(annotation, "area").get("end"), "area.end")
        except BadItem:
            continue


def _member(annotation: object, key: str) -> dict[str, Any]:
    value = annotation.get(key) if isinstance(annotation, dict) else None
    if not isinstance(value, dict):
        raise BadItem(f"annotation has no {key}", f"{key} is {value!r:.80}")
    return value


def _clip(files: Pair, number: int, annotation: dict[str, Any], unit: float, header: WavHeader) -> Clip:
    area, kind = _member(annotation, "area"), _class(_member(annotation, "categories"))
    start, end = time_of(area.get("start"), "area.start"), time_of(area.get("end"), "area.end")
    start_s, end_s = stretch_s(start, end, unit, header.duration_s)
    if end_s - start_s < SHORTEST_S:
        raise BadItem(f"stretch is shorter than {SHORTEST_S} s", f"{end_s - start_s:.3f} s")
    recording = f"{SOURCE}-{part_of(files.label).lower() or 'all'}-{files.label.stem}"
    return Clip(
        clip_id=f"{recording}-{number}",
        path=files.wav.path,
        text=text_of(annotation.get("note")),
        label="normal" if kind in NORMAL_CLASSES else "emergency",
        kind=kind,
        split="train",
        duration_s=round(end_s - start_s, 3),
        start_s=start_s,
        end_s=end_s,
        sample_rate_hz=header.sample_rate_hz,
        bit_depth=header.bit_depth,
        source=SOURCE,
        source_clip=recording,
        voice="/".join(filter(None, _voice(annotation))),
        audio_type=text_of(annotation.get("audioType")),
    )


def _voice(annotation: dict[str, Any]) -> list[str]:
    return [text_of(annotation.get(key)) for key in ("gender", "generation", "dialect")]


def _voice_group(annotation: dict[str, Any]) -> str:
    """The speaker group by voice; "" where a part is missing, since the speaker may be of any group then."""
    voice = _voice(annotation)
    return f"{SOURCE}-{'/'.join(voice)}" if all(voice) else ""


def _class(categories: dict[str, Any]) -> str:
    name = nfc(str(categories.get("category_02"))).strip()
    kind = ALIASES.get(name, name)
    if kind not in EMERGENCY_KINDS and kind not in NORMAL_CLASSES:
        raise BadItem("class is unknown", f"category_02 is {categories.get('category_02')!r:.80}")
    return kind
