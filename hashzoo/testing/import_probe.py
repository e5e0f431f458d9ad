"""A script, run in a fresh process: import one plugin module, call its hooks, and print what that did, as JSON."""

import importlib
import json
import os
import random
import signal
import sys

import numpy

from hashzoo.plugin import GROUP


class Listener:
    """Stands in for a standard stream and keeps what is printed."""

    def __init__(self) -> None:
        self.printed: list[str] = []

    def write(self, text: str) -> int:
        self.printed.append(text)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back."""


def global_state() -> dict[str, object]:
    name, words, *position = numpy.random.get_state()  # noqa: NPY002 - plugins may use the old interface
    catchable = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
    return {
        "Python's random numbers": random.getstate(),
        "numpy's random numbers": (name, numpy.asarray(words).tobytes(), *position),
        "the working directory": os.getcwd(),
        "environment variables": dict(os.environ),
        "the module search path": list(sys.path),
        "signal handlers": [signal.getsignal(number) for number in sorted(catchable)],
        "the standard streams": (sys.stdout, sys.stderr),
    }


def offers(module: object) -> dict[str, str]:
    hooks = {name: value for name, value in vars(module).items() if hasattr(value, f"{GROUP}_impl")}
    return {name: repr(list(hook())) for name, hook in sorted(hooks.items())}


def main() -> None:
    listener, streams = Listener(), (sys.stdout, sys.stderr)
    known = set(sys.modules)
    sys.stdout = sys.stderr = listener
    before = global_state()
    module = importlib.import_module(sys.argv[1])
    first = offers(module)
    after = global_state()
    second = offers(module)
    sys.stdout, sys.stderr = streams
    found = {
        "modules": sorted({name.partition(".")[0] for name in set(sys.modules) - known}),
        "printed": "".join(listener.printed),
        "changed": [name for name, value in before.items() if after[name] != value],
        "repeated": first == second,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
