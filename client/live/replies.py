"""Results of a live call from the service's messages."""

from collections.abc import Sequence

from client.replies import shortest, stage_times
from client.results import CallState, CallSummary, CallUpdate, KindProbability, PartyScore, WindowScore
from preprocess_service.proto.wigeup.v1 import triage_pb2

NOT_MONITORED = "not_monitored"


def call_update(message: triage_pb2.CallUpdate) -> CallUpdate:
    """Converts one update of ClassifyStream."""
    return CallUpdate(
        number=message.number,
        covered_s=message.covered_s,
        acknowledged_sequence=message.acknowledged_sequence,
        caller=_party(message.caller),
        agent=_party(message.agent) if message.HasField("agent") else None,
        smoothed=message.smoothed,
        alert=_alert_name(message.alert),
        alert_changed_at_s=message.alert_changed_at_s,
        model=message.model,
        model_version=message.model_version,
        skipped_hops=message.skipped_hops,
        lag_ms=shortest(message.lag_ms),
        times=stage_times(message.times),
        state=_state(message.state),
    )


def call_summary(message: triage_pb2.CallSummary) -> CallSummary:
    """Converts the summary that ends ClassifyStream."""
    return CallSummary(
        call_id=message.call_id,
        model=message.model,
        model_version=message.model_version,
        audio_s=message.audio_s,
        probability=message.probability,
        strongest_at_s=message.strongest_at_s,
        alerted=message.alerted,
        alerts=message.alerts,
        alert=_alert_name(message.alert),
        timeline=tuple(WindowScore(w.start_s, w.end_s, shortest(w.probability)) for w in message.timeline),
        timeline_from_s=message.timeline_from_s,
        updates=message.updates,
        skipped_hops=message.skipped_hops,
        lost_s=message.lost_s,
        degradations=_degradation_names(message.degradations),
    )


def _party(message: triage_pb2.PartyScore) -> PartyScore:
    degradations = _degradation_names(message.degradations)
    return PartyScore(
        probability=None if NOT_MONITORED in degradations else shortest(message.probability),
        degradations=degradations,
        scored=message.scored,
        kinds=tuple(KindProbability(kind.name, shortest(kind.probability)) for kind in message.kinds),
    )


def _state(message: triage_pb2.CallState) -> CallState:
    return CallState(
        update=message.update,
        position_frames=message.position_frames,
        smoothed=message.smoothed,
        raised=message.raised,
        changed_at_s=message.changed_at_s,
        below_since_s=message.below_since_s,
        alerts=message.alerts,
        strongest=message.strongest,
        strongest_at_s=message.strongest_at_s,
        lost_frames=message.lost_frames,
        skipped_hops=message.skipped_hops,
    )


# A newer service may know what this client does not: its number stands for the name.
def _degradation_names(numbers: Sequence[triage_pb2.Degradation.ValueType]) -> tuple[str, ...]:
    known = {number: name.removeprefix("DEGRADATION_").lower() for name, number in triage_pb2.Degradation.items()}
    return tuple(known.get(number, f"unknown_{number}") for number in numbers)


def _alert_name(number: triage_pb2.AlertState.ValueType) -> str:
    known = {number: name.removeprefix("ALERT_STATE_").lower() for name, number in triage_pb2.AlertState.items()}
    return known.get(number, f"unknown_{number}")
