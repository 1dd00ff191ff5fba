"""MPEG audio: its recognition, so that noise in which a decoder happens to find a frame is not taken for speech, and
the walk over its frames, so that a length in a header, true or not, never decides how much is decoded.

Source: ISO/IEC 11172-3 and 13818-3, section 2.4.2.3 (frame header).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final, NamedTuple

from preprocess_service.errors import InvalidAudio

SEARCHED_BYTES: Final = 4096
CONSECUTIVE_FRAMES: Final = 3  # one frame header stands in random bytes every few kB, three in a row never
ID3_HEADER_BYTES: Final = 10
ID3V1_BYTES: Final = 128
APE_FOOTER_BYTES: Final = 32
MOST_JUNK_BYTES: Final = 4096  # in all, beside the frames; tags and zeros are not counted
MOST_JUNK_S: Final = 0.2  # and in the time that it would last as frames: damage must not cost more speech than this
MOST_GAPS: Final = 100  # places where something else than a frame stands

# Layer III bit rates in kbit/s by index, for MPEG 1 and for MPEG 2 and 2.5.
_BITRATES_V1: Final = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BITRATES_V2: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_HZ: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}
_MONO: Final = 3


class FrameHeader(NamedTuple):
    version: int
    rate_hz: int
    mono: bool
    frame_bytes: int

    @property
    def samples(self) -> int:
        return 1152 if self.version == 3 else 576


class Frames(NamedTuple):
    """The frames of a file: `total` of them, in contiguous runs of bytes; the Xing or Info frame is left out."""

    header: FrameHeader
    total: int
    runs: list[tuple[int, int]]

    @property
    def duration_s(self) -> float:
        return self.total * self.header.samples / self.header.rate_hz


def frame_header(data: bytes, at: int) -> FrameHeader | None:
    """The Layer III frame header at byte `at`, or None where there is none."""
    return _read_header(data[at : at + 4])


@lru_cache(maxsize=4096)  # a file's headers are few different ones: the walk over millions of frames is a look-up
def _read_header(header: bytes) -> FrameHeader | None:
    if len(header) < 4 or header[0] != 0xFF or header[1] & 0xE0 != 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, header[1] >> 1 & 3
    bitrate_index, rate_index, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer != 1 or bitrate_index in (0, 15) or rate_index == 3:
        return None
    bitrates = _BITRATES_V1 if version == 3 else _BITRATES_V2
    rate_hz = _RATES_HZ[version][rate_index]
    samples = 1152 if version == 3 else 576
    frame_bytes = samples // 8 * bitrates[bitrate_index] * 1000 // rate_hz + padding
    return FrameHeader(version, rate_hz, header[3] >> 6 == _MONO, frame_bytes)


def is_mp3(data: bytes) -> bool:
    """Whether several consistent Layer III frames follow one another near the start, behind any ID3v2 tag."""
    return _first_frame(data) is not None


def walk(data: bytes, max_s: float) -> Frames:
    """Finds every whole Layer III frame; stops at the first one beyond `max_s` seconds.

    Raises InvalidAudio where the rate or the channels change, where too much stands between the frames, or where a
    Xing header promises more frames than there are.
    """
    at = _first_frame(data)
    first = None if at is None else frame_header(data, at)
    if at is None or first is None:
        raise InvalidAudio("the MP3 file cannot be decoded: it holds no frames")
    promised = _promised_frames(data, at, first)
    if promised is not None:
        at += first.frame_bytes
    most, end = max_s * first.rate_hz / first.samples, _audio_end(data)
    count, junk, runs = 0, len(data[_behind_tag(data, 0) : at].strip(b"\0")) if promised is None else 0, []
    while at < end and count <= most:
        start = at
        while count <= most and (header := _read_header(data[at : at + 4])) and header[:3] == first[:3]:
            if at + header.frame_bytes > end:
                break
            at += header.frame_bytes
            count += 1
        runs.append((start, at))
        if at < end and count <= most:
            at, skipped = _next_frame(data, at, end, first)
            junk += skipped
        if junk > MOST_JUNK_BYTES or len(runs) > MOST_GAPS:
            raise InvalidAudio(
                f"{junk} bytes in {len(runs)} places of the MP3 file, up to byte {at}, are no frames; "
                f"at most {MOST_JUNK_BYTES} bytes in {MOST_GAPS} places may be"
            )
    if not count:
        raise InvalidAudio("the MP3 file cannot be decoded: it holds no frames")
    junk_s = junk * count * first.samples / first.rate_hz / sum(end - start for start, end in runs)
    if junk_s > MOST_JUNK_S and count <= most:
        raise InvalidAudio(
            f"{junk} bytes of the MP3 file are no frames, room for {junk_s:.2f} s of sound; "
            f"at most {MOST_JUNK_S} s may be"
        )
    if promised is not None and count <= most and promised > count + 1:  # some encoders count the Xing frame too
        raise InvalidAudio(f"the MP3 header promises {promised} frames and {count} are there: truncated")
    return Frames(first, count, runs)


def with_true_length(data: bytes, frames: Frames) -> bytes:
    """The frames alone, behind a Xing header that gives their true count: a decoder takes its length from there."""
    start = next(start for start, end in frames.runs if end > start)
    _, version_byte, rate_byte, mode = data[start : start + 4]
    bitrates = _BITRATES_V1 if frames.header.version == 3 else _BITRATES_V2
    head = bytes([0xFF, version_byte | 1, 0xE0 | rate_byte & 0x0C, mode])  # no checksum, the highest bit rate
    frame_bytes = frames.header.samples // 8 * bitrates[-1] * 1000 // frames.header.rate_hz
    xing = head + bytes(_side_bytes(frames.header)) + b"Xing" + (1).to_bytes(4, "big") + frames.total.to_bytes(4, "big")
    return b"".join([xing.ljust(frame_bytes, b"\0"), *(data[start:end] for start, end in frames.runs)])


def _first_frame(data: bytes) -> int | None:
    start = _behind_tag(data, 0)
    return next((at for at in range(start, min(start + SEARCHED_BYTES, len(data))) if _frames_follow(data, at)), None)


def _behind_tag(data: bytes, at: int) -> int:
    """The end of an ID3v2 tag at byte `at`; `at` where there is none."""
    if data[at : at + 3] != b"ID3" or at + ID3_HEADER_BYTES > len(data):
        return at
    size = data[at + 6] << 21 | data[at + 7] << 14 | data[at + 8] << 7 | data[at + 9]  # "synchsafe": seven bits a byte
    return at + ID3_HEADER_BYTES + size


def _audio_end(data: bytes) -> int:
    """Where the audio ends and ID3v1 and APE tags begin."""
    end = len(data)
    if data[-ID3V1_BYTES:][:3] == b"TAG":
        end -= ID3V1_BYTES
    footer = data[max(0, end - APE_FOOTER_BYTES) : end]
    if footer[:8] == b"APETAGEX":
        has_header = footer[23] >> 7
        end -= int.from_bytes(footer[12:16], "little") + has_header * APE_FOOTER_BYTES
    return max(0, end)


def _next_frame(data: bytes, at: int, end: int, first: FrameHeader) -> tuple[int, int]:
    """Where frames go on after byte `at`, and how many bytes of junk stand before that; `end` where none follow."""
    behind = _behind_tag(data, at)
    if data[at : at + 3] == b"TAG":  # the ID3v1 tag of a file that another was joined to
        behind = at + ID3V1_BYTES
    if behind > at:
        if behind > end:
            raise InvalidAudio(f"the tag at byte {at} of the MP3 file ends at byte {behind} of {end}: truncated")
        return behind, 0
    if not data[at:end].strip(b"\0"):
        return end, 0
    for found in range(at, min(at + MOST_JUNK_BYTES, end)):
        if not _frames_follow(data, found):
            continue
        if (header := frame_header(data, found)) and header[:3] != first[:3]:
            raise InvalidAudio(f"the MP3 frames change their rate or channels at byte {found}; they must stay the same")
        if found > at:
            return found, found - at
    # A last frame that is cut is no junk, and less than 0.1 s.
    cut = frame_header(data, at)
    is_cut = cut is not None and cut[:3] == first[:3] and at + cut.frame_bytes > end
    return end, 0 if is_cut else end - at


def _promised_frames(data: bytes, at: int, header: FrameHeader) -> int | None:
    """The count in a Xing or Info frame (0 where it states none), or None where the frame is an ordinary one."""
    tag_at = at + 4 + _side_bytes(header) + (0 if data[at + 1] & 1 else 2)
    tag = data[tag_at : min(tag_at + 12, at + header.frame_bytes)]
    if tag[:4] not in (b"Xing", b"Info"):
        return None
    return int.from_bytes(tag[8:12], "big") if len(tag) == 12 and tag[7] & 1 else 0


def _side_bytes(header: FrameHeader) -> int:
    if header.version == 3:
        return 17 if header.mono else 32
    return 9 if header.mono else 17


def _frames_follow(data: bytes, at: int) -> bool:
    first = header = frame_header(data, at)
    for _ in range(CONSECUTIVE_FRAMES - 1):
        if first is None or header is None:
            return False
        at += header.frame_bytes
        header = frame_header(data, at)
        if header is None or header[:2] != first[:2]:
            return False
    return first is not None
