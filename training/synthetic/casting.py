"""Everything about a recording that is not the words: voice, background, level, echo, padding.

A `Condition` is drawn once for a pair of one emergency and one normal clip, so that both classes have the same
recordings by construction.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.manifest import SPLITS, Clip, Label, Split
from training.synthetic.backgrounds import MAKERS
from training.synthetic.korean import FINALS, HANGUL_FIRST, is_syllable
from training.synthetic.speech import Voice

# No variant serves two splits, so the voice is as new in validation and test as a new caller's can be here.
VARIANTS: Final[dict[Split, tuple[str, ...]]] = {
    "train": ("f1", "f3", "f5", "linda", "aunty", "m1", "m3", "m4", "m7", "Mario", "Michael", "robert"),
    "validation": ("f4", "rob", "m6", "norbert"),
    "test": ("f2", "belinda", "m2", "travis"),
}
# (words a minute, pitch, pitch range): each variant speaks in both manners
MANNERS: Final = ((168, 42, 45), (190, 56, 55))
TAKES: Final[dict[Split, int]] = {"train": 24, "validation": 6, "test": 6}  # of each background kind

CLEANER_SHARE: Final = 0.25
SNR_DB: Final = (5.0, 25.0)
CLEANER_SNR_DB: Final = (25.0, 40.0)
LEVEL_DBFS: Final = (-32.0, -18.0)
ECHO_SHARE: Final = 0.5
ECHO_S: Final = (0.12, 0.5)
OVERDRIVE_SHARE: Final = 0.1
OVERDRIVE_DB: Final = (3.0, 12.0)
TRANSCRIPT_NOISE_SHARE: Final = 0.1
MIN_CLIP_S: Final = 2.0
MAX_CLIP_S: Final = 7.0
PADDING_S: Final = (0.3, 1.3)  # leading and trailing together
LEAD_SHARE: Final = (0.2, 0.6)  # the rest, after the speech, also takes up what the length misses its plan by
MAX_SPEECH_S: Final = MAX_CLIP_S - PADDING_S[0]
MIN_SPEECH_S: Final = 1.4

# Agitation: faster, higher, livelier, and with the flatter spectrum of a raised voice. A true cue, since it is the
# caller's and not the recording's, and an uncertain one: calls for help can be calm, and a lost match or an exam upsets
# people too.
AGITATED_SHARE: Final[dict[tuple[Label, str], float]] = {
    ("emergency", "plain"): 0.8,
    ("emergency", "hard"): 0.5,
    ("normal", "hard"): 0.33,
    ("normal", "plain"): 0.1,
}
AGITATED_RATE: Final = 1.12
AGITATED_PITCH: Final = 16
AGITATED_RANGE: Final = 28
TILT_DB: Final = (-3.0, 3.0)  # more from 4 kHz than from 0 Hz: voices and microphones differ
RAISED_TILT_DB: Final = (7.0, 12.0)  # on top of that, of a raised voice

# Least squares over 700 sentences spoken at 175 words a minute, seconds each; standard error 0.22 s.
_BLOCK_S: Final = 0.149
_FINAL_S: Final = 0.063
_SILENT_INITIAL_S: Final = -0.052
_WORD_S: Final = 0.049
_COMMA_S: Final = 0.261
_STOP_S: Final = 0.449
_FITTED_RATE_WPM: Final = 175
_SILENT_INITIAL: Final = 11
_BLOCKS_AN_INITIAL: Final = 21 * FINALS


@dataclass(frozen=True, slots=True)
class Casting:
    """The voices, before agitation, and the background takes that clips may have."""

    voices: tuple[Voice, ...]
    takes: dict[str, tuple[int, ...]]  # seeds, by background kind


@dataclass(frozen=True, slots=True)
class Condition:
    """How a pair of clips is recorded."""

    voice: Voice
    background: str  # a key of MAKERS
    snr_db: float
    level_dbfs: float
    echo_s: float | None
    overdrive_db: float | None
    padding_s: float
    lead_share: float  # of the padding
    transcript_noise: bool


def casting_of(split: Split, corpus_seed: int) -> Casting:
    """What clips of `split` may have, whatever the size of the corpus."""
    voices = tuple(Voice(variant, *manner) for variant in VARIANTS[split] for manner in MANNERS)
    takes = {
        background: tuple(
            int(np.random.SeedSequence((corpus_seed, SPLITS.index(split), index, take)).generate_state(1)[0])
            for take in range(TAKES[split])
        )
        for index, background in enumerate(MAKERS)
    }
    return Casting(voices, takes)


def casting_beside(clips: Iterable[Clip], corpus_seed: int) -> Casting:
    """What training clips of that corpus do have; a small one has not every voice and take that it might."""
    heard = [clip for clip in clips if clip.split == "train"]
    speakers, backgrounds = {clip.speaker_group for clip in heard}, {clip.background_group for clip in heard}
    possible = casting_of("train", corpus_seed)
    takes = {
        background: tuple(take for take in takes if background_group(background, take) in backgrounds)
        for background, takes in possible.takes.items()
    }
    return Casting(
        tuple(voice for voice in possible.voices if speaker_group(voice) in speakers),
        {background: some for background, some in takes.items() if some},
    )


def draw_condition(casting: Casting, rng: random.Random) -> Condition:
    """A condition that clips of `casting` may have."""
    return Condition(
        voice=rng.choice(casting.voices),
        background=rng.choice(tuple(casting.takes)),
        snr_db=round(rng.uniform(*(CLEANER_SNR_DB if rng.random() < CLEANER_SHARE else SNR_DB)), 1),
        level_dbfs=round(rng.uniform(*LEVEL_DBFS), 1),
        echo_s=round(rng.uniform(*ECHO_S), 3) if rng.random() < ECHO_SHARE else None,
        overdrive_db=round(rng.uniform(*OVERDRIVE_DB), 1) if rng.random() < OVERDRIVE_SHARE else None,
        padding_s=rng.uniform(*PADDING_S),
        lead_share=rng.uniform(*LEAD_SHARE),
        transcript_noise=rng.random() < TRANSCRIPT_NOISE_SHARE,
    )


def agitated(voice: Voice) -> Voice:
    """`voice` under stress."""
    return Voice(
        voice.variant,
        round(voice.rate_wpm * AGITATED_RATE),
        voice.pitch + AGITATED_PITCH,
        voice.pitch_range + AGITATED_RANGE,
    )


def speaker_group(voice: Voice) -> str:
    """The voice setting as a group key, before agitation."""
    return f"{voice.variant}-{voice.rate_wpm}-{voice.pitch}"


def background_group(background: str, take_seed: int) -> str:
    """A background take as a group key."""
    return f"{background}-{take_seed:08x}"


def expected_speech_s(text: str, rate_wpm: float) -> float:
    """How long espeak-ng will take to say `text`, in seconds."""
    blocks = [ord(char) - HANGUL_FIRST for char in text if is_syllable(char)]
    spoken_s = (
        _BLOCK_S * len(blocks)
        + _FINAL_S * sum(block % FINALS != 0 for block in blocks)
        + _SILENT_INITIAL_S * sum(block // _BLOCKS_AN_INITIAL == _SILENT_INITIAL for block in blocks)
        + _WORD_S * len(text.split())
        + _COMMA_S * text.count(",")
        + _STOP_S * (text.count(".") - 1)
    )
    return spoken_s * _FITTED_RATE_WPM / rate_wpm
