"""Runs the code of a plugin so that it can neither hold the tool up for ever nor change it underneath.

docs/plugins-that-fail.md says what is put back, what is left to the conformance check, and what cannot be survived.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn, TypeVar

from hashzoo.errors import HashzooError

LIMIT = 10.0  # seconds of wall time for the import of one plugin, and again for its hooks
PATIENCE = 3.0  # seconds until a line on stderr names the plugin that is waited for
REPEAT = 1.0  # seconds between further attempts, where a plugin swallowed the first
# An interrupted import of these cannot be repeated in the same process, and hashzoo itself needs them.
WHOLE = ("torch", "torchvision", "numpy", "numba", "pandas")
Result = TypeVar("Result")


class TookTooLong(BaseException):
    """The time of a plugin is over. No Exception: plugins catch those."""


class Stopped(KeyboardInterrupt):
    """The user pressed Ctrl-C; a KeyboardInterrupt of any other kind was raised by the plugin itself."""


def run(name: str, call: Callable[[], Result]) -> Result:
    """Call a function of the plugin `name` and give back what it returns.

    What it prints goes to stderr. The working folder and the handlers of Ctrl-C and of `kill` are put back.

    Raises:
        TookTooLong: it took over LIMIT seconds. Only on the main thread, and where the system has interval
            timers (not on Windows); elsewhere the line after PATIENCE seconds is all there is.
        HashzooError: it raised KeyboardInterrupt although nobody pressed Ctrl-C.
    """
    with contextlib.redirect_stdout(sys.stderr), _told_when_slow(name), _folder_kept(), _signals_kept() as ours:
        try:
            return _limited(call)
        except KeyboardInterrupt as error:
            if ours and not isinstance(error, Stopped):
                raise HashzooError("it raised KeyboardInterrupt", exit_code=1) from error
            print(f"hashzoo: stopped while plugin '{name}' was loaded; {_leave_out(name)}", file=sys.stderr)
            raise


def _limited(call: Callable[[], Result]) -> Result:
    if not _can_limit():
        return call()
    running = True

    def over(number: int, frame: FrameType | None) -> None:
        if running and not any(_in_import(module) for module in WHOLE):
            raise TookTooLong

    handler, (delay, interval) = signal.getsignal(signal.SIGALRM), signal.getitimer(signal.ITIMER_REAL)
    start = time.monotonic()
    signal.signal(signal.SIGALRM, over)
    try:
        signal.setitimer(signal.ITIMER_REAL, LIMIT, REPEAT)
        try:
            return call()
        finally:
            running = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if delay:  # of a timer that was running before
            signal.setitimer(signal.ITIMER_REAL, max(delay - (time.monotonic() - start), 1e-3), interval)


def _can_limit() -> bool:
    """Whether there is a timer that may be used: one of the calling program that is due earlier stays in force."""
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        return False
    due = signal.getitimer(signal.ITIMER_REAL)[0]
    return signal.getsignal(signal.SIGALRM) is not None and not 0 < due <= LIMIT


def _in_import(module: str) -> bool:
    return bool(getattr(getattr(sys.modules.get(module), "__spec__", None), "_initializing", False))


@contextlib.contextmanager
def _told_when_slow(name: str) -> Iterator[None]:
    """A hang in C code cannot be ended from Python; the user learns at least who hangs."""
    said = f"hashzoo: plugin '{name}' has been loading for {PATIENCE:g} s; {_leave_out(name)}"
    timer = threading.Timer(PATIENCE, print, [said], {"file": sys.stderr, "flush": True})
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextlib.contextmanager
def _folder_kept() -> Iterator[None]:
    """Relative paths that the user typed must mean what they meant."""
    try:
        folder = os.getcwd()
    except OSError:  # it was deleted: nothing to come back to
        yield
        return
    try:
        yield
    finally:
        os.chdir(folder)


@contextlib.contextmanager
def _signals_kept() -> Iterator[bool]:
    """Put the handlers of Ctrl-C and `kill` back; True: a Ctrl-C in the block raises Stopped."""
    if threading.current_thread() is not threading.main_thread():
        yield True  # Ctrl-C reaches the main thread only
        return
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    ours = kept[signal.SIGINT] is signal.default_int_handler
    if ours:
        signal.signal(signal.SIGINT, _stop)
    try:
        yield ours
    finally:
        for number, handler in kept.items():
            if handler is not None:  # None: it was not set from Python, and cannot be
                signal.signal(number, handler)


def _stop(number: int, frame: Any) -> NoReturn:
    raise Stopped


def _leave_out(name: str) -> str:
    return f"HASHZOO_BLOCK={name} before the command leaves it out"
