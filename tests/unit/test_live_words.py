"""What a party has said, as a recogniser tells it bit by bit."""

from __future__ import annotations

import pytest

from preprocess_service.admission import Priority
from preprocess_service.alert import AlertState
from preprocess_service.features.audio import AudioFormat, Encoding
from preprocess_service.features.text import PADDING_ID, TOKENS
from preprocess_service.live.call import CallConfig, CallState, LiveCall, Piece
from preprocess_service.live.words import MOST_SEGMENTS, Segment, Words
from preprocess_service.model_spec import MULTIMODAL
from tests.e2e.tiny_models import contract

NONE: frozenset[str] = frozenset()


def heard(*segments: Segment) -> Words:
    words = Words()
    for segment in segments:
        words.hear(segment, is_final=True)
    return words


def test_words_come_one_by_one_over_their_segment():
    words = heard(Segment("불이 났어요", 2.0, 5.0))

    assert [words.until(at_s, NONE) for at_s in (1.0, 2.0, 3.0, 4.0, 5.0)] == [
        [],
        [],
        ["불"],
        ["불", "이"],
        ["불", "이", "나다"],
    ]


def test_a_segment_of_one_moment_is_said_then():
    words = heard(Segment("불이 났어요", 3.0, 3.0))

    assert words.until(2.9, NONE) == []
    assert words.until(3.0, NONE) == ["불", "이", "나다"]


def test_stop_words_are_left_out():
    assert heard(Segment("불이 났어요", 0, 1)).until(1, frozenset({"이"})) == ["불", "나다"]


def test_final_segments_are_in_order_of_time_whatever_order_they_come_in():
    words = heard(Segment("사람", 5, 6), Segment("불", 1, 2), Segment("연기", 3, 4))

    assert words.until(6, NONE) == ["불", "연기", "사람"]


def test_a_partial_segment_gives_way_to_the_next_one():
    words = heard(Segment("불", 1, 2))
    words.hear(Segment("연기", 3, 4), is_final=False)
    assert words.until(4, NONE) == ["불", "연기"]

    words.hear(Segment("사람", 3, 4), is_final=False)
    assert words.until(4, NONE) == ["불", "사람"]

    words.hear(Segment("차", 3, 4), is_final=True)
    assert words.until(4, NONE) == ["불", "차"]


def test_no_more_words_than_a_window_reads():
    words = heard(*(Segment("불 연기", number, number + 1) for number in range(20)))

    assert words.until(20, NONE) == ["불", "연기"] * (TOKENS // 2)
    assert words.until(3, NONE) == ["불", "연기"] * 3


def test_old_segments_are_forgotten():
    words = heard(*(Segment("불", number, number + 1) for number in range(2 * MOST_SEGMENTS)))

    assert words.until(MOST_SEGMENTS - 1, NONE) == []
    assert words.until(MOST_SEGMENTS + 1, NONE) == ["불"]


@pytest.mark.parametrize(
    ("from_s", "to_s", "found"), [(0, 2, False), (0, 2.1, True), (3.9, 9, True), (4, 9, False), (2.5, 3, True)]
)
def test_text_falls_between_two_moments_or_not(from_s, to_s, found):
    assert heard(Segment("불", 2, 4)).any_since(from_s, to_s) is found


def test_blank_text_is_no_evidence():
    words = heard(Segment("  ", 2, 4))

    assert not words.any_since(0, 9)
    assert words.until(9, NONE) == []
    assert words.are_there


def call(channels: int = 1) -> LiveCall:
    audio_format = AudioFormat(Encoding.PCM16, 8000, channels)
    return LiveCall(CallConfig(audio_format, "", "", "", Priority.NORMAL, 1.0, CallState(AlertState())))


def tokens_at_hops(live: LiveCall, first: int, seconds: int, channels: int = 1) -> list[list[int]]:
    """How many words every party's window reads at each hop of silence."""
    made, counts = contract(MULTIMODAL, 1, graphs={}, files={}), []
    for number in range(first, first + seconds):
        live.hear(number, Piece(bytes(16_000 * channels)), 0.0)
        hop = live.begin(0.0, 100.0)
        live.take_in(hop)
        windows = live.windows(hop, MULTIMODAL, made)
        live.judged(hop, windows, [None] * len(windows), made)
        counts.append([int((window.tokens != PADDING_ID).sum()) for window in windows if window.tokens is not None])
    return counts


def test_a_transcript_without_times_counts_from_where_the_call_is():
    live = call()
    before = tokens_at_hops(live, 1, 2)
    live.read(3, Segment("불이 났어요", 0, 0), is_final=True, from_agent=False)

    assert before == [[0], [0]]
    assert tokens_at_hops(live, 4, 1) == [[3]]


def test_a_transcript_with_times_counts_from_when_it_was_said():
    live = call()
    live.read(1, Segment("불이 났어요", 1.0, 4.0), is_final=True, from_agent=False)

    assert tokens_at_hops(live, 2, 4) == [[0], [1], [2], [3]]


def test_each_party_has_its_own_words():
    live = call(channels=2)
    live.read(1, Segment("불이 났어요", 0, 1.0), is_final=True, from_agent=True)

    assert tokens_at_hops(live, 2, 1, channels=2) == [[0, 3]]


def test_words_are_evidence_though_nothing_is_heard():
    live, made = call(), contract(MULTIMODAL, 1, graphs={}, files={})
    live.read(1, Segment("불이 났어요", 0, 1.0), is_final=True, from_agent=False)
    live.hear(2, Piece(bytes(16_000)), 0.0)
    hop = live.begin(0.0, 100.0)
    live.take_in(hop)

    assert live.windows(hop, MULTIMODAL, made)[0].tensor is not None


def test_knows_how_much_there_is_to_read():
    words = Words()
    assert words.longest_unread == 0
    words.hear(Segment("불이 났어요", 0, 1), is_final=True)
    words.hear(Segment("빨리 와 주세요", 1, 2), is_final=False)
    assert words.longest_unread == len("빨리 와 주세요")
    words.until(2, frozenset())
    assert words.longest_unread == 0
