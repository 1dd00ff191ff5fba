"""Servers that the load report starts for itself: up together, found by their ports, and gone afterwards."""

from __future__ import annotations

from pathlib import Path

import pytest

from client import TriageClient
from client.errors import TriageError
from loadtest.processes import listeners
from loadtest.report.starting import started
from loadtest.servers import SERVERS
from loadtest.triton_statistics import read_counts, read_metrics


def test_servers_are_up_within_the_block_and_gone_after_it(tmp_path: Path) -> None:
    with started(tmp_path) as servers:
        with TriageClient(servers.address) as triage:
            assert triage.health().serving
            default = next(model for model in triage.list_models() if model.is_default)
        assert set(servers.programs()) == set(SERVERS)
        assert f"{default.name} {default.version}" in read_counts(servers.triton_address)
        assert read_metrics(servers.metrics_url)["nv_inference_count"] > 0

    ports = [int(address.rpartition(":")[2]) for address in (servers.address, servers.triton_address)]
    assert [listeners(port) for port in ports] == [[], []]
    with TriageClient(servers.address) as triage, pytest.raises(TriageError):
        triage.health()
