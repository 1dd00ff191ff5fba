"""Checks of WAV, Ogg and FLAC files that libsndfile leaves out: what it would silently cut is found here.

Sources: RFC 3533 (Ogg pages), RFC 9639 section 8.2 (FLAC STREAMINFO), Microsoft's RIFF WAVE.
"""

from __future__ import annotations

import struct
import zlib
from typing import Final

from preprocess_service.errors import InvalidAudio

UNKNOWN_LENGTH: Final = 0xFFFFFFFF  # what recorders that write to a pipe put into a WAV header
MOST_WAV_CHUNKS: Final = 1000
LARGEST_WAV_TAIL_BYTES: Final = 1024  # what taggers leave behind the last chunk
MOST_OGG_PAGES: Final = 200_000  # one page a packet of 20 ms is 4000 s; a bound on the walk's time

_OGG_HEADER: Final = struct.Struct("<4sBBqIIIB")
_OGG_CRC_AT: Final = 22
_BEGINS, _ENDS = 2, 4
_BITS_REVERSED: Final = bytes(int(f"{byte:08b}"[::-1], 2) for byte in range(256))


def check_wav(audio: bytes) -> None:
    """Walks the RIFF chunks, since libsndfile silently accepts headers that promise more or less than there is."""
    at, has_format, has_data = 12, False, False
    for _ in range(MOST_WAV_CHUNKS):
        left = len(audio) - at - 8
        if left < 0:
            break
        name, size = struct.unpack_from("<4sI", audio, at)
        if has_data and (name == b"data" or size > left or not name.isascii()):
            break
        if name == b"data":
            if size > left and size != UNKNOWN_LENGTH:
                raise InvalidAudio(f"the WAV header promises {size} bytes of samples and {left} are there: truncated")
            if not has_format:
                raise InvalidAudio("the WAV file has no `fmt ` chunk before its `data` chunk")
            has_data = True
        if name == b"fmt ":
            _check_wav_format(audio[at + 8 : at + 8 + size])
            has_format = True
        at += 8 + size + size % 2
    else:
        raise InvalidAudio(f"the WAV file has more than {MOST_WAV_CHUNKS} chunks; at most {MOST_WAV_CHUNKS} are taken")
    if not has_data:
        raise InvalidAudio("the WAV file has no `data` chunk: truncated, or no WAV")
    if len(tail := audio[at:].rstrip(b"\0")) > LARGEST_WAV_TAIL_BYTES:
        raise InvalidAudio(
            f"{len(tail)} bytes follow the samples that the WAV header promises; at most {LARGEST_WAV_TAIL_BYTES} may"
        )


def _check_wav_format(chunk: bytes) -> None:
    if len(chunk) < 16:
        raise InvalidAudio(f"the WAV `fmt ` chunk has {len(chunk)} bytes; at least 16 are needed")
    tag, channels, rate_hz, _, block_bytes, bits = struct.unpack_from("<HHIIHH", chunk)
    if not rate_hz:
        raise InvalidAudio("0 Hz in the WAV header; the rate must be above 0 Hz")
    linear = tag in (1, 3, 0xFFFE)  # PCM, float, extensible
    if linear and block_bytes != channels * ((bits + 7) // 8):
        raise InvalidAudio(
            f"the WAV header states {channels} channels of {bits} bits and {block_bytes} bytes a frame; they must agree"
        )


def check_ogg(audio: bytes) -> None:
    """Walks the pages: one logical stream, every page there and whole, positions that never fall, an end."""
    at, pages, flags, position, stream = 0, 0, 0, 0, None
    while at < len(audio):
        if len(audio) - at < _OGG_HEADER.size or audio[at : at + 4] != b"OggS":
            raise InvalidAudio(f"the Ogg file cannot be decoded: no page at byte {at} of {len(audio)}")
        _, _, flags, granule, serial, sequence, crc, segments = _OGG_HEADER.unpack_from(audio, at)
        body = at + _OGG_HEADER.size + segments
        end = body + sum(audio[at + _OGG_HEADER.size : body])
        if end > len(audio):
            raise InvalidAudio(f"the Ogg page at byte {at} ends at byte {end} of {len(audio)}: truncated")
        if _ogg_crc(audio[at:end]) != crc:
            raise InvalidAudio(f"the Ogg file cannot be decoded: the page at byte {at} breaks its checksum")
        if stream not in (None, serial) or (flags & _BEGINS and pages):
            raise InvalidAudio(f"a second stream begins at byte {at} of the Ogg file; one stream is taken")
        if sequence != pages:
            raise InvalidAudio(f"Ogg page {sequence} follows {pages} pages; pages must be numbered from 0 without gaps")
        if granule != -1:  # -1: no packet ends on this page
            if granule < position:
                raise InvalidAudio(f"the Ogg position falls from {position} to {granule}; it must never fall")
            position = granule
        stream, at, pages = serial, end, pages + 1
        if pages > MOST_OGG_PAGES:
            raise InvalidAudio(f"the Ogg file has more than {MOST_OGG_PAGES} pages; at most {MOST_OGG_PAGES} are taken")
        if flags & _ENDS and at < len(audio) and audio[at : at + 4] != b"OggS":
            raise InvalidAudio(f"{len(audio) - at} bytes follow the end of the Ogg stream; none may")
    if not flags & _ENDS:
        raise InvalidAudio(f"the Ogg stream has no last page after {pages} pages: truncated")


def _ogg_crc(page: bytes) -> int:
    """Ogg's CRC-32 is zlib's with the bits of every byte, and of the result, in reverse, and without inversion."""
    blanked = page[:_OGG_CRC_AT] + bytes(4) + page[_OGG_CRC_AT + 4 :]
    reflected = zlib.crc32(blanked.translate(_BITS_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int.from_bytes(reflected.to_bytes(4, "little").translate(_BITS_REVERSED), "big")


def flac_of_unknown_length(audio: bytes) -> tuple[bytes, int]:
    """The FLAC file with its count of samples set to unknown, so that a decoder goes on to the end, and that count.

    A count of 0 is unknown already: an encoder that writes to a pipe cannot go back to fill it in.
    """
    if len(audio) < 26 or audio[4] & 0x7F:
        raise InvalidAudio("the FLAC file cannot be decoded: it has no STREAMINFO block at its start")
    promised = (audio[21] & 0x0F) << 32 | int.from_bytes(audio[22:26], "big")
    return audio[:21] + bytes([audio[21] & 0xF0]) + bytes(4) + audio[26:], promised
