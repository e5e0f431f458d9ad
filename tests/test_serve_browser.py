"""The search page in a real browser: searches, keys, small screens, the token. Skips where there is no browser."""

from __future__ import annotations

import base64
import io

import pytest
from browser import BINARY, browser
from serving import listening, scenes

from hashzoo.search import Collection
from hashzoo.serve.limits import Limits
from hashzoo.serve.run import service

pytestmark = pytest.mark.skipif(BINARY is None, reason="no Chromium here; install one to try the page in it")
SIDEWAYS = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
PAPER = "getComputedStyle(document.body).backgroundColor"
SAID = "document.getElementById('said').textContent"
HITS = "document.querySelectorAll('.hit').length"
FOUND = f"{HITS} > 0 && !document.querySelector('.wait')"
SHOWN = (
    "Array.from(document.querySelectorAll('.hit img')).every((picture) => picture.complete && picture.naturalWidth > 0)"
)
DISTANCES = (
    "Array.from(document.querySelectorAll('.answer:first-child .number b'), (node) => parseInt(node.textContent))"
)
OFF = (
    "Array.from(document.querySelectorAll('.answer:first-child .bits'), (strip) => "
    "Array.from(strip.querySelectorAll('.one-off, .zero-off'), (path) => path.getAttribute('d').split('M').length - 1)"
    ".reduce((one, other) => one + other))"
)
DROP = """
  const bytes = Uint8Array.from(atob(%r), (letter) => letter.charCodeAt(0)), data = new DataTransfer();
  data.items.add(new File([bytes], "dropped.png", { type: "image/png" }));
  document.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
"""


def quiet(page, address: str) -> None:
    """Nothing on the console, and nothing asked of anyone else."""
    for kind in ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown"):
        assert not page.told(kind), page.told(kind)
    asked = {request["request"]["url"] for request in page.told("Network.requestWillBeSent")}
    assert all(url.startswith((address, "data:", "blob:")) for url in asked), asked


def test_the_page_in_a_browser(served, tmp_path):
    file = io.BytesIO()
    scenes().image(2).save(file, "png")
    text = scenes().text(3)
    answer = Collection(served["rows"]).query(text=text, k=12)
    app = service([served["rows"], served["short"]], Limits())
    with listening(app) as address, browser(tmp_path / "profile") as page:
        page.open(address)
        page.wait(f"{SAID}.includes('80 codes of 24 bits')")

        # By keys alone: the slash leads to the text, Enter searches in both collections.
        page.press("/", 191)
        assert page.run("document.activeElement.id") == "text"
        page.call("Input.insertText", text=text)
        page.press("Enter", 13)
        page.wait(FOUND)
        assert page.run(HITS) == 24
        page.wait(SHOWN)
        assert page.run(DISTANCES) == page.run(OFF) == answer.distances[0].tolist()
        assert page.run("location.hash").startswith("#q=")

        # A picture that is dropped; then what is like a hit, which finds itself.
        page.run(DROP % base64.b64encode(file.getvalue()).decode())
        page.wait("!document.getElementById('asked').hidden && !document.querySelector('.wait')")
        page.wait(f"{DISTANCES}[0] === 0")
        page.run("document.querySelector('.hit:nth-child(4) .frame').focus()")
        page.press("Enter", 13)
        page.wait("document.getElementById('asked-text').textContent.startsWith('like ')")
        page.wait(f"{DISTANCES}[0] === 0 && !document.querySelector('.wait')")
        assert page.run("document.querySelector('.answer:last-child .number b').textContent") == "0 bits"

        # One collection alone, fewer hits, a condition, and one that is wrong.
        page.run("document.getElementById('use-short').click()")
        page.run("document.getElementById('k').value = 3; document.getElementById('where').value = 'id < 50'")
        page.run("document.getElementById('go').click()")
        page.wait(f"{HITS} === 3 && !document.querySelector('.wait')")
        quiet(page, address)
        page.run("document.getElementById('where').value = 'nope = 1'; document.getElementById('go').click()")
        page.wait("document.getElementById('said').classList.contains('problem')")
        assert "nope" in page.run(SAID)

        # Again at its address, dark, and on small screens with everything open.
        page.open("about:blank")
        page.open(f"{address}#q=circle", dark=True)
        page.wait(FOUND)
        dark = page.run(PAPER)
        assert dark != "rgb(255, 255, 255)"
        page.run("document.getElementById('theme').click()")
        assert page.run(PAPER) == "rgb(255, 255, 255)"
        for width in (320, 390, 1280):
            page.open("about:blank")
            page.open(f"{address}#q=circle", width)
            page.wait(FOUND)
            page.run("document.getElementById('more').open = true")
            assert page.run(SIDEWAYS) == 0, width
        quiet(page, address)


def test_the_page_asks_for_the_token(served, tmp_path):
    with (
        listening(service([served["rows"]], Limits(), token="sesame")) as address,
        browser(tmp_path / "profile") as page,
    ):
        page.open(address)
        page.wait("!document.getElementById('token-form').hidden")
        for token, said in (("open", "needs a token"), ("sesame", "80 codes")):
            page.run(f"document.getElementById('token').value = '{token}'")
            page.run("document.querySelector('#token-form button').click()")
            page.wait(f"{SAID}.includes('{said}')")
        page.run("document.getElementById('text').value = 'circle'; document.getElementById('go').click()")
        page.wait(FOUND)
        page.wait(SHOWN)  # pictures come with the token, too
