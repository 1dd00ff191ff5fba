"""Every instance of a model may use every core: two that are bound to the same one would do the work of one."""

from __future__ import annotations

import os
import time

import psutil  # type: ignore[import-untyped]

from tests.e2e.traffic import Traffic
from tests.unit.recordings import file_bytes, speech_like

RECORDING = file_bytes(speech_like(7, 8000), 8000, "WAV")
WATCHED_S = 2.0


def cores_of_threads(pid):
    """The sets of cores that threads of a process and of those below it may run on at this moment."""
    sets = set()
    for process in (psutil.Process(pid), *psutil.Process(pid).children(recursive=True)):
        for thread in process.threads():
            try:
                sets.add(frozenset(os.sched_getaffinity(thread.id)))
            except ProcessLookupError:  # it has ended meanwhile
                continue
    return sets


def test_no_thread_of_triton_is_bound_to_a_core_while_it_infers(triton, service, client):
    before = client.classify(RECORDING)
    seen = set()
    with Traffic(service.address, RECORDING) as traffic:
        ended = time.monotonic() + WATCHED_S
        while time.monotonic() < ended or len(traffic.verdicts) < 20:
            seen |= cores_of_threads(triton.pid)

    assert traffic.errors == []
    assert {verdict.model_version for verdict in traffic.verdicts} == {before.model_version}
    assert seen == {frozenset(os.sched_getaffinity(0))}
