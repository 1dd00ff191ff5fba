"""One live call by itself: hops, pieces, resumptions and ends. No text is read here, so that no JVM starts."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess_service.admission import Priority
from preprocess_service.alert import AlertState
from preprocess_service.errors import InvalidAudio, InvalidRequest
from preprocess_service.features import g711
from preprocess_service.features.audio import AudioFormat, Encoding
from preprocess_service.live.call import Answer, CallConfig, CallState, LiveCall, Piece, Update, Window
from preprocess_service.live.translation import call_config
from preprocess_service.live.words import Segment
from preprocess_service.model_spec import CNN, KINDS, MODELS, ModelSpec
from preprocess_service.proto.wigeup.v1 import triage_pb2 as pb
from preprocess_service.verdict import Degradation
from tests.e2e.tiny_models import contract as made_contract
from tests.unit.recordings import speech_like

RATE_HZ = 8000
CONTRACT = made_contract(CNN, 1, graphs={}, files={})
BEGINNING = CallState(AlertState())
NEVER_LATE_S = math.inf


def mulaw(seconds: float, seed: int = 0) -> bytes:
    return g711.encode_mulaw((speech_like(seconds, RATE_HZ, seed) * 32767).astype(np.int16)).tobytes()


VOICE = mulaw(30)


def call(
    hop_s: float = 1.0, channels: int = 1, state: CallState = BEGINNING, from_frames: int | None = None
) -> LiveCall:
    """A call from its beginning or, with `from_frames`, one that goes on from a state."""
    audio_format = AudioFormat(Encoding.MULAW, RATE_HZ, channels)
    resumed = from_frames is not None
    return LiveCall(CallConfig(audio_format, "", "", "", Priority.NORMAL, hop_s, state, from_frames or 0, resumed))


class Judge:
    """Judges whatever is due, with an answer of 0.5 or what it is told."""

    def __init__(self, live: LiveCall, spec: ModelSpec = CNN) -> None:
        self.live, self.spec = live, spec
        self.contract = CONTRACT if spec is CNN else made_contract(spec, 1, graphs={}, files={})
        self.updates: list[Update] = []
        self.windows: list[list[Window]] = []

    def step(self, probability: float | None = 0.5, now: float = 0.0, longest_lag_s: float = NEVER_LATE_S) -> Update:
        """One hop; None: no model answers."""
        hop = self.live.begin(now, longest_lag_s)
        self.live.take_in(hop)
        if probability is None:
            self.updates.append(self.live.judged(hop, (), (), None))
            return self.updates[-1]
        windows = self.live.windows(hop, self.spec, self.contract)
        kinds = np.zeros(KINDS.shape, np.float32) if self.spec.names_kind else None
        answers = [None if each.tensor is None else Answer(probability, kinds) for each in windows]
        self.windows.append(windows)
        self.updates.append(self.live.judged(hop, windows, answers, self.contract))
        return self.updates[-1]

    def all_due(self) -> None:
        while self.live.is_due:
            self.step()

    def end(self) -> None:
        self.live.finish(0.0)
        self.all_due()
        assert self.live.is_complete

    @property
    def positions(self) -> list[int]:
        return [each.state.position_frames for each in self.updates]

    @property
    def numbers(self) -> list[int]:
        return [each.state.update for each in self.updates]


def play(judge: Judge, pieces: list[Piece], first: int = 1) -> None:
    """Lets the call hear pieces one after the other, judging what is due after each."""
    for number, piece in enumerate(pieces, first):
        judge.live.hear(number, piece, 0.0)
        judge.all_due()


def cut(data: bytes, seed: int, largest: int, frame_bytes: int = 1) -> list[Piece]:
    random, pieces, at = np.random.default_rng(seed), [], 0
    while at < len(data):
        size = frame_bytes * int(np.exp(random.uniform(0, np.log(largest))))
        pieces.append(Piece(data[at : at + size]))
        at += size
    return pieces


def grid(frames: int, hop_s: float) -> list[int]:
    hop = round(hop_s * RATE_HZ)
    whole = list(range(hop, frames + 1, hop))
    return whole if frames % hop == 0 else [*whole, frames]


@settings(max_examples=25)
@given(
    frames=st.integers(1, 12 * RATE_HZ),
    hop_s=st.sampled_from([0.25, 0.7, 1.0, 3.3]),
    seed=st.integers(0, 1000),
    largest=st.sampled_from([800, 8000, 80_000]),
    channels=st.sampled_from([1, 2]),
)
def test_updates_lie_on_the_grid_of_hops_however_the_audio_is_cut(frames, hop_s, seed, largest, channels):
    data = VOICE[: frames * channels]
    judge, whole = Judge(call(hop_s, channels)), Judge(call(hop_s, channels))

    play(judge, cut(data, seed, largest, channels))
    judge.end()
    step = 4 * RATE_HZ * channels
    play(whole, [Piece(data[at : at + step]) for at in range(0, len(data), step)])
    whole.end()

    assert judge.positions == whole.positions == grid(frames, hop_s)
    assert judge.numbers == list(range(1, len(judge.updates) + 1))
    assert judge.live.audio_s == frames / RATE_HZ
    for windows, others in zip(judge.windows, whole.windows, strict=True):
        for window, other in zip(windows, others, strict=True):
            check_same_sound(window, other)


def check_same_sound(window: Window, other: Window) -> None:
    """A call's last hop hears 20 ms more where the end is known by then, and nothing else may differ."""
    assert window.degradations == other.degradations
    assert (window.tensor is None) == (other.tensor is None)
    if window.duration_s == other.duration_s and window.tensor is not None and other.tensor is not None:
        np.testing.assert_allclose(window.tensor, other.tensor, atol=1e-2)


