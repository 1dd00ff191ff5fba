"""AI Hub 263, emotional speech: one clip a row, all of them normal, the emotion by the votes of five raters."""

from __future__ import annotations

import argparse
import csv
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from training.importers.findings import BadItem, Finding, Findings, ImportFailed
from training.importers.labels import text_of
from training.importers.parallel import each
from training.importers.tree import FoundFile, find_files, nfc
from training.importers.votes import EMOTIONS, RATERS, RULES, Votes, decide, read_votes
from training.importers.wav_header import read_wav_header
from training.manifest import Clip
from training.recording_files import UnreadableRecording, read_recording

SOURCE: Final = "aihub263"
MOST_TABLE_BYTES: Final = 256 << 20  # the largest published one has 20,000 rows and less than 10 MB
ENCODING: Final = "cp949"  # strict UTF-8 and EUC-KR both fail on the published files
COLUMNS: Final = ("wav_id", "발화문", "나이", "성별")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of a table that has its recording."""

    table: FoundFile
    line: int
    wav: FoundFile
    text: str
    votes: Votes
    kind: str
    speaker_group: str
    voice: str


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The rule that makes one emotion of five votes, and which emotions are taken."""
    parser.add_argument("--votes", choices=RULES, default="majority", help="(default: %(default)s)")
    parser.add_argument("--emotions", type=_emotions, default=EMOTIONS, metavar="E,E", help="default: all seven")


