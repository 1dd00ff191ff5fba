from __future__ import annotations

import os
import subprocess
import sys
import unicodedata

import jpype
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess_service.features import text

SENTENCE = "여기 불이 났어요! 빨리 와 주세요."
NO_STOP_WORDS: frozenset[str] = frozenset()


def test_reduces_words_to_okts_stems():
    assert text.morphemes(SENTENCE, NO_STOP_WORDS) == ["여기", "불", "이", "나다", "!", "빨리", "오다", "줄다", "."]


def test_leaves_stop_words_out():
    assert text.morphemes(SENTENCE, frozenset({"이", "!", "."})) == ["여기", "불", "나다", "빨리", "오다", "줄다"]


def test_reads_decomposed_hangul_like_composed():
    decomposed = unicodedata.normalize("NFD", SENTENCE)

    assert decomposed != SENTENCE
    assert text.morphemes(decomposed, NO_STOP_WORDS) == text.morphemes(SENTENCE, NO_STOP_WORDS)


@pytest.mark.parametrize("nothing", ["", " ", "\n\t", "\x00\x01"])
def test_finds_nothing_in_nothing(nothing):
    assert text.morphemes(nothing, NO_STOP_WORDS) == []


def test_reads_a_long_transcript_sentence_by_sentence():
    once = text.morphemes(SENTENCE, NO_STOP_WORDS)

    assert text.morphemes(" ".join([SENTENCE] * 200), NO_STOP_WORDS).count("불") == 200 * once.count("불")


@given(st.text(max_size=300))
@settings(max_examples=150, deadline=None)
def test_takes_any_text(anything):
    words = text.morphemes(anything, NO_STOP_WORDS)

    assert all(isinstance(word, str) and word for word in words)


def test_a_scream_is_cut_short():
    assert text.normalise("으아아아아아아아악 ㅋㅋㅋㅋㅋ") == "으아아아악 ㅋㅋㅋ"


def test_the_check_ends_the_work_between_lines():
    def check() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        text.morphemes(SENTENCE, NO_STOP_WORDS, check)


def test_unknown_words_have_their_own_id():
    vocabulary = text.vocabulary_of(["불", "나다"])

    assert text.word_ids(["불", "우주선", "나다"], vocabulary) == [2, text.UNKNOWN_ID, 3]


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        ([], [0] * 12),
        ([5, 6], [0] * 10 + [5, 6]),
        (list(range(2, 14)), list(range(2, 14))),
        (list(range(2, 30)), list(range(18, 30))),
    ],
)
def test_keeps_the_last_twelve_padded_on_the_left(ids, expected):
    tokens = text.last_tokens(ids)

    assert tokens.dtype == np.int32
    assert tokens.tolist() == expected


def test_starts_without_a_java_of_the_machine():
    environment = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"} | {"PATH": ""}
    code = f"from preprocess_service.features import text; print(len(text.morphemes({SENTENCE!r}, frozenset())))"

    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)

    assert run.stdout.strip() == "9"


def test_java_collects_no_garbage_because_somebody_asks():
    # JPype asks whenever the process grows, and everybody who reads would wait for it.
    text.morphemes(SENTENCE, NO_STOP_WORDS)
    unused = jpype.java.lang.ref.WeakReference(jpype.java.util.ArrayList())

    jpype.java.lang.System.gc()

    assert unused.get() is not None
