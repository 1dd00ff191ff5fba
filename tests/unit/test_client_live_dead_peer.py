"""A live call whose connection dies without a word: packets go nowhere, and nobody says so."""

import pytest

from client import AsyncTriageClient, AudioFormat, LiveOptions
from client.channel import KEEPALIVE_TIME_MS, KEEPALIVE_TIMEOUT_MS
from tests.silent_proxy import proxy_to
from tests.unit.live_stub import live_service

ALLOWED_PING_MS = 10_000  # what the service takes for too often is less


def test_pings_are_no_more_often_than_allowed_and_find_out_in_time() -> None:
    assert KEEPALIVE_TIME_MS > ALLOWED_PING_MS
    assert KEEPALIVE_TIME_MS + KEEPALIVE_TIMEOUT_MS <= 16_000


@pytest.mark.parametrize("options", [LiveOptions(stalled_s=600), LiveOptions(stale_s=0.5, stalled_s=1)])
async def test_a_dead_connection_is_found_out_and_left(options: LiveOptions) -> None:
    """First by gRPC's pings, which takes a quarter of a minute, then by the call itself."""
    async with (
        live_service() as service,
        proxy_to(service.address) as proxy,
        AsyncTriageClient(proxy.address) as client,
        client.live_call(format=AudioFormat.mulaw(), options=options) as call,
    ):
        await call.send_audio(bytes(8000))
        numbers = [(await anext(call)).number]
        proxy.freeze()
        await call.send_audio(bytes(16_000))
        numbers += [(await anext(call)).number, (await anext(call)).number]
        summary = await call.finish()

    assert numbers == [1, 2, 3]
    assert summary.audio_s == 3
    assert call.reconnections >= 1
