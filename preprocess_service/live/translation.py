"""Between the API's messages of live calls and the service's own types."""

from __future__ import annotations

import math
import time
from typing import Final

from preprocess_service.alert import AlertState
from preprocess_service.errors import InvalidAudio, InvalidRequest
from preprocess_service.features.audio import AudioFormat, Encoding, headerless_frame_bytes
from preprocess_service.live.call import CallConfig, CallState, LiveCall, PartyScore, Piece, Update
from preprocess_service.live.words import Segment
from preprocess_service.proto.wigeup.v1 import triage_pb2 as pb
from preprocess_service.repository import ServedModel
from preprocess_service.translation import audio_format, checked_call_id, kind_messages, priority_of, window_messages
from preprocess_service.verdict import Degradation, Times

DEFAULT_HOP_S: Final = 1.0
HOPS_S: Final = (0.25, 10.0)
_DEGRADATIONS: Final = {each: pb.Degradation.Value(f"DEGRADATION_{each.name}") for each in Degradation}
_SPEAKERS: Final = {pb.SPEAKER_UNSPECIFIED: False, pb.SPEAKER_CALLER: False, pb.SPEAKER_AGENT: True}


def call_config(message: pb.StreamConfig) -> CallConfig:
    """Raises InvalidRequest, InvalidAudio for what the API does not allow."""
    stated = audio_format(message.format)
    if stated.encoding is Encoding.FILE:
        raise InvalidAudio("a live call without an encoding; it must be MULAW, ALAW or PCM16, without a header")
    hop_s = message.hop_s or DEFAULT_HOP_S
    if not HOPS_S[0] <= hop_s <= HOPS_S[1]:
        raise InvalidRequest(f"hop_s {message.hop_s:g}; it must be {HOPS_S[0]:g} to {HOPS_S[1]:g} s, or 0 for 1 s")
    call_format = AudioFormat(stated.encoding, stated.sample_rate_hz, stated.channels or 1)
    headerless_frame_bytes(call_format)  # raises for a rate that is no rate
    resumed, position_frames = message.HasField("resumption"), 0
    state = _call_state(message.resumption, stated.sample_rate_hz)
    if resumed:
        position_frames = message.resumption.position_frames
        if not 0 <= position_frames <= state.position_frames:
            raise InvalidRequest(
                f"resumption.position_frames {position_frames}; it must be 0 to the state's, {state.position_frames}"
            )
    return CallConfig(
        format=call_format,
        model=message.model,
        model_version=message.model_version,
        call_id=checked_call_id(message.call_id),
        priority=priority_of(message.priority),
        hop_s=hop_s,
        state=state,
        position_frames=position_frames,
        resumed=resumed,
    )


def take(call: LiveCall, message: pb.StreamRequest, longest_transcript: int) -> None:
    """Lets the call hear or read a message; raises InvalidRequest, InvalidAudio."""
    kind = message.WhichOneof("request")
    if kind == "audio":
        audio = message.audio
        piece = Piece(audio.audio, audio.lost_frames, audio.concealed_frames)
        call.hear(audio.sequence, piece, time.monotonic())
    elif kind == "transcript":
        said = message.transcript
        if len(said.text) > longest_transcript:
            raise InvalidRequest(f"{len(said.text)} characters of transcript; at most {longest_transcript} are taken")
        if said.speaker not in _SPEAKERS:
            raise InvalidRequest(f"speaker {said.speaker} is unknown; it must be one of {pb.Speaker.keys()}")
        segment = Segment(said.text, said.start_s, said.end_s)
        call.read(said.sequence, segment, is_final=said.is_final, from_agent=_SPEAKERS[said.speaker])
    elif kind == "config":
        raise InvalidRequest("a second configuration; the first message of a stream is the only one")
    else:
        raise InvalidRequest("a message without a configuration, audio or transcript in it")


