from __future__ import annotations

from itertools import pairwise

from preprocess_service import warming


def test_sentences_vary():
    drawn = list(warming.sentences(200))

    assert len(drawn) == 200
    assert len(set(drawn)) > 180
    assert all(before != after for before, after in pairwise(drawn))


def test_sentences_are_the_same_at_every_start():
    assert list(warming.sentences(20)) == list(warming.sentences(20))


def test_sentences_are_sentences():
    for sentence in warming.sentences(200):
        assert sentence == " ".join(sentence.split())
        assert len(sentence) > 8
