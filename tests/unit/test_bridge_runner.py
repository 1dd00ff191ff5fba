"""The runner between bridges and the service; this bridge's far side is a TCP peer that sends mu-law and hangs up."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field

from client import AsyncTriageClient, AudioFormat, CallUpdate, LiveOptions, Transcript
from client.bridges.calls import Audio, BridgedCall
from client.bridges.runner import Runner, RunnerSettings
from tests.unit.live_stub import EMERGENCY_WORD, LiveStub, live_service
from tests.unit.stub_service import nobody_listening

FRAME = 160


@dataclass
class TcpCall:
    """One connection: 160 bytes a frame; a frame of one byte many times over stands for a protocol error or words."""

    call_id: str
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    format: AudioFormat = field(default_factory=AudioFormat.mulaw)
    counts: Mapping[str, int] = field(default_factory=lambda: {"packets_lost": 3})
    told: list[int] = field(default_factory=list)
    tell_error: Exception | None = None
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)

    async def events(self) -> AsyncIterator[Audio | Transcript]:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                frame = await self.reader.readexactly(FRAME)
                if frame == b"W" * FRAME:
                    yield Transcript(EMERGENCY_WORD)
                elif frame == b"A" * FRAME:
                    yield Transcript("네, 119입니다", from_agent=True)
                elif frame == b"!" * FRAME:
                    raise ConnectionError("frame 1 is none; frames are frames")
                else:
                    yield Audio(frame)
        self.hung_up.set()

    async def tell(self, update: CallUpdate) -> None:
        if self.tell_error is not None:
            raise self.tell_error
        self.told.append(update.number)

    async def close(self) -> None:
        self.writer.close()


@dataclass
class TcpBridge:
    server: asyncio.Server
    incoming: asyncio.Queue[TcpCall | None]
    held: list[TcpCall]
    tell_error: Exception | None = None

    @property
    def address(self) -> str:
        host, port = self.server.sockets[0].getsockname()
        return f"{host}:{port}"

    async def calls(self) -> AsyncIterator[BridgedCall]:
        while (call := await self.incoming.get()) is not None:
            yield call

    async def close(self) -> None:
        self.server.close()
        for call in self.held:
            call.reader.feed_eof()
            call.writer.close()
        self.incoming.put_nowait(None)


async def open_tcp_bridge(tell_error: Exception | None = None) -> TcpBridge:
    incoming: asyncio.Queue[TcpCall | None] = asyncio.Queue()
    held: list[TcpCall] = []

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = TcpCall(f"tcp-{len(held)}", reader, writer, tell_error=tell_error)
        held.append(call)
        await incoming.put(call)

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    return TcpBridge(server, incoming, held)


@dataclass
class Running:
    """A runner under way and the lines that it has written."""

    bridge: TcpBridge
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    lines: list[Mapping[str, object]] = field(default_factory=list)
    written: asyncio.Event = field(default_factory=asyncio.Event)

    def write(self, line: Mapping[str, object]) -> None:
        self.lines.append(line)
        self.written.set()

    def events(self, *but: str) -> list[object]:
        return [line["event"] for line in self.lines if line["event"] not in but]

    async def until(self, event: str, times: int = 1) -> Mapping[str, object]:
        while len(found := [line for line in self.lines if line["event"] == event]) < times:
            self.written.clear()
            await self.written.wait()
        return found[-1]


@contextlib.asynccontextmanager
async def running(
    address: str, settings: RunnerSettings | None = None, tell_error: Exception | None = None
) -> AsyncIterator[Running]:
    run = Running(await open_tcp_bridge(tell_error))
    async with AsyncTriageClient(address) as client:
        task = asyncio.create_task(Runner(client, settings or RunnerSettings(), run.write).run(run.bridge, run.stop))
        try:
            yield run
        finally:
            run.stop.set()
            await task


async def dial(run: Running) -> asyncio.StreamWriter:
    host, _, port = run.bridge.address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port))
    return writer


async def hang_up(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


async def test_a_call_is_written_from_its_beginning_to_its_end() -> None:
    async with live_service() as service, running(service.address) as run:
        writer = await dial(run)
        writer.write(b"\x01" * 8000)
        await run.until("monitored")
        writer.write(b"W" * FRAME + b"\x02" * 8000)
        alert = await run.until("alert_raised")
        await hang_up(writer)
        ended = await run.until("call_ended")
        (call,) = run.bridge.held

    assert run.events() == ["call_started", "monitored", "alert_raised", "call_ended"]
    assert (alert["update"], alert["call_id"]) == (2, "tcp-0")
    assert ended["counts"] == {"packets_lost": 3}
    assert ended["summary"]["audio_s"] == 2.0  # type: ignore[index]
    assert call.told == [1, 2]
    assert run.lines[0]["format"] == {"encoding": "mulaw", "sample_rate_hz": 8000, "channels": 1}


async def test_every_update_is_a_line_where_asked_for() -> None:
    settings = RunnerSettings(updates=True, hop_s=0.5)
    async with live_service() as service, running(service.address, settings) as run:
        writer = await dial(run)
        writer.write(b"\x01" * 8000)
        await hang_up(writer)
        await run.until("call_ended")

    assert run.events() == ["call_started", "monitored", "update", "update", "call_ended"]


async def test_calls_beyond_the_limit_are_refused() -> None:
    settings = RunnerSettings(max_calls=2)
    async with live_service() as service, running(service.address, settings) as run:
        kept = [await dial(run), await dial(run)]
        await run.until("call_started", 2)
        refused = await dial(run)
        line = await run.until("call_refused")
        for writer in (*kept, refused):
            await hang_up(writer)
        await run.until("call_ended", 2)

    assert (line["call_id"], line["reason"]) == ("tcp-2", "2 calls are under way")
    assert run.bridge.held[2].writer.is_closing()
    assert run.events("monitored").count("call_ended") == 2


async def test_a_service_that_goes_and_comes_is_told_and_the_call_goes_on() -> None:
    async with live_service() as service, running(service.address) as run:
        writer = await dial(run)
        writer.write(b"\x01" * 8000)
        await run.until("monitored")
        await service.kill()
        await run.until("not_monitored")
        writer.write(b"\x02" * 8000)
        await service.start()
        await run.until("monitored", 2)
        await hang_up(writer)
        ended = await run.until("call_ended")

    assert run.events() == ["call_started", "monitored", "not_monitored", "monitored", "call_ended"]
    assert ended["summary"]["updates"] == 2  # type: ignore[index]
    assert ended["dropped_frames"] == 0


async def test_without_a_service_audio_is_dropped_and_counted_and_nothing_waits() -> None:
    settings = RunnerSettings(options=LiveOptions(buffer_s=1, reconnect_s=3600), grace_s=0.1)
    with nobody_listening() as address:
        async with running(address, settings) as run:
            writer = await dial(run)
            writer.write(b"\x01" * 8000 * 5)
            line = await run.until("not_monitored")
            await hang_up(writer)
            await run.bridge.held[0].hung_up.wait()

    ended = run.lines[-1]
    assert str(line["reason"]).startswith("UNAVAILABLE")
    assert ended["event"] == "call_ended"
    assert ended["error"] == {"status": "CANCELLED", "message": "the bridge was stopped"}
    assert 8000 * 5 - 8000 - 2 * FRAME <= ended["dropped_frames"] <= 8000 * 4  # type: ignore[operator]


async def test_a_refused_call_listens_on_to_its_hang_up() -> None:
    settings = RunnerSettings(model="fail-NOT_FOUND")
    async with live_service() as service, running(service.address, settings) as run:
        writer = await dial(run)
        writer.write(b"\x01" * 800)
        await run.until("not_monitored")
        writer.write(b"\x01" * 8000)
        await hang_up(writer)
        ended = await run.until("call_ended")

    assert ended["error"] == {"status": "NOT_FOUND", "message": "refused with NOT_FOUND"}
    assert ended["summary"] is None


async def test_a_broken_protocol_ends_the_call_with_what_was_heard() -> None:
    async with live_service() as service, running(service.address) as run:
        writer = await dial(run)
        writer.write(b"\x01" * 8000 + b"!" * FRAME)
        ended = await run.until("call_ended")
        await hang_up(writer)

    assert ended["broken"] == "frame 1 is none; frames are frames"
    assert ended["summary"]["audio_s"] == 1.0  # type: ignore[index]


async def test_words_that_no_service_takes_cost_no_call() -> None:
    async with live_service() as service, running(service.address) as run:
        writer = await dial(run)
        writer.write(b"\x01" * 8000 + b"A" * FRAME + b"\x02" * 8000)
        await hang_up(writer)
        ended = await run.until("call_ended")

    assert ended["summary"]["audio_s"] == 2.0  # type: ignore[index]
    assert ended["refused"] == 1
    assert "one channel" in ended["refusal"]["message"]  # type: ignore[index]


async def test_a_far_side_that_does_not_listen_costs_no_call() -> None:
    async with live_service() as service, running(service.address, tell_error=ConnectionResetError("gone")) as run:
        writer = await dial(run)
        writer.write(b"\x01" * 16_000)
        await hang_up(writer)
        ended = await run.until("call_ended")

    assert ended["summary"]["updates"] == 2  # type: ignore[index]
    assert "error" not in ended


async def test_stopping_ends_calls_under_way_with_their_summaries() -> None:
    async with live_service(LiveStub()) as service:  # type: ignore[abstract]
        async with running(service.address) as run:
            writer = await dial(run)
            writer.write(b"\x01" * 12_000)
            await run.until("monitored")
            run.stop.set()
            ended = await run.until("call_ended")
        await hang_up(writer)

    assert ended["summary"]["alert"] == "clear"  # type: ignore[index]
