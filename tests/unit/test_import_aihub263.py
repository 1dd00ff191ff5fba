"""AI Hub 263 as found on disk: three tables in cp949, votes of five raters, archives or folders of recordings."""

from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from tests.unit.published_corpora import HEADER_263, not_taken, options, put, row_263, table_263, wav, zipped
from training.importers import aihub263
from training.importers.aihub263 import MOST_TABLE_BYTES
from training.importers.findings import BadItem, Findings, ImportFailed
from training.importers.votes import RULES, Rule, decide, read_votes
from training.manifest import Clip, check_splits
from training.recording_files import read_recording

THREE_TWO = ("angry", "anger", "Sad", "Sadness", "Angry")
FLAT = ("0", "0", "0", "0", "0")
TIE = ("fear", "fear", "sad", "sad", "neutral")


def read(root: Path, *words: str) -> tuple[list[Clip], Findings]:
    findings = Findings()
    return aihub263.read(root, options(aihub263, *words), findings), findings


def corpus(root: Path, *rows: list[str], name: str = "4차년도", header: list[str] = HEADER_263) -> None:
    """A table and a recording for each of its rows."""
    put(root / f"{name}.csv", table_263(rows, header))
    for row in rows:
        put(root / name / f"{row[0]}.wav", wav(1.0, 48000))


def test_one_row_is_one_normal_clip_with_its_votes(tmp_path: Path) -> None:
    corpus(tmp_path, row_263("5f4141e2", THREE_TWO, "왜  전화를 안 받니"))

    clips, findings = read(tmp_path)

    assert findings.entries == []
    assert clips == [
        Clip(
            clip_id="aihub263-4차년도-5f4141e2",
            path="4차년도/5f4141e2.wav",
            text="왜 전화를 안 받니",
            label="normal",
            kind="angry",
            split="train",
            duration_s=1.0,
            sample_rate_hz=48000,
            bit_depth=16,
            source="aihub263",
            source_clip="aihub263-4차년도-5f4141e2",
            speaker_group="aihub263-4차년도/30/남",
            voice="남/30",
            votes="angry:3 sad:2",
            agreement=0.6,
            intensities="angry:0,1,1 sad:2,0",
        )
    ]


def test_the_encoding_is_cp949_beyond_euc_kr(tmp_path: Path) -> None:
    """뷁 and 똠 are in cp949 and not in EUC-KR."""
    corpus(tmp_path, row_263("a", THREE_TWO, "똠얌꿍 뷁"))
    table = (tmp_path / "4차년도.csv").read_bytes()

    for other in ("utf-8", "euc-kr"):
        with pytest.raises(UnicodeDecodeError):
            table.decode(other)
    assert read(tmp_path)[0][0].text == "똠얌꿍 뷁"


@pytest.mark.parametrize("spelling", ["4번 감정세기", "4번감정세기"])
def test_both_spellings_of_the_fourth_intensity(tmp_path: Path, spelling: str) -> None:
    header = [spelling if name == "4번 감정세기" else name for name in HEADER_263]
    corpus(tmp_path, row_263("a", THREE_TWO), header=header)

    assert [clip.intensities for clip in read(tmp_path)[0]] == ["angry:0,1,1 sad:2,0"]


def test_three_tables_find_their_own_archive_folder_or_neither(tmp_path: Path) -> None:
    """One id is in all three tables: each has its own recording."""
    for seed, name in enumerate(("4차년도", "5차년도", "5차년도_2차")):
        put(tmp_path / f"{name}.csv", table_263([row_263("same", THREE_TWO, f"문장 {name}")]))
        put(tmp_path / "unpacked" / name / "same.wav", wav(1.0 + seed / 4, 48000, seed=seed))
    root = tmp_path / "packed"
    for table in tmp_path.glob("*.csv"):
        put(root / table.name, table.read_bytes())
    zipped(tmp_path / "unpacked/4차년도", root / "4차년도.zip")
    put(root / "5차년도/same.wav", (tmp_path / "unpacked/5차년도/same.wav").read_bytes())
    put(root / "wav/same.wav", (tmp_path / "unpacked/5차년도_2차/same.wav").read_bytes())

    clips, findings = read(root)

    assert findings.entries == []
    assert [(clip.path, clip.duration_s) for clip in clips] == [
        ("4차년도.zip/same.wav", 1.0),
        ("5차년도/same.wav", 1.25),
        ("wav/same.wav", 1.5),
    ]
    assert all(len(read_recording(root, clip.path)) > 48000 for clip in clips)


def test_orphans_of_both_sorts_are_listed(tmp_path: Path) -> None:
    corpus(tmp_path, row_263("a", THREE_TWO), row_263("b", THREE_TWO))
    (tmp_path / "4차년도/b.wav").rename(tmp_path / "4차년도/c.wav")

    clips, findings = read(tmp_path)

    assert [clip.path for clip in clips] == ["4차년도/a.wav"]
    assert not_taken(findings) == {
        ("orphan", "row without wav", "4차년도.csv:3"),
        ("orphan", "wav without row", "c.wav"),
    }


BAD_TABLES = {
    "csv is not cp949": "wav_id,발화문,상황\n".encode(),
    "csv is empty": b"",
    "csv column is missing or doubled": table_263([], HEADER_263[:-1]),
    "csv is malformed": table_263([], [*HEADER_263, "x" * 131_073]),  # what a csv reader takes in a cell, and one
}