def test_an_update_says_what_had_been_taken_in_by_then():
    judge = Judge(call())

    play(judge, [Piece(VOICE[:6000])] * 3)

    assert [each.acknowledged_sequence for each in judge.updates] == [2, 3]
    assert judge.live.pending_s == pytest.approx(0.25)


def test_the_end_of_a_call_on_the_grid_is_no_hop_of_its_own():
    judge = Judge(call())

    play(judge, [Piece(VOICE[: 3 * RATE_HZ])])
    judge.end()

    assert judge.positions == [8000, 16_000, 24_000]


def test_a_call_without_audio_is_complete_without_an_update():
    judge = Judge(call())

    judge.live.hear(1, Piece(b""), 0.0)
    judge.end()

    assert judge.updates == []
    assert judge.live.audio_s == 0


@pytest.mark.parametrize("spec", [each for each in MODELS.values() if not each.tokens], ids=lambda spec: spec.name)
@pytest.mark.parametrize("frames", [1, 2, 80, 400, 799, 801])
def test_a_call_shorter_than_a_tenth_of_a_second_has_one_update(spec, frames):
    judge = Judge(call(), spec)

    play(judge, [Piece(VOICE[4000 : 4000 + frames])])
    judge.end()

    assert judge.positions == [frames]
    assert Degradation.SHORT_WINDOW in judge.updates[0].parties[0].degradations
    assert judge.updates[0].covered_s == pytest.approx(frames / RATE_HZ, abs=1e-4)


@pytest.mark.parametrize("spec", [each for each in MODELS.values() if not each.tokens], ids=lambda spec: spec.name)
def test_every_model_can_be_asked_from_the_first_hop_to_the_last(spec):
    judge = Judge(call(0.25), spec)

    play(judge, cut(VOICE[: 9 * RATE_HZ + 100], seed=1, largest=4000))
    judge.end()

    asked = [windows[0].tensor for windows in judge.windows if windows[0].tensor is not None]
    assert len(asked) == len(judge.updates) == 37
    assert {tensor.shape for tensor in asked} == {spec.audio.shape}
    assert all(np.isfinite(tensor).all() for tensor in asked)


def test_a_hop_that_waited_too_long_gives_way_to_the_newest():
    judge = Judge(call())
    judge.live.hear(1, Piece(VOICE[: round(5.5 * RATE_HZ)]), 0.0)

    update = judge.step(now=10.0, longest_lag_s=2.0)

    assert update.state.position_frames == 5 * RATE_HZ
    assert update.state.skipped_hops == 4
    assert Degradation.LATE in update.parties[0].degradations
    assert update.covered_s == pytest.approx(5, abs=0.03)  # what was skipped was heard all the same
    assert judge.windows[0][0].duration_s == pytest.approx(5, abs=0.03)


def test_a_late_hop_with_no_later_one_is_judged():
    judge = Judge(call())
    judge.live.hear(1, Piece(VOICE[: round(1.5 * RATE_HZ)]), 0.0)

    update = judge.step(now=10.0, longest_lag_s=2.0)

    assert (update.state.position_frames, update.state.skipped_hops) == (RATE_HZ, 0)
    assert Degradation.LATE not in update.parties[0].degradations


def test_a_hop_is_due_since_its_last_audio_came_and_the_rest_since_the_end():
    live = call()
    live.hear(1, Piece(VOICE[:7000]), 1.0)
    assert not live.is_due
    assert live.due_at == math.inf
    live.hear(2, Piece(VOICE[:2000]), 2.0)
    live.hear(3, Piece(VOICE[:2000]), 3.0)
    assert live.due_at == 2.0
    Judge(live).step()
    live.finish(4.0)
    assert live.is_due
    assert live.due_at == 4.0


