"""Messages of ClassifyStream from plain values."""

import math

from client.bridges.calls import Audio, Transcript
from client.errors import InvalidRequest
from client.formats import AudioFormat, Priority
from preprocess_service.proto.wigeup.v1 import triage_pb2


def stream_config(
    audio_format: AudioFormat,
    *,
    call_id: str,
    model: str,
    model_version: str,
    priority: Priority,
    hop_s: float,
) -> triage_pb2.StreamConfig:
    """What a stream begins with; raises InvalidRequest for a value that the message cannot carry."""
    try:
        return triage_pb2.StreamConfig(
            format=triage_pb2.AudioFormat(
                encoding=triage_pb2.AudioEncoding.ValueType(audio_format.encoding),
                sample_rate_hz=audio_format.sample_rate_hz,
                channels=audio_format.channels,
            ),
            model=model,
            model_version=model_version,
            call_id=call_id,
            priority=triage_pb2.Priority.ValueType(priority),
            hop_s=hop_s,
        )
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"the request cannot be written: {error}") from error


def check_transcript(transcript: Transcript, channels: int) -> None:
    """Raises InvalidRequest for a transcript that would end its call."""
    if transcript.from_agent and channels == 1:
        raise InvalidRequest("a transcript of the agent; the call's audio has one channel, the caller's")
    start_s, end_s = transcript.start_s, transcript.end_s
    if not (math.isfinite(end_s) and 0 <= start_s <= end_s):
        raise InvalidRequest(f"a transcript from {start_s} s to {end_s} s; times go forwards from 0")


def resumed(
    config: triage_pb2.StreamConfig, state: triage_pb2.CallState | None, position_frames: int
) -> triage_pb2.StreamRequest:
    """The first message of a stream: that of a call's beginning, or of one that goes on from its last update."""
    request = triage_pb2.StreamRequest(config=config)
    if state is not None:
        request.config.resumption.CopyFrom(triage_pb2.Resumption(state=state, position_frames=position_frames))
    return request


def stream_request(sequence: int, content: Audio | Transcript) -> triage_pb2.StreamRequest:
    """Audio or a transcript under its number."""
    if isinstance(content, Audio):
        audio = triage_pb2.StreamAudio(
            sequence=sequence,
            audio=content.data,
            lost_frames=content.lost_frames,
            concealed_frames=content.concealed_frames,
        )
        return triage_pb2.StreamRequest(audio=audio)
    transcript = triage_pb2.StreamTranscript(
        sequence=sequence,
        text=content.text,
        is_final=content.is_final,
        start_s=content.start_s,
        end_s=content.end_s,
        speaker=triage_pb2.SPEAKER_AGENT if content.from_agent else triage_pb2.SPEAKER_CALLER,
    )
    return triage_pb2.StreamRequest(transcript=transcript)
