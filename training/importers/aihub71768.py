"""AI Hub 71768, real 119 calls: each conversation cut into clips with the words spoken in them.

The published description names the fields and not their values: a level, speaker or category that is not known is
reported, never guessed, and the options below say which values mean what.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Hashable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

from preprocess_service.features.audio import SHORTEST_S
from training.importers.findings import BadItem, Finding, Findings
from training.importers.labels import list_of, read_label, stretch_s, text_of, time_of, unit_s
from training.importers.pairing import Pair, pair, part_of
from training.importers.parallel import each
from training.importers.pieces import Piece, Utterance, cut
from training.importers.tree import FoundFile, find_files
from training.importers.wav_header import LONGEST_S, WavHeader, read_wav_header
from training.manifest import Clip, Label

SOURCE: Final = "aihub71768"
DEFAULT_MAX_S: Final = 7.0  # the window of most models
# 구조 is a rescue of any sort, and an urgent call filed under 기타 is of no named sort: the one kind of AI Hub 170 that
# claims nothing is a call for help.
KIND_OF_CATEGORY: Final = {"화재": "화재", "구급": "응급의료", "구조": "도움요청", "기타": "도움요청"}
NORMAL_CATEGORY: Final = "기타"
_FOLDER: Final = re.compile(r"[TV][SL]_(?:(?P<region>.+?)_)?(?P<category>[^_\d][^_]*)(?:_\d+)?")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one conversation gave."""

    clips: tuple[Clip, ...]
    problems: tuple[Finding, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Call:
    """What all clips of a conversation share."""

    files: Pair
    header: WavHeader
    label: Label
    kind: str
    record_id: str
    gender: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What counts as an emergency, who is the caller, and how long a clip may be."""
    parser.add_argument("--label-by", choices=("urgency", "folder"), default="urgency", help="(default: %(default)s)")
    parser.add_argument("--emergency-levels", type=_values, default=("상", "중"), metavar="V,V", help="default: 상,중")
    parser.add_argument("--normal-levels", type=_values, default=("하",), metavar="V,V", help="default: 하")
    parser.add_argument("--caller-only", action="store_true", help="leave out what the 119 side says")
    parser.add_argument("--callers", type=_values, default=("신고자", "caller"), metavar="V,V", help="their `speaker`")
    parser.add_argument("--max-s", type=_seconds, default=DEFAULT_MAX_S, help="of a clip (default: %(default)s)")


def _values(text: str) -> tuple[str, ...]:
    return tuple(text_of(value) for value in text.split(","))


def _seconds(text: str) -> float:
    seconds = float(text)
    if not 1 <= seconds <= LONGEST_S:
        raise argparse.ArgumentTypeError(f"{text} must be 1 to {LONGEST_S:g} seconds")
    return seconds


def read(root: Path, arguments: argparse.Namespace, findings: Findings) -> list[Clip]:
    """The clips of every conversation below `root` that has recording and label, all in split "train"."""
    wavs, labels = find_files(root, (".wav", ".json"), findings)
    pairs = pair(wavs, labels, _key, _key, findings)
    clips: list[Clip] = []
    for outcome in each(partial(_read_conversation, root, arguments), pairs, arguments.workers, "conversations"):
        clips += outcome.clips
        findings.extend(outcome.problems)
        findings.notes.update(outcome.notes)
    return clips


def _key(file: FoundFile) -> Hashable:
    """Part, region, category and stem: equal for TS_서울_화재/1.wav and TL_서울_화재/1.json."""
    region, category = _region_and_category(file)
    return part_of(file), region, category, file.stem


def _region_and_category(file: FoundFile) -> tuple[str, str]:
    for folder in file.parts[:-1]:
        if match := _FOLDER.fullmatch(folder.removesuffix(".zip")):
            return match["region"] or "", match["category"]
    return "", ""


def _read_conversation(root: Path, arguments: argparse.Namespace, files: Pair) -> Outcome:
    at, notes = files.label.path, []
    try:
        label = read_label(root, files.label.path)
        level = text_of(label.get("urgencyLevel"))
        notes.append(f"calls with urgencyLevel {level or '(none)'}")
        name, kind = _class(arguments, level, files)
        said = list_of(label, "utterances")
        at = files.wav.path
        header = read_wav_header(root, files.wav.path)
        at = files.label.path
        utterances, problems = _utterances(said, header, files.label.path, notes)
        pieces = _pieces(arguments, utterances)
        call = Call(files, header, name, kind, text_of(label.get("recordId")), text_of(label.get("gender")))
    except BadItem as error:
        return Outcome((), (Finding("bad", error.reason, at, error.detail),), tuple(notes))
    clips = []
    for number, piece in enumerate(pieces):
        if piece.end_s - piece.start_s >= SHORTEST_S:
            clips.append(_clip(call, number, piece))
        else:
            reason = f"clip is shorter than {SHORTEST_S} s"
            problems.append(Finding("left out", reason, files.label.path, f"{piece.end_s - piece.start_s:.3f} s"))
    return Outcome(tuple(clips), tuple(problems), tuple(notes))


def _class(arguments: argparse.Namespace, level: str, files: Pair) -> tuple[Label, str]:
    """Label and kind of a call, by its urgency or by its folder; raises BadItem for a value that neither list has."""
    _, category = _region_and_category(files.label)
    if category not in KIND_OF_CATEGORY:
        rule = f"no folder on its path ends in one of {', '.join(KIND_OF_CATEGORY)}"
        raise BadItem("category is unknown", f"{category!r}: {rule}")
    if arguments.label_by == "folder":
        emergency = category != NORMAL_CATEGORY
    elif level in arguments.emergency_levels or level in arguments.normal_levels:
        emergency = level in arguments.emergency_levels
    else:
        known = ",".join((*arguments.emergency_levels, *arguments.normal_levels))
        raise BadItem("urgencyLevel is unknown", f"{level!r} is not in {known}; see --emergency-levels")
    return ("emergency", KIND_OF_CATEGORY[category]) if emergency else ("normal", f"119 {category}")


def _utterances(
    said: list[Any], header: WavHeader, path: str, notes: list[str]
) -> tuple[list[Utterance], list[Finding]]:
    """The utterances that can be placed in the recording, and those that cannot."""
    times, problems = [], []
    for number, entry in enumerate(said):
        try:
            if not isinstance(entry, dict):
                raise BadItem("utterance is not a JSON object", f"{entry!r:.80}")
            start, end = time_of(entry.get("startAt"), "startAt"), time_of(entry.get("endAt"), "endAt")
            times.append((number, entry, start, end))
        except BadItem as error:
            problems.append(Finding("bad", error.reason, f"{path}#{number}", error.detail))
    unit = unit_s([end for _, _, _, end in times], header.duration_s)
    notes.append(f"labels with times in {'seconds' if unit == 1 else 'milliseconds'}")
    utterances = []
    for number, entry, start, end in times:
        try:
            start_s, end_s = stretch_s(start, end, unit, header.duration_s)
            speaker = text_of(entry.get("speaker"))
            utterances.append(Utterance(start_s, end_s, text_of(entry.get("text")), speaker))
        except BadItem as error:
            problems.append(Finding("bad", error.reason, f"{path}#{number}", error.detail))
    return utterances, problems


def _pieces(arguments: argparse.Namespace, utterances: list[Utterance]) -> list[Piece]:
    if not arguments.caller_only:
        return cut(utterances, arguments.max_s)
    speakers = sorted({utterance.speaker for utterance in utterances})
    if utterances and not set(speakers) & set(arguments.callers):
        detail = f"speakers here are {', '.join(map(repr, speakers))}; callers are {','.join(arguments.callers)}"
        raise BadItem("conversation has no known caller", f"{detail}; see --callers")
    return cut(utterances, arguments.max_s, arguments.callers)


def _clip(call: Call, number: int, piece: Piece) -> Clip:
    label_file = call.files.label
    place = "-".join(filter(None, (part_of(label_file).lower(), *_region_and_category(label_file), label_file.stem)))
    return Clip(
        clip_id=f"{SOURCE}-{place}-{number}",
        path=call.files.wav.path,
        text=piece.text,
        label=call.label,
        kind=call.kind,
        split="train",
        duration_s=round(piece.end_s - piece.start_s, 3),
        start_s=piece.start_s,
        end_s=piece.end_s,
        sample_rate_hz=call.header.sample_rate_hz,
        bit_depth=call.header.bit_depth,
        source=SOURCE,
        source_clip=f"{SOURCE}-{call.record_id or place}",
        voice=call.gender,
    )
