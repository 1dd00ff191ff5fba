"""Recognition of MPEG audio, so that noise in which a decoder happens to find a frame is not taken for speech.

Source: ISO/IEC 11172-3 and 13818-3, section 2.4.2.3 (frame header).
"""

from __future__ import annotations

from typing import Final, NamedTuple

SEARCHED_BYTES: Final = 4096
CONSECUTIVE_FRAMES: Final = 3  # one frame header stands in random bytes every few kB, three in a row never
ID3_HEADER_BYTES: Final = 10

# Layer III bit rates in kbit/s by index, for MPEG 1 and for MPEG 2 and 2.5.
_BITRATES_V1: Final = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)
_BITRATES_V2: Final = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_RATES_HZ: Final = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}


class FrameHeader(NamedTuple):
    version: int
    rate_hz: int
    frame_bytes: int


def frame_header(data: bytes, at: int) -> FrameHeader | None:
    """The Layer III frame header at byte `at`, or None where there is none."""
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    version, layer = data[at + 1] >> 3 & 3, data[at + 1] >> 1 & 3
    bitrate_index, rate_index, padding = data[at + 2] >> 4, data[at + 2] >> 2 & 3, data[at + 2] >> 1 & 1
    if version == 1 or layer != 1 or bitrate_index in (0, 15) or rate_index == 3:
        return None
    bitrates = _BITRATES_V1 if version == 3 else _BITRATES_V2
    rate_hz = _RATES_HZ[version][rate_index]
    samples = 1152 if version == 3 else 576
    return FrameHeader(version, rate_hz, samples // 8 * bitrates[bitrate_index] * 1000 // rate_hz + padding)


def is_mp3(data: bytes) -> bool:
    """Whether several consistent Layer III frames follow one another near the start, behind any ID3v2 tag."""
    start = 0
    if data[:3] == b"ID3" and len(data) >= ID3_HEADER_BYTES:
        size = data[6] << 21 | data[7] << 14 | data[8] << 7 | data[9]  # "synchsafe": seven bits a byte
        start = ID3_HEADER_BYTES + size
    return any(_frames_follow(data, at) for at in range(start, min(start + SEARCHED_BYTES, len(data))))


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