def update_message(update: Update, served: ServedModel | None, times: Times) -> pb.StreamResponse:
    """`served` None: no model answered."""
    state = update.state
    message = pb.CallUpdate(
        number=state.update,
        covered_s=update.covered_s,
        acknowledged_sequence=update.acknowledged_sequence,
        caller=_party_message(update.parties[0]),
        agent=_party_message(update.parties[1]) if len(update.parties) > 1 else None,
        smoothed=state.alert.smoothed,
        alert=_alert(state),
        alert_changed_at_s=state.alert.changed_at_s,
        model=served.name if served else "",
        model_version=str(served.version) if served else "",
        skipped_hops=state.skipped_hops,
        lag_ms=1000 * (time.monotonic() - update.due_at),
        times=pb.StageTimes(
            wait_ms=times.wait_ms, audio_ms=times.audio_ms, inference_ms=times.inference_ms, total_ms=times.total_ms
        ),
        state=_state_message(state),
    )
    return pb.StreamResponse(update=message)


def summary_message(call: LiveCall, served: ServedModel | None) -> pb.StreamResponse:
    state, timeline = call.state, list(call.timeline)
    return pb.StreamResponse(
        summary=pb.CallSummary(
            call_id=call.config.call_id,
            model=served.name if served else "",
            model_version=str(served.version) if served else "",
            audio_s=call.audio_s,
            probability=state.strongest,
            strongest_at_s=state.strongest_at_s,
            alerted=state.alert.alerts > 0,
            alerts=state.alert.alerts,
            alert=_alert(state),
            timeline=window_messages(timeline),
            timeline_from_s=timeline[0].end_s if timeline else call.audio_s,
            updates=state.update,
            skipped_hops=state.skipped_hops,
            lost_s=state.lost_frames / call.config.format.sample_rate_hz,
            degradations=sorted(_DEGRADATIONS[each] for each in call.degradations),
        )
    )


def _party_message(party: PartyScore) -> pb.PartyScore:
    return pb.PartyScore(
        probability=party.probability,
        degradations=[_DEGRADATIONS[each] for each in party.degradations],
        scored=party.scored,
        kinds=kind_messages(party.kinds),
    )


def _alert(state: CallState) -> pb.AlertState.ValueType:
    return pb.ALERT_STATE_RAISED if state.alert.raised else pb.ALERT_STATE_CLEAR


def _state_message(state: CallState) -> pb.CallState:
    alert = state.alert
    return pb.CallState(
        update=state.update,
        position_frames=state.position_frames,
        smoothed=alert.smoothed,
        raised=alert.raised,
        changed_at_s=alert.changed_at_s,
        below_since_s=alert.below_since_s,
        alerts=alert.alerts,
        strongest=state.strongest,
        strongest_at_s=state.strongest_at_s,
        lost_frames=state.lost_frames,
        skipped_hops=state.skipped_hops,
    )


def _call_state(resumption: pb.Resumption, rate_hz: int) -> CallState:
    """That of a call's beginning where there is none; raises InvalidRequest for one that no update can have had."""
    if not resumption.HasField("state"):
        return CallState(AlertState())
    message = resumption.state
    numbers = (message.smoothed, message.changed_at_s, message.below_since_s, message.strongest, message.strongest_at_s)
    if not all(math.isfinite(each) for each in numbers):
        raise InvalidRequest(f"resumption.state holds {numbers}; all must be finite")
    if not (0 <= message.smoothed <= 1 and 0 <= message.strongest <= 1):
        raise InvalidRequest(
            f"resumption.state: smoothed {message.smoothed:g}, strongest {message.strongest:g}; 0 to 1"
        )
    if message.position_frames < 0 or message.lost_frames < 0:
        raise InvalidRequest("resumption.state: position_frames and lost_frames must be at least 0")
    alert = AlertState(
        smoothed=message.smoothed,
        raised=message.raised,
        changed_at_s=message.changed_at_s,
        below_since_s=message.below_since_s,
        alerts=message.alerts,
        covered_s=message.position_frames / rate_hz,
    )
    return CallState(
        alert,
        message.update,
        message.position_frames,
        message.strongest,
        message.strongest_at_s,
        message.lost_frames,
        message.skipped_hops,
    )
