"""What a finished live call says once its messages are read: updates and their lag, hops that were skipped, its end."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from client.formats import G711_RATE_HZ
from loadtest.live import Recording
from preprocess_service.proto.wigeup.v1 import triage_pb2

ROUNDING_HOPS: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Update:
    """One update. The lag is the time from the sending of the last audio that it covers to its arrival."""

    audio_at_s: float  # when that audio was to be sent, from the beginning of the run
    lag_s: float  # counted from then
    lag_from_sending_s: float  # counted from when it was really sent
    service_lag_s: float  # by the service's own clock
    degradations: tuple[str, ...]


@dataclass(frozen=True)
class CallReading:
    """One call in numbers."""

    status: str
    details: str
    began_s: float  # from the beginning of the run
    ended_s: float  # the last audio was due
    audio_sent_s: float
    hops_expected: int
    hops_judged: int
    skipped_hops: int
    held_up: int
    lateness_s: tuple[float, ...]
    model: str = ""
    model_version: str = ""
    updates: tuple[Update, ...] = field(default=())

    @property
    def refused(self) -> bool:
        """Whether it failed before it was ever judged."""
        return self.status != "OK" and not self.updates


def read(recording: Recording, run_began_at: float, hop_s: float) -> CallReading:
    """Reads a call's messages; `run_began_at` by `time.monotonic`."""
    tape, sent = recording.tape, len(recording.sent_at)
    updates, hops, model, version, skipped = [], set(), "", "", 0
    for arrived_at, data in recording.responses:
        response = triage_pb2.StreamResponse.FromString(data)
        if response.HasField("update"):
            update = response.update
            updates.append(_update(recording, update, arrived_at, run_began_at))
            hops.add(int(update.state.position_frames / G711_RATE_HZ / hop_s + ROUNDING_HOPS))
            skipped = max(skipped, update.skipped_hops)
            model, version = update.model or model, update.model_version or version
    last = sum(index < sent for index in tape.audio_messages)
    return CallReading(
        status=recording.status,
        details=recording.details,
        began_s=recording.began_at - run_began_at,
        ended_s=recording.began_at - run_began_at + tape.audio_s,
        audio_sent_s=tape.audio_ends_s[last - 1] if last else 0.0,
        hops_expected=int(tape.audio_s / hop_s + ROUNDING_HOPS),
        hops_judged=len(hops - {0}),  # the rest after the last whole hop may get an update of its own
        skipped_hops=skipped,
        held_up=recording.held_up,
        lateness_s=tuple(recording.lateness_s),
        model=model,
        model_version=version,
        updates=tuple(updates),
    )


def _update(recording: Recording, update: triage_pb2.CallUpdate, arrived_at: float, run_began_at: float) -> Update:
    index = recording.tape.completes(update.covered_s)
    planned_at = recording.began_at + recording.tape.messages[index].at_s
    sent_at = recording.sent_at[index] if index < len(recording.sent_at) else planned_at
    return Update(
        audio_at_s=planned_at - run_began_at,
        lag_s=arrived_at - planned_at,
        lag_from_sending_s=arrived_at - sent_at,
        service_lag_s=update.lag_ms / 1000,
        degradations=tuple(triage_pb2.Degradation.Name(each) for each in update.caller.degradations),
    )
