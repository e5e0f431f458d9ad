"""The page: it shows what the codes say, nothing in it acts but its own script, and nothing is fetched."""

from __future__ import annotations

import base64
import hashlib
import html
import io
import itertools
import json
import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL, forget
from html_tree import Element, parse
from PIL import Image
from test_report import HEALTHY, TRACK, failed
from test_report_significance import QUERIES, stored

from hashzoo.benches.benchmark import bench
from hashzoo.benches.track import DIRECTIONS
from hashzoo.codes import load_codes, pack, save_codes
from hashzoo.errors import HashzooError
from hashzoo.evaluator import bootstrap_interval
from hashzoo.opening import open_dataset
from hashzoo.report import collect
from hashzoo.report.html import render, write_html
from hashzoo.report.html.gallery import LONGEST_TEXT, TOP, draw_queries
from hashzoo.report.html.pictures import SIDE, Pictures, Thumbnail, thumbnail
from hashzoo.report.html.provenance import as_typed
from hashzoo.report.table import score
from hashzoo.settings import convert, parse_assignments
from hashzoo.storage.files import read_arrays, read_json, write_arrays, write_json

HOSTILE = "<script>alert(1)</script>'\"&amp;--><![CDATA["
ROWS = 60
# Rows in an order of their own, so that the place of a row in the database tells nothing of its number.
PIX = f'''
import numpy as np
from PIL import Image

from hashzoo.data import Dataset, Splits


class Pix(Dataset):
    """One colour a row."""

    name = "pix"

    def __init__(self, shade: int = 0):
        rows = np.random.default_rng(3).permutation({ROWS})
        self.shade = shade
        self.classes = ("red", {HOSTILE!r}, "blue")
        self.labels = np.array([[row % 3 == c or row % 7 == c for c in range(3)] for row in range({ROWS})])
        self.splits = Splits(train=rows[20:], query=rows[:20], database=rows[20:], rule="by lot " + {HOSTILE!r})

    def fingerprint(self):
        return f"shade-{{self.shade}}"

    def image(self, row):
        return Image.new("RGB", (40, 30), (4 * row, 255 - 4 * row, self.shade + row % 2 * 200))

    def text(self, row):
        return f"row {{row}} " + {HOSTILE!r} + row * "x"
'''
PLUGIN = """
from hashzoo.plugin import Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_datasets():
    return [Part("pix", "hashzoo_pix.parts:Pix", "one colour a row")]
"""


@pytest.fixture(autouse=True)
def no_figures(monkeypatch):
    """Drawing takes seconds; one test has figures of its own."""
    monkeypatch.setattr("hashzoo.report.html.figures.draw", lambda item, looks: [])


@pytest.fixture
def pix(tiny) -> Path:
    """Runs of "toy" and "random" on `pix`, whose codes are then replaced by such of few distances: ties abound."""
    tiny.write("hashzoo-pix", "hashzoo_pix", PLUGIN, PIX)
    bench(["toy"], [16], dataset="pix", encoders="tiny+bow", threads=1)
    rng = np.random.default_rng(5)
    for run in sorted(Path("runs").glob("*/*/*/")):
        shapes = {name: (len(codes), 16) for name, codes in load_codes(run / "codes.npz").items()}
        save_codes(run / "codes.npz", **{name: pack(rng.random(shape) < 0.15) for name, shape in shapes.items()})
    return Path("runs")


@pytest.fixture
def scenes(tiny) -> Path:
    bench(["toy", "fragile"], [16, 32], dataset="scenes", encoders="tiny+bow", settings=SMALL, threads=1)
    return Path("runs")


def page_of(runs: Path, queries: int = 3) -> tuple[Element, list[str]]:
    text, said = render(collect(runs), queries)
    return parse(text), said


def embedded(page: Element, shown: Element) -> Image.Image:
    """The picture that an element shows, decoded from the bytes in the page."""
    symbol = page.one("symbol", id=shown.one("use").attributes["href"].removeprefix("#"))
    kind, _, content = symbol.one("image").attributes["href"].partition(";base64,")
    assert kind == "data:image/webp"
    return Image.open(io.BytesIO(base64.b64decode(content))).convert("RGB")