@pytest.mark.parametrize("reason", BAD_TABLES)
def test_a_bad_table_is_named_and_the_others_are_read(tmp_path: Path, reason: str) -> None:
    corpus(tmp_path, row_263("a", THREE_TWO))
    put(tmp_path / "5차년도.csv", BAD_TABLES[reason])

    clips, findings = read(tmp_path)

    assert len(clips) == 1
    assert not_taken(findings) == {("bad", reason, "5차년도.csv")}


def test_a_table_that_inflates_beyond_its_limit_is_named(tmp_path: Path) -> None:
    corpus(tmp_path, row_263("a", THREE_TWO))
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as files, files.open("b.csv", "w") as table:
        for _ in range(257):
            table.write(bytes(1 << 20))

    clips, findings = read(tmp_path)

    assert len(clips) == 1
    assert not_taken(findings) == {("bad", "csv cannot be read", "b.csv")}
    assert f"at most {MOST_TABLE_BYTES} are read" in findings.entries[0].detail


def test_bad_rows_and_recordings_are_named_and_the_others_are_read(tmp_path: Path) -> None:
    bored = row_263("bored", ("angry", "bored", "sad", "sad", "sad"))
    strong = row_263("strong", THREE_TWO)
    strong[HEADER_263.index("5번 감정세기")] = "3"
    corpus(tmp_path, row_263("a", THREE_TWO), bored, strong, row_263("cut", THREE_TWO), row_263("a", THREE_TWO))
    put(tmp_path / "4차년도/cut.wav", wav()[:-9])
    with (tmp_path / "4차년도.csv").open("ab") as table:
        table.write(b"short,row\r\n")

    clips, findings = read(tmp_path)

    assert [clip.path for clip in clips] == ["4차년도/a.wav"]
    assert not_taken(findings) == {
        ("bad", "emotion is unknown", "4차년도.csv:3"),
        ("bad", "emotion intensity is not 0, 1 or 2", "4차년도.csv:4"),
        ("bad", "wav is truncated", "cut.wav"),
        ("bad", "wav_id occurs twice", "4차년도.csv:6"),
        ("bad", "row has not one cell a column", "4차년도.csv:7"),
    }
    assert "rater 2: 'bored'" in findings.entries[0].detail


def test_a_row_without_decision_is_left_out_by_name(tmp_path: Path) -> None:
    corpus(tmp_path, row_263("a", THREE_TWO), row_263("tie", TIE))

    clips, findings = read(tmp_path)

    assert len(clips) == 1
    assert not_taken(findings) == {("left out", "no wanted emotion by the rule majority", "4차년도.csv:3")}
    assert findings.entries[0].detail == "sad:2 fear:2 neutral:1"


def test_emotions_can_be_chosen(tmp_path: Path) -> None:
    corpus(tmp_path, row_263("a", THREE_TWO), row_263("n", ("neutral",) * 5), row_263("tie", TIE))

    assert [clip.kind for clip in read(tmp_path, "--emotions", "neutral")[0]] == ["neutral"]
    widest = read(tmp_path, "--emotions", "neutral,fear", "--votes", "any")[0]
    assert [(clip.path[-5], clip.kind) for clip in widest] == [("n", "neutral"), ("e", "fear")]


def test_unknown_speakers_are_no_group(tmp_path: Path) -> None:
    rows = (row_263("a", THREE_TWO, "하나", age=""), row_263("b", THREE_TWO, "둘", sex=""))
    corpus(tmp_path, *rows)

    assert [clip.speaker_group for clip in read(tmp_path)[0]] == ["", ""]


def test_speakers_of_equal_age_in_two_tables_are_two_groups(tmp_path: Path) -> None:
    corpus(tmp_path, row_263("a", THREE_TWO, "하나"))
    corpus(tmp_path, row_263("b", THREE_TWO, "둘"), name="5차년도")

    clips, _ = read(tmp_path)

    assert [clip.speaker_group for clip in clips] == ["aihub263-4차년도/30/남", "aihub263-5차년도/30/남"]
    check_splits(clips)


def test_a_folder_without_tables_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImportFailed, match="holds no .csv"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("emotions", "decisions"),
    [
        (("sad",) * 5, {"majority": "sad", "plurality": "sad", "any": "sad", "unanimous": "sad"}),
        (THREE_TWO, {"majority": "angry", "plurality": "angry", "any": "angry", "unanimous": ""}),
        (
            ("fear", "fear", "sad", "angry", "neutral"),
            {"majority": "", "plurality": "fear", "any": "fear", "unanimous": ""},
        ),
        (TIE, {"majority": "", "plurality": "", "any": "undecided", "unanimous": ""}),
    ],
)
def test_each_rule_decides_as_it_says(emotions: tuple[str, ...], decisions: dict[Rule, str]) -> None:
    votes = read_votes(emotions, FLAT)

    assert {rule: decide(votes, rule) for rule in RULES} == decisions


@pytest.mark.parametrize(
    ("spelling", "emotion"),
    [("anger", "angry"), ("ANGRY", "angry"), (" Sadness ", "sad"), ("happiness", "happy"), ("Surprise", "surprise")],
)
def test_every_spelling_is_one_emotion(spelling: str, emotion: str) -> None:
    assert read_votes([spelling] * 5, FLAT).counts_cell() == f"{emotion}:5"


@pytest.mark.parametrize("cell", ["", "3", "-1", "강함"])
def test_an_intensity_outside_0_to_2_is_bad(cell: str) -> None:
    with pytest.raises(BadItem, match="rater 2"):
        read_votes(["sad"] * 5, ["0", cell, "1", "1", "1"])
