"""Golden clips: a few test clips whose answers are known, asked of a version before anybody relies on it."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from scipy import special

from preprocess_service.contract import Contract
from preprocess_service.features.g711 import CodeWords
from training import line
from training.dataset import Corpus
from training.decision import BANDS, Band, bands
from training.manifest import LABELS, Label
from training.recording_files import read_recording
from training.recordings import Scorer

FILE_NAME: Final = "golden.json"
CLIPS_OF_LABEL: Final = 8
CANDIDATES_OF_LABEL: Final = 48  # scored to choose from
CANDIDATES_WITHOUT_TRANSCRIPT: Final = 12
# Of the network's own answer, before calibration: other machines and providers round otherwise, as for the canary.
ROUNDING: Final = 1e-3
# Of the calibrated probability: the recording is resampled and cut anew.
TOLERANCE: Final = 0.01
_LEAST_PROBABILITY: Final = 1e-7


class GoldenUnusable(ValueError):
    """Golden clips that cannot be asked; the message names the file or the clip, and why."""


class GoldenClip(BaseModel):
    """One clip and what is right about it; neither its sound nor its words."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    clip_id: str
    path: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")  # of the recording's bytes
    label: Label
    with_transcript: bool
    probability: float = Field(ge=0, le=1)  # calibrated, of the graph as exported
    decision: Band


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    clips: tuple[GoldenClip, ...] = Field(min_length=1)


@dataclass(frozen=True)
class GoldenCall:
    """A golden clip with what the service is asked: mu-law code words (n,) at 8000 Hz, and a transcript or none."""

    clip: GoldenClip
    index: int  # in the corpus
    code_words: CodeWords
    transcript: str


@dataclass(frozen=True)
class _Scored:
    index: int
    kind: str
    probability: float
    decision: Band
    is_right: bool
    is_clear: bool


def decide(probability: float, contract: Contract, has_words: bool) -> Band:
    """The band that a calibrated probability falls into."""
    point = contract.decision.point(has_words)
    return BANDS[int(bands(probability, point.threshold, point.uncertain_from))]


def drift(contract: Contract, graph_file: str) -> float:
    """By how much that graph's own answer may differ from that of the graph as exported."""
    return ROUNDING + contract.graphs[graph_file].gate.get("greatest_difference", 0.0)


def band(contract: Contract, probability: float, has_words: bool, allowed: float) -> tuple[float, float]:
    """The calibrated probabilities that are right where `probability` is expected and the network's own answer may
    differ by `allowed`: calibration can stretch a small difference to a large one."""
    point = contract.decision.point(has_words)
    network = special.expit((_log_odds(probability) - point.offset) / point.scale)
    low, high = point.calibrate(np.array([network - allowed, network + allowed], np.float32))
    return min(float(low), probability) - TOLERANCE, max(float(high), probability) + TOLERANCE


def choose(scorer: Scorer, corpus: Corpus, clips: NDArray[np.int64], folder: Path) -> tuple[GoldenClip, ...]:
    """Chooses golden clips among `clips` (indices into the corpus) and writes them to `folder`/golden.json.

    Of each label CLIPS_OF_LABEL, spread over its kinds, and for a model that reads one more without its transcript;
    those that the model judges right, and clearly, come first.
    """
    chosen = []
    for label in LABELS:
        of_label = _spread_evenly([int(each) for each in clips if corpus.clips[each].label == label])
        words = scorer.ids(corpus, of_label)
        reads = scorer.contract.text is not None
        heard = [(index, ids) for index, ids in zip(of_label, words, strict=True) if ids or not reads]
        best = _best(_score(scorer, corpus, heard), CLIPS_OF_LABEL)
        chosen += [_golden(corpus, each, with_transcript=reads) for each in best]
        if reads:
            mute: list[tuple[int, list[int]]] = [(index, []) for index in of_label[:CANDIDATES_WITHOUT_TRANSCRIPT]]
            best = _best(_score(scorer, corpus, mute), 1)
            chosen += [_golden(corpus, each, with_transcript=False) for each in best]
    if not chosen:
        raise GoldenUnusable("none of the test clips can be a golden clip")
    (folder / FILE_NAME).write_text(_File(clips=tuple(chosen)).model_dump_json(indent=1), encoding="utf-8")
    return tuple(chosen)


