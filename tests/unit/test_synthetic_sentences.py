"""Particles, patterns, and the variety of what callers say."""

from __future__ import annotations

import random
from itertools import islice
from typing import get_args

import pytest

from training.manifest import EMERGENCY_KINDS, SPLITS, Label, normalise_sentence
from training.synthetic.grammar import Grammar, PatternError
from training.synthetic.korean import garble, josa, without_punctuation
from training.synthetic.sentences import Difficulty, Theme, draw, grammar, themes

ALL_THEMES = [
    theme for label in get_args(Label) for difficulty in get_args(Difficulty) for theme in themes(label, difficulty)
]
DISTINCT_PER_CLASS = 5_000


@pytest.mark.parametrize(
    ("word", "particle", "expected"),
    [
        ("집", "이", "집이"),
        ("아이", "이", "아이가"),
        ("불", "을", "불을"),
        ("가스", "을", "가스를"),
        ("연기", "은", "연기는"),
        ("남편", "과", "남편과"),
        ("손", "으로", "손으로"),
        ("칼", "으로", "칼로"),
        ("망치", "으로", "망치로"),
        ("옆", "이에요", "옆이에요"),
        ("빌라", "이에요", "빌라예요"),
        ("3", "이", "3이"),
        ("2", "을", "2를"),
        ("집.", "이", "집.이"),
    ],
)
def test_particle_follows_the_last_sound(word: str, particle: str, expected: str) -> None:
    assert josa(word, particle) == expected


@pytest.mark.parametrize("word", ["", "fire", "ㅋ"])
def test_particle_needs_a_korean_word(word: str) -> None:
    with pytest.raises(ValueError, match="must end in a Hangul block"):
        josa(word, "이")


def test_refuses_an_unknown_particle() -> None:
    with pytest.raises(ValueError, match="'께서' must be one of"):
        josa("집", "께서")


def test_pattern_chooses_fills_and_agrees() -> None:
    made = Grammar({"thing": ("{size} 불",), "size": ("큰",)})

    assert made.render("[지금|] {thing:이} , [났어요|났습니다]", random.Random(1)) in {
        "지금 큰 불이, 났어요",
        "지금 큰 불이, 났습니다",
        "큰 불이, 났어요",
        "큰 불이, 났습니다",
    }


@pytest.mark.parametrize("pattern", ["[a|b", "a]", "{open", "a|b", "{size:께서}", "a:b"])
def test_refuses_a_pattern_that_does_not_parse(pattern: str) -> None:
    with pytest.raises(PatternError):
        Grammar({"size": ("큰",)}).check(pattern)


def test_refuses_a_slot_without_fillings() -> None:
    with pytest.raises(PatternError, match="'nothing' has no fillings"):
        Grammar({"a": ("{nothing}",)})


def test_every_emergency_kind_has_plain_and_hard_calls() -> None:
    assert [theme.kind for theme in themes("emergency", "plain")] == list(EMERGENCY_KINDS)
    assert [theme.kind for theme in themes("emergency", "hard")] == list(EMERGENCY_KINDS)


def test_normal_topics_are_no_emergency_kinds() -> None:
    kinds = [theme.kind for difficulty in get_args(Difficulty) for theme in themes("normal", difficulty)]

    assert len(kinds) == len(set(kinds))
    assert not set(kinds) & set(EMERGENCY_KINDS)


@pytest.mark.parametrize("theme", ALL_THEMES, ids=lambda theme: f"{theme.kind}-{theme.difficulty}")
def test_every_theme_holds_patterns_back_for_validation_and_test(theme: Theme) -> None:
    kept = [pattern.only_in for pattern in theme.patterns]

    assert kept.count("test") == kept.count("validation") >= 2
    assert kept.count(None) >= 0.7 * len(kept)
    assert len(kept) >= (15 if theme.label == "emergency" and theme.difficulty == "hard" else 36)


def test_a_split_draws_its_own_and_the_shared_patterns_only() -> None:
    theme = themes("emergency", "plain")[4]
    only_in = {pattern.template_id: pattern.only_in for pattern in theme.patterns}

    drawn = {
        split: {only_in[draw(theme, split, random.Random(seed)).template_id] for seed in range(60)} for split in SPLITS
    }

    assert drawn == {"train": {None}, "validation": {None, "validation"}, "test": {None, "test"}}


@pytest.mark.parametrize("label", get_args(Label))
def test_a_class_reaches_thousands_of_distinct_sentences(label: Label) -> None:
    rng = random.Random(3)
    of_class = [theme for theme in ALL_THEMES if theme.label == label]
    drawn = (draw(theme, "train", rng).text for _ in range(10_000) for theme in of_class)

    distinct = {normalise_sentence(text) for text in islice(drawn, 2 * DISTINCT_PER_CLASS)}

    assert len(distinct) >= DISTINCT_PER_CLASS


@pytest.mark.parametrize("label", get_args(Label))
def test_no_sentence_carries_pattern_marks_or_odd_spacing(label: Label) -> None:
    rng = random.Random(4)
    for theme in (theme for theme in ALL_THEMES if theme.label == label):
        for _ in range(100):
            text = draw(theme, "test", rng).text
            assert not set(text) & set("{}[]|:"), text
            assert "  " not in text, text
            assert " ," not in text, text
            assert ".." not in text, text


def _sentences(label: Label, difficulty: Difficulty) -> list[set[str]]:
    rng = random.Random(5)
    return [set(draw(theme, "train", rng).text.split()) for theme in themes(label, difficulty) for _ in range(150)]


def test_most_hard_negatives_use_words_that_only_emergencies_use() -> None:
    alarming = set().union(*_sentences("emergency", "plain")) - set().union(*_sentences("normal", "plain"))

    hard = _sentences("normal", "hard")

    assert sum(bool(words & alarming) for words in hard) > 0.6 * len(hard)


def test_grammar_checks_every_pattern() -> None:
    assert grammar() is grammar()


def test_garbled_transcript_differs_but_remains() -> None:
    text = without_punctuation("여보세요. 부엌에서 불이 났어요, 빨리 와 주세요.")

    noisy = [garble(text, random.Random(seed)) for seed in range(50)]

    assert all(noisy)
    assert sum(item != text for item in noisy) > 40
    assert min(len(item) for item in noisy) > len(text) / 2
