"""What the loss of RTP packets does to the probabilities and to the alert."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Final

from client.formats import G711_RATE_HZ
from loadtest.bridge_process import BridgeProcess, Where, running_bridge
from loadtest.comparison import Heard, drift
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
    scored_otherwise: int  # updates of which only one's window carried evidence
    alerts: int  # calls with one
    alerts_without_loss: int
    mean_delay_s: float | None  # of the first alert; negative: earlier
    least_delay_s: float | None
    most_delay_s: float | None

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


async def sweep_loss(where: Where, sweep: Sweep) -> tuple[list[LossResult], list[Held]]:
    """Sends all calls; raises OSError, ValueError, BridgeFailed."""
    recordings = emergency_calls(ClipsInTurn(sweep.folder, sweep.seed), sweep.calls, sweep.seconds, sweep.seed)
    jobs = [(call, loss) for loss in losses(sweep) for call in range(len(recordings))]
    room = asyncio.Semaphore(sweep.parallel)
    async with running_bridge("rtp", where, ("--call-id-format", "{ssrc}")) as bridge:

        async def hold(number: int, call: int, loss: Loss) -> Held:
            async with room:
                return await _hold(bridge, recordings[call], call, loss, random.Random(f"{sweep.seed} {number}"))

        held = list(await asyncio.gather(*(hold(number, *job) for number, job in enumerate(jobs))))
    return summarise(held), held


def losses(sweep: Sweep) -> list[Loss]:
    """None at all first, twice; then every rate above 0, in both ways, with every seed."""
    none = [Loss(0.0, ALONE, seed) for seed in range(2)]
    rates = [rate for rate in sweep.rates if rate]
    return none + [Loss(rate, way, seed) for rate in rates for way in (ALONE, BURSTS) for seed in range(sweep.seeds)]


def summarise(held: Sequence[Held]) -> list[LossResult]:
    """A result for every rate and way, beside the first time without loss; the second shows what differs anyway."""
    reference = {each.call: each.heard for each in held if each.loss == Loss(0.0, ALONE, 0)}
    others = [each for each in held if each.loss != Loss(0.0, ALONE, 0)]
    groups = dict.fromkeys((each.loss.rate, each.loss.way) for each in others)
    return [
        _result(rate, way, [each for each in others if (each.loss.rate, each.loss.way) == (rate, way)], reference)
        for rate, way in groups
    ]


def loss_table(results: Sequence[LossResult]) -> str:
    """In Markdown."""
    header = (
        *("packets lost", "calls", "of packets", "counted as lost", "concealed", "silence"),
        *("probability drift, mean", "most", "smoothed, mean", "most", "scored otherwise"),
        *("calls with an alert", "alert later by, mean s", "least", "most"),
    )
    return table(header, map(_row, results))


def _row(result: LossResult) -> tuple[str, ...]:
    way = f"{result.rate:.0%}, {result.way}" if result.rate else "none, once more"
    drifts = (result.mean_drift, result.most_drift, result.mean_smoothed_drift, result.most_smoothed_drift)
    delays = (result.mean_delay_s, result.least_delay_s, result.most_delay_s)
    return (
        *(way, str(result.calls), f"{result.lost_sent / result.packets:.1%}"),
        f"{result.lost_counted / result.packets:.1%}",
        *(f"{seconds / result.audio_s:.1%}" for seconds in (result.concealed_s, result.lost_s)),
        *(number(each) for each in drifts),
        f"{result.scored_otherwise / result.updates:.1%}",
        f"{result.alerts} of {result.alerts_without_loss}",
        *(number(each, 1) for each in delays),
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


def _result(rate: float, way: str, held: Sequence[Held], reference: dict[int, Heard]) -> LossResult:
    drifts = [drift(reference[each.call], each.heard) for each in held]
    probability = [value for each in drifts for value in each.probability]
    smoothed = [value for each in drifts for value in each.smoothed]
    raised = [(reference[each.call].raised_at_s, each.heard.raised_at_s) for each in held]
    delays = [after - before for before, after in raised if before is not None and after is not None]
    return LossResult(
        rate=rate,
        way=way,
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
        scored_otherwise=sum(each.scored_otherwise for each in drifts),
        alerts=sum(after is not None for _, after in raised),
        alerts_without_loss=sum(before is not None for before, _ in raised),
        mean_delay_s=fmean(delays) if delays else None,
        least_delay_s=min(delays, default=None),
        most_delay_s=max(delays, default=None),
    )
