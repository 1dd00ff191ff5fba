"""Speech from espeak-ng, called in process through ctypes."""

from __future__ import annotations

import _ctypes
import ctypes
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import espeakng_loader
import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]

SPEECH_RATE_HZ: Final = 22_050
MIN_RATE_WPM: Final = 80
MAX_RATE_WPM: Final = 450

_SYNCHRONOUS: Final = 2  # espeak_AUDIO_OUTPUT: espeak_Synth returns when the callback has had every sample
_UTF8: Final = 1
_CHARACTER_POSITION: Final = 1
_PARAMETERS: Final = {"rate_wpm": 1, "pitch": 3, "pitch_range": 4}  # espeak_PARAMETER
_DATA_PATH_LIMIT: Final = 160  # espeak-ng keeps the path in a buffer of this size
_NOISE_SEED: Final = 1
_PCM_SCALE: Final = np.float32(1 / 32768)
_SILENCE: Final = 0.003  # of full scale; espeak-ng ends its clauses in exact or near zeros

_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


class SpeechError(RuntimeError):
    """espeak-ng refused; the message gives the call and the value."""


@dataclass(frozen=True, slots=True)
class Voice:
    """A Korean voice: an espeak-ng variant ("f2"), words a minute, pitch and pitch range on espeak-ng's 0-99 scales."""

    variant: str
    rate_wpm: int
    pitch: int
    pitch_range: int


@cache
def variants() -> frozenset[str]:
    """The names of the voice variants that the installed espeak-ng data holds."""
    return frozenset(path.name for path in Path(espeakng_loader.get_data_path(), "voices", "!v").iterdir())


def _checked(voice: Voice) -> Voice:
    # espeak-ng itself answers "OK" to an unknown variant and speaks with the plain voice.
    if voice.variant not in variants():
        raise SpeechError(f"voice variant {voice.variant!r} is not in the espeak-ng data")
    if not MIN_RATE_WPM <= voice.rate_wpm <= MAX_RATE_WPM:
        raise SpeechError(f"rate {voice.rate_wpm} words a minute is outside {MIN_RATE_WPM}-{MAX_RATE_WPM}")
    for name in ("pitch", "pitch_range"):
        if not 0 <= getattr(voice, name) <= 99:
            raise SpeechError(f"{name} {getattr(voice, name)} is outside 0-99")
    return voice


def _check(name: str, status: int) -> None:
    if status != 0:
        raise SpeechError(f"{name} answered {status}")


class _Engine:
    """One loaded copy of the library. Its oscillator and noise state lasts from one utterance to the next."""

    def __init__(self) -> None:
        data_path = str(espeakng_loader.get_data_path()).encode()
        if len(data_path) >= _DATA_PATH_LIMIT:
            rule = f"the library takes under {_DATA_PATH_LIMIT}"
            raise SpeechError(f"the espeak-ng data path has {len(data_path)} bytes; {rule}")
        self.library = ctypes.CDLL(espeakng_loader.get_library_path())
        self.library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
        self.chunks: list[NDArray[np.int16]] = []
        self._callback = _Callback(self._receive)  # kept: the library holds only a bare pointer
        rate = self.library.espeak_Initialize(_SYNCHRONOUS, 0, data_path, 0)
        if rate != SPEECH_RATE_HZ:
            raise SpeechError(f"espeak_Initialize answered {rate}, not {SPEECH_RATE_HZ} Hz")
        self.library.espeak_ng_SetRandSeed(_NOISE_SEED)
        self.library.espeak_SetSynthCallback(self._callback)

    def _receive(self, samples: ctypes._Pointer[ctypes.c_short], count: int, _events: int | None) -> int:
        if samples and count > 0:
            self.chunks.append(np.ctypeslib.as_array(samples, (count,)).copy())
        return 0

    def speak(self, text: str, voice: Voice) -> NDArray[np.int16]:
        _check("espeak_SetVoiceByName", self.library.espeak_SetVoiceByName(f"ko+{voice.variant}".encode()))
        for name, parameter in _PARAMETERS.items():
            _check(name, self.library.espeak_SetParameter(parameter, getattr(voice, name), 0))
        raw = text.encode()
        size = ctypes.c_size_t(len(raw) + 1)
        status = self.library.espeak_Synth(raw, size, 0, _CHARACTER_POSITION, 0, _UTF8, None, None)
        _check("espeak_Synth", status)
        _check("espeak_Synchronize", self.library.espeak_Synchronize())
        return np.concatenate(self.chunks) if self.chunks else np.zeros(0, np.int16)

    def close(self) -> None:
        self.library.espeak_Terminate()
        # Unloading is what resets the library's static state: a second espeak_Initialize does not.
        _ctypes.dlclose(self.library._handle)


def _trimmed(samples: Samples) -> Samples:
    loud = np.flatnonzero(np.abs(samples) > _SILENCE)
    return samples[loud[0] : loud[-1] + 1] if loud.size else samples[:0]


def speak(text: str, voice: Voice) -> Samples:
    """`text` in Korean as float32 (n,) in [-1, 1] at SPEECH_RATE_HZ, leading and trailing silence cut.

    The same text and voice give the same samples whatever was said before: the library is loaded afresh for each
    utterance, which takes about 0.5 ms. Not safe for threads: one process speaks one utterance at a time.
    Raises SpeechError for an unknown variant, a value out of range, or a text that gives no sound.
    """
    engine = _Engine()
    try:
        pcm = engine.speak(text, _checked(voice))
    finally:
        engine.close()
    samples = _trimmed(pcm.astype(np.float32) * _PCM_SCALE)
    if not samples.size:
        raise SpeechError(f"{text!r} gives no sound")
    return samples
