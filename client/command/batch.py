"""Sends recordings, some at a time, and hands on the outcomes in the order of the recordings."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from client.aio import AsyncTriageClient
from client.command.plan import Plan, Recording
from client.errors import TriageError
from client.formats import AudioFormat
from client.results import Verdict

# Stands where a gRPC status would, for a recording that never reached the service.
FILE_STATUS = "FILE"


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a recording has no verdict: a gRPC status name, or FILE for one that could not be read."""

    status: str
    message: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """The verdict on one recording, or why there is none."""

    file: str
    verdict: Verdict | None = None
    failure: Failure | None = None

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON: the file and the verdict's fields, or the file and an error."""
        if self.verdict is not None:
            return {"file": self.file, **self.verdict.to_dict()}
        failure = self.failure or Failure("UNKNOWN", "")
        return {"file": self.file, "error": {"status": failure.status, "message": failure.message}}


@dataclass(slots=True)
class InOrder:
    """Hands on numbered outcomes in order of their numbers, holding back those that come early."""

    hand_on: Callable[[Outcome], None]
    _next: int = 0
    _early: dict[int, Outcome] = field(default_factory=dict)

    def add(self, number: int, outcome: Outcome) -> None:
        """Takes one outcome and hands on all that are now due."""
        self._early[number] = outcome
        while self._next in self._early:
            self.hand_on(self._early.pop(self._next))
            self._next += 1


async def classify_all(
    plan: Plan,
    connect: Callable[[], AsyncTriageClient],
    concurrency: int,
    hand_on: Callable[[Outcome], None],
) -> None:
    """Classifies all recordings of the plan, `concurrency` at a time; a failure is an outcome, not an exception."""
    waiting = enumerate(plan.recordings)  # shared: a worker takes the next one when it is free
    in_order = InOrder(hand_on)
    workers = min(concurrency, len(plan.recordings))
    await asyncio.gather(*(_work(plan, connect, waiting, in_order) for _ in range(workers)))


async def _work(
    plan: Plan,
    connect: Callable[[], AsyncTriageClient],
    waiting: Iterator[tuple[int, Recording]],
    in_order: InOrder,
) -> None:
    async with connect() as client:
        for number, recording in waiting:
            in_order.add(number, await _classify(client, plan, recording))


async def _classify(client: AsyncTriageClient, plan: Plan, recording: Recording) -> Outcome:
    try:
        audio_format, transcript, audio = await asyncio.to_thread(_prepare, plan, recording)
        verdict = await client.classify(audio, format=audio_format, transcript=transcript, **plan.fields)
    except TriageError as error:
        return Outcome(recording.name, failure=Failure(error.status.name, error.message))
    except OSError as error:
        return Outcome(recording.name, failure=Failure(FILE_STATUS, f"{error.strerror}: {error.filename}"))
    except ValueError as error:
        return Outcome(recording.name, failure=Failure(FILE_STATUS, str(error)))
    return Outcome(recording.name, verdict)


def _prepare(plan: Plan, recording: Recording) -> tuple[AudioFormat, str, bytes]:
    return plan.format_of(recording), plan.transcript_of(recording), recording.read()
