"""Who gets in to the WebSocket bridge, what it bears, and what hostile far sides get."""

import argparse
import asyncio
import base64
import logging
import random
import shutil
import ssl
import subprocess

import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from client.bridges.calls import Audio
from client.bridges.websocket import WebSocketOptions, add_arguments, options_from
from client.bridges.websocket.conversation import WebSocketCall
from tests.unit.bridge_callers import (
    CHUNK,
    SHORT_S,
    bridge,
    code_words,
    dial,
    heard,
    joined,
    lost,
    next_call,
    send_all,
    telnyx_start,
    twilio_chunks,
    twilio_start,
    twilio_stop,
)

TOKEN = "s3cret-token"


def basic(password):
    return "Basic " + base64.b64encode(f"gateway:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/twilio", {"Authorization": f"Bearer {TOKEN}"}),
        ("/twilio", {"Authorization": basic(TOKEN)}),
        (f"/twilio?token={TOKEN}", {}),
    ],
)
async def test_the_token_lets_in(path, headers):
    async with bridge(token=TOKEN) as listening, dial(listening, path, additional_headers=headers) as far_side:
        await send_all(far_side, [*twilio_start(), *twilio_chunks(code_words(CHUNK)), twilio_stop(3)])
        assert len(joined(await heard(await next_call(listening)))) == CHUNK


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/twilio", {"Authorization": "Bearer wrong"}),
        ("/twilio", {"Authorization": f"Bearer {TOKEN}x"}),
        ("/twilio", {"Authorization": basic("wrong")}),
        ("/twilio", {"Authorization": "Basic %%%"}),
        ("/twilio", {"Authorization": b"Bearer \xed\x86\xa0".decode("latin-1")}),
        ("/twilio?token=wrong", {}),
    ],
)
async def test_a_wrong_token_is_refused(path, headers):
    async with bridge(token=TOKEN) as listening:
        with pytest.raises(InvalidStatus) as refused:
            await dial(listening, path, additional_headers=headers)
        assert refused.value.response.status_code == 401


async def test_twilios_token_comes_with_its_start():
    async with bridge(token=TOKEN) as listening, dial(listening, "/twilio") as far_side:
        await send_all(far_side, [*twilio_start(customParameters={"token": TOKEN}), twilio_stop(2)])
        assert await heard(await next_call(listening)) == []


@pytest.mark.parametrize(
    "start",
    [
        twilio_start(),
        twilio_start(customParameters={"token": "wrong"}),
        [*telnyx_start(), {"event": "stop", "stop": {}}],
        [b"\0\0" * 80],
        [{"sampleRate": 8000, "mixType": "mono"}],
    ],
)
async def test_a_start_without_the_token_is_no_call(start):
    async with bridge(token=TOKEN) as listening, dial(listening) as far_side:
        await send_all(far_side, start)
        await far_side.wait_closed()
        assert (far_side.close_code, far_side.close_reason) == (1008, "no token, or a wrong one")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(aiter(listening.calls()))


async def test_the_token_is_never_logged(caplog):
    caplog.set_level(logging.DEBUG)
    async with bridge(token=TOKEN) as listening:
        async with dial(listening, f"/twilio?token={TOKEN}") as far_side:
            await send_all(far_side, [*twilio_start(), "no JSON", twilio_stop(2)])
            await heard(await next_call(listening))
        with pytest.raises(InvalidStatus):
            await dial(listening, f"/twilio?token={TOKEN}-but-wrong")
    ours = [record for record in caplog.records if record.name.startswith("client.")]
    assert ours
    assert not [record for record in ours if TOKEN in str(vars(record))]
    assert TOKEN not in repr(WebSocketOptions(token=TOKEN))


async def test_another_path_is_not_found():
    async with bridge() as listening:
        with pytest.raises(InvalidStatus) as refused:
            await dial(listening, "/admin")
        assert refused.value.response.status_code == 404


async def test_one_connection_too_many_is_refused_until_another_ends():
    async with bridge(max_connections=1) as listening:
        async with dial(listening, "/twilio") as far_side:
            await send_all(far_side, twilio_start())
            call = await next_call(listening)
            with pytest.raises(InvalidStatus) as refused:
                await dial(listening, "/twilio")
            assert refused.value.response.status_code == 503
        await heard(call)
        async with dial(listening, "/twilio") as far_side:
            await send_all(far_side, twilio_start())
            await next_call(listening)


async def test_a_connection_that_says_nothing_is_closed():
    async with bridge(first_message_s=0.1) as listening, dial(listening, "/twilio") as far_side:
        await far_side.wait_closed()
        assert (far_side.close_code, far_side.close_reason) == (1008, "no call after 0.1 s")


