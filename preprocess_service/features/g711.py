"""G.711 companding (ITU-T Recommendation G.711, 1988): mu-law and A-law, 8-bit code words to and from 16-bit PCM."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Pcm16 = NDArray[np.int16]
CodeWords = NDArray[np.uint8]

MULAW_BIAS: Final = 33 << 2  # 33 in the Recommendation's 14-bit scale
ALAW_INVERSION: Final = 0x55  # even bits are inverted on the line


def _mulaw_levels() -> Pcm16:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    exponent, mantissa = (code >> 4) & 7, code & 0xF
    magnitude = (((mantissa << 3) + MULAW_BIAS) << exponent) - MULAW_BIAS
    return np.where(code & 0x80, -magnitude, magnitude).astype(np.int16)


def _alaw_levels() -> Pcm16:
    code = np.arange(256, dtype=np.int32) ^ ALAW_INVERSION
    exponent, mantissa = (code >> 4) & 7, code & 0xF
    linear = (mantissa << 4) + 8
    magnitude = np.where(exponent == 0, linear, (linear + 0x100) << np.maximum(exponent - 1, 0))
    return np.where(code & 0x80, magnitude, -magnitude).astype(np.int16)


def _nearest_code_words(levels: Pcm16) -> CodeWords:
    """The code word of the nearest level for every 16-bit sample, indexed by the sample's bits as unsigned."""
    order = np.argsort(levels, kind="stable")
    ascending = levels[order].astype(np.int32)
    decision_points = (ascending[1:] + ascending[:-1] + 1) // 2
    sample = np.arange(65536, dtype=np.uint16).view(np.int16)
    return order[np.searchsorted(decision_points, sample, side="right")].astype(np.uint8)


MULAW_LEVELS: Final = _mulaw_levels()  # (256,) PCM16 of each code word
ALAW_LEVELS: Final = _alaw_levels()
_MULAW_CODE_WORDS: Final = _nearest_code_words(MULAW_LEVELS)  # (65536,)
_ALAW_CODE_WORDS: Final = _nearest_code_words(ALAW_LEVELS)


def decode_mulaw(code_words: CodeWords) -> Pcm16:
    """mu-law code words (n,) to 16-bit PCM (n,)."""
    return MULAW_LEVELS[code_words]


def decode_alaw(code_words: CodeWords) -> Pcm16:
    """A-law code words (n,) to 16-bit PCM (n,)."""
    return ALAW_LEVELS[code_words]


def encode_mulaw(samples: Pcm16) -> CodeWords:
    """16-bit PCM (n,) to the mu-law code words (n,) of the nearest levels."""
    return _MULAW_CODE_WORDS[samples.view(np.uint16)]


def encode_alaw(samples: Pcm16) -> CodeWords:
    """16-bit PCM (n,) to the A-law code words (n,) of the nearest levels."""
    return _ALAW_CODE_WORDS[samples.view(np.uint16)]