def read_golden(folder: Path) -> tuple[GoldenClip, ...]:
    """The golden clips of a version or candidate; raises GoldenUnusable naming the file."""
    path = folder / FILE_NAME
    try:
        return _File.model_validate_json(path.read_bytes()).clips
    except OSError as error:
        raise GoldenUnusable(f"{path}: cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise GoldenUnusable(f"{path}: {error}") from error


def golden_calls(clips: Sequence[GoldenClip], corpus: Corpus) -> list[GoldenCall]:
    """What to ask for each clip, from the corpus; raises GoldenUnusable for one that is not there or has changed."""
    index_of = {clip.clip_id: index for index, clip in enumerate(corpus.clips)}
    calls = []
    for golden in clips:
        if golden.clip_id not in index_of:
            raise GoldenUnusable(f"golden clip {golden.clip_id}: {corpus.folder} has no such clip")
        index = index_of[golden.clip_id]
        clip = corpus.clips[index]
        recording = read_recording(corpus.root, clip.path)
        if (found := hashlib.sha256(recording).hexdigest()) != golden.sha256:
            raise GoldenUnusable(f"golden clip {golden.clip_id}: {clip.path} has SHA-256 {found}, not {golden.sha256}")
        words = line.line_code_words(recording, clip.start_s, clip.end_s)
        calls.append(GoldenCall(golden, index, words, clip.text if golden.with_transcript else ""))
    return calls


def fault(clip: GoldenClip, probability: float, decision: str, contract: Contract, allowed: float) -> str | None:
    """What is wrong with an answer of a network that may differ by `allowed`; None for a right one."""
    low, high = band(contract, clip.probability, clip.with_transcript, allowed)
    if not low <= probability <= high:
        return f"golden clip {clip.clip_id}: probability {probability:.4f}; {low:.4f} to {high:.4f} is right"
    right = {decide(each, contract, clip.with_transcript) for each in (low, clip.probability, high)}
    if decision not in right:
        return f"golden clip {clip.clip_id}: {decision} at {probability:.4f}; {' or '.join(sorted(right))} is right"
    return None


def faults(calls: Iterable[GoldenCall], corpus: Corpus, scorer: Scorer, allowed: float) -> list[str]:
    """What is wrong with the answers of a graph that runs here, as `fault` says it; empty where all are right."""
    found = []
    for call in calls:
        (ids,) = scorer.ids(corpus, [call.index]) if call.transcript else ([],)
        probability = scorer.probability(line.heard(call.code_words), ids)
        decision = decide(probability, scorer.contract, bool(ids))
        wrong = fault(call.clip, probability, decision, scorer.contract, allowed)
        found += [wrong] if wrong else []
    return found


def _score(scorer: Scorer, corpus: Corpus, heard: Iterable[tuple[int, list[int]]]) -> list[_Scored]:
    contract = scorer.contract
    allowed = max(drift(contract, name) for name in contract.graphs)
    scored = []
    for index, ids in heard:
        clip = corpus.clips[index]
        probability = scorer.probability(corpus.samples(index), ids)
        low, high = band(contract, probability, bool(ids), allowed)
        decision = decide(probability, contract, bool(ids))
        is_clear = decide(low, contract, bool(ids)) == decide(high, contract, bool(ids))
        scored.append(_Scored(index, clip.kind, probability, decision, decision == clip.label, is_clear))
    return scored


def _best(scored: Iterable[_Scored], count: int) -> list[_Scored]:
    """Clear before doubtful, right before wrong, and among equals every kind once before one comes twice."""
    of_kind: Counter[tuple[bool, bool, str]] = Counter()
    ranked = []
    for each in scored:
        group = (not each.is_clear, not each.is_right, each.kind)
        ranked.append(((*group[:2], of_kind[group], each.index), each))
        of_kind[group] += 1
    return [each for _, each in sorted(ranked, key=lambda pair: pair[0])[:count]]


def _golden(corpus: Corpus, scored: _Scored, *, with_transcript: bool) -> GoldenClip:
    clip = corpus.clips[scored.index]
    return GoldenClip(
        clip_id=clip.clip_id,
        path=clip.path,
        sha256=hashlib.sha256(read_recording(corpus.root, clip.path)).hexdigest(),
        label=clip.label,
        with_transcript=with_transcript,
        probability=scored.probability,
        decision=scored.decision,
    )


def _spread_evenly(indices: Sequence[int]) -> list[int]:
    count = min(len(indices), CANDIDATES_OF_LABEL)
    return [indices[each] for each in np.linspace(0, len(indices) - 1, count).astype(int)] if indices else []


def _log_odds(probability: float) -> float:
    clipped = float(np.clip(probability, _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY))
    return float(np.log(clipped / (1 - clipped)))
