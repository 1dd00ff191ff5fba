"""One live call: what has been heard of it, what is due, and what has been found.

Audio is only counted as it arrives; it is decoded when a hop is due, a hop at a time. `hear`, `read`, `finish`, `begin`
and `judged` belong to the event loop; `take_in` and `windows` may run in a thread, for one hop at a time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.admission import Priority
from preprocess_service.alert import AlertPolicy, AlertState
from preprocess_service.contract import Contract
from preprocess_service.errors import InvalidAudio, InvalidRequest
from preprocess_service.features import text
from preprocess_service.features.audio import AudioFormat, headerless_frame_bytes, headerless_samples
from preprocess_service.features.live.activity import Evidence, evidence
from preprocess_service.features.live.audio import LiveAudio
from preprocess_service.features.mel import SAMPLE_RATE_HZ
from preprocess_service.live.words import Segment, Words
from preprocess_service.model_spec import MODELS, ModelSpec
from preprocess_service.preparation import CLIPPED_SHARE
from preprocess_service.verdict import Degradation, KindScore, WindowScore, likeliest_kinds

LONGEST_PIECE_S: Final = 10.0
LONGEST_TIMELINE: Final = 6 * 3600  # windows that a summary holds
_LONGEST_REACH_S: Final = max(spec.window_s for spec in MODELS.values()) + 1.0  # a window, its grid and its filters
_WITHOUT_EVIDENCE: Final = {
    Evidence.SILENCE: Degradation.SILENCE,
    Evidence.COMFORT_NOISE: Degradation.COMFORT_NOISE,
    Evidence.HOLD_MUSIC: Degradation.HOLD_MUSIC,
}


@dataclass(frozen=True)
class CallState:
    """What must be known of a call, besides its last window, to go on with it; the fields are those of the API."""

    alert: AlertState
    update: int = 0
    position_frames: int = 0
    strongest: float = 0.0
    strongest_at_s: float = 0.0
    lost_frames: int = 0
    skipped_hops: int = 0


@dataclass(frozen=True)
class CallConfig:
    """What a stream is opened with; `position_frames` is where its audio begins."""

    format: AudioFormat
    model: str
    model_version: str
    call_id: str
    priority: Priority
    hop_s: float
    state: CallState
    position_frames: int = 0
    resumed: bool = False


@dataclass(frozen=True)
class Piece:
    """Whole frames of audio, `lost` frames of silence before them, `concealed` of them made up."""

    data: bytes
    lost: int = 0
    concealed: int = 0

    def split(self, frames: int, frame_bytes: int) -> tuple[Piece, Piece]:
        """The first so many frames, and the rest."""
        lost = min(self.lost, frames)
        heard = frames - lost
        concealed = min(self.concealed, heard)
        first = Piece(self.data[: heard * frame_bytes], lost, concealed)
        return first, Piece(self.data[heard * frame_bytes :], self.lost - lost, self.concealed - concealed)


@dataclass(frozen=True)
class Hop:
    """The stretch of audio up to `end` (frames from the call's beginning) that is taken in and judged next."""

    pieces: tuple[Piece, ...]
    lost: int  # frames that no update has told of
    end: int
    skipped: int
    is_last: bool
    due_at: float


@dataclass(frozen=True)
class Window:
    """What a model is asked about one party; `tensor` is None where the sound carries no evidence."""

    tensor: NDArray[np.float32] | None
    tokens: NDArray[np.int32] | None
    has_words: bool
    duration_s: float
    degradations: tuple[Degradation, ...]


@dataclass(frozen=True)
class PartyScore:
    probability: float
    scored: bool
    kinds: tuple[KindScore, ...]
    degradations: tuple[Degradation, ...]


@dataclass(frozen=True)
class Update:
    """What is known of a call after a hop."""

    state: CallState
    covered_s: float
    acknowledged_sequence: int
    parties: tuple[PartyScore, ...]
    due_at: float


@dataclass(frozen=True)
class Answer:
    """What the network says of one window, uncalibrated."""

    probability: float
    kinds: NDArray[np.float32] | None


class _Party:
    """The audio and the words of the caller or of the agent."""

    def __init__(self, audio: LiveAudio) -> None:
        self.audio, self.words = audio, Words()


class LiveCall:
    """State of one call on this stream."""

    def __init__(self, config: CallConfig) -> None:
        """Raises InvalidAudio for a format that is not taken."""
        self.config, self.state = config, config.state
        self._frame_bytes = headerless_frame_bytes(config.format)
        self._rate_hz = config.format.sample_rate_hz
        self._parties = [_Party(LiveAudio(self._rate_hz)) for _ in range(config.format.channels)]
        self._hop_frames = round(config.hop_s * self._rate_hz)
        # In frames from the call's beginning: where this stream begins, what has been taken in, what has come.
        self._origin = self._taken = self._position = config.position_frames
        self._sequence: int | None = None if config.resumed else 0
        self._pieces: deque[Piece] = deque()
        self._arrivals: deque[tuple[int, float]] = deque()  # position after a message, and when it came
        self._finished_at: float | None = None
        # What lies before reaches into no window that is still to be judged.
        self._needed_from = config.state.position_frames - round(_LONGEST_REACH_S * self._rate_hz)
        self.timeline: deque[WindowScore] = deque(maxlen=LONGEST_TIMELINE)
        self.degradations: set[Degradation] = set()

    @property
    def covered_s(self) -> float:
        return self.state.position_frames / self._rate_hz

    @property
    def audio_s(self) -> float:
        return self._position / self._rate_hz

    @property
    def pending_s(self) -> float:
        """Seconds of audio that have not been taken in yet."""
        return (self._position - self._taken) / self._rate_hz

    @property
    def longest_unread(self) -> int:
        """Signs of the longest segment whose words have not been told apart yet."""
        return max(party.words.longest_unread for party in self._parties)

    @property
    def is_due(self) -> bool:
        """Whether a hop, or after the end the rest, can be judged."""
        return self._position >= self._next_end or (self.has_finished and not self.is_complete)

    @property
    def has_finished(self) -> bool:
        """Whether the caller has half-closed."""
        return self._finished_at is not None

    @property
    def is_complete(self) -> bool:
        """Whether the call has ended and all that there was of it has been judged; it may have been nothing."""
        return self.has_finished and self._position <= self.state.position_frames

    @property
    def due_at(self) -> float:
        """When the last audio of the next hop came; of the rest, when the call ended."""
        end = self._next_end
        arrived = next((at for position, at in self._arrivals if position >= end), None)
        if arrived is not None:
            return arrived
        return self._finished_at if self._finished_at is not None else float("inf")

    def hear(self, sequence: int, piece: Piece, now: float) -> None:
        """Takes audio; raises InvalidRequest for a wrong sequence number, InvalidAudio for audio that breaks a rule."""
        self._follow(sequence)
        frame_bytes = self._frame_bytes
        frames, rest = divmod(len(piece.data), frame_bytes)
        if rest:
            raise InvalidAudio(f"{len(piece.data)} bytes of audio; a frame has {frame_bytes}")
        if frames + piece.lost > LONGEST_PIECE_S * self._rate_hz:
            raise InvalidAudio(
                f"{(frames + piece.lost) / self._rate_hz:.1f} s of audio in one message; at most {LONGEST_PIECE_S:g} s"
            )
        if piece.concealed > frames:
            raise InvalidAudio(f"{piece.concealed} concealed frames of {frames}")
        self._position += frames + piece.lost
        if self._position <= self._needed_from:  # a resumption from further back than need be
            self._origin = self._taken = self._position
        elif frames or piece.lost:
            self._pieces.append(piece)
            self._arrivals.append((self._position, now))

    def read(self, sequence: int, segment: Segment, *, is_final: bool, from_agent: bool) -> None:
        """Takes a transcript; one without times counts as said up to now. Raises InvalidRequest."""
        self._follow(sequence)
        if not (np.isfinite((segment.start_s, segment.end_s)).all() and 0 <= segment.start_s <= segment.end_s):
            raise InvalidRequest(f"a transcript from {segment.start_s} to {segment.end_s} s; times go forwards from 0")
        if from_agent and len(self._parties) == 1:
            raise InvalidRequest("a transcript of the agent; the call's audio has one channel, the caller's")
        if segment.end_s == 0:
            segment = Segment(segment.text, self.audio_s, self.audio_s)
        self._parties[int(from_agent)].words.hear(segment, is_final=is_final)

    def finish(self, now: float) -> None:
        """The caller has half-closed: what is left is due."""
        self._finished_at = now

    def begin(self, now: float, longest_lag_s: float) -> Hop:
        """The next hop; where it has waited too long and a later one is there, that one, and those between skipped."""
        due_at, end, skipped = self.due_at, self._next_end, 0
        if now - due_at > longest_lag_s:
            newest = self._position // self._hop_frames * self._hop_frames
            skipped = max(0, (newest - end) // self._hop_frames)
            end += skipped * self._hop_frames
        is_last = self.has_finished and self._position <= end
        end = min(end, self._position)
        while self._arrivals and self._arrivals[0][0] <= end:
            self._arrivals.popleft()
        known = self.state.position_frames  # what lies before was told before the call was resumed
        heard_again = self._cut(min(end, max(known, self._taken)))
        new = self._cut(end)
        return Hop(heard_again + new, sum(piece.lost for piece in new), end, skipped, is_last, due_at)

    def take_in(self, hop: Hop) -> None:
        """Decodes the hop's audio."""
        heard = headerless_samples(b"".join(piece.data for piece in hop.pieces), self.config.format)  # (n, channels)
        at = 0  # frames before the piece
        silent: list[int] = []  # for every lost frame, how many were heard before it
        for piece in hop.pieces:
            for party in self._parties:
                if piece.lost:
                    party.audio.lose(at, piece.lost)
                if piece.concealed:
                    party.audio.conceal(at + piece.lost, piece.concealed)
            silent += [at - len(silent)] * piece.lost
            at += piece.lost + len(piece.data) // self._frame_bytes
        if silent:
            heard = np.insert(heard, silent, 0, axis=0)
        for party, samples in zip(self._parties, heard.T, strict=True):
            party.audio.feed(samples)
            if hop.is_last:
                party.audio.finish()

    def windows(self, hop: Hop, spec: ModelSpec, contract: Contract) -> list[Window]:
        """What the model is asked about every party at the end of a hop that was taken in."""
        return [self._window(party, hop.end / self._rate_hz, spec, contract) for party in self._parties]

    def judged(
        self, hop: Hop, windows: Sequence[Window], answers: Sequence[Answer | None], contract: Contract | None
    ) -> Update:
        """The update after a hop, with an answer for every window that has a tensor; without a contract, nothing was
        asked and the call was not monitored meanwhile."""
        at_s, before = hop.end / self._rate_hz, self.state
        if contract is None:
            parties = [PartyScore(0.0, False, (), (Degradation.NOT_MONITORED,)) for _ in self._parties]
        else:
            parties = [_score(each, answer, contract) for each, answer in zip(windows, answers, strict=True)]
        if hop.skipped:
            parties = [replace(each, degradations=(*each.degradations, Degradation.LATE)) for each in parties]
        caller = parties[0]
        alert = before.alert.unheard(at_s)
        if caller.scored and contract is not None:
            policy = AlertPolicy(contract.alert)
            alert = policy.step(before.alert, caller.probability, at_s, has_words=windows[0].has_words)
        covered_s = self._origin / self._rate_hz + self._parties[0].audio.available / SAMPLE_RATE_HZ
        if caller.scored:
            self.timeline.append(WindowScore(covered_s - windows[0].duration_s, covered_s, caller.probability))
        is_stronger = caller.scored and caller.probability > before.strongest
        self.state = CallState(
            alert=alert,
            update=before.update + 1,
            position_frames=hop.end,
            strongest=caller.probability if is_stronger else before.strongest,
            strongest_at_s=at_s if is_stronger else before.strongest_at_s,
            lost_frames=before.lost_frames + hop.lost,
            skipped_hops=before.skipped_hops + hop.skipped,
        )
        self.degradations.update(each for party in parties for each in party.degradations)
        return Update(self.state, covered_s, self._sequence or 0, tuple(parties), hop.due_at)

    def _window(self, party: _Party, at_s: float, spec: ModelSpec, contract: Contract) -> Window:
        audio, settings = party.audio, contract.text
        span = audio.span(spec)
        found = evidence(audio, span)
        words = party.words.until(at_s, settings.stop_words) if settings else []
        # Words are evidence, whatever the sound is.
        is_asked = found is Evidence.SOUND or (bool(words) and party.words.any_since(at_s - spec.window_s, at_s))
        is_short = span.end - span.start < round(spec.window_s * SAMPLE_RATE_HZ)
        held = {
            Degradation.NO_TRANSCRIPT: settings is not None and not words,
            Degradation.TRANSCRIPT_UNUSED: settings is None and party.words.are_there,
            Degradation.AUDIO_GAP: audio.has_lost(span),
            Degradation.CONCEALED: audio.has_concealed(span),
            Degradation.CLIPPED: audio.levels(span)[1] > CLIPPED_SHARE,
            Degradation.SHORT_WINDOW: is_short,
            Degradation.UNTRAINED_BASE: contract.pretrained_base is False,
            **{degradation: found is each for each, degradation in _WITHOUT_EVIDENCE.items()},
        }
        tokens = None
        if settings is not None:
            tokens = text.last_tokens(text.word_ids(words, settings.ids_by_word))
        return Window(
            tensor=audio.feature(spec, span) if is_asked else None,
            tokens=tokens,
            has_words=bool(words),
            duration_s=(span.end - span.start) / SAMPLE_RATE_HZ,
            degradations=tuple(each for each, holds in held.items() if holds),
        )

    @property
    def _next_end(self) -> int:
        return (self.state.position_frames // self._hop_frames + 1) * self._hop_frames

    def _follow(self, sequence: int) -> None:
        if self._sequence is not None and sequence != self._sequence + 1:
            raise InvalidRequest(f"message {sequence} after message {self._sequence}; numbers go up by one")
        self._sequence = sequence

    def _cut(self, end: int) -> tuple[Piece, ...]:
        """Takes the pieces up to that frame off what is pending."""
        cut: list[Piece] = []
        while self._taken < end:
            piece, left = self._pieces.popleft(), end - self._taken
            frames = piece.lost + len(piece.data) // self._frame_bytes
            if frames > left:
                piece, rest = piece.split(left, self._frame_bytes)
                self._pieces.appendleft(rest)
                frames = left
            cut.append(piece)
            self._taken += frames
        return tuple(cut)


def _score(window: Window, answer: Answer | None, contract: Contract) -> PartyScore:
    if answer is None:
        return PartyScore(0.0, False, (), window.degradations)
    point = contract.decision.point(window.has_words)
    probability = float(point.calibrate(np.array([answer.probability], np.float32))[0])
    return PartyScore(probability, True, likeliest_kinds(answer.kinds, contract.kinds), window.degradations)
