"""The bookkeeping of a live call: whatever breaks when, a service puts together the same audio and the same words."""

from dataclasses import dataclass, field

import grpc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from client.bridges.calls import Audio, Transcript
from client.errors import InvalidRequest, Overloaded, ServiceUnavailable
from client.formats import AudioFormat
from client.live.gathering import Gathering
from client.live.replay import Replay
from client.live.retry import LONGEST_WAIT_S, Retry

RATE_HZ, FRAME_BYTES = 100, 2
WINDOW_S, WORDS_S = 1.0, 6.0
HOP = 50


@dataclass
class Receiver:
    """One stream of a service, which sees no more than what is sent on it."""

    position: int = 0
    sequence: int | None = None
    origin: int = 0
    heard: dict[int, bytes | None] = field(default_factory=dict)  # frame by frame, None for a lost one
    final: list[str] = field(default_factory=list)
    partial: str = ""

    def take(self, sequence: int, content: Audio | Transcript) -> None:
        assert self.sequence is None or sequence == self.sequence + 1
        assert sequence >= 1
        self.sequence = sequence
        if isinstance(content, Transcript):
            self.partial = "" if content.is_final else content.text
            if content.is_final:
                self.final.append(content.text)
            return
        for _ in range(content.lost_frames):
            self.heard[self.position] = None
            self.position += 1
        for start in range(0, len(content.data), FRAME_BYTES):
            self.heard[self.position] = content.data[start : start + FRAME_BYTES]
            self.position += 1


def audio_of(seed: int, frames: int, lost: int) -> Audio:
    return Audio(bytes((seed * 7 + n) % 256 for n in range(frames * FRAME_BYTES)), lost)


steps = st.one_of(
    st.tuples(st.just("audio"), st.integers(0, 60), st.integers(0, 20)),
    st.tuples(st.just("words"), st.booleans(), st.just(0)),
    st.tuples(st.just("send"), st.integers(1, 5), st.just(0)),
    st.tuples(st.just("update"), st.just(0), st.just(0)),
    st.tuples(st.just("break"), st.just(0), st.just(0)),
)


