"""A plugin can neither hold the tool up for ever nor take its signals, its folder or its output."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from hashzoo import guard

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the limit needs interval timers")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr(guard, "LIMIT", 0.2)
    monkeypatch.setattr(guard, "REPEAT", 0.05)


@pytest.fixture
def alarm():
    """A handler of the calling program for SIGALRM, and how often it was called."""
    calls = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: calls.append(number))
    yield calls
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_what_is_returned_and_raised_comes_through():
    assert guard.run("a", lambda: 12) == 12
    with pytest.raises(ZeroDivisionError):
        guard.run("a", lambda: 1 // 0)


def test_a_hang_is_ended_and_nothing_stays_behind():
    before, threads = signal.getsignal(signal.SIGALRM), set(threading.enumerate())
    with pytest.raises(guard.TookTooLong):
        guard.run("a", lambda: time.sleep(3600))
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)
    left = set(threading.enumerate()) - threads
    assert not [t for t in left if isinstance(t, threading.Timer) and not t.finished.is_set()]


def test_a_busy_loop_is_ended():
    def spin():
        while True:
            pass

    with pytest.raises(guard.TookTooLong):
        guard.run("a", spin)


def test_a_timer_that_is_due_later_goes_on(alarm):
    signal.setitimer(signal.ITIMER_REAL, 1000, 7)
    handler = signal.getsignal(signal.SIGALRM)
    with pytest.raises(guard.TookTooLong):
        guard.run("a", lambda: time.sleep(3600))
    left, interval = signal.getitimer(signal.ITIMER_REAL)
    assert 990 < left < 999.9
    assert interval == 7
    assert signal.getsignal(signal.SIGALRM) is handler
    assert alarm == []


def test_a_timer_that_is_due_earlier_stays_in_force(alarm):
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    guard.run("a", lambda: time.sleep(0.4))
    assert alarm == [signal.SIGALRM]


def test_the_import_of_what_hashzoo_itself_needs_is_not_cut_in_the_middle(monkeypatch, site):
    (site.folder / "large_library.py").write_text("import time\ntime.sleep(0.5)\ndone = True\n")
    monkeypatch.setattr(guard, "WHOLE", ("large_library",))

    def load():
        import large_library

        return large_library.done

    assert guard.run("a", load) is True


def test_on_another_thread_the_user_is_told_at_least(monkeypatch, capsys):
    monkeypatch.setattr(guard, "PATIENCE", 0.05)
    done = []
    thread = threading.Thread(target=lambda: done.append(guard.run("slow", lambda: time.sleep(0.4))))
    thread.start()
    thread.join()
    assert done == [None]
    assert capsys.readouterr().err == (
        "hashzoo: plugin 'slow' has been loading for 0.05 s; HASHZOO_BLOCK=slow before the command leaves it out\n"
    )


def test_without_interval_timers_there_is_no_limit(monkeypatch):
    monkeypatch.delattr(signal, "setitimer")
    assert guard.run("a", lambda: time.sleep(0.3)) is None


def test_ctrl_c_is_the_users_and_says_who_was_waited_for(capsys):
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        guard.run("slow", lambda: signal.raise_signal(signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is handler
    assert capsys.readouterr().err == (
        "hashzoo: stopped while plugin 'slow' was loaded; HASHZOO_BLOCK=slow before the command leaves it out\n"
    )


def test_a_handler_of_the_calling_program_keeps_ctrl_c():
    calls = []
    before = signal.signal(signal.SIGINT, lambda number, frame: calls.append(number))
    try:
        guard.run("a", lambda: signal.raise_signal(signal.SIGINT))
    finally:
        signal.signal(signal.SIGINT, before)
    assert calls == [signal.SIGINT]


def test_prints_and_the_folder(capsys, tmp_path):
    def wander():
        print("hello")
        sys.stdout = sys.stderr
        os.chdir("/")

    guard.run("a", wander)
    assert Path.cwd() == tmp_path
    print("data")
    assert capsys.readouterr() == ("data\n", "hello\n")


def test_a_folder_that_was_deleted(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    os.chdir(gone)
    gone.rmdir()
    try:
        assert guard.run("a", lambda: 1) == 1
    finally:
        os.chdir(tmp_path)
