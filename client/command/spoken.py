"""A transcript without times, spread over its recording: what a recogniser would have said, clause by clause."""

import re

from client.bridges.calls import Transcript

_CLAUSE = re.compile(r"[^.,!?…\n]+[.,!?…]*")


def spread(text: str, duration_s: float) -> list[Transcript]:
    """Final events in order of time, each as long as its share of the characters; by word where there is one clause."""
    clauses = [clause.strip() for clause in _CLAUSE.findall(text) if clause.strip()]
    parts = clauses if len(clauses) > 1 else text.split()
    step_s = duration_s / max(1, sum(len(part) for part in parts))
    events, at = [], 0
    for part in parts:
        events.append(Transcript(part, start_s=at * step_s, end_s=(at + len(part)) * step_s))
        at += len(part)
    return events
