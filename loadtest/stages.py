"""What a second of live call audio costs the service's own arithmetic, by stage: one thread, no sockets, no Triton."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final, ParamSpec, TypeVar

import numpy as np

from client.formats import G711_RATE_HZ
from loadtest.clips import Clip
from preprocess_service.admission import Priority
from preprocess_service.alert import AlertState
from preprocess_service.contract import Contract
from preprocess_service.features import text
from preprocess_service.features.audio import AudioFormat, Encoding
from preprocess_service.live import translation
from preprocess_service.live.call import Answer, CallConfig, CallState, Hop, LiveCall, Piece
from preprocess_service.live.words import Segment
from preprocess_service.model_spec import KINDS, ModelSpec
from preprocess_service.verdict import Times

P = ParamSpec("P")
T = TypeVar("T")

MESSAGES_A_SECOND: Final = 5
WARM_UP_S: Final = 8  # until windows are whole
STAGES: Final = {
    "messages": "taking messages in",
    "words": "transcripts to morphemes",
    "sound": "G.711 to samples at 22,050 Hz and mel frames",
    "window": "evidence, window, token ids",
    "update": "calibration, alert, update message",
    "java": "Java's compiler and garbage collector, beside all that",
}


class Stopwatch:
    """Adds up this thread's processor time by stage, once it is started."""

    def __init__(self) -> None:
        self.seconds = dict.fromkeys(STAGES, 0.0)
        self._all_s: float | None = None  # of all threads, when it was started

    def start(self) -> None:
        """From now on."""
        self._all_s, self._own_s = time.process_time(), time.thread_time()

    def stop(self) -> None:
        """Puts what other threads have spent meanwhile down to Java: nothing else has any."""
        if self._all_s is not None:
            others_s = time.process_time() - self._all_s - (time.thread_time() - self._own_s)
            self.seconds["java"] = max(0.0, others_s)

    def of(self, stage: str, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Runs a function for a stage."""
        began = time.thread_time()
        result = function(*args, **kwargs)
        if self._all_s is not None:
            self.seconds[stage] += time.thread_time() - began
        return result


def measure(
    spoken: Sequence[tuple[bytes, Clip]], spec: ModelSpec, contract: Contract, calls: int, seconds: int
) -> dict[str, float]:
    """Milliseconds of processor time a second of call audio, by stage: calls side by side, as a service has them, each
    made of clips (G.711 code words, clip) one after another with their transcripts."""
    text.morphemes("여기 불이 났어요", frozenset())  # starts the virtual machine
    watch = Stopwatch()
    lines = [_Line([*spoken[index:], *spoken[:index]], WARM_UP_S + seconds) for index in range(calls)]
    for second in range(WARM_UP_S + seconds):
        if second == WARM_UP_S:
            watch.start()
        for line in lines:
            line.live_through(second, watch, spec, contract)
    watch.stop()
    return {stage: 1000 * spent / (calls * seconds) for stage, spent in watch.seconds.items()}


class _Line:
    def __init__(self, spoken: Sequence[tuple[bytes, Clip]], seconds: int) -> None:
        stated, state = AudioFormat(Encoding.MULAW, G711_RATE_HZ, 1), CallState(AlertState())
        self._call = LiveCall(CallConfig(stated, "", "", "stages", Priority.NORMAL, 1.0, state))
        self._audio, self._said, self._sequence = bytearray(), dict[int, Segment](), 0
        for code_words, clip in spoken:
            start_s = len(self._audio) / G711_RATE_HZ
            self._audio += code_words
            end_s = len(self._audio) / G711_RATE_HZ
            self._said[int(end_s)] = Segment(clip.text, start_s, end_s)
            if end_s >= seconds:
                return
        raise ValueError(f"{len(spoken)} clips are too few for {seconds} s of speech")

    def live_through(self, second: int, watch: Stopwatch, spec: ModelSpec, contract: Contract) -> None:
        call, size = self._call, G711_RATE_HZ // MESSAGES_A_SECOND
        for start in range(second * G711_RATE_HZ, (second + 1) * G711_RATE_HZ, size):
            self._sequence += 1
            watch.of("messages", call.hear, self._sequence, Piece(bytes(self._audio[start : start + size])), 0.0)
        if (segment := self._said.get(second)) is not None:
            self._sequence += 1
            watch.of("messages", call.read, self._sequence, segment, is_final=True, from_agent=False)
            watch.of("words", getattr, segment, "words")
        hop: Hop = watch.of("messages", call.begin, 0.0, float("inf"))
        watch.of("sound", call.take_in, hop)
        windows = watch.of("window", call.windows, hop, spec, contract)
        kinds = np.full(KINDS.shape, 1 / KINDS.shape[0], np.float32) if spec.names_kind else None
        answers = [None if window.tensor is None else Answer(0.5, kinds) for window in windows]
        update = watch.of("update", call.judged, hop, windows, answers, contract)
        watch.of("update", translation.update_message, update, None, Times())