def _emotions(value: str) -> tuple[str, ...]:
    chosen = tuple(value.split(","))
    if unknown := [name for name in chosen if name not in EMOTIONS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is not one of {', '.join(EMOTIONS)}")
    return chosen


def read(root: Path, arguments: argparse.Namespace, findings: Findings) -> list[Clip]:
    """Every row below `root` that has its recording and an emotion by the rule, all in split "train"."""
    wavs, tables = find_files(root, (".wav", ".csv"), findings)
    if not tables:
        raise ImportFailed(f"{root} holds no .csv file; AI Hub 263 has 4차년도.csv, 5차년도.csv and 5차년도_2차.csv")
    wav_of = _wavs_by_id(wavs, {table.stem for table in tables}, findings)
    rows, used = [], set()
    for table, line, wav_id, cells in _table_rows(root, tables, findings):
        wav = _wav_of_row(wav_of, table.stem, wav_id)
        if wav is None:
            findings.add("orphan", "row without wav", f"{table.path}:{line}", wav_id)
        elif wav.path in used:
            findings.add("bad", "wav_id occurs twice", f"{table.path}:{line}", wav_id)
        else:
            used.add(wav.path)
            if row := _row(table, line, wav, cells, arguments, findings):
                rows.append(row)
    for wav in wavs:
        if wav.path not in used:
            findings.add("orphan", "wav without row", wav.path)
    clips = []
    for outcome in each(partial(_clip, root), rows, arguments.workers, "wav headers"):
        if isinstance(outcome, Clip):
            clips.append(outcome)
        else:
            findings.extend([outcome])
    return clips


def _wavs_by_id(
    wavs: Sequence[FoundFile], tables: Collection[str], findings: Findings
) -> dict[tuple[str, str], FoundFile]:
    """Recordings by table and id; those below no folder or archive of a table's name belong to table ""."""
    wav_of: dict[tuple[str, str], FoundFile] = {}
    for wav in wavs:
        folders = [folder.removesuffix(".zip") for folder in wav.parts[:-1]]
        table = next((folder for folder in reversed(folders) if folder in tables), "")
        first = wav_of.setdefault((table, wav.stem), wav)
        if first is not wav:
            findings.add("bad", "second wav of the same name", wav.path, f"taken: {first.path}")
    return wav_of


def _wav_of_row(wav_of: Mapping[tuple[str, str], FoundFile], table: str, wav_id: str) -> FoundFile | None:
    return wav_of.get((table, wav_id)) or wav_of.get(("", wav_id))


def _table_rows(
    root: Path, tables: Sequence[FoundFile], findings: Findings
) -> Iterator[tuple[FoundFile, int, str, dict[str, str]]]:
    """Table, line, wav_id and cells of every whole row."""
    for table in tables:
        try:
            for line, cells in _read_table(root, table):
                findings.files["rows"] += 1
                if cells is None:
                    findings.add("bad", "row has not one cell a column", f"{table.path}:{line}")
                else:
                    yield table, line, nfc(cells["wav_id"]).strip(), cells
        except BadItem as error:
            findings.add("bad", error.reason, table.path, error.detail)


def _read_table(root: Path, table: FoundFile) -> Iterator[tuple[int, dict[str, str] | None]]:
    """The line and cells of each row, column names without spaces; None for a row of another length."""
    try:
        text = read_recording(root, table.path, MOST_TABLE_BYTES).decode(ENCODING)
    except UnreadableRecording as error:
        raise BadItem("csv cannot be read", str(error)) from error
    except UnicodeDecodeError as error:
        raise BadItem(f"csv is not {ENCODING}", str(error)) from error
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        header = _header(next(reader, []))
        for cells in reader:
            whole = len(cells) == len(header)
            if cells:
                yield reader.line_num, dict(zip(header, cells, strict=True)) if whole else None
    except csv.Error as error:
        raise BadItem("csv is malformed", f"line {reader.line_num}: {error}; later rows are lost") from error


def _header(cells: Sequence[str]) -> list[str]:
    """The names of a table's columns without spaces; raises BadItem where one that is needed is not there once."""
    header = ["".join(nfc(name).split()) for name in cells]  # `4번 감정세기` is also spelt `4번감정세기`
    if not header:
        raise BadItem("csv is empty", "not even a header")
    names = [*COLUMNS, *(f"{rater}번감정{part}" for rater in range(1, RATERS + 1) for part in ("", "세기"))]
    for name in names:
        if header.count(name) != 1:
            raise BadItem("csv column is missing or doubled", f"{name} occurs {header.count(name)} times in the header")
    return header


def _row(
    table: FoundFile,
    line: int,
    wav: FoundFile,
    cells: Mapping[str, str],
    arguments: argparse.Namespace,
    findings: Findings,
) -> Row | None:
    raters = range(1, RATERS + 1)
    try:
        votes = read_votes([cells[f"{n}번감정"] for n in raters], [cells[f"{n}번감정세기"] for n in raters])
        text, age, sex = text_of(cells["발화문"]), text_of(cells["나이"]), text_of(cells["성별"])
    except BadItem as error:
        findings.add("bad", error.reason, f"{table.path}:{line}", error.detail)
        return None
    kind = decide(votes, arguments.votes, arguments.emotions)
    if not kind:
        reason = f"no wanted emotion by the rule {arguments.votes}"
        findings.add("left out", reason, f"{table.path}:{line}", votes.counts_cell())
        return None
    # There is no speaker id: file, age and sex together are the best group there is.
    group = f"{SOURCE}-{table.stem}/{age}/{sex}" if age and sex else ""
    return Row(table, line, wav, text, votes, kind, group, "/".join(filter(None, (sex, age))))


def _clip(root: Path, row: Row) -> Clip | Finding:
    try:
        header = read_wav_header(root, row.wav.path)
    except BadItem as error:
        return Finding("bad", error.reason, row.wav.path, error.detail)
    recording = f"{SOURCE}-{row.table.stem}-{row.wav.stem}"
    return Clip(
        clip_id=recording,
        path=row.wav.path,
        text=row.text,
        label="normal",
        kind=row.kind,
        split="train",
        duration_s=round(header.duration_s, 3),
        sample_rate_hz=header.sample_rate_hz,
        bit_depth=header.bit_depth,
        source=SOURCE,
        source_clip=recording,
        speaker_group=row.speaker_group,
        voice=row.voice,
        votes=row.votes.counts_cell(),
        agreement=row.votes.agreement,
        intensities=row.votes.intensities_cell(),
    )
