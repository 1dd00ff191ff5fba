"""One service has a port, and tells the second one; its workers share it."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from preprocess_service.ports import CannotListen, reserved

HOST = "127.0.0.1"


def listener(port: int, *, shares: bool) -> socket.socket:
    made = socket.socket()
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, shares)
    try:
        made.bind((HOST, port))
        made.listen()
    except OSError:
        made.close()
        raise
    return made


@pytest.mark.parametrize("listening", [0, 2])
def test_a_second_service_does_not_get_the_port(listening):
    with reserved(HOST, 0) as port, ExitStack() as stack:
        for _ in range(listening):
            stack.enter_context(listener(port, shares=True))

        with pytest.raises(CannotListen, match=f"cannot listen on {HOST}:{port}: Address already in use"):
            stack.enter_context(reserved(HOST, port))
        with pytest.raises(OSError, match="in use"):
            listener(port, shares=False)


@pytest.mark.parametrize("shares", [False, True])
def test_a_port_on_which_somebody_listens_is_taken(shares):
    with listener(0, shares=shares) as other, pytest.raises(CannotListen), reserved(HOST, other.getsockname()[1]):
        pass


def test_no_connection_waits_where_no_worker_listens():
    with reserved(HOST, 0) as port, pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port))


def test_connections_that_are_closing_do_not_take_the_port():
    with reserved(HOST, 0) as port, listener(port, shares=True) as worker:
        caller = socket.create_connection((HOST, port))
        taken, _ = worker.accept()
        taken.close()  # first, so that this end waits
        caller.close()
    with reserved(HOST, port) as again, listener(again, shares=True):
        assert again == port


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(CannotListen, match=r"cannot listen on 192\.0\.2\.1:50051"), reserved("192.0.2.1", 50051):
        pass


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0", "::1"])
def test_names_and_all_addresses_are_kept_alike(host):
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    with reserved(host, 0) as port, pytest.raises(CannotListen), reserved(host, port):
        pass
