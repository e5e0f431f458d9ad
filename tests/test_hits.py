"""`hashzoo search`: hits as a table, as JSON and on a contact sheet."""

from __future__ import annotations

import datetime
import json

import numpy as np
import pytest
from PIL import Image
from serving import scenes

from hashzoo.codes import Codes, pack
from hashzoo.search import Collection
from hashzoo.search.hits import hits_of
from hashzoo.search.sheet import GAP, SIDE, write_sheet


def test_hits_are_plain_values(tmp_path):
    collection = Collection.create(tmp_path / "codes", 12)
    ones = np.array([[1] * 12, [0] * 12, [1] * 6 + [0] * 6], dtype=bool)
    when = datetime.datetime(2020, 1, 2, 3, 4)
    metadata = {"tags": [["a", "b"], None, []], "n": [1, None, 3], "x": [0.5, float("inf"), None], "at": [when] * 3}
    collection.append(pack(ones), metadata=metadata)
    (hits, others) = hits_of(collection.query(pack(ones[[1, 0]]), k=2))
    assert hits == [
        {
            "id": 1,
            "distance": 0,
            "code": "0000",
            "metadata": {"tags": None, "n": None, "x": None, "at": when.isoformat()},
        },
        {"id": 2, "distance": 6, "code": "3f00", "metadata": {"tags": [], "n": 3, "x": None, "at": when.isoformat()}},
    ]
    assert others[0]["metadata"]["tags"] == ["a", "b"]
    assert others[0]["code"] == "ff0f"
    reranked = hits_of(collection.query(np.where(ones[:1], 0.5, -1.0), k=1, rerank=3))
    assert reranked == [[{**others[0], "score": pytest.approx(0)}]]
    assert hits_of(collection.query(pack(ones), radius=0, where="n = 99")) == [[], [], []]
    json.dumps([hits, others], allow_nan=False)


def test_the_command_line(served, command, sentence, tmp_path):
    dataset = scenes()
    texts = [dataset.text(3), dataset.text(4)]
    collection = Collection(served["rows"])
    answer = collection.query(text=texts, k=4)
    outcome = command("search", served["rows"], "--text", texts[0], "--text", texts[1], "-k", 4, "--json")
    found = json.loads(outcome.out)
    assert (outcome.code, found["model"], found["codes"], found["bits"]) == (0, "toy, tiny+bow, 24 bits", 80, 24)
    assert [query["text"] for query in found["queries"]] == texts
    assert [[hit["id"] for hit in query["hits"]] for query in found["queries"]] == answer.ids.tolist()
    assert [[hit["distance"] for hit in query["hits"]] for query in found["queries"]] == answer.distances.tolist()
    codes = [np.frombuffer(bytes.fromhex(query["code"]), np.uint8) for query in found["queries"]]
    np.testing.assert_array_equal(collection.query(Codes(np.stack(codes), 24), k=4).ids, answer.ids)

    (tmp_path / "texts.txt").write_text("\n".join(texts))
    again = command("search", served["rows"], "--texts", tmp_path / "texts.txt", "-k", 4, "--json")
    assert json.loads(again.out) == found

    picture = tmp_path / "query.png"
    dataset.image(2).save(picture)
    outcome = command("search", served["files"], "--image", picture, "-k", 2, "--rerank", 3, "--sheet", "sheet.png")
    assert outcome.code == 0, outcome.err
    assert "bits   score" in outcome.out
    assert "2.png" in outcome.out
    with Image.open("sheet.png") as sheet:
        asked, hit = (sheet.getpixel((left + SIDE // 2, GAP + SIDE // 2)) for left in (GAP, 3 * GAP + SIDE))
        assert asked == hit == dataset.image(2).resize((SIDE, SIDE)).getpixel((SIDE // 2, SIDE // 2)) or asked == hit

    assert (
        "nothing found" in command("search", served["rows"], "--text", texts[0], "--radius", 0, "--where", "id < 0").out
    )
    for arguments, said in (
        ((), "a search is for --text, --image or --texts"),
        (("--text", "a", "--image", picture), "a search is for --text, --image or --texts"),
        (("--text", "a", "--where", "nope = 1"), "nope"),
        (("--text", "a", "-k", 5, "--rerank", 2), "rerank"),
        (("--image", tmp_path / "nowhere.png"), "nowhere.png does not exist"),
    ):
        refused = command("search", served["rows"], *arguments)
        assert (refused.code in (1, 2), said in refused.err, refused.out) == (True, True, ""), refused
    assert "there is no collection" in sentence("search", tmp_path, "--text", "a")


def test_a_terminal_of_80_columns_is_kept(served, command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    outcome = command("search", served["rows"], "--text", "a red circle", "-k", 3)
    assert max(map(len, outcome.out.splitlines())) <= 80
    assert "…" in outcome.out


def test_what_has_no_picture_is_written_on_the_sheet(tmp_path):
    long = "a very long text " * 40
    red = Image.new("RGB", (300, 10), "red")
    write_sheet(tmp_path / "sheet.png", [(long, [(red, "3 bits", "red"), ("words", "4 bits", "")]), ("none", [])])
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.getpixel((3 * GAP + SIDE + SIDE // 2, GAP + SIDE // 2)) == (255, 0, 0)
        written = np.asarray(sheet)[GAP : GAP + SIDE, GAP : GAP + SIDE]
        assert (written < 128).any(axis=(1, 2)).sum() > 60  # lines of dark letters
