"""What remains when something is taken away or spoilt: no sound, no words, words misheard, another telephone line."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.features.audio import Samples
from training.augmentation import clip_rng, shifted_channel
from training.dataset import Corpus, token_ids
from training.feature_store import Treatment
from training.manifest import Clip
from training.recordings import Scorer
from training.report.intervals import SEED, Floats
from training.report.recordings import probabilities, whole
from training.synthetic.korean import HANGUL_FIRST, HANGUL_LAST, is_syllable

ERROR_RATES: Final = (0.1, 0.2, 0.3)
FULL: Final = "as it is"
SHIFTED: Final = "another telephone line"


@dataclass(frozen=True)
class Ablation:
    """The scores (n,) of the same clips under one change, and the threshold of each: without words it is another."""

    name: str
    scores: Floats
    thresholds: Floats


def ablate(scorer: Scorer, corpus: Corpus, clips: NDArray[np.int64]) -> list[Ablation]:
    """Scores clips as they are and under every change that concerns the model."""
    spec = scorer.spec
    chosen = [corpus.clips[index] for index in clips]
    sounds = [corpus.samples(index) for index in clips]
    ids = scorer.ids(corpus, clips)
    nothing: list[list[int]] = [[] for _ in clips]

    def scored(name: str, heard: Sequence[Samples], read: Sequence[Sequence[int]]) -> Ablation:
        questions = (whole(scorer, *pair) for pair in zip(heard, read, strict=True))
        thresholds = [scorer.contract.decision.point(bool(each)).threshold for each in read]
        return Ablation(name, probabilities(scorer, questions), np.array(thresholds))

    done = [scored(FULL, sounds, ids)]
    if spec.tokens:
        done.append(scored("no text", sounds, nothing))
        done.append(scored("no audio", [np.zeros_like(each) for each in sounds], ids))
        done += [
            scored(f"{rate:.0%} of syllables misheard", sounds, _misheard_ids(scorer, chosen, rate))
            for rate in ERROR_RATES
        ]
    other = [shifted_channel(sound, _line(clip)) for sound, clip in zip(sounds, chosen, strict=True)]
    done.append(scored(SHIFTED, other, ids))
    if spec.tokens:
        done.append(scored(f"{SHIFTED}, no text", other, nothing))
    return done


def mishear(text: str, rate: float, rng: np.random.Generator) -> str:
    """A transcript in which every syllable is, with probability `rate`, replaced, lost or doubled by another one."""
    heard: list[str] = []
    for sign in text:
        if not is_syllable(sign) or rng.random() >= rate:
            heard.append(sign)
            continue
        error = rng.integers(3)
        other = chr(int(rng.integers(HANGUL_FIRST, HANGUL_LAST + 1)))
        heard.append((other, "", sign + other)[error])
    return "".join(heard)


def _misheard_ids(scorer: Scorer, clips: Sequence[Clip], rate: float) -> list[list[int]]:
    text = scorer.contract.text
    if text is None:
        raise ValueError(f"{scorer.spec.name} reads nothing; it cannot read wrongly")
    return token_ids([replace(clip, text=mishear(clip.text, rate, _generator(clip))) for clip in clips], text)


def _line(clip: Clip) -> np.random.Generator:
    """The line of a clip: that of the feature store's channel "shifted", so that all figures of it agree."""
    treatment = Treatment("shifted")
    return clip_rng(clip.clip_id, treatment.channel, treatment.variant, treatment.seed)


def _generator(clip: Clip) -> np.random.Generator:
    """The same errors of a clip for every model."""
    return clip_rng(clip.clip_id, "report", 0, SEED)