async def test_events_that_start_no_call_do_not_hold_a_connection():
    async with bridge(first_message_s=0.2) as listening, dial(listening, "/twilio") as far_side:
        connected = twilio_start()[:1]
        closing = asyncio.create_task(far_side.wait_closed())
        while not closing.done():
            await send_all(far_side, connected)
            await asyncio.wait({closing}, timeout=0.02)
        assert far_side.close_code == 1008


async def test_a_handshake_that_trickles_is_cut_off():
    async with bridge(first_message_s=0.2) as listening:
        host, _, port = listening.address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /twilio HTTP/1.1\r\nHost: x\r\n")
        async with asyncio.timeout(SHORT_S):
            await reader.read()
        writer.close()
        await writer.wait_closed()


async def test_silence_on_the_connection_is_a_hang_up():
    audio = code_words(2 * CHUNK)
    async with bridge(idle_s=0.5) as listening, dial(listening, "/twilio") as far_side:
        await send_all(far_side, [*twilio_start(), *twilio_chunks(audio)])
        call = await next_call(listening)
        assert joined(await heard(call)) == audio
        assert call.counts["idle_hangups"] == 1
        await far_side.wait_closed()
        assert far_side.close_code == 1000


async def test_closing_the_bridge_ends_its_calls():
    async with bridge() as listening, dial(listening, "/twilio") as far_side:
        await send_all(far_side, [*twilio_start(), *twilio_chunks(code_words(CHUNK))])
        call = await next_call(listening)
        await listening.close()
        assert len(joined(await heard(call))) == CHUNK
        assert [each async for each in listening.calls()] == []
        await far_side.wait_closed()
        assert far_side.close_code == 1001


async def test_a_call_can_be_sent_away():
    async with bridge() as listening, dial(listening, "/twilio") as far_side:
        await send_all(far_side, twilio_start())
        call = await next_call(listening)
        assert isinstance(call, WebSocketCall)
        await call.close()
        await far_side.wait_closed()
        assert far_side.close_code == 1013


MALFORMED = [
    "no JSON",
    "[" * 100_000,
    "[]",
    b"\0\1\2",
    {"event": "media", "media": "text"},
    {"event": "media", "media": {"payload": "*not base64*"}},
    {"event": "media", "media": {"payload": "AAA"}},
    {"event": "media", "media": {"payload": 3}},
    {"event": "media", "sequenceNumber": "9" * 5000, "media": {"payload": ""}},
    {"event": "media", "sequenceNumber": -4, "media": {"payload": ""}},
    {"event": "media", "media": {"payload": "AAAA", "timestamp": 1.5}},
    {"event": "media", "media": {"payload": "AAAA", "timestamp": True}},
]


@pytest.mark.parametrize("message", MALFORMED, ids=range(len(MALFORMED)))
async def test_a_few_malformed_messages_are_counted_and_too_many_end_the_call(message):
    audio = code_words(4 * CHUNK)
    media = twilio_chunks(audio)
    async with bridge() as listening, dial(listening, "/twilio") as far_side:
        await send_all(far_side, [*twilio_start(), *media[:2], *[message] * 10, *media[2:]])
        call = await next_call(listening)
        received = b""
        async for event in call.events():
            assert isinstance(event, Audio)
            received += event.data
            if len(received) == len(audio):
                break
        assert received == audio
        assert call.counts["malformed_messages"] == 10
        await send_all(far_side, [message])
        with pytest.raises(ConnectionError):
            await heard(call)
        await far_side.wait_closed()
        assert far_side.close_code == 1007
        assert far_side.close_reason


async def test_a_message_before_the_start_is_refused():
    async with bridge() as listening, dial(listening, "/twilio") as far_side:
        await send_all(far_side, twilio_chunks(code_words(CHUNK)))
        await far_side.wait_closed()
        assert (far_side.close_code, far_side.close_reason) == (1008, "media before start")


async def test_a_message_too_long_ends_the_call_by_name():
    async with bridge(max_message_bytes=4096) as listening, dial(listening, "/twilio") as far_side:
        await send_all(far_side, twilio_start())
        call = await next_call(listening)
        await send_all(far_side, ["x" * 5000])
        with pytest.raises(ConnectionError, match="size|4096"):
            await heard(call)
        await far_side.wait_closed()
        assert far_side.close_code == 1009


async def test_a_connection_that_breaks_ends_the_call():
    async with bridge() as listening, dial(listening, "/twilio") as far_side:
        audio = code_words(CHUNK)
        await send_all(far_side, [*twilio_start(), *twilio_chunks(audio)])
        call = await next_call(listening)
        far_side.transport.abort()
        assert joined(await heard(call)) == audio
        assert call.counts["broken_connections"] == 1


