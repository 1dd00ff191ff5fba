"""Live calls over real sockets: what updates say, and that hostile streams harm nobody."""

from __future__ import annotations

import threading

import grpc
import numpy as np
import pytest

from client import AudioFormat
from preprocess_service.features import audio as decoding
from preprocess_service.features import g711
from preprocess_service.proto.wigeup.v1 import triage_pb2 as pb
from tests.e2e.conftest import DATA
from tests.e2e.live_stream import Stream, audio, config, converse, messages, transcript
from tests.unit.recordings import speech_like

PCM16 = pb.AudioFormat(encoding=pb.AUDIO_ENCODING_PCM16, sample_rate_hz=16000, channels=1)
# Between a window's features by the ring and by the unary path lie 1e-4 dB; an int8 graph can make a step of that.
TOLERANCE = 0.01
# A resumed stream counts its frames from where it begins: windows begin up to one hop of the spectrogram (23 ms) apart.
RESUMED_TOLERANCE = 0.03


def mulaw_of(clip) -> bytes:
    samples = decoding.decode((DATA / clip.path).read_bytes(), decoding.AudioFormat(), 60)
    return g711.encode_mulaw((samples * 32767).astype(np.int16)).tobytes()


@pytest.fixture(scope="module")
def test_clips(corpus):
    return [clip for clip in corpus.clips if clip.split == "test"][:12]


@pytest.fixture(scope="module")
def long_call(test_clips) -> bytes:
    """Half a minute of speech, and a rest that is no whole hop."""
    return b"".join(mulaw_of(clip) for clip in test_clips)[: 30 * 8000 + 4000]


def test_the_last_window_of_a_short_call_is_the_verdict_on_its_recording(service, client, test_clips):
    compared = 0
    for seed, clip in enumerate(clip for clip in test_clips if len(mulaw_of(clip)) < 7 * 8000):
        data = mulaw_of(clip)
        asked = {"format": AudioFormat.mulaw(), "transcript": clip.text}
        if len(client.preprocess(data, **asked).rows) > 1:
            continue  # more words than a window reads: the verdict is on the strongest twelve, the window on the last
        compared += 1
        verdict = client.classify(data, **asked)

        heard = converse(service.address, messages(data, seed=seed, text=clip.text))

        assert heard.updates[-1].caller.probability == pytest.approx(verdict.probability, abs=TOLERANCE)
        likeliest = verdict.kinds[0]  # of two that are as likely, either may come first
        kinds = {each.name: each.probability for each in heard.updates[-1].caller.kinds}
        assert kinds[likeliest.name] == pytest.approx(likeliest.probability, abs=TOLERANCE)
        assert heard.summary.audio_s == pytest.approx(verdict.audio_s)
    assert compared >= 3


def test_an_update_comes_for_every_hop_however_the_audio_is_cut(service, long_call):
    first, second = (converse(service.address, messages(long_call, seed=seed, call_id="cut")) for seed in (1, 2))

    for heard in (first, second):
        assert [each.number for each in heard.updates] == list(range(1, 32))
        assert [each.state.position_frames for each in heard.updates[:-1]] == [8000 * hop for hop in range(1, 31)]
        assert heard.updates[-1].covered_s == pytest.approx(30.5)
        assert heard.summary.updates == 31
        assert heard.summary.skipped_hops == 0
        assert heard.summary.call_id == "cut"
        assert len(heard.summary.timeline) == sum(each.caller.scored for each in heard.updates)
    probabilities = [np.array([each.caller.probability for each in heard.updates]) for heard in (first, second)]
    np.testing.assert_allclose(probabilities[0], probabilities[1], atol=TOLERANCE)


def test_a_call_goes_on_where_another_stream_broke_off(service, long_call):
    whole = converse(service.address, messages(long_call)).updates
    with Stream(service.address) as broken:
        broken.send(config())
        broken.send(audio(1, long_call[: 10 * 8000]))
        broken.send(audio(2, long_call[10 * 8000 : 17 * 8000]))
        before = broken.updates(13)[-1]
    resumption = pb.Resumption(state=before.state, position_frames=10 * 8000 - 4 * 8000)

    after = converse(
        service.address,
        [
            config(resumption=resumption),
            audio(2, long_call[6 * 8000 : 15 * 8000]),
            audio(3, long_call[15 * 8000 : 24 * 8000]),
            audio(4, long_call[24 * 8000 :]),
        ],
    )

    assert [each.number for each in after.updates] == list(range(14, 32))
    for resumed, uninterrupted in zip(after.updates, whole[13:], strict=True):
        assert resumed.caller.probability == pytest.approx(uninterrupted.caller.probability, abs=RESUMED_TOLERANCE)
        assert resumed.smoothed == pytest.approx(uninterrupted.smoothed, abs=RESUMED_TOLERANCE)
        assert resumed.alert == uninterrupted.alert
    assert after.summary.updates == 31


