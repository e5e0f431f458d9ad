"""The page in a real browser: no word on the console, no request, keys and small screens. Skips where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from browser import BINARY, browser
from helpers import SMALL

from hashzoo.benches.benchmark import bench
from hashzoo.report import collect
from hashzoo.report.figures.lengths import draw_lengths
from hashzoo.report.html import write_html

pytestmark = pytest.mark.skipif(BINARY is None, reason="no Chromium here; install one to try the page in it")
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
LABELS = "Array.from(document.querySelectorAll('.scores tbody th'), (cell) => cell.textContent)"
PAPER = "getComputedStyle(document.body).backgroundColor"


def test_the_page_in_a_browser(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr("hashzoo.report.figures.FAMILIES", (draw_lengths,))  # the others take seconds
    settings = [*SMALL, "fragile.trainer.bits=16"]
    bench(
        ["toy", "fragile"], [8, 16], dataset="scenes", encoders="tiny+bow", settings=settings, seeds=[0, 1], threads=1
    )
    path = tmp_path / "page.html"
    write_html(collect(Path("runs")), path, 2)
    with browser(tmp_path / "profile") as page:
        page.open(path)
        assert not page.told("Log.entryAdded")
        assert not page.told("Runtime.consoleAPICalled")
        assert not page.told("Runtime.exceptionThrown")
        asked = {request["request"]["url"] for request in page.told("Network.requestWillBeSent")}
        assert {url for url in asked if not url.startswith("data:")} == {path.as_uri()}
        assert page.run("document.querySelectorAll('.scores thead button').length") == 6
        assert page.run("document.querySelector('.place .picture').getBoundingClientRect().width") > 30

        # The sort button of a column, by keys alone: descending first, then ascending; what failed stays last.
        page.run("document.querySelector('.scores [data-column=\"2\"] button').focus()")
        assert page.run(LABELS) == ["fragile trainer.bits=16", "toy", "random"]
        page.press("Enter", 13)
        descending = page.run(LABELS)
        assert page.run("document.querySelector('.scores [data-column=\"2\"]').ariaSort") == "descending"
        page.press("Enter", 13)
        assert page.run("document.querySelectorAll('[aria-sort=ascending]').length") == 1
        ascending = page.run(LABELS)
        assert descending[-1] == ascending[-1] == "fragile trainer.bits=16"
        assert descending[:2] == ascending[1::-1]

        # The theme is the system's until the button says otherwise.
        assert page.run(PAPER) == "rgb(255, 255, 255)"
        page.open(path, dark=True)
        dark = page.run(PAPER)
        assert dark != "rgb(255, 255, 255)"
        page.run("document.getElementById('theme').click()")
        assert (page.run(PAPER), page.run("document.getElementById('theme').textContent")) == (
            *("rgb(255, 255, 255)", "Dark"),
        )

        for width in (320, 360, 1280):
            page.open(path, width)
            page.run("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert page.run(SIDEWAYS) == 0, width

        page.call("Emulation.setScriptExecutionDisabled", value=True)
        page.open(path)
        assert page.run("document.querySelectorAll('.scores button, #theme:not([hidden])').length") == 0
        assert page.run("document.querySelectorAll('.scores tbody td').length") == 15
