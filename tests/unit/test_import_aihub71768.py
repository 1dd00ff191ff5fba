"""AI Hub 71768 as found on disk: real calls, cut into clips at the edges of utterances."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.published_corpora import not_taken, options, put_call, said, wav, zipped
from training.importers import aihub71768
from training.importers.findings import Findings
from training.importers.pieces import Piece, Utterance, cut
from training.manifest import Clip

CALL = [
    said("네 119입니다", 0.5, 2.0, "접수자"),
    said("여기 사람이 쓰러졌어요", 2.5, 5.0),
    said("숨을 안 쉬어요", 5.5, 7.0),
    said("주소가 어디세요", 7.5, 9.0, "접수자"),
    said("행복동 삼십이 번지요", 9.5, 12.5),
]


def read(root: Path, *words: str) -> tuple[list[Clip], Findings]:
    findings = Findings()
    return aihub71768.read(root, options(aihub71768, *words), findings), findings


def test_a_call_becomes_clips_at_utterances_with_the_words_within(tmp_path: Path) -> None:
    put_call(tmp_path, "0001", CALL)

    clips, findings = read(tmp_path)

    assert findings.entries == []
    assert [(clip.start_s, clip.end_s, clip.duration_s, clip.text) for clip in clips] == [
        (0.5, 7.0, 6.5, "네 119입니다 여기 사람이 쓰러졌어요 숨을 안 쉬어요"),
        (7.5, 12.5, 5.0, "주소가 어디세요 행복동 삼십이 번지요"),
    ]
    assert {(clip.label, clip.kind, clip.source_clip) for clip in clips} == {
        ("emergency", "응급의료", "aihub71768-0001")
    }
    assert clips[0].path == "Training/1.원천데이터/TS_서울_구급/0001.wav"
    assert (clips[0].sample_rate_hz, clips[0].bit_depth) == (8000, 16)


def test_caller_only_leaves_out_the_other_side(tmp_path: Path) -> None:
    put_call(tmp_path, "0001", CALL)

    clips, _ = read(tmp_path, "--caller-only")

    assert [(clip.start_s, clip.end_s, clip.text) for clip in clips] == [
        (2.5, 7.0, "여기 사람이 쓰러졌어요 숨을 안 쉬어요"),
        (9.5, 12.5, "행복동 삼십이 번지요"),
    ]


def test_unknown_speakers_are_reported_not_guessed(tmp_path: Path) -> None:
    put_call(tmp_path, "0001", [said("네", 0, 1, "0"), said("불이야", 1, 2, "1")])

    clips, findings = read(tmp_path, "--caller-only")

    assert clips == []
    assert not_taken(findings) == {("bad", "conversation has no known caller", "0001.json")}
    assert "speakers here are '0', '1'" in findings.entries[0].detail
    assert [clip.text for clip in read(tmp_path, "--caller-only", "--callers", "1")[0]] == ["불이야"]


@pytest.mark.parametrize(
    ("level", "category", "label", "kind"),
    [
        ("상", "화재", "emergency", "화재"),
        ("중", "구조", "emergency", "도움요청"),
        ("상", "기타", "emergency", "도움요청"),
        ("하", "구급", "normal", "119 구급"),
        ("하", "기타", "normal", "119 기타"),
    ],
)
def test_urgency_makes_the_class(tmp_path: Path, level: str, category: str, label: str, kind: str) -> None:
    put_call(tmp_path, "0001", CALL, category=category, urgencyLevel=level)

    assert {(clip.label, clip.kind) for clip in read(tmp_path)[0]} == {(label, kind)}


@pytest.mark.parametrize(("category", "label"), [("화재", "emergency"), ("기타", "normal")])
def test_the_folder_makes_the_class_where_asked(tmp_path: Path, category: str, label: str) -> None:
    put_call(tmp_path, "0001", CALL, category=category, urgencyLevel="?")

    assert {clip.label for clip in read(tmp_path, "--label-by", "folder")[0]} == {label}


@pytest.mark.parametrize("level", ["긴급", "", None])
def test_an_unknown_urgency_is_reported_not_guessed(tmp_path: Path, level: str | None) -> None:
    put_call(tmp_path, "0001", CALL, urgencyLevel=level)
    put_call(tmp_path, "0002", CALL)

    clips, findings = read(tmp_path)

    assert {clip.source_clip for clip in clips} == {"aihub71768-0002"}
    assert not_taken(findings) == {("bad", "urgencyLevel is unknown", "0001.json")}
    assert findings.notes[f"calls with urgencyLevel {level or '(none)'}"] == 1


def test_levels_can_be_named(tmp_path: Path) -> None:
    put_call(tmp_path, "0001", CALL, urgencyLevel="긴급")
    put_call(tmp_path, "0002", CALL, urgencyLevel="비긴급")

    clips, findings = read(tmp_path, "--emergency-levels", "긴급", "--normal-levels", "비긴급")

    assert findings.entries == []
    assert {(clip.source_clip[-1], clip.label) for clip in clips} == {("1", "emergency"), ("2", "normal")}


def test_an_unknown_category_is_reported(tmp_path: Path) -> None:
    put_call(tmp_path, "0001", CALL, category="상담")

    assert not_taken(read(tmp_path)[1]) == {("bad", "category is unknown", "0001.json")}


def test_times_in_milliseconds_are_told_by_the_recording(tmp_path: Path) -> None:
    thousandfold = [entry | {"startAt": entry["startAt"] * 1000, "endAt": entry["endAt"] * 1000} for entry in CALL]
    put_call(tmp_path / "s", "0001", CALL)
    put_call(tmp_path / "ms", "0001", thousandfold)

    seconds, milliseconds = read(tmp_path / "s"), read(tmp_path / "ms")

    assert seconds[0] == milliseconds[0]
    assert milliseconds[1].notes["labels with times in milliseconds"] == 1


def test_times_that_fit_neither_unit_are_reported(tmp_path: Path) -> None:
    put_call(tmp_path, "0001", [said("불이야", 0, 75)], seconds=20)

    assert not_taken(read(tmp_path)[1]) == {
        ("bad", "times fit the recording neither in seconds nor in milliseconds", "0001.json")
    }


def test_bad_utterances_are_named_and_their_neighbours_kept(tmp_path: Path) -> None:
    put_call(tmp_path, "0001", [said("하나", 1, 1), CALL[1], {"text": "둘", "startAt": 6}, said("셋", 6.0, 6.05, "x")])

    clips, findings = read(tmp_path, "--max-s", "2.6")

    assert [clip.text for clip in clips] == ["여기 사람이 쓰러졌어요"]
    assert not_taken(findings) == {
        ("bad", "stretch is empty", "0001.json#0"),
        ("bad", "time is not a number of at least 0", "0001.json#2"),
        ("left out", "clip is shorter than 0.1 s", "0001.json"),
    }


def test_orphans_of_both_sorts_and_unreadable_files_are_listed(tmp_path: Path) -> None:
    for stem in ("0001", "0002", "0003", "0004"):
        put_call(tmp_path, stem, CALL)
    (tmp_path / "Training/1.원천데이터/TS_서울_구급/0001.wav").unlink()
    (tmp_path / "Training/2.라벨링데이터/TL_서울_구급/0002.json").unlink()
    (tmp_path / "Training/1.원천데이터/TS_서울_구급/0003.wav").write_bytes(wav()[:-9])

    clips, findings = read(tmp_path)

    assert {clip.source_clip for clip in clips} == {"aihub71768-0004"}
    assert not_taken(findings) == {
        ("orphan", "label without wav", "0001.json"),
        ("orphan", "wav without label", "0002.wav"),
        ("bad", "wav is truncated", "0003.wav"),
    }


def test_equal_names_in_two_folders_are_two_calls(tmp_path: Path) -> None:
    put_call(tmp_path, "0001", CALL, recordId=None)
    put_call(tmp_path, "0001", CALL, recordId=None, category="기타", urgencyLevel="하")
    put_call(tmp_path, "0001", CALL, recordId=None, part="Validation")

    clips, findings = read(tmp_path)

    assert findings.entries == []
    assert len({clip.source_clip for clip in clips}) == 3
    assert len({clip.clip_id for clip in clips}) == len(clips) == 6


def test_archives_in_parts_need_not_be_unpacked(tmp_path: Path) -> None:
    put_call(tmp_path / "unpacked", "0001", CALL)
    for sort, folder, name in (
        ("1.원천데이터", "TS_서울_구급", "TS_서울_구급_1"),
        ("2.라벨링데이터", "TL_서울_구급", "TL_서울_구급"),
    ):
        (tmp_path / "packed/Training" / sort).mkdir(parents=True)
        zipped(tmp_path / "unpacked/Training" / sort / folder, tmp_path / "packed/Training" / sort / f"{name}.zip")

    clips, findings = read(tmp_path / "packed")

    assert findings.entries == []
    assert clips[0].path == "Training/1.원천데이터/TS_서울_구급_1.zip/0001.wav"


def test_a_long_utterance_is_cut_into_equal_parts_with_its_words_spread() -> None:
    words = "하나 둘 셋 넷 다섯 여섯 일곱 여덟"

    assert cut([Utterance(1.0, 17.0, words, "a")], 4.0) == [
        Piece(1.0, 5.0, "하나 둘"),
        Piece(5.0, 9.0, "셋 넷"),
        Piece(9.0, 13.0, "다섯 여섯"),
        Piece(13.0, 17.0, "일곱 여덟"),
    ]


def test_a_piece_lasts_until_the_last_of_its_utterances_ends() -> None:
    talk = [Utterance(0.0, 6.0, "길게", "a"), Utterance(1.0, 2.0, "짧게", "b")]

    assert cut(talk, 7.0) == [Piece(0.0, 6.0, "길게 짧게")]


def test_no_piece_of_the_caller_reaches_over_somebody_else() -> None:
    talk = [Utterance(0.0, 1.0, "불이야", "a"), Utterance(1.5, 2.0, "네", "b"), Utterance(2.5, 4.0, "빨리요", "a")]

    assert cut(talk, 7.0, ("a",)) == [Piece(0.0, 1.0, "불이야"), Piece(2.5, 4.0, "빨리요")]


def test_no_piece_is_longer_and_no_word_is_lost_however_speakers_overlap() -> None:
    talk = [Utterance(at * 0.7, at * 0.7 + 0.3 + (at * 37 % 11), f"w{at}", "ab"[at % 2]) for at in range(40)]

    pieces = cut(list(reversed(talk)), 7.0)

    assert max(piece.end_s - piece.start_s for piece in pieces) <= 7.0 + 1e-9
    assert sorted(" ".join(piece.text for piece in pieces).split()) == sorted(entry.text for entry in talk)