def test_caller_and_agent_are_judged_apart(service, test_clips):
    caller, agent = (np.frombuffer(mulaw_of(clip), np.uint8) for clip in test_clips[:2])
    length = min(len(caller), len(agent))
    both = np.stack([caller[:length], agent[:length]], axis=1).tobytes()
    stereo = pb.AudioFormat(encoding=pb.AUDIO_ENCODING_MULAW, sample_rate_hz=8000, channels=2)

    heard = converse(service.address, messages(both, frame_bytes=2, audio_format=stereo)).updates[-1]

    for party, channel in ((heard.caller, caller), (heard.agent, agent)):
        alone = converse(service.address, messages(channel[:length].tobytes())).updates[-1]
        assert party.probability == pytest.approx(alone.caller.probability, abs=TOLERANCE)


def test_an_agents_words_are_not_the_callers(service, test_clips):
    clip = next(each for each in test_clips if each.label == "emergency")
    data = np.repeat(np.frombuffer(mulaw_of(clip), np.uint8), 2).tobytes()
    stereo = pb.AudioFormat(encoding=pb.AUDIO_ENCODING_MULAW, sample_rate_hz=8000, channels=2)
    seconds = len(data) / 2 / 8000
    said = transcript(1, clip.text, start_s=0, end_s=seconds, speaker=pb.SPEAKER_AGENT)

    heard = converse(service.address, [config(stereo), said, audio(2, data)]).updates[-1]

    assert pb.DEGRADATION_NO_TRANSCRIPT in heard.caller.degradations
    assert pb.DEGRADATION_NO_TRANSCRIPT not in heard.agent.degradations


def test_a_partial_transcript_gives_way_to_what_follows(service, test_clips):
    clip = next(each for each in test_clips if each.label == "emergency")
    data = mulaw_of(clip)
    settled = [config(), transcript(1, clip.text, start_s=0, end_s=1), audio(2, data)]
    revised = [
        config(),
        transcript(1, "오늘 날씨가 참 좋네요", is_final=False, start_s=0, end_s=1),
        transcript(2, clip.text, start_s=0, end_s=1),
        audio(3, data),
    ]

    answers = [converse(service.address, each).updates[-1].caller.probability for each in (settled, revised)]

    assert answers[0] == pytest.approx(answers[1], abs=1e-6)


@pytest.mark.parametrize(
    ("sound", "degradation"),
    [
        (np.zeros(12 * 8000, np.int16), pb.DEGRADATION_SILENCE),
        (np.random.default_rng(1).normal(0, 60, 12 * 8000).astype(np.int16), pb.DEGRADATION_COMFORT_NOISE),
        (
            (4000 * np.sin(2 * np.pi * 440 * np.arange(12 * 8000) / 8000)).astype(np.int16),
            pb.DEGRADATION_HOLD_MUSIC,
        ),
    ],
    ids=["silence", "comfort noise", "tone"],
)
def test_sound_without_evidence_is_flagged_and_not_scored(service, sound, degradation):
    heard = converse(service.address, messages(g711.encode_mulaw(sound).tobytes()))

    last = heard.updates[-1].caller
    assert degradation in last.degradations
    assert not last.scored
    assert not heard.summary.alerted


def test_lost_audio_takes_its_time_and_is_told(service, long_call):
    said = [
        config(),
        audio(1, long_call[:16000]),
        audio(2, long_call[24000:32000], lost_frames=8000),
        audio(3, long_call[32000:40000], concealed_frames=160),
    ]

    heard = converse(service.address, said)

    assert heard.summary.audio_s == pytest.approx(5)
    assert heard.summary.lost_s == pytest.approx(1)
    assert pb.DEGRADATION_AUDIO_GAP in heard.updates[-1].caller.degradations
    assert pb.DEGRADATION_CONCEALED in heard.updates[-1].caller.degradations


def test_a_call_without_audio_has_a_summary(service):
    heard = converse(service.address, [config(call_id="nothing")])

    assert heard.updates == []
    assert heard.summary.call_id == "nothing"
    assert heard.summary.audio_s == 0