# ---- from codes to the page


def test_the_ten_nearest_are_followed_from_the_codes_to_the_pictures(pix):
    (item,) = collect(pix)
    page, said = page_of(pix)
    assert said == []
    data = open_dataset("pix")
    queries, rows = data.splits.query, data.splits.database
    ties = 0
    for direction, (asked, answers) in DIRECTIONS.items():
        shown = page.all("article", data_direction=direction)
        assert len(shown) == 3
        for position, article in zip(draw_queries(len(queries), 3), shown, strict=True):
            query = int(queries[position])
            assert article.attributes["data-row"] == str(query)
            for run, ranking in zip(item["results"], article.all("section", css="ranking"), strict=True):
                codes = load_codes(Path(run["run"]) / "codes.npz")
                code = codes[f"{asked}_query"].unpack()[position]
                far = (codes[f"{answers}_database"].unpack() != code).sum(axis=1)
                nearest = sorted(range(len(rows)), key=lambda place: (far[place], rows[place]))
                places = ranking.all("li", css="place")
                assert ranking.one("h6").words.startswith(run["method"])
                assert len(places) == TOP
                for place, found in zip(nearest[:TOP], places, strict=True):
                    row = int(rows[place])
                    right = bool((data.labels[row] & data.labels[query]).any())
                    assert found.attributes["data-row"] == str(row)
                    assert found.attributes["data-distance"] == str(far[place])
                    assert found.classes == ["place", "right" if right else "wrong"]
                    mark = "✓right" if right else "✗wrong"
                    assert found.one("span", css="verdict").words == f"{mark}, distance {far[place]}"
                    if answers == "image":
                        colour = np.asarray(embedded(page, found)).mean(axis=(0, 1))
                        np.testing.assert_allclose(colour, data.image(row).getpixel((0, 0)), atol=4)
                    else:
                        assert found.one("span", css="found").text == data.text(row)
                tied = int((far[nearest[TOP:]] == far[nearest[TOP - 1]]).sum())
                ties += tied
                assert (f"{tied} further row" in ranking.text) == (tied > 0)
                right = sum("right" in place.classes for place in places)
                assert ranking.one("h6").words.endswith(f"{right} of 10 right")
    assert ties, "the tie rule was not tried"


def test_each_picture_is_in_the_page_once(pix):
    page, _ = page_of(pix)
    addresses = [image.attributes["href"] for image in page.all("image")]
    assert len(addresses) == len(set(addresses))
    shown = {use.attributes["href"] for use in page.all("use")}
    assert shown == {f"#{symbol.attributes['id']}" for symbol in page.all("symbol")}
    assert len(page.all("use")) > len(shown)


def test_queries_are_drawn_before_anything_is_looked_at(pix):
    few, more = draw_queries(1000, 3), draw_queries(1000, 10)
    assert more[:3] == few
    assert len(set(draw_queries(20, 100))) == 20
    page, _ = page_of(pix, 5)
    i2t, t2i = ([a.attributes["data-row"] for a in page.all("article", data_direction=d)] for d in DIRECTIONS)
    assert i2t == t2i
    assert "5 of 20 queries, drawn at random with seed 0 and not picked by what is found" in page.words


def test_equal_runs_give_an_equal_page(pix):
    assert render(collect(pix)) == render(collect(pix))


def test_one_code_length_and_seed_stand_for_a_row(tiny):
    tiny.write("hashzoo-pix", "hashzoo_pix", PLUGIN, PIX)
    bench(["toy"], [8, 16], dataset="pix", encoders="tiny+bow", seeds=[4, 5], threads=1)
    bench(["random"], [32], dataset="pix", encoders="tiny+bow", threads=1)
    page, _ = page_of(Path("runs"), 1)
    assert "16 bits, the longest code that most rows of the table have; seed 4, the least of each row." in page.words
    assert len(page.all("article")[0].all("section", css="ranking")) == 2


