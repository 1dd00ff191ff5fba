"""The one path that every clip takes, whatever corpus it comes from: what is left is what a telephone would deliver.

Mono, 8 kHz, the same trim, the same level, G.711: sampling rate, bit depth, offset, level and padding of a recording
say nothing about its class afterwards.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from preprocess_service.errors import InvalidAudio
from preprocess_service.features import g711
from preprocess_service.features.audio import (
    PCM16_FULL_SCALE,
    SHORTEST_S,
    TELEPHONE_RATE_HZ,
    AudioFormat,
    Samples,
    decode,
)
from training.synthetic.telephone import active_rms, from_db

LONGEST_CLIP_S: Final = 1800.0
FRAME_S: Final = 0.02
QUIET_BELOW_LOUDEST_DB: Final = 40.0  # ends below this are padding, not speech
KEPT_AT_ENDS_S: Final = 0.1
LEVEL_DBFS: Final = -26.0  # of speech while it is active: ITU-T P.56's usual level for tests of telephone lines
LARGEST_GAIN_DB: Final = 40.0  # an all but silent recording stays all but silent

FRAME_SAMPLES: Final = round(FRAME_S * TELEPHONE_RATE_HZ)
_FULL_SCALE: Final = 32_767


def line_code_words(recording: bytes, start_s: float = 0.0, end_s: float | None = None) -> g711.CodeWords:
    """The stretch of a recording that is a clip, as mu-law code words (n,) at 8000 Hz; never empty.

    Raises InvalidAudio for bytes that cannot be decoded and for stretches that leave less than SHORTEST_S.
    """
    whole = decode(recording, AudioFormat(), LONGEST_CLIP_S)
    return code_words(levelled(trimmed(centred(cut(whole, start_s, end_s)))))


def heard(words: g711.CodeWords) -> Samples:
    """What the service decodes from mu-law code words (n,): float32 (n,) at 8000 Hz, full scale 1.0."""
    return g711.decode_mulaw(words).astype(np.float32) / np.float32(PCM16_FULL_SCALE)


def code_words(samples: Samples) -> g711.CodeWords:
    """Samples (n,) to mu-law code words (n,); what is beyond full scale clips."""
    return g711.encode_mulaw(np.rint(np.clip(samples, -1, 1) * np.float32(_FULL_SCALE)).astype(np.int16))


def cut(samples: Samples, start_s: float, end_s: float | None) -> Samples:
    """Samples of [start_s, end_s) at 8000 Hz, None being the end; raises InvalidAudio below SHORTEST_S."""
    end = None if end_s is None else round(end_s * TELEPHONE_RATE_HZ)
    part = samples[round(start_s * TELEPHONE_RATE_HZ) : end]
    if len(part) < SHORTEST_S * TELEPHONE_RATE_HZ:
        stretch = f"{start_s:g} s to {'the end' if end_s is None else f'{end_s:g} s'}"
        whole_s = len(samples) / TELEPHONE_RATE_HZ
        raise InvalidAudio(f"{stretch} of a recording of {whole_s:g} s; at least {SHORTEST_S} s are needed")
    return part


def centred(samples: Samples) -> Samples:
    """Samples without their direct current, which no telephone line carries."""
    return samples - np.float32(samples.mean(dtype=np.float64))


def trimmed(samples: Samples) -> Samples:
    """Samples without ends that are QUIET_BELOW_LOUDEST_DB below the loudest frame, but for KEPT_AT_ENDS_S."""
    powers = frame_powers(samples)
    loud = np.flatnonzero(powers >= powers.max() * 10 ** (-QUIET_BELOW_LOUDEST_DB / 10))
    kept = round(KEPT_AT_ENDS_S * TELEPHONE_RATE_HZ)
    return samples[max(0, loud[0] * FRAME_SAMPLES - kept) : (loud[-1] + 1) * FRAME_SAMPLES + kept]


def levelled(samples: Samples) -> Samples:
    """Samples with speech at LEVEL_DBFS, raised by at most LARGEST_GAIN_DB; silence stays as it is."""
    active = active_rms(samples)
    if not active:
        return samples
    return samples * np.float32(min(from_db(LEVEL_DBFS) / active, from_db(LARGEST_GAIN_DB)))


def frame_powers(samples: Samples) -> NDArray[np.float64]:
    """Mean squares of frames of FRAME_S (frames,); the last frame is filled up with silence."""
    frames = -(-len(samples) // FRAME_SAMPLES)
    padded = np.zeros(frames * FRAME_SAMPLES, np.float64)
    padded[: len(samples)] = samples
    return np.asarray(np.mean(np.square(padded.reshape(frames, FRAME_SAMPLES)), axis=1))
