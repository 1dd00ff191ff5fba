"""Splits share nothing that tells clips apart, are alike in their classes, and come out the same each time."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace

import pytest

from training.importers.splitting import SHARES, divide
from training.manifest import SPLITS, Clip, check_splits


def clip(at: int, **changed: object) -> Clip:
    whole = Clip(f"c{at}", f"c{at}.wav", f"문장 {at}", "normal", "실내", "train", 1.0, source_clip=f"r{at}")
    return replace(whole, **changed)  # type: ignore[arg-type]


def share_of(clips: list[Clip], split: str) -> float:
    return sum(clip.split == split for clip in clips) / len(clips)


def corpus(count: int, seed: int = 0) -> list[Clip]:
    """Clips of three kinds with recordings of several clips, speakers and repeated sentences."""
    rng = random.Random(seed)
    clips = []
    for at in range(count):
        kind = rng.choices(("화재", "지진", "실내"), (5, 1, 6))[0]
        clips.append(
            clip(
                at,
                kind=kind,
                label="normal" if kind == "실내" else "emergency",
                source_clip=f"r{at // 3}",
                speaker_group=f"s{rng.randrange(count // 5)}" if rng.random() < 0.3 else "",
                text=f"되풀이 {rng.randrange(40)}" if rng.random() < 0.1 else f"문장 {at}",
            )
        )
    return clips


def test_splits_share_nothing_and_have_their_shares() -> None:
    clips = corpus(4000)

    division = divide(clips, seed=1)

    check_splits(division.clips)
    for split in SPLITS:
        assert share_of(division.clips, split) == pytest.approx(SHARES[split], abs=0.02)
    assert len(division.clips) + len(division.left_out) == len(clips)


def test_every_kind_has_its_share_of_every_split() -> None:
    division = divide(corpus(4000), seed=1)

    for kind in ("화재", "지진", "실내"):
        of_kind = [clip for clip in division.clips if clip.kind == kind]
        for split in SPLITS:
            assert share_of(of_kind, split) == pytest.approx(SHARES[split], abs=0.03)


def test_the_same_seed_gives_the_same_splits_and_another_gives_others() -> None:
    clips = corpus(500)

    assert divide(clips, seed=1).clips == divide(clips, seed=1).clips
    assert divide(clips, seed=1).clips != divide(clips, seed=2).clips


def test_groups_that_overlap_stay_together() -> None:
    chain = [
        clip(0, speaker_group="s"),
        clip(1, speaker_group="s", source_clip="r"),
        clip(2, source_clip="r", background_group="b"),
        clip(3, background_group="b"),
    ]
    division = divide([*chain, *(clip(at) for at in range(4, 100))], seed=3)

    assert len({found.split for found in division.clips if found.clip_id in ("c0", "c1", "c2", "c3")}) == 1
    assert (division.components, division.largest_component) == (97, 4)


def test_a_rare_sentence_keeps_its_clips_together() -> None:
    """Written or said, with other spaces and marks: the words count."""
    pairs = [(clip(at, text=f"불이 났어요 {at}"), clip(1000 + at, spoken_text=f"불이났어요{at}!")) for at in range(60)]

    division = divide([*(clip(2000 + at) for at in range(100)), *sum(pairs, ())], seed=1)

    assert division.left_out == []
    split_of = {found.clip_id: found.split for found in division.clips}
    assert [split_of[f"c{at}"] for at in range(60)] == [split_of[f"c{1000 + at}"] for at in range(60)]
    assert {split_of[f"c{at}"] for at in range(60)} == set(SPLITS)


def test_a_rare_kind_of_one_corpus_has_its_share_too() -> None:
    rare = [clip(at, kind="지진", label="emergency", source="a") for at in range(16)]

    division = divide([*(clip(at) for at in range(100, 1700)), *rare], seed=1)

    found = Counter(clip.split for clip in division.clips if clip.kind == "지진")
    assert found == {"train": 12, "validation": 2, "test": 2}


def test_a_common_sentence_does_not_tie_the_corpus_together() -> None:
    clips = [clip(at, text="여보세요" if at % 2 else f"문장 {at}") for at in range(1000)]

    division = divide(clips, seed=1)

    check_splits(division.clips)
    assert division.largest_component == 1
    assert {found.text for found, _ in division.left_out} == {"여보세요"}
    assert {owner.split for _, owner in division.left_out} == {"train"}
    assert all(found.split != "train" for found, _ in division.left_out)
    assert len(division.clips) + len(division.left_out) == 1000


def test_empty_sentences_and_unknown_groups_tie_nothing() -> None:
    clips = [clip(at, text=" …" if at % 2 else "", source_clip="") for at in range(200)]

    division = divide(clips, seed=1)

    assert (division.components, division.left_out) == (200, [])


def test_one_group_for_all_is_one_split_and_nothing_is_lost() -> None:
    division = divide([clip(at, speaker_group="s") for at in range(50)], seed=1)

    assert Counter(found.split for found in division.clips) == {"train": 50}


def test_a_split_anew_lets_go_of_held_out_templates() -> None:
    clips = [clip(at, template_group="t", unseen_template=at < 50) for at in range(100)]

    division = divide(clips, seed=1)

    check_splits(division.clips)
    assert not any(found.unseen_template for found in division.clips)


def test_no_clips_are_no_splits() -> None:
    assert divide([], seed=1).clips == []