@given(st.lists(steps, max_size=120))
def test_every_stream_has_all_that_its_next_updates_need(script: list[tuple[str, int, int]]) -> None:
    replay = Replay(RATE_HZ, FRAME_BYTES, WINDOW_S, WORDS_S)
    whole, stream = Receiver(), Receiver()
    said: list[tuple[int, str]] = []  # where in the call every final event was
    for number, (step, amount, lost) in enumerate([*script, ("break", 0, 0), ("send", 10_000, 0)]):
        if step == "audio":
            audio = audio_of(number, amount, lost)
            whole.take((whole.sequence or 0) + 1, audio)
            replay.add(audio)
        elif step == "words":
            transcript = Transcript(f"말 {number}", is_final=bool(amount))
            whole.take((whole.sequence or 0) + 1, transcript)
            replay.add(transcript)
            if amount:
                said.append((whole.position, transcript.text))
        elif step == "send":
            for _ in range(amount):
                if (message := replay.take()) is not None:
                    stream.take(*message)
        elif step == "update":
            replay.cover(stream.position // HOP * HOP)
        else:
            position = replay.rewind()
            stream = Receiver(position=position, origin=position)
            assert position == 0 or position <= replay.covered_frames - WINDOW_S * RATE_HZ

    assert stream.position == whole.position == replay.end_frames
    assert stream.heard == {at: frame for at, frame in whole.heard.items() if at >= stream.origin}
    assert stream.partial == whole.partial
    recent = [text for at, text in said if at > replay.covered_frames - WORDS_S * RATE_HZ]
    assert stream.final[len(stream.final) - len(recent) :] == recent
    assert stream.sequence == whole.sequence


@given(st.lists(st.tuples(st.integers(0, 90), st.integers(0, 20)), max_size=60))
def test_what_is_kept_is_bounded_by_what_is_not_covered(pieces: list[tuple[int, int]]) -> None:
    replay = Replay(RATE_HZ, FRAME_BYTES, WINDOW_S, WORDS_S)
    for number, (frames, lost) in enumerate(pieces):
        replay.add(audio_of(number, frames, lost))
        while replay.take() is not None:
            pass
        replay.cover(replay.end_frames)

    assert replay.end_frames - replay.rewind() <= WINDOW_S * RATE_HZ + 110


def test_words_from_before_the_window_say_when_they_were_said() -> None:
    replay = Replay(RATE_HZ, FRAME_BYTES, WINDOW_S, WORDS_S)
    replay.add(audio_of(1, 100, 0))
    replay.add(Transcript("불이 났어요"))
    for _ in range(3):
        replay.add(audio_of(2, 100, 0))
    while replay.take() is not None:
        pass
    replay.cover(400)

    position = replay.rewind()

    assert position == 300
    assert replay.take() == (4, Transcript("불이 났어요", start_s=1.0, end_s=1.0))
    assert replay.take() == (5, audio_of(2, 100, 0))
    assert replay.take() is None


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(0, 120_000), st.booleans()), max_size=30), st.data())
def test_gathering_keeps_every_frame_and_every_loss_in_order(
    pieces: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    gathering = Gathering(AudioFormat.mulaw(), 0.1)
    given_frames: list[int | None] = []
    messages: list[Audio] = []
    concealed = 0
    for number, (frames, lost, is_concealed) in enumerate(pieces):
        given_frames += [None] * lost + [number % 256] * frames
        made_up = frames if is_concealed else 0
        concealed += made_up
        messages += gathering.add(Audio(bytes([number % 256]) * frames, lost, made_up))
        assert gathering.pending_frames < 800
        if data.draw(st.booleans()):
            messages += gathering.flush()
    messages += gathering.flush()

    sent: list[int | None] = []
    for message in messages:
        assert len(message.data) <= 1600
        assert len(message.data) + message.lost_frames <= 10 * 8000
        assert message.concealed_frames <= len(message.data)
        sent += [None] * message.lost_frames + list(message.data)
    assert sent == given_frames
    assert sum(message.concealed_frames for message in messages) == concealed


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_tries_at_once_then_ever_later_up_to_the_cap() -> None:
    clock = Clock()
    retry = Retry(1000.0, clock, jitter=lambda: 1.0)

    waits = [retry.wait_after(ServiceUnavailable("gone")) for _ in range(8)]

    assert waits == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6, LONGEST_WAIT_S, LONGEST_WAIT_S]


def test_jitter_takes_off_up_to_half_a_wait() -> None:
    retry = Retry(1000.0, Clock(), jitter=lambda: 0.0)

    assert [retry.wait_after(ServiceUnavailable("gone")) for _ in range(3)] == [0.0, 0.05, 0.1]


def test_the_limit_counts_from_the_end_of_progress() -> None:
    clock = Clock()
    retry = Retry(30.0, clock)
    retry.wait_after(ServiceUnavailable("gone"))
    clock.now += 20
    retry.succeed()
    clock.now += 20
    retry.wait_after(ServiceUnavailable("gone again"))
    clock.now += 29.9
    assert not retry.is_over
    clock.now += 0.1

    with pytest.raises(ServiceUnavailable, match="still gone"):
        retry.wait_after(ServiceUnavailable("still gone"))
    assert retry.is_over


def test_waits_as_told_within_the_limit() -> None:
    retry = Retry(30.0, Clock(), jitter=lambda: 0.0)

    assert retry.wait_after(Overloaded("full", retry_after_ms=4000)) == 4.0
    with pytest.raises(Overloaded):
        retry.wait_after(Overloaded("full", retry_after_ms=30_000))


def test_final_errors_are_raised_at_once() -> None:
    with pytest.raises(InvalidRequest):
        Retry(30.0, Clock()).wait_after(InvalidRequest("no", status=grpc.StatusCode.INVALID_ARGUMENT))
