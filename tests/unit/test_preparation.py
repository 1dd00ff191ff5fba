from __future__ import annotations

import pytest

from preprocess_service.errors import InvalidAudio
from preprocess_service.features.audio import AudioFormat, Encoding
from preprocess_service.preparation import SHORT_BYTES, SHORT_CHARS, Question, cost, is_quickly_weighed, is_short
from tests.unit.recordings import file_bytes, speech_like

MULAW = AudioFormat(Encoding.MULAW, 8000, 1)


@pytest.mark.parametrize(
    ("audio", "stated", "is_quick"),
    [
        pytest.param(bytes(10 * SHORT_BYTES), MULAW, True, id="no header to read"),
        pytest.param(b"RIFF" + bytes(SHORT_BYTES - 4), AudioFormat(), True, id="a short WAV file"),
        pytest.param(b"RIFF" + bytes(SHORT_BYTES), AudioFormat(), False, id="a long WAV file"),
        pytest.param(b"ID3" + bytes(100), AudioFormat(), False, id="an MP3 file is walked through"),
        pytest.param(b"fLaC" + bytes(100), AudioFormat(), False, id="a FLAC file"),
        pytest.param(b"", AudioFormat(), False, id="nothing"),
    ],
)
def test_what_takes_time_to_weigh_is_weighed_in_a_thread(audio, stated, is_quick):
    assert is_quickly_weighed(Question(audio, stated)) is is_quick


@pytest.mark.parametrize(
    ("question", "short"),
    [
        pytest.param(
            Question(bytes(SHORT_BYTES), MULAW, "가" * SHORT_CHARS), True, id="sixteen seconds and a sentence"
        ),
        pytest.param(Question(b"RIFF" + bytes(100), transcript="불이 났어요"), True, id="a short WAV file"),
        pytest.param(Question(bytes(SHORT_BYTES + 1), MULAW), False, id="more sound"),
        pytest.param(Question(bytes(100), MULAW, "가" * (SHORT_CHARS + 1)), False, id="more words"),
        pytest.param(Question(b"ID3" + bytes(100)), False, id="an MP3 file can be hours"),
    ],
)
def test_only_short_questions_may_hold_up_the_event_loop(question, short):
    assert is_short(question) is short


@pytest.mark.parametrize(
    ("question", "weight"),
    [
        pytest.param(Question(bytes(8000), MULAW), 1, id="a second"),
        pytest.param(Question(bytes(180 * 8000), MULAW), 4, id="three minutes"),
        pytest.param(Question(bytes(8000), MULAW, "가" * 1000), 3, id="a long transcript"),
        pytest.param(Question(file_bytes(speech_like(7, 8000), 8000, "WAV")), 1, id="a short WAV file"),
        pytest.param(Question(file_bytes(speech_like(130, 8000), 8000, "WAV")), 3, id="a long WAV file"),
    ],
)
def test_weighs_by_minutes_and_words(question, weight):
    assert cost(question, 1800) == weight


def test_only_what_is_not_short_is_refused_at_the_door():
    assert cost(Question(b"RIFF" + bytes(100)), 1800) == 1  # whoever decodes it refuses it
    with pytest.raises(InvalidAudio):
        cost(Question(b"RIFF" + bytes(SHORT_BYTES)), 1800)
