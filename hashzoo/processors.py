"""How many processors there are to work with."""

from __future__ import annotations

import os

PROCESSORS = "HASHZOO_PROCESSORS"  # says it in place of the system


def available_threads() -> int:
    """The processors that this process may run on, or as many as `$HASHZOO_PROCESSORS` says."""
    said = os.environ.get(PROCESSORS, "")
    if said.isdecimal() and int(said):
        return int(said)
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
