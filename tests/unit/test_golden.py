"""Golden clips tell the right network from others, and hold neither sound nor words."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from preprocess_service.contract import Canary, Graph, OperatingPoint, TextSettings
from preprocess_service.features import text
from preprocess_service.model_spec import MODELS, MULTIMODAL, PROBABILITY
from tests.e2e.tiny_models import contract
from tests.integration import small_models
from tests.unit import small_corpus
from training import golden
from training.dataset import read_corpus
from training.golden import CLIPS_OF_LABEL, GoldenUnusable
from training.manifest import EMERGENCY_KINDS, MANIFEST_NAME, write_manifest
from training.recordings import Scorer

FIRE = text.FIRST_WORD_ID  # 불
DOUBTFUL = FIRE + 1  # 연기
GRAPH = Graph(
    precision="fp32", provider="CPUExecutionProvider", canary=Canary(probability=0.5, tolerance=1e-3), gate={}
)
INT8 = GRAPH.model_copy(update={"precision": "int8", "gate": {"greatest_difference": 0.1}})


def network(certainty=4.0):
    """Certain of an emergency where it reads of fire, just above the threshold where of smoke, else of none."""
    constants: dict[str, Any] = {
        "fire": np.array(FIRE, np.int32),
        "smoke": np.array(DOUBTFUL, np.int32),
        "weight": np.array([2 * certainty], np.float32),
        "some": np.array([certainty + 1.4], np.float32),  # logit(0.8) is 1.386
        "bias": np.array([certainty], np.float32),
        "silent": np.array([1e-9], np.float32),
        "axes": np.array([1, 2, 3], np.int64),
        "flat": np.array([-1, 1], np.int64),
        "tokens axis": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("ReduceMean", ["mel", "axes"], ["mean"]),
        helper.make_node("Reshape", ["mean", "flat"], ["m"]),
    ]
    for name in ("fire", "smoke"):
        nodes += [
            helper.make_node("Equal", ["tokens", name], [f"is {name}"]),
            helper.make_node("Cast", [f"is {name}"], [f"{name}s"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMax", [f"{name}s", "tokens axis"], [f"any {name}"], keepdims=1),
        ]
    nodes += [
        helper.make_node("Mul", ["any fire", "weight"], ["a"]),
        helper.make_node("Mul", ["any smoke", "some"], ["b"]),
        helper.make_node("Mul", ["m", "silent"], ["c"]),
        helper.make_node("Sum", ["a", "b", "c"], ["d"]),
        helper.make_node("Sub", ["d", "bias"], ["logit"]),
        helper.make_node("Sigmoid", ["logit"], [PROBABILITY.name]),
    ]
    types = {"FP32": TensorProto.FLOAT, "INT32": TensorProto.INT32}
    return small_models.model(
        nodes,
        [(each.name, types[each.datatype], ["batch", *each.shape]) for each in MULTIMODAL.inputs],
        [(PROBABILITY.name, TensorProto.FLOAT, ["batch", 1])],
        constants,
    ).SerializeToString()


def scorer_of(graph, graphs=None):
    held = contract(MULTIMODAL, 1, graphs=graphs or {"model.onnx": GRAPH}, files={})
    words = TextSettings(tokens=text.TOKENS, vocabulary=("불", "연기"), stop_words=frozenset())
    runtime = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
    return Scorer(runtime, MULTIMODAL, held.model_copy(update={"text": words}))


@pytest.fixture
def make_corpus(tmp_path):
    """A corpus of test clips over some kinds; `say` gives the words of an emergency by its number."""

    def make(say=lambda _: "불이 났어요", clips=10):
        written = small_corpus.write_corpus(tmp_path / "corpus", clips, 0.3)
        numbers: Counter[tuple[str, str]] = Counter()
        changed = []
        for clip in written:
            number = numbers[clip.label, clip.split]
            numbers[clip.label, clip.split] += 1
            words = say(number) if clip.label == "emergency" else "날씨가 좋네요"
            kind = EMERGENCY_KINDS[number % 5] if clip.label == "emergency" else f"topic {number % 5}"
            changed.append(replace(clip, text=f"{words} {clip.split} {number}", kind=kind))
        write_manifest(tmp_path / "corpus" / MANIFEST_NAME, changed)
        return read_corpus(tmp_path / "corpus")

    return make


def clips_to_test(corpus):
    return np.array([index for index, clip in enumerate(corpus.clips) if clip.split == "test"])


def test_golden_clips_are_spread_over_labels_and_kinds(make_corpus, tmp_path):
    corpus = make_corpus()

    chosen = golden.choose(scorer_of(network()), corpus, clips_to_test(corpus), tmp_path)

    read = [clip for clip in chosen if clip.with_transcript]
    kinds = {clip.clip_id: clip.kind for clip in corpus.clips}
    assert Counter(clip.label for clip in read) == {"emergency": CLIPS_OF_LABEL, "normal": CLIPS_OF_LABEL}
    assert max(Counter(kinds[clip.clip_id] for clip in read).values()) == 2  # of five kinds with two clips each
    assert Counter(clip.label for clip in chosen if not clip.with_transcript) == {"emergency": 1, "normal": 1}
    assert {(clip.label, clip.decision) for clip in read} == {("emergency", "emergency"), ("normal", "normal")}


def test_the_file_holds_no_words(make_corpus, tmp_path):
    corpus = make_corpus()

    chosen = golden.choose(scorer_of(network()), corpus, clips_to_test(corpus), tmp_path)

    written = (tmp_path / golden.FILE_NAME).read_text(encoding="utf-8")
    assert not any(word in written for clip in corpus.clips for word in clip.text.split() if not word.isascii())
    assert golden.read_golden(tmp_path) == chosen


def test_clips_near_a_threshold_are_not_chosen_where_there_are_others(make_corpus, tmp_path):
    corpus = make_corpus(lambda number: "연기가 나요" if number < 5 else "불이 났어요", clips=13)

    chosen = golden.choose(scorer_of(network()), corpus, clips_to_test(corpus), tmp_path)

    emergencies = [clip for clip in chosen if clip.label == "emergency" and clip.with_transcript]
    assert len(emergencies) == CLIPS_OF_LABEL
    assert min(clip.probability for clip in emergencies) > 0.9


def test_the_network_that_they_were_chosen_by_answers_them_right(make_corpus, tmp_path):
    corpus = make_corpus()
    scorer = scorer_of(network())
    calls = golden.golden_calls(golden.choose(scorer, corpus, clips_to_test(corpus), tmp_path), corpus)

    assert golden.faults(calls, corpus, scorer, golden.ROUNDING) == []


@pytest.mark.parametrize("certainty", [-4.0, 0.5, 2.0])
def test_another_network_does_not(make_corpus, tmp_path, certainty):
    corpus = make_corpus()
    chosen = golden.choose(scorer_of(network()), corpus, clips_to_test(corpus), tmp_path)
    calls = golden.golden_calls(chosen, corpus)

    wrong = golden.faults(calls, corpus, scorer_of(network(certainty)), golden.ROUNDING)

    assert any(f"golden clip {clip.clip_id}: probability" in each for each in wrong for clip in chosen)


def test_a_recording_that_has_changed_is_named(make_corpus, tmp_path):
    corpus = make_corpus()
    chosen = golden.choose(scorer_of(network()), corpus, clips_to_test(corpus), tmp_path)
    path = corpus.root / chosen[3].path
    path.write_bytes(path.read_bytes()[:-2] + b"\x07\x07")

    with pytest.raises(GoldenUnusable, match=f"{chosen[3].clip_id}: .* has SHA-256"):
        golden.golden_calls(chosen, corpus)


def test_a_clip_that_the_corpus_lacks_is_named(make_corpus, tmp_path):
    corpus = make_corpus()
    chosen = golden.choose(scorer_of(network()), corpus, clips_to_test(corpus), tmp_path)
    other = replace(corpus, clips=tuple(clip for clip in corpus.clips if clip.clip_id != chosen[0].clip_id))

    with pytest.raises(GoldenUnusable, match=f"{chosen[0].clip_id}: .* has no such clip"):
        golden.golden_calls(chosen, other)


@pytest.mark.parametrize(
    ("written", "reason"), [(None, "No such file"), ("{", "Invalid JSON"), ('{"clips": []}', "at least 1 item")]
)
def test_an_unusable_file_is_named(tmp_path, written, reason):
    if written is not None:
        (tmp_path / golden.FILE_NAME).write_text(written, encoding="utf-8")

    with pytest.raises(GoldenUnusable, match=rf"golden\.json: [\s\S]*{reason}"):
        golden.read_golden(tmp_path)


def test_no_clips_are_no_golden_clips(make_corpus, tmp_path):
    corpus = make_corpus()

    with pytest.raises(GoldenUnusable, match="none of the test clips"):
        golden.choose(scorer_of(network()), corpus, np.array([], np.int64), tmp_path)


@pytest.mark.parametrize("scale", [0.6, 1.0, 33.0])
@pytest.mark.parametrize("allowed", [1e-3, 0.05])
def test_the_band_holds_whatever_a_network_within_the_allowed_difference_says(scale, allowed):
    point = OperatingPoint(scale=scale, offset=-0.3, threshold=0.6, uncertain_from=0.4)
    held = scorer_of(network()).contract
    held = held.model_copy(update={"decision": held.decision.model_copy(update={"with_transcript": point})})
    for answer in np.linspace(0.001, 0.999, 101):
        expected = float(point.calibrate(np.array([answer], np.float32))[0])
        others = point.calibrate(np.clip([answer - allowed, answer + allowed], 0, 1).astype(np.float32))

        low, high = golden.band(held, expected, True, allowed)

        assert low <= others.min() <= others.max() <= high
        assert high - low <= float(np.ptp(others)) + 2 * golden.TOLERANCE + 1e-3


def test_a_reduced_precision_may_differ_by_what_its_gate_has_measured():
    held = scorer_of(network(), {"model.onnx": GRAPH, "model.cpu.onnx": INT8}).contract

    assert golden.drift(held, "model.onnx") == golden.ROUNDING
    assert golden.drift(held, "model.cpu.onnx") == pytest.approx(golden.ROUNDING + 0.1)


def test_a_decision_that_the_probability_does_not_bear_out_is_a_fault(make_corpus, tmp_path):
    corpus = make_corpus()
    scorer = scorer_of(network())
    clip = golden.choose(scorer, corpus, clips_to_test(corpus), tmp_path)[0]

    assert golden.fault(clip, clip.probability, "emergency", scorer.contract, golden.ROUNDING) is None
    wrong = golden.fault(clip, clip.probability, "normal", scorer.contract, golden.ROUNDING)

    assert wrong is not None
    assert "emergency is right" in wrong


def test_a_model_that_only_hears_has_golden_clips_without_transcripts(make_corpus, tmp_path):
    corpus = make_corpus()
    spec = MODELS["vgg16"]
    held = contract(spec, 1, graphs={"model.onnx": GRAPH}, files={})

    class Constant:
        def run(self, _names, arrays):
            return [np.full((len(arrays["picture"]), 1), 0.1, np.float32)]

    chosen = golden.choose(Scorer(Constant(), spec, held), corpus, clips_to_test(corpus), tmp_path)

    assert len(chosen) == 2 * CLIPS_OF_LABEL
    assert not any(clip.with_transcript for clip in chosen)
