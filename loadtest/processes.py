"""Processor time of the programs under test, found by the ports that they listen on."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import psutil  # type: ignore[import-untyped]

Pids = Mapping[str, Iterable[int]]  # of programs, by name


def listeners(port: int) -> list[int]:
    """The processes of this user that listen on a TCP port; none where they run on another machine or as another."""
    try:
        connections = psutil.net_connections(kind="tcp")
    except psutil.Error:
        return []
    found = {each.pid for each in connections if each.status == psutil.CONN_LISTEN and each.laddr.port == port}
    return sorted(pid for pid in found if pid is not None)


def cpu_s(programs: Pids) -> dict[str, float]:
    """Processor seconds so far of every program, with all processes below its own; 0 for one that is gone.

    A program that another one has started counts for itself alone.
    """
    families = {name: _family(pids) for name, pids in programs.items()}

    def own(name: str) -> set[psutil.Process]:
        below = (family for other, family in families.items() if other != name and family < families[name])
        return families[name].difference(*below)

    return {name: sum(_seconds(each) for each in own(name)) for name in programs}


def spent_s(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """Processor seconds between two readings of `cpu_s`, by program."""
    return {name: round(max(0.0, after[name] - before[name]), 3) for name in after}


def _family(pids: Iterable[int]) -> set[psutil.Process]:
    family: set[psutil.Process] = set()
    for pid in pids:
        try:
            process = psutil.Process(pid)
            family |= {process, *process.children(recursive=True)}
        except psutil.NoSuchProcess:
            continue
    return family


def _seconds(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0.0
    return float(times.user + times.system)