async def test_what_nobody_takes_is_bounded_and_goes_as_lost():
    """Ten seconds wait; the rest is a loss at its place, and time does not slip."""
    chunks = 700
    audio = code_words(chunks * CHUNK)
    async with bridge() as listening, dial(listening, "/twilio") as far_side:
        await send_all(far_side, [*twilio_start(), *twilio_chunks(audio), twilio_stop(chunks + 2)])
        call = await next_call(listening)
        await far_side.wait_closed()
        events = await heard(call)
        assert len(joined(events)) == 80_000
        assert len(joined(events)) + lost(events) == len(audio)
        assert call.counts["dropped_frames"] == len(audio) - 80_000


@pytest.mark.parametrize("seed", range(8))
async def test_noise_does_no_harm(seed):
    """Random bytes at every layer; a proper call still comes through beside them."""
    chance = random.Random(seed)
    paths = ["/", "/twilio", "/telnyx", "/jambonz", "/audio_fork"]
    async with bridge(first_message_s=2.0, idle_s=2.0) as listening:
        host, _, port = listening.address.rpartition(":")
        for _ in range(3):
            _, writer = await asyncio.open_connection(host, int(port))
            writer.write(chance.randbytes(chance.randrange(1, 3000)))
            writer.close()
            await asyncio.gather(writer.wait_closed(), return_exceptions=True)
        for path in paths:
            async with dial(listening, path) as far_side:
                await _send_noise(far_side, chance)
        async with dial(listening, "/twilio") as far_side:
            audio = code_words(CHUNK)
            await send_all(far_side, [*twilio_start(), *twilio_chunks(audio), twilio_stop(3)])
            async for call in listening.calls():
                if call.call_id.startswith("CA"):
                    assert joined(await heard(call)) == audio
                    break


async def _send_noise(far_side, chance):
    words = ["event", "media", "start", "stream_id", "streamSid", "payload", "sequenceNumber", "tracks", "sampleRate"]
    for _ in range(20):
        odd = chance.choice([None, True, -1, 1e308, "", [], {}, "start", "media", 2**70])
        message = dict.fromkeys(chance.sample(words, 3), odd)
        noise = chance.choice([message, {"event": "start", "start": message, **message}, chance.randbytes(33)])
        try:
            await send_all(far_side, [noise])
        except Exception:
            return


@pytest.fixture
def certificate(tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("needs the openssl command to make a certificate")
    made = tmp_path / "certificate.pem"
    request = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=bridge"
    names = ("-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(tmp_path / "key.pem"), "-out", str(made))
    subprocess.run(["openssl", *request.split(), *names], check=True, capture_output=True)
    return made


async def test_calls_come_over_tls(certificate):
    trusting = ssl.create_default_context(cafile=certificate)
    async with (
        bridge(certificate=certificate, key=certificate.with_name("key.pem")) as listening,
        connect(f"wss://{listening.address}/twilio", ssl=trusting) as far_side,
    ):
        audio = code_words(CHUNK)
        await send_all(far_side, [*twilio_start(), *twilio_chunks(audio), twilio_stop(3)])
        assert joined(await heard(await next_call(listening))) == audio


def parsed(*argv):
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return options_from(parser.parse_args(argv))


def test_the_token_comes_from_a_variable_or_a_file(tmp_path, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", f" {TOKEN}\n")
    (tmp_path / "token").write_text(f"{TOKEN}\n", encoding="utf-8")
    by_variable = parsed("--listen", "0.0.0.0:9000", "--token-env", "MY_TOKEN")
    by_file = parsed("--listen", "[::]:9000", "--token-file", str(tmp_path / "token"))
    assert (by_variable.token, by_file.token) == (TOKEN, TOKEN)
    assert (by_variable.host, by_variable.port, by_file.host) == ("0.0.0.0", 9000, "::")


@pytest.mark.parametrize("host", ["0.0.0.0", "10.0.0.1", "gateway"])
def test_without_a_token_only_this_machine_is_listened_to(host):
    with pytest.raises(ValueError, match="without a token"):
        parsed("--listen", f"{host}:9000", "--token-env", "UNSET_TOKEN")
    assert parsed("--listen", f"{host}:9000", "--open").is_open
    assert parsed("--token-env", "UNSET_TOKEN").host == "127.0.0.1"


@pytest.mark.parametrize(
    "wrong",
    [
        ("--tls-key", "key.pem"),
        ("--rate", "4000"),
        ("--token-file", "nothing-there"),
    ],
)
def test_settings_that_do_not_work_are_refused(wrong):
    with pytest.raises(ValueError, match="TLS|4000|nothing-there"):
        parsed(*wrong)
