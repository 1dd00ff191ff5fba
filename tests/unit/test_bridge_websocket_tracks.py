"""Chunks in whatever order and however many: what becomes of their frames."""

from collections import Counter

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from client.bridges.websocket.reorder import Reorder
from client.bridges.websocket.tracks import Tracks
from client.formats import AudioFormat
from client.live.gathering import Gathering

CHUNK = 160
STEREO, MONO = AudioFormat.mulaw(2), AudioFormat.mulaw(1)


def stretch(audio, channels):
    """A row a frame, -1 for what was lost."""
    rows = []
    for event in audio:
        rows.append(np.full((event.lost_frames, channels), -1))
        rows.append(np.frombuffer(event.data, dtype=np.uint8).reshape(-1, channels).astype(int))
    return np.concatenate(rows) if rows else np.empty((0, channels))


@given(kept=st.lists(st.booleans(), min_size=2, max_size=60))
def test_every_chunk_that_arrives_is_in_its_place(kept):
    kept[0] = True  # the call's clock begins with the first
    audio = np.random.default_rng(7).integers(0, 255, (len(kept), CHUNK), dtype=np.uint8)
    tracks, heard = Tracks(MONO, Counter()), []
    for n, is_kept in enumerate(kept):
        if is_kept:
            heard += tracks.add(0, audio[n].tobytes(), 20 * n, after_loss=n > 0 and not kept[n - 1])
    heard += tracks.flush()
    expected = audio.astype(int)
    expected[~np.array(kept)] = -1
    last = max(n for n, is_kept in enumerate(kept) if is_kept)
    assert np.array_equal(stretch(heard, 1), expected[: last + 1].reshape(-1, 1))


@given(
    chunks=st.lists(
        st.tuples(
            st.integers(0, 1),
            st.integers(0, 400),
            st.none() | st.integers(0, 5000) | st.integers(0, 2**53 - 1),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_any_chunks_give_whole_frames_within_bounds(chunks):
    counts: Counter[str] = Counter()
    tracks, gathering = Tracks(STEREO, counts), Gathering(STEREO, 0.1)
    heard = []
    for channel, frames, at_ms, after_loss in chunks:
        heard += tracks.add(channel, bytes(frames), at_ms, after_loss=after_loss)
    heard += tracks.flush()
    for event in heard:
        gathering.add(event)  # raises for audio that a live call does not take
    assert len(stretch(heard, 2)) <= sum(frames for _, frames, _, _ in chunks) + 60 * 8000 * len(chunks)
    assert min(counts.values(), default=0) >= 0


@given(st.permutations(range(1, 7)), st.integers(0, 40))
def test_items_within_reach_come_in_their_order(order, before):
    counts: Counter[str] = Counter()
    got: list[tuple[int, bool]] = []
    reorder: Reorder[int] = Reorder(room=5, counts=counts)
    for number in [*range(1, before + 1), *(before + n for n in order)]:
        got += reorder.add(number, number)
    got += reorder.flush()
    assert got == [(n, False) for n in range(1, before + 7)]
    assert not counts


@given(st.lists(st.none() | st.integers(0, 2**53), max_size=100))
def test_any_numbers_lose_no_item_uncounted(numbers):
    counts: Counter[str] = Counter()
    got: list[tuple[int | None, bool]] = []
    reorder: Reorder[int | None] = Reorder(room=5, counts=counts)
    for number in numbers:
        got += reorder.add(number, number)
    got += reorder.flush()
    assert len(got) + counts["late_messages"] == len(numbers)