def test_a_page_has_room_for_so_many_pictures(pix, monkeypatch):
    monkeypatch.setattr("hashzoo.report.html.page.Pictures", lambda: Pictures(limit=7_000))
    page, said = page_of(pix, 20)
    shown = len(page.all("article", data_direction="i2t"))
    assert 0 < shown < 20
    assert sum(len(image.attributes["href"]) for image in page.all("image")) <= 7_000
    assert f"{20 - shown} more were asked for" in page.words
    assert said == []
    monkeypatch.setattr("hashzoo.report.html.page.Pictures", lambda: Pictures(limit=100))
    assert page_of(pix)[1] == ["no gallery of pix: the page has no room for further pictures"]


def test_thumbnails_are_small_and_kept_whole_or_not_at_all():
    picture = Image.effect_noise((600, 300), 90)
    one = thumbnail(picture)
    assert (one.width, one.height) == (SIDE, SIDE // 2)
    assert one == thumbnail(picture.copy())
    pictures = Pictures(limit=10)
    assert pictures.keep([Thumbnail("a", 1, 1, "1234567")])
    assert not pictures.keep([Thumbnail("b", 1, 1, "12"), Thumbnail("c", 1, 1, "34")])
    assert pictures.keep([Thumbnail("a", 1, 1, "1234567"), Thumbnail("b", 1, 1, "12")])
    assert list(pictures.by_id) == ["a", "b"]


# ---- hostile input


def test_nothing_of_the_data_becomes_markup(pix, tmp_path):
    (run,) = pix.glob("*/toy/*/")
    for name in ("run.json", "result.json"):
        kept = read_json(run / name)
        kept["settings"] |= {
            "trainer.prompt": HOSTILE if name == "result.json" else {"value": HOSTILE, "origin": "user"}
        }
        write_json(run / name, kept)
    write_html(collect(pix), tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    page = parse(text)
    style, script = page.one("style"), page.one("script")
    assert text.count("<script") == 1
    policy = page.one("meta", http_equiv="Content-Security-Policy").attributes["content"]
    for element, rule in ((style, "style-src"), (script, "script-src")):
        digest = base64.b64encode(hashlib.sha256(element.text.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none'; img-src data:; ")
    assert "unsafe" not in policy
    ids = [element.attributes["id"] for element in page.all() if "id" in element.attributes]
    assert len(ids) == len(set(ids))
    for element in page.all():
        assert not [name for name in element.attributes if name.startswith("on") or name in ("style", "src", "action")]
        for name in ("href", "xlink:href"):
            assert element.attributes.get(name, "#").startswith(("#", "data:image/webp;base64,"))
    assert f"toy trainer.prompt={HOSTILE}" in page.one("table", css="scores").text
    assert HOSTILE in {name.text for labels in page.all("ul", css="labels") for name in labels.all("li")}
    assert [cell.text for cell in page.all("td", data_value=HOSTILE)] == [HOSTILE]


def test_half_a_surrogate_pair_and_endless_texts(tiny, tmp_path):
    parts = PIX.replace('row * "x"', '(chr(0xD800) if row % 2 else "y" * 10_000)')
    tiny.write("hashzoo-pix", "hashzoo_pix", PLUGIN, parts)
    bench(["random"], [16], dataset="pix", encoders="tiny+bow", threads=1)
    write_html(collect(Path("runs")), tmp_path / "page.html")
    page = parse((tmp_path / "page.html").read_text(encoding="utf-8"))
    lengths = {len(found.text) for found in page.all("span", css="found")}
    assert max(lengths) == LONGEST_TEXT + 1
    assert len(lengths) > 1


# ---- what is missing is said


def test_a_data_set_that_has_changed_has_no_gallery(pix):
    (kept,) = pix.glob("*/dataset.json")
    write_json(kept, read_json(kept) | {"settings": ["dataset.shade=9"]})
    page, said = page_of(pix)
    reason = (
        "the content of 'pix' here (digest shade-9) is not that of the track (shade-0); "
        "open the data set of which the runs were made"
    )
    assert said == [f"no gallery of pix: {reason}"]
    assert reason in page.words
    assert not page.all("article")
    assert page.all("table", css="scores")


def test_a_data_set_that_is_split_otherwise_has_no_gallery(pix, tiny):
    parts = tiny.folder / "hashzoo_pix" / "parts.py"
    parts.write_text(parts.read_text().replace("default_rng(3)", "default_rng(4)"))
    forget(tiny.folder)
    assert "the splits of 'pix' here" in page_of(pix)[1][0]


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('name = "pix"', 'name = "pix"\n    raw = frozenset({"image"})', "'pix' has no texts, only their features"),
        (
            "def text(self, row):",
            "def text(self, row):\n        raise OSError('gone')",
            "cannot be read: OSError: gone",
        ),
        ("def __init__(self, shade: int = 0):", "def __init__(self, shade):", "data set 'pix' cannot be opened: "),
    ],
)
def test_a_data_set_that_cannot_be_shown_has_no_gallery(old, new, reason, pix, tiny):
    parts = tiny.folder / "hashzoo_pix" / "parts.py"
    parts.write_text(parts.read_text().replace(old, new))
    forget(tiny.folder)
    page, (line,) = page_of(pix)
    assert reason in line
    assert reason in page.words


def test_without_the_plugin_of_the_data_set_there_is_no_gallery(pix, monkeypatch, tiny):
    monkeypatch.setenv("HASHZOO_BLOCK", "hashzoo_pix")
    forget(tiny.folder)
    assert page_of(pix)[1][0].startswith("no gallery of pix: ")


def test_a_damaged_record_of_the_data_set_is_said(pix):
    (kept,) = pix.glob("*/dataset.json")
    kept.write_text('{"schema": 1, "name": 3, "settings": []}')
    with pytest.raises(HashzooError, match=r"dataset\.json is damaged .it has no 'fold'.; delete it"):
        page_of(pix, 0)


def test_a_gallery_is_made_only_where_it_is_asked_for(pix, tiny):
    (tiny.folder / "hashzoo_pix" / "parts.py").unlink()
    forget(tiny.folder)
    page, said = page_of(pix, 0)
    assert said == []
    assert "Gallery" not in page.words
    for queries in (-1, 101):
        with pytest.raises(HashzooError, match="shows 0 to 100 queries, not -?1"):
            render(collect(pix), queries)


# ---- tables and provenance


def interval(run: dict) -> str:
    """The interval of a run's image-to-text mAP, as the page writes it."""
    limits = bootstrap_interval(read_arrays(Path(run["run"], "per_query.npz"))["i2t"])
    return "\N{EN DASH}".join(map(score, limits))


def test_the_best_and_what_is_not_significantly_worse_are_marked():
    near = stored("near", 0.495)
    jitter = np.random.default_rng(9).normal(0, 0.1, QUERIES)
    path = Path(near["run"], "per_query.npz")
    values = {name: array + jitter - jitter.mean() for name, array in read_arrays(path).items()}
    write_arrays(path, values)
    runs = [stored("best", 0.5), near, stored("worse", 0.45), failed("broken", run=stored("broken", 0)["run"])]
    page = parse(render([{"schema": 1, "track": TRACK, "results": runs}], 0)[0])
    rows = {row.one("th").text: row.all("td") for row in page.one("table", css="scores").one("tbody").all("tr")}
    said = {label: cells[0].words for label, cells in rows.items()}
    best, near, worse = ((score(run["scores"]["i2t"]["map"]), interval(run)) for run in runs[:3])
    assert said == {
        "best": f"●best: {''.join(best)}",
        "near": f"○not significantly worse than the best: {''.join(near)}",
        "worse": "".join(worse),
        "broken": "failed",
    }
    assert [cells[0].attributes["data-value"] for cells in rows.values()] == [best[0], near[0], worse[0], ""]
    limits = page.one("table", css="scores").one("tfoot").all("tr")
    assert [row.words for row in limits] == ["chance, exact .122 .122", "label oracle .860 .860"]


def test_many_runs_of_several_tracks(tmp_path):
    overlap = "12 of 800 query rows are also in 'train' (first: row 3)"
    harder = {"settings": {"label_noise": 0.2, "seed": 1}, "changed": {"label_noise": 642}, "digest": "d"}
    tracks = [TRACK, TRACK | {"id": "leaky", "overlap": overlap}, TRACK | {"id": "noisy", "training": harder}]
    items = []
    for track in tracks:
        runs = [stored(f"method-{n}", 0.4 + n / 100, seed=seed) for n in range(15) for seed in range(2)]
        collapsed = {role: HEALTHY | {"constant_bits": 3} for role in ("image", "text")}
        items.append({"schema": 1, "track": track, "results": [run | {"health": collapsed} for run in runs]})
    text, _ = render(items, 0)
    page = parse(text)
    assert len(text) < 1_000_000
    assert not [one for one in page.all("details") if "open" in one.attributes]
    assert [link.attributes["href"] for link in page.one("nav").all("a")] == ["#track-1", "#track-2", "#track-3"]
    plain, leaky, noisy = page.all("section", css="track")
    assert "54 more notes" in plain.words
    assert plain.text.count("text bits are constant") == 30
    assert f"overlap: {overlap}; scores are too high" in leaky.one("p", css="warning").words
    assert "overlap" not in plain.words
    assert noisy.one("h2").words == "emoji, label noise .2, seed 1"
    assert '{"label_noise": 642}' in noisy.words
    assert "--set train_data.label_noise=0.2 --set train_data.seed=1" in noisy.words
    assert "--allow-overlap" in leaky.words
    targets = {one.attributes["id"] for one in page.all() if "id" in one.attributes}
    assert {link.attributes["href"].removeprefix("#") for link in page.all("a")} <= targets
    headings = [int(one.tag[1]) for one in page.all() if re.fullmatch("h[1-6]", one.tag)]
    assert headings[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(headings))


def test_the_commands_of_a_page_find_its_runs_finished(tiny, command):
    settings = [*SMALL, "toy.trainer.epochs=1", "trainer.lr=3e-3", "train_data.kept_labels=0.9"]
    how = {"dataset": "scenes", "encoders": "tiny+bow", "settings": settings, "threads": 1, "device": "cpu"}
    bench(["toy"], [16, 32], seeds=[0, 1], **how)
    bench(["toy"], [8], **how)
    runs = {run["run"] for item in collect(Path("runs")) for run in item["results"]}
    page, said = page_of(Path("runs"), 1)
    assert said == []
    made = page.one("section", css="track").all("details", css="made")
    commands = [shlex.split(line.text) for one in made for line in one.all("pre")]
    assert len(commands) == 4
    found = set()
    for words in commands:
        outcome = command(*words[1:], "--jobs", 1, "--json")
        assert outcome.code == 0, outcome
        for run in json.loads(outcome.out)["results"]:
            assert run["reused"], run
            found.add(run["run"])
    assert found == runs


def test_provenance_is_that_of_run_json(scenes):
    page, _ = page_of(scenes, 0)
    made = {one.one("summary").one("bdi").text: one for one in page.all("details", css="made")}
    assert list(made) == ["fragile", "toy", "random"]
    (run,) = scenes.glob("*/toy/*-16-s0-*")
    asked = read_json(run / "run.json")
    words = made["toy"].words
    for name, version in asked["versions"].items():
        assert f"{name} {version}" in words
    for plugin in asked["plugins"].values():
        assert plugin["digest"] in words
    for name, setting in asked["settings"].items():
        (line,) = [row for row in made["toy"].all("tr") if row.all("th", data_value=name)]
        assert [cell.text for cell in line.all("td")] == [as_typed(setting["value"]), setting["origin"]]
    assert str(run) in words
    assert asked["key"][:12] in words
    assert asked["track"]["fingerprint"] in page.words
    assert "failed: RuntimeError: cannot make 32 bits of [/this]" in made["fragile"].words


def test_a_data_set_given_as_an_object_cannot_be_named_in_a_command(tiny):
    data = open_dataset("scenes", parse_assignments(SMALL, []))
    bench(["random"], [16], dataset=data, encoders="tiny+bow", threads=1)
    page, (line,) = page_of(Path("runs"), 1)
    assert "the content of 'scenes' here" in line
    assert "How the data set was opened is not known" in page.words


def test_the_folds_of_a_cross_validation(tiny):
    how = {"dataset": "scenes", "encoders": "tiny+bow", "settings": SMALL, "threads": 1}
    bench(["random"], [16], folds=2, fold_seed=3, **how)
    page, said = page_of(Path("runs"), 1)
    assert said == []
    assert {title.words for title in page.all("h2")} == {"scenes, fold 1 of 2", "scenes, fold 2 of 2"}
    assert len(page.all("article")) == 4
    assert all(line.text.endswith("--folds 2 --fold-seed 3") for line in page.all("pre"))


def test_as_typed_is_read_back_as_it_was():
    for value, kind in ((None, int | None), (True, bool), (1e-05, float), ((3, 4), tuple[int, ...]), ("a b", str)):
        assert convert(as_typed(value), kind, "trainer.x") == value


def test_every_template_is_part_of_the_distribution():
    root = Path(__file__).parent.parent
    patterns = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["hashzoo"]
    packed = {path for pattern in patterns for path in (root / "hashzoo").glob(pattern)}
    templates = set((root / "hashzoo" / "report" / "html" / "templates").iterdir())
    assert len(templates) > 4
    assert templates <= packed


# ---- figures


@dataclass(frozen=True)
class Drawn:
    """What the page takes of a figure."""

    title: str = "curves"
    caption: str = HOSTILE

    def svg(self, theme: str) -> str:
        assert theme == "css"
        shape = '<path d="M0 0" style="fill: none; stroke: var(--figure-ink, #1b1f24)"/>'
        return f'<svg>{shape}<text style="font: 8px &#39;DejaVu Sans&#39;">{html.escape(HOSTILE)}</text>{shape}</svg>'


def test_figures_stand_in_the_page_without_style_attributes(scenes, monkeypatch):
    monkeypatch.setattr("hashzoo.report.html.figures.draw", lambda item, looks: [Drawn()] * 5)
    page, said = page_of(scenes, 0)
    assert said == []
    figures = page.all("figure")
    assert [figure.one("figcaption").text for figure in figures] == [HOSTILE] * 5
    assert {figure.one("text").text for figure in figures} == {HOSTILE}
    assert [path.attributes for path in figures[0].all("path")] == [{"d": "M0 0", "class": "f0"}] * 2
    style = page.one("style").text
    assert "figure .f0 { fill: none; stroke: var(--figure-ink, #1b1f24) }" in style
    assert "figure .f1 { font: 8px 'DejaVu Sans' }" in style
    assert "--figure-ink: light-dark(#1b1f24, " in style
    assert "2 more figures" in page.words
    monkeypatch.setattr("hashzoo.report.html.figures.LIMIT", 2 * len(Drawn().svg("css")))
    page, said = page_of(scenes, 0)
    assert said == ["not all figures of scenes: the page has no room for 3 further figures of this track"]
    assert len(page.all("figure")) == 2


# ---- the command


def test_the_command_writes_the_page_and_says_where(scenes, command):
    outcome = command("report", "--html", "page.html", "--gallery", 2)
    assert (outcome.code, outcome.out) == (0, "page.html\n")
    page = parse(Path("page.html").read_text(encoding="utf-8"))
    assert page.one("head").one("title").text == "hashzoo: scenes"
    assert len(page.all("article")) == 4


def test_what_cannot_be_asked_for_together(scenes, sentence):
    assert "exclude each other" in sentence("report", "--html", "page.html", "--md")
    assert "leave --md, --csv, --latex and --html out" in sentence(
        "report", "--html", "p", "--compare", "toy", "random"
    )
    assert sentence("report", "--gallery", 3).endswith("type --html report.html --gallery N")
    assert sentence("report", "--html", "page.html", "--gallery", 101).endswith("not 101; type --gallery 6")
    assert not Path("page.html").exists()
