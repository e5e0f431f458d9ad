"""Two lines where there is no terminal, a bar where there is one."""

from __future__ import annotations

import io
import re
import sys

import pytest

from hashzoo.progress import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_two_lines_on_stderr_without_a_terminal(capsys):
    with progress("reading", 1200, "images") as advance:
        advance(1000)
    captured = capsys.readouterr()
    assert captured.out == ""
    first, last = captured.err.splitlines()
    assert first == "reading: 1,200 images ..."
    assert re.fullmatch(r"reading: 1,200 images in \d+\.\d s \([\d,]+ images/s\)", last)


def test_a_bar_with_count_and_rate_on_a_terminal(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    with progress("reading", 8, "images") as advance:
        advance(3)
        advance(5)
    shown = screen.getvalue()
    assert "8/8" in shown
    assert re.search(r"[\d,]+ images/s", shown)
    assert "reading: 8 images in" in shown.splitlines()[-1]


@pytest.mark.parametrize("terminal", [True, False])
def test_a_failure_passes_and_is_not_reported_as_done(terminal, monkeypatch):
    screen = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr(sys, "stderr", screen)

    def half() -> None:
        with progress("reading", 8) as advance:
            advance(3)
            raise RuntimeError("halfway")

    with pytest.raises(RuntimeError, match="halfway"):
        half()
    assert " in " not in screen.getvalue().splitlines()[-1]