SECOND = speech_like(1, 8000)
MULAW_SECOND = g711.encode_mulaw((SECOND * 32767).astype(np.int16)).tobytes()
INVALID = grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("requests", "status", "told"),
    [
        ([], INVALID, "without a configuration"),
        ([audio(1, MULAW_SECOND), config()], INVALID, "must be the first message"),
        ([config(), config()], INVALID, "second configuration"),
        ([config(), pb.StreamRequest()], INVALID, "without a configuration, audio or transcript"),
        ([config(pb.AudioFormat())], INVALID, "without an encoding"),
        (
            [config(pb.AudioFormat(encoding=pb.AudioEncoding.ValueType(99), sample_rate_hz=8000))],
            INVALID,
            "encoding 99",
        ),
        ([config(pb.AudioFormat(encoding=pb.AUDIO_ENCODING_MULAW, sample_rate_hz=11025))], INVALID, "11025 Hz mu-law"),
        ([config(pb.AudioFormat(encoding=pb.AUDIO_ENCODING_PCM16, sample_rate_hz=7999))], INVALID, "7999 Hz"),
        (
            [config(pb.AudioFormat(encoding=pb.AUDIO_ENCODING_PCM16, sample_rate_hz=8000, channels=3))],
            INVALID,
            "3 chan",
        ),
        ([config(), audio(2, MULAW_SECOND)], INVALID, "message 2 after message 0"),
        ([config(), audio(1, MULAW_SECOND), audio(1, MULAW_SECOND)], INVALID, "message 1 after message 1"),
        ([config(), audio(1, bytes(8000 * 11))], INVALID, "11.0 s of audio in one message"),
        ([config(), audio(1, lost_frames=2**31)], INVALID, "at most 10 s"),
        ([config(), audio(1, bytes(10), concealed_frames=11)], INVALID, "11 concealed frames of 10"),
        ([config(PCM16), audio(1, bytes(3))], INVALID, "3 bytes of audio; a frame has 2"),
        ([config(hop_s=0.01)], INVALID, "hop_s 0.01"),
        ([config(hop_s=float("nan"))], INVALID, "hop_s nan"),
        ([config(call_id="전화")], INVALID, "printable ASCII"),
        ([config(priority=7)], INVALID, "priority 7"),
        ([config(model="gpt")], grpc.StatusCode.NOT_FOUND, "'gpt' is unknown"),
        ([config(model_version="77")], grpc.StatusCode.NOT_FOUND, "no version 77"),
        ([config(), transcript(1, "불" * 10_001)], INVALID, "10001 characters"),
        ([config(), transcript(1, "불", start_s=5, end_s=4)], INVALID, "from 5.0 to 4.0"),
        ([config(), transcript(1, "불", end_s=float("inf"))], INVALID, "from 0.0 to inf"),
        ([config(), transcript(1, "불", speaker=9)], INVALID, "speaker 9"),
        ([config(), transcript(1, "불", speaker=pb.SPEAKER_AGENT)], INVALID, "one channel"),
        ([config(resumption=pb.Resumption(position_frames=-1))], INVALID, "position_frames -1"),
        (
            [config(resumption=pb.Resumption(state=pb.CallState(smoothed=float("nan"))))],
            INVALID,
            "must be finite",
        ),
        ([config(resumption=pb.Resumption(state=pb.CallState(strongest=2)))], INVALID, "0 to 1"),
    ],
)
def test_a_hostile_stream_is_told_why(service, requests, status, told):
    with pytest.raises(grpc.RpcError) as raised:
        converse(service.address, requests)

    assert raised.value.code() is status, raised.value.details()
    assert told in (raised.value.details() or "")


def test_hostile_streams_harm_no_other_call(service, long_call):
    alone = converse(service.address, messages(long_call))
    random = np.random.default_rng(5)
    ended = threading.Event()

    def misbehave():
        menu = [
            config(),
            audio(1, MULAW_SECOND),
            audio(7, MULAW_SECOND),
            audio(1, bytes(80_001)),
            transcript(1, "아" * 9_999),
            pb.StreamRequest(),
        ]
        while not ended.is_set():
            with pytest.raises(grpc.RpcError):
                converse(service.address, [menu[index] for index in random.integers(0, len(menu), 6)] + [menu[-1]])

    attackers = [threading.Thread(target=misbehave) for _ in range(4)]
    for each in attackers:
        each.start()
    try:
        beside = converse(service.address, messages(long_call))
    finally:
        ended.set()
        for each in attackers:
            each.join()

    assert [each.number for each in beside.updates] == [each.number for each in alone.updates]
    np.testing.assert_allclose(
        [each.caller.probability for each in beside.updates],
        [each.caller.probability for each in alone.updates],
        atol=TOLERANCE,
    )
