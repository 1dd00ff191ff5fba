"""Request messages from plain arguments; shared by the sync client, the async client and the load test."""

from typing import TypeVar

from client.channel import MAX_SEND_BYTES
from client.errors import InvalidRequest, MessageTooLarge
from client.formats import AudioFormat, Channel, Priority
from preprocess_service.proto.wigeup.v1 import triage_pb2

Request = TypeVar("Request", triage_pb2.ClassifyRequest, triage_pb2.PreprocessRequest)


def classify_request(
    audio: bytes,
    *,
    format: AudioFormat | None = None,  # noqa: A002 - the field's name in the API
    transcript: str = "",
    model: str = "",
    model_version: str = "",
    call_id: str = "",
    priority: Priority = Priority.NORMAL,
    channel: Channel = Channel.MIX,
) -> triage_pb2.ClassifyRequest:
    """The message of one Classify call.

    Raises InvalidRequest for a value that the message cannot carry, MessageTooLarge beyond MAX_SEND_BYTES.
    """
    try:
        request = triage_pb2.ClassifyRequest(
            audio=audio,
            format=_format_message(format, channel),
            transcript=transcript,
            model=model,
            model_version=model_version,
            call_id=call_id,
            priority=triage_pb2.Priority.ValueType(priority),
        )
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"the request cannot be written: {error}") from error
    return _sendable(request)


def preprocess_request(
    audio: bytes,
    *,
    format: AudioFormat | None = None,  # noqa: A002 - the field's name in the API
    transcript: str = "",
    model: str = "",
    model_version: str = "",
    channel: Channel = Channel.MIX,
) -> triage_pb2.PreprocessRequest:
    """The message of one Preprocess call; raises as `classify_request` does."""
    try:
        request = triage_pb2.PreprocessRequest(
            audio=audio,
            format=_format_message(format, channel),
            transcript=transcript,
            model=model,
            model_version=model_version,
        )
    except (TypeError, ValueError) as error:
        raise InvalidRequest(f"the request cannot be written: {error}") from error
    return _sendable(request)


def _format_message(audio_format: AudioFormat | None, channel: Channel) -> triage_pb2.AudioFormat:
    chosen = audio_format or AudioFormat.file()
    return triage_pb2.AudioFormat(
        encoding=triage_pb2.AudioEncoding.ValueType(chosen.encoding),
        sample_rate_hz=chosen.sample_rate_hz,
        channels=chosen.channels,
        channel=triage_pb2.ChannelChoice.ValueType(channel),
    )


def _sendable(request: Request) -> Request:
    size_bytes = request.ByteSize()
    if size_bytes > MAX_SEND_BYTES:
        raise MessageTooLarge(f"the request has {size_bytes} bytes; at most {MAX_SEND_BYTES} are sent at once")
    return request
