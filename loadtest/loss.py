"""What the loss of RTP packets does to the probabilities and to the alert."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any, Final

from client import AsyncTriageClient
from client.formats import G711_RATE_HZ
from loadtest.bridge_process import BridgeProcess, Where, running_bridge
from loadtest.comparison import Heard, drift
from loadtest.direct import model_asked
from loadtest.markdown import number, table
from loadtest.recordings import ClipsInTurn, Recording, emergency_calls
from loadtest.rtp_sender import PACKET_S, send_call

ALONE, BURSTS = "alone", "in bursts"
BURST_PACKETS: Final = 5.0  # 100 ms on average: more than the bridge conceals
LIMIT_S: Final = 90.0  # beyond the call's length


@dataclass(frozen=True, slots=True)
class Sweep:
    """`calls` of `seconds` each are sent without loss twice, and once for every rate (0 to 1), way and seed."""

    folder: Path
    calls: int
    seconds: float
    rates: Sequence[float]
    seeds: int
    parallel: int
    seed: int
    level: float  # of the smoothed probability: when it is reached is compared, as is when the alert is raised


@dataclass(frozen=True, slots=True)
class Loss:
    """How packets are lost: `way` is ALONE or BURSTS."""

    rate: float
    way: str
    seed: int


@dataclass(frozen=True)
class Held:
    """One call that was sent with losses."""

    call: int
    loss: Loss
    packets: int
    lost: int  # by the sender's doing
    heard: Heard

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        sent = {"call": self.call, "packets": self.packets, "lost": self.lost}
        return {"loss": asdict(self.loss), **sent, "heard": self.heard.to_dict()}


@dataclass(frozen=True, slots=True)
class Delay:
    """When something first happened in the calls, beside the same calls without loss; negative: earlier."""

    calls: int  # in which it happened
    calls_without_loss: int
    median_s: float | None
    least_s: float | None
    most_s: float | None

    def __str__(self) -> str:
        happened = f"{self.calls} of {self.calls_without_loss}"
        if self.median_s is None:
            return happened
        return f"{happened}, {self.median_s:+.0f} ({self.least_s:+.0f} to {self.most_s:+.0f})"


@dataclass(frozen=True)
class LossResult:
    """All calls of one rate and way, beside the same calls without loss; None where there is nothing to compare."""

    rate: float
    way: str
    calls: int
    packets: int
    lost_sent: int
    lost_counted: int  # by the bridge
    concealed_s: float
    lost_s: float
    audio_s: float
    mean_drift: float | None  # of probabilities, over all updates
    most_drift: float | None
    mean_smoothed_drift: float | None
    most_smoothed_drift: float | None
    updates: int
    unmatched: int  # updates without a counterpart
    not_judged: int  # hops that the service skipped, or that no model answered for in time
    scored_otherwise: int  # updates of which only one's window carried evidence
    alert: Delay
    level: Delay  # of the smoothed probability

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


async def sweep_loss(
    where: Where, root_certificates: bytes | None, sweep: Sweep
) -> tuple[list[LossResult], list[Held]]:
    """Sends all calls; raises OSError, ValueError, TriageError, BridgeFailed."""
    async with AsyncTriageClient(where.address, root_certificates=root_certificates) as client:
        await model_asked(client, where.model)  # a bridge would wait for a service that is not there
    recordings = emergency_calls(ClipsInTurn(sweep.folder, sweep.seed), sweep.calls, sweep.seconds, sweep.seed)
    jobs = [(call, loss) for loss in losses(sweep) for call in range(len(recordings))]
    room = asyncio.Semaphore(sweep.parallel)
    async with running_bridge("rtp", where, ("--call-id-format", "{ssrc}")) as bridge:

        async def hold(number: int, call: int, loss: Loss) -> Held:
            async with room:
                return await _hold(bridge, recordings[call], call, loss, random.Random(f"{sweep.seed} {number}"))

        held = list(await asyncio.gather(*(hold(number, *job) for number, job in enumerate(jobs))))
    return summarise(held, sweep.level), held


def losses(sweep: Sweep) -> list[Loss]:
    """None at all first, twice; then every rate above 0, in both ways, with every seed."""
    none = [Loss(0.0, ALONE, seed) for seed in range(2)]
    rates = [rate for rate in sweep.rates if rate]
    return none + [Loss(rate, way, seed) for rate in rates for way in (ALONE, BURSTS) for seed in range(sweep.seeds)]


def summarise(held: Sequence[Held], level: float) -> list[LossResult]:
    """A result for every rate and way, beside the first time without loss; the second shows what differs anyway."""
    reference = {each.call: each.heard for each in held if each.loss == Loss(0.0, ALONE, 0)}
    others = [each for each in held if each.loss != Loss(0.0, ALONE, 0)]
    groups = dict.fromkeys((each.loss.rate, each.loss.way) for each in others)
    return [
        _result([each for each in others if (each.loss.rate, each.loss.way) == group], reference, level)
        for group in groups
    ]


def loss_table(results: Sequence[LossResult], level: float) -> str:
    """In Markdown."""
    header = (
        *("packets lost", "calls", "not sent", "counted as lost", "concealed", "left silent"),
        *("probability drift: mean", "most", "smoothed: mean", "most", "scored otherwise"),
        *("alerts: calls, later by (s)", f"smoothed reaches {level:g}: calls, later by (s)"),
    )
    return table(header, map(_row, results))


def _row(result: LossResult) -> tuple[str, ...]:
    way = f"{result.rate:.0%}, {result.way}" if result.rate else "none, once more"
    packets = (result.lost_sent / result.packets, result.lost_counted / result.packets)
    audio = (result.concealed_s / result.audio_s, result.lost_s / result.audio_s)
    drifts = (result.mean_drift, result.most_drift, result.mean_smoothed_drift, result.most_smoothed_drift)
    return (
        *(way, str(result.calls)),
        *(f"{part:.1%}" for part in (*packets, *audio)),
        *(number(each) for each in drifts),
        *(f"{result.scored_otherwise / result.updates:.1%}", str(result.alert), str(result.level)),
    )


async def _hold(bridge: BridgeProcess, recording: Recording, call: int, loss: Loss, chance: random.Random) -> Held:
    ssrc = chance.getrandbits(32)
    async with asyncio.timeout(recording.seconds + LIMIT_S):
        sent = await send_call(
            recording.code_words,
            int(bridge.address.rpartition(":")[2]),
            ssrc=ssrc,
            first_sequence=chance.getrandbits(16),
            first_timestamp=chance.getrandbits(32),
            loss=loss.rate,
            burst_packets=BURST_PACKETS if loss.way == BURSTS else 0,
            seed=chance.getrandbits(32),
        )
    heard = await bridge.heard(f"{ssrc:08x}", LIMIT_S)
    return Held(call, loss, len(sent.packets), len(sent.lost), heard)


def _result(held: Sequence[Held], reference: dict[int, Heard], level: float) -> LossResult:
    drifts = [drift(reference[each.call], each.heard) for each in held]
    probability = [value for each in drifts for value in each.probability]
    smoothed = [value for each in drifts for value in each.smoothed]
    pairs = [(reference[each.call], each.heard) for each in held]
    return LossResult(
        rate=held[0].loss.rate,
        way=held[0].loss.way,
        calls=len(held),
        packets=sum(each.packets for each in held),
        lost_sent=sum(each.lost for each in held),
        lost_counted=sum(each.heard.counts["lost"] for each in held),
        concealed_s=sum(each.heard.counts["concealed_frames"] for each in held) / G711_RATE_HZ,
        lost_s=sum(each.heard.counts["lost_frames"] for each in held) / G711_RATE_HZ,
        audio_s=sum(each.packets for each in held) * PACKET_S,
        mean_drift=fmean(probability) if probability else None,
        most_drift=max(probability, default=None),
        mean_smoothed_drift=fmean(smoothed) if smoothed else None,
        most_smoothed_drift=max(smoothed, default=None),
        updates=sum(len(each.heard.points) for each in held),
        unmatched=sum(each.unmatched for each in drifts),
        not_judged=sum(each.heard.not_monitored + each.heard.skipped_hops for each in held),
        scored_otherwise=sum(each.scored_otherwise for each in drifts),
        alert=_delay([(before.raised_at_s, after.raised_at_s) for before, after in pairs]),
        level=_delay([(before.reached_at_s(level), after.reached_at_s(level)) for before, after in pairs]),
    )


def _delay(times_s: Sequence[tuple[float | None, float | None]]) -> Delay:
    delays = [after - before for before, after in times_s if before is not None and after is not None]
    return Delay(
        calls=sum(after is not None for _, after in times_s),
        calls_without_loss=sum(before is not None for before, _ in times_s),
        median_s=median(delays) if delays else None,
        least_s=min(delays, default=None),
        most_s=max(delays, default=None),
    )
