"""One core's worth of the path's arithmetic, without a service: a process that does as a line of its input says.

    build/bench/bin/python -m loadtest.bench.worker MODEL CONFIG VERSION_FOLDER QUESTIONS

MODEL is the graph, CONFIG its configuration as Triton hands it to its backend (JSON), by which the very session is
opened that the backend opens; VERSION_FOLDER holds the model's contract, and QUESTIONS is what `questions.write` has
written. Every line of standard input is a JSON object `{"do": ..., "seconds": ..., ...}` and is answered with one line:
units of work done, and the wall and processor time that they took; or `{"error": ...}`.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, TextIO

import numpy as np
from numpy.typing import NDArray

from deploy.triton.run_graph import open_graph
from loadtest import stages
from loadtest.bench.questions import Question, read_questions
from loadtest.clips import Clip
from preprocess_service.contract import read_contract
from preprocess_service.features import inputs, text
from preprocess_service.features.audio import TELEPHONE_RATE_HZ, AudioFormat, Encoding, decode, resample
from preprocess_service.features.mel import SAMPLE_RATE_HZ, multimodal_mel
from preprocess_service.model_spec import PROBABILITY, model_spec

MULAW: Final = AudioFormat(Encoding.MULAW, TELEPHONE_RATE_HZ, 1)
LONGEST_S: Final = 60.0

Arrays = dict[str, NDArray[Any]]


class Worker:
    """The graph and the questions; its methods are what can be ordered."""

    def __init__(self, graph_file: Path, config: dict[str, Any], folder: Path, questions: Path) -> None:
        self._spec = model_spec(config["name"])
        self._contract = read_contract(folder, self._spec)
        self._questions = read_questions(questions)
        self._graph = open_graph(graph_file, config)
        self._names = [each["name"] for each in config["output"]]
        self._next = itertools.cycle(range(len(self._questions)))

    @property
    def providers(self) -> list[str]:
        return self._graph.providers

    def read(self, sentences: int) -> dict[str, Any]:
        """So many transcripts to morphemes: Java compiles what it has seen often enough, and until then takes five
        times as long."""
        for question in itertools.islice(itertools.cycle(self._questions), sentences):
            text.morphemes(question.transcript, frozenset())
        return {"units": sentences}

    def whole(self, seconds: float) -> dict[str, Any]:
        """Questions answered one after the other: G.711 to samples to mel, transcript to token ids, graph."""
        return _repeat(lambda: self._run(self._arrays(self._question())), seconds)

    def front_end(self, seconds: float) -> dict[str, Any]:
        """The sound's part of it: decode, resample, mel, decibels."""
        return _repeat(lambda: front_end(self._question().audio), seconds)

    def librosa(self, seconds: float) -> dict[str, Any]:
        """The same by librosa's calls."""
        from loadtest.bench.plain_features import mel_of

        return _repeat(lambda: mel_of(self._question().audio), seconds)

    def features_apart(self, count: int) -> dict[str, Any]:
        """The greatest difference of the two, in dB, over so many questions."""
        from loadtest.bench.plain_features import mel_of

        asked = (self._question().audio for _ in range(count))
        return {"greatest_db": max(float(np.abs(front_end(each) - mel_of(each)).max()) for each in asked)}

    def graph(self, seconds: float, batch: int) -> dict[str, Any]:
        """Batches of so many ready rows through the graph; a unit is a row."""
        ready = list(self._batches(batch, count=max(1, 32 // batch)))
        turn = itertools.cycle(ready)
        done = _repeat(lambda: self._run(next(turn)), seconds)
        return {**done, "units": done["units"] * batch}

    def live(self, calls: int, seconds: int) -> dict[str, Any]:
        """What a second of a live call costs by stage, in milliseconds of processor time."""
        spoken = [(each.audio, Clip(Path(), each.transcript)) for each in self._questions]
        return {"ms_a_second": stages.measure(spoken, self._spec, self._contract, calls, seconds)}

    def answers(self, count: int) -> dict[str, Any]:
        """Calibrated probabilities of the first questions."""
        return {"probabilities": [self._probability(each) for each in self._questions[:count]]}

    def _question(self) -> Question:
        return self._questions[next(self._next)]

    def _arrays(self, question: Question) -> Arrays:
        samples = resample(decode(question.audio, MULAW, LONGEST_S), TELEPHONE_RATE_HZ, SAMPLE_RATE_HZ)
        ids: list[int] = []
        if self._contract.text is not None:
            words = text.morphemes(question.transcript, self._contract.text.stop_words)
            ids = text.word_ids(words, self._contract.text.ids_by_word)
        rows = inputs.rows(self._spec, len(samples), len(ids))
        return dict(inputs.batch(self._spec, samples, ids, rows))

    def _batches(self, size: int, count: int) -> Iterator[Arrays]:
        for _ in range(count):
            singles = [self._arrays(self._question()) for _ in range(size)]
            yield {name: np.concatenate([each[name] for each in singles]) for name in singles[0]}

    def _run(self, arrays: Arrays) -> list[NDArray[Any]]:
        return self._graph.run(self._names, arrays)

    def _probability(self, question: Question) -> float:
        arrays = self._arrays(question)
        answer = self._run(arrays)[self._names.index(PROBABILITY.name)][:, 0]
        has_words = np.array([bool(self._spec.tokens and arrays[self._spec.tokens.name].any())])
        return float(self._contract.decision.calibrate(answer, has_words)[0])


def front_end(code_words: bytes) -> NDArray[np.float32]:
    """Mu-law to the decibels that `multimodal` hears: (128, 300)."""
    return multimodal_mel(resample(decode(code_words, MULAW, LONGEST_S), TELEPHONE_RATE_HZ, SAMPLE_RATE_HZ))


def _repeat(work: Callable[[], object], seconds: float) -> dict[str, Any]:
    """Does it again and again for so long; processor time is that of all threads of this process."""
    units, began, cpu = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - began < seconds:
        work()
        units += 1
    return {"units": units, "wall_s": time.perf_counter() - began, "cpu_s": time.process_time() - cpu}


def serve(worker: Worker, replies: TextIO) -> None:
    """Answers standard input's lines until it ends."""
    print(json.dumps({"providers": worker.providers}), file=replies, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        try:
            reply = getattr(worker, order.pop("do"))(**order)
        except Exception as error:  # whatever it is, it is the caller's to judge
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies, flush=True)


def main() -> int:
    graph_file, config, folder, questions = map(Path, sys.argv[1:])
    # Libraries that greet on standard output must not do so between the replies.
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    try:
        worker = Worker(graph_file, json.loads(config.read_text(encoding="utf-8")), folder, questions)
    except Exception as error:  # a Refusal of the backend's rules, or a contract that does not fit
        print(json.dumps({"error": f"{type(error).__name__}: {error}"}), file=replies, flush=True)
        return 1
    serve(worker, replies)
    return 0


if __name__ == "__main__":
    sys.exit(main())
