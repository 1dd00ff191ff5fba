from __future__ import annotations

import pytest

from preprocess_service.features.audio import AudioFormat, Encoding
from preprocess_service.preparation import QUICK_BYTES, Question, is_quickly_weighed

MULAW = AudioFormat(Encoding.MULAW, 8000, 1)


@pytest.mark.parametrize(
    ("audio", "stated", "is_quick"),
    [
        pytest.param(bytes(10 * QUICK_BYTES), MULAW, True, id="no header to read"),
        pytest.param(b"RIFF" + bytes(QUICK_BYTES - 4), AudioFormat(), True, id="a short WAV file"),
        pytest.param(b"RIFF" + bytes(QUICK_BYTES), AudioFormat(), False, id="a long WAV file may have many chunks"),
        pytest.param(b"ID3" + bytes(100), AudioFormat(), False, id="an MP3 file is walked through"),
        pytest.param(b"fLaC" + bytes(100), AudioFormat(), False, id="a FLAC file"),
        pytest.param(b"", AudioFormat(), False, id="nothing"),
    ],
)
def test_what_takes_time_to_weigh_is_weighed_in_a_thread(audio, stated, is_quick):
    assert is_quickly_weighed(Question(audio, stated)) is is_quick
