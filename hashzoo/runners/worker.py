"""What a worker does, whichever runner started it: JSON in, JSON out.

Nothing but names, settings and results travels. A worker opens data sets and the cache itself, and writes files itself.
"""

from __future__ import annotations

import functools
import json
import os
import pkgutil
import socket
import time
import traceback
from collections.abc import Mapping
from typing import Any

from hashzoo import zoo
from hashzoo.errors import HashzooError
from hashzoo.processors import PROCESSORS, available_threads
from hashzoo.runners import Doer, Kind, Watch

# These decide which plugins there are, and where the cache is.
VARIABLES = ("HASHZOO_CACHE", "XDG_CACHE_HOME", "HASHZOO_ONLY", "HASHZOO_BLOCK", "HASHZOO_STRICT", "HASHZOO_FEATURES")
BETWEEN_LINES = 0.25  # seconds: a quick epoch is over before anybody has read of it


def orders_for(kind: Kind, environment: Mapping[str, str]) -> str:
    """What every worker is told first, as JSON: what it is for, where that was typed, and in which environment."""
    known = zoo.load()
    # What cannot be used was told by this process, and may have taken long: no worker tries it again.
    usable = {plugin.name for plugin in known.plugins if plugin.state == "ok"}
    unusable = [plugin.name for plugin in known.unusable() if plugin.name not in usable]
    variables = {name: os.environ[name] for name in VARIABLES if name in os.environ}
    blocked = {"HASHZOO_BLOCK": ",".join([os.environ.get("HASHZOO_BLOCK", ""), *unusable])}
    # Runs that take all processors have the same key wherever they are trained.
    processors = {PROCESSORS: str(available_threads())}
    told = {
        "doer": kind.doer,
        "told": kind.told,
        "folder": os.getcwd(),
        "environment": {**variables, **blocked, **processors, **environment},
    }
    return json.dumps(told)


def obey(orders: str, one: str, watch: Watch) -> str:
    """Do what the words of a task say, and answer as JSON.

    Returns:
        ["done", result], ["refused", {"message", "exit_code"}] for a HashzooError, or ["broken", traceback].
    """
    try:
        return json.dumps(["done", doer_of(orders).do(json.loads(one), _now_and_then(watch))])
    except HashzooError as error:
        return json.dumps(["refused", {"message": str(error), "exit_code": error.exit_code}])
    except Exception:
        return json.dumps(["broken", traceback.format_exc()])


def result_of(answer: str) -> dict[str, Any]:
    """The result in what `obey` answered; an error is raised here as it was there."""
    kind, content = json.loads(answer)
    if kind == "refused":
        raise HashzooError(content["message"], exit_code=content["exit_code"])
    if kind == "broken":
        raise RuntimeError(f"a worker failed:\n{content}")
    return dict(content or {})


@functools.lru_cache(maxsize=1)
def doer_of(orders: str) -> Doer:
    """What a worker of these orders works with; it is kept for all tasks."""
    told = json.loads(orders)
    try:
        os.chdir(told["folder"])
    except OSError as error:
        raise HashzooError(
            f"{socket.gethostname()} has no folder {told['folder']}; type the command in a folder that all nodes share",
            exit_code=1,
        ) from error
    os.environ.update(told["environment"])
    made: Doer = pkgutil.resolve_name(told["doer"])(told["told"])
    return made


def _now_and_then(watch: Watch) -> Watch:
    """Tell the first line, and then at most one in `BETWEEN_LINES` seconds."""
    told = float("-inf")

    def tell(line: dict[str, Any]) -> None:
        nonlocal told
        if time.monotonic() - told >= BETWEEN_LINES:
            told = time.monotonic()
            watch(line)

    return tell