@settings(max_examples=25)
@given(broken_after=st.integers(0, 19), seed=st.integers(0, 1000), back_s=st.floats(8.5, 30))
def test_a_resumed_call_is_the_unbroken_one(broken_after, seed, back_s):
    pieces = [
        Piece(each.data, lost=400 if index % 7 == 3 else 0, concealed=len(each.data) // 2 if index % 5 == 2 else 0)
        for index, each in enumerate(cut(VOICE[: 19 * RATE_HZ], seed, 8000))
    ]
    starts = list(itertools.accumulate((piece.lost + len(piece.data) for piece in pieces), initial=0))
    unbroken = Judge(call())
    play(unbroken, pieces)
    unbroken.end()
    broken_after = min(broken_after, len(unbroken.updates))
    state = unbroken.updates[broken_after - 1].state if broken_after else BEGINNING
    index = max(
        number for number, start in enumerate(starts[:-1]) if start <= max(0, state.position_frames - back_s * RATE_HZ)
    )

    resumed = Judge(call(state=state, from_frames=starts[index]))
    play(resumed, pieces[index:], first=index + 1)
    resumed.end()

    for after, whole in zip(resumed.updates, unbroken.updates[broken_after:], strict=True):
        assert after.state == whole.state
        assert after.parties == whole.parties
        assert after.acknowledged_sequence == whole.acknowledged_sequence
        assert after.covered_s == pytest.approx(whole.covered_s, abs=0.03)  # what the filters hold back
    assert resumed.live.audio_s == unbroken.live.audio_s
    assert resumed.live.state.lost_frames == unbroken.live.state.lost_frames


def test_a_call_that_broke_before_its_summary_has_no_further_update():
    judge = Judge(call())
    play(judge, [Piece(VOICE[: round(3.3 * RATE_HZ)])])
    judge.end()

    again = Judge(call(state=judge.live.state, from_frames=0))
    play(again, [Piece(VOICE[: round(3.3 * RATE_HZ)])], first=7)
    again.end()

    assert again.updates == []
    assert again.live.state == judge.live.state
    assert again.live.audio_s == 3.3


def test_a_resumption_from_far_back_holds_no_more_than_a_window_needs():
    state = CallState(AlertState(), update=60, position_frames=60 * RATE_HZ)
    judge, most_s = Judge(call(state=state, from_frames=0)), 0.0

    for number in range(1, 62):
        judge.live.hear(number, Piece(VOICE[:RATE_HZ]), 0.0)
        most_s = max(most_s, judge.live.pending_s)
    judge.all_due()

    assert most_s <= 10
    assert judge.positions == [61 * RATE_HZ]
    assert judge.updates[0].covered_s == pytest.approx(61, abs=0.03)
    assert judge.windows[0][0].duration_s == pytest.approx(7)
    assert Degradation.SHORT_WINDOW not in judge.updates[0].parties[0].degradations


def test_a_resumption_with_too_little_audio_says_so():
    state = CallState(AlertState(), update=60, position_frames=60 * RATE_HZ)
    judge = Judge(call(state=state, from_frames=59 * RATE_HZ))

    judge.live.hear(9, Piece(VOICE[: 2 * RATE_HZ]), 0.0)
    judge.all_due()

    assert judge.numbers == [61]
    assert Degradation.SHORT_WINDOW in judge.updates[0].parties[0].degradations


def test_lost_frames_take_their_time_and_are_told_once():
    judge = Judge(call())

    play(judge, [Piece(VOICE[:8000]), Piece(VOICE[:4000], lost=12_000), Piece(b"", lost=8000)])
    judge.end()

    assert judge.positions == [8000, 16_000, 24_000, 32_000]
    assert [each.state.lost_frames for each in judge.updates] == [0, 8000, 12_000, 20_000]
    assert [Degradation.AUDIO_GAP in each.parties[0].degradations for each in judge.updates] == [False] + [True] * 3


def test_a_piece_is_split_with_what_was_lost_before_it_and_what_was_made_up_in_it():
    piece = Piece(bytes(range(10)), lost=4, concealed=3)

    assert piece.split(2, 1) == (Piece(b"", 2), Piece(bytes(range(10)), 2, 3))
    assert piece.split(6, 1) == (Piece(bytes(range(2)), 4, 2), Piece(bytes(range(2, 10)), 0, 1))
    assert piece.split(6, 2) == (Piece(bytes(range(4)), 4, 2), Piece(bytes(range(4, 10)), 0, 1))


def test_both_parties_are_heard_apart():
    caller, silence = np.frombuffer(VOICE[:24_000], np.uint8), np.full(24_000, 0xFF, np.uint8)
    stereo, alone = Judge(call(channels=2)), Judge(call())

    play(stereo, [Piece(np.stack([caller, silence], axis=1).tobytes())])
    play(alone, [Piece(caller.tobytes())])

    for update, windows, mono in zip(stereo.updates, stereo.windows, alone.windows, strict=True):
        assert [party.scored for party in update.parties] == [True, False]
        assert Degradation.SILENCE in update.parties[1].degradations
        assert windows[1].tensor is None
        check_same_sound(windows[0], mono[0])


def test_without_a_model_the_call_goes_on_and_its_score_stands_still():
    judge = Judge(call())
    judge.live.hear(1, Piece(VOICE[: 3 * RATE_HZ]), 0.0)

    before, missed, after = judge.step(0.9), judge.step(None), judge.step(0.9)

    assert judge.numbers == [1, 2, 3]
    assert missed.parties[0].degradations == (Degradation.NOT_MONITORED,)
    assert not missed.parties[0].scored
    assert missed.state.alert.smoothed == before.state.alert.smoothed < after.state.alert.smoothed
    assert judge.windows[-1][0].duration_s == pytest.approx(3, abs=0.03)
    assert [each.end_s for each in judge.live.timeline] == [before.covered_s, after.covered_s]


def test_the_strongest_evidence_is_kept_with_its_time():
    judge = Judge(call())
    judge.live.hear(1, Piece(VOICE[: 3 * RATE_HZ]), 0.0)

    states = [judge.step(probability).state for probability in (0.2, 0.9, 0.4)]

    assert [each.strongest for each in states] == pytest.approx([0.2, 0.9, 0.9])
    assert [each.strongest_at_s for each in states] == [1, 2, 2]


@pytest.mark.parametrize(
    ("sequence", "piece", "error", "complaint"),
    [
        (2, Piece(b"\xff"), InvalidRequest, "message 2 after message 0"),
        (1, Piece(b"\xff" * 3), InvalidAudio, "3 bytes of audio; a frame has 2"),
        (1, Piece(b"\xff" * 160_002), InvalidAudio, "10.0 s of audio in one message"),
        (1, Piece(b"", lost=80_001), InvalidAudio, "at most 10 s"),
        (1, Piece(b"\xff\xff", concealed=2), InvalidAudio, "2 concealed frames of 1"),
    ],
)
def test_audio_that_breaks_a_rule_is_refused(sequence, piece, error, complaint):
    with pytest.raises(error, match=complaint):
        call(channels=2).hear(sequence, piece, 0.0)


def test_only_the_first_number_after_a_resumption_is_free():
    live = call(from_frames=0)
    live.hear(41, Piece(b"\xff"), 0.0)
    live.read(42, Segment("네", 0, 0), is_final=True, from_agent=False)
    with pytest.raises(InvalidRequest, match="message 42 after message 42"):
        live.hear(42, Piece(b"\xff"), 0.0)


@pytest.mark.parametrize("rate_hz", [0, 11_025])
def test_a_resumption_at_no_telephone_rate_is_refused(rate_hz):
    stated = pb.AudioFormat(encoding=pb.AUDIO_ENCODING_MULAW, sample_rate_hz=rate_hz)
    resumption = pb.Resumption(state=pb.CallState(position_frames=8000))

    with pytest.raises(InvalidAudio, match=f"{rate_hz} Hz"):
        call_config(pb.StreamConfig(format=stated, resumption=resumption))


@pytest.mark.parametrize("position_frames", [-1, 8001])
def test_a_resumption_that_leaves_audio_out_is_refused(position_frames):
    stated = pb.AudioFormat(encoding=pb.AUDIO_ENCODING_MULAW, sample_rate_hz=RATE_HZ)
    resumption = pb.Resumption(state=pb.CallState(position_frames=8000), position_frames=position_frames)

    with pytest.raises(InvalidRequest, match="it must be 0 to the state's, 8000"):
        call_config(pb.StreamConfig(format=stated, resumption=resumption))


@pytest.mark.parametrize(
    ("start_s", "end_s", "from_agent", "complaint"),
    [(2, 1, False, "go forwards"), (-1, 1, False, "go forwards"), (0, math.nan, False, "go forwards"),
     (0, 0, True, "one channel")],
)  # fmt: skip
def test_a_transcript_that_breaks_a_rule_is_refused(start_s, end_s, from_agent, complaint):
    with pytest.raises(InvalidRequest, match=complaint):
        call().read(1, Segment("네", start_s, end_s), is_final=True, from_agent=from_agent)


def test_a_transcript_for_a_model_that_reads_none_is_told():
    judge = Judge(call())
    judge.live.read(1, Segment("불이 났어요", 0, 0), is_final=True, from_agent=False)

    play(judge, [Piece(VOICE[:RATE_HZ])], first=2)

    assert Degradation.TRANSCRIPT_UNUSED in judge.updates[0].parties[0].degradations
