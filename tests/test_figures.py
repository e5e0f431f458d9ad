"""Figures of a report: what is drawn are the evaluator's numbers, in files that are the same each time."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL, inside

from hashzoo.benches.benchmark import bench
from hashzoo.benches.track import Track
from hashzoo.codes import health, load_codes, pack, save_codes
from hashzoo.errors import HashzooError
from hashzoo.evaluator import distance_counts
from hashzoo.storage.files import write_arrays

pytest.importorskip("matplotlib", reason="install hashzoo[figures]")
from hashzoo.report import figures
from hashzoo.report.figures import draw, looks
from hashzoo.report.figures.curves import draw_curves
from hashzoo.report.figures.drawing import _unwrapped, file_names
from hashzoo.report.figures.health import pair_correlations
from hashzoo.report.figures.lengths import draw_lengths
from hashzoo.report.figures.material import Material
from hashzoo.report.figures.style import house_style
from hashzoo.report.figures.training import draw_training, read_history

SVG = "{http://www.w3.org/2000/svg}"
WAYS = ("image to text", "text to image")
LOG = [
    {"stage": "teacher", "epoch": 1, "likelihood": 3.0, "balance": 0.1},
    {"stage": "teacher", "epoch": 2, "likelihood": 2.0, "balance": 0.2},
    {"stage": "teacher", "image_to_label_map": 0.8},
    {"stage": "student", "epoch": 1, "likelihood": float("nan"), "note": "text", "done": True},
    {"stage": "student", "epoch": 2, "likelihood": 1.0},
]


def track_of(folder: Path, methods=("alpha", "beta"), bits=(8, 12), seeds=(0, 1)) -> dict:
    """A track with its results, as `collect` gives it: codes that know the labels a little, on disk."""
    rng = np.random.default_rng(7)
    labels = {"query": rng.random((12, 5)) < 0.4, "database": rng.random((40, 5)) < 0.4}
    counts = {"train": 40, "val": 0, "query": 12, "database": 40, "labels": 5}
    track = Track("toys", "f", "s", "r", counts, labels["query"], labels["database"])
    track.save(folder / track.id)
    results = []
    for method, n, seed in ((m, n, s) for m in methods for n in bits for s in seeds):
        run = folder / track.id / method / f"{n}-{seed}"
        planes = {role: rng.normal(size=(5, n)) for role in ("image", "text")}
        codes = {
            f"{role}_{split}": pack((some - 0.4) @ (planes["image"] + 0.5 * plane) + rng.normal(size=(len(some), n)))
            for role, plane in planes.items()
            for split, some in labels.items()
        }
        scores, per_query = track.score(codes)
        save_codes(run / "codes.npz", **codes)
        write_arrays(run / "per_query.npz", per_query)
        (run / "train.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in LOG))
        results.append(
            {
                **{"method": method, "encoders": {"image": "a", "text": "b"}, "settings": {}, "random_weights": []},
                **{"bits": n, "seed": seed, "status": "ok", "run": str(run), **scores},
                "health": {role: health(codes[f"{role}_database"]) for role in ("image", "text")},
            }
        )
    return {"schema": 1, "track": {"id": track.id, **track.describe()}, "results": results}


@pytest.fixture(scope="module")
def item(tmp_path_factory) -> dict:
    return track_of(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def drawings(item) -> dict:
    return {drawing.name: drawing for drawing in draw(item)}


def panels_of(drawing) -> dict:
    return {panel.get_title(loc="left"): panel for panel in drawing.figure.axes}


def test_every_figure_is_drawn(drawings):
    assert list(drawings) == [
        *("map", "precision-recall-rank", "precision-recall-radius", "top-n-precision", "distances-8", "distances-12"),
        *("bit-balance", "bit-correlation", "training-alpha", "training-beta"),
    ]


def test_the_curves_are_the_evaluators_means_over_seeds(item, drawings):
    for name, metric in (
        ("precision-recall-rank", "pr_curve_rank"),
        ("precision-recall-radius", "pr_curve_radius"),
    ):
        panels = panels_of(drawings[name])
        assert list(panels) == [f"{way}, {bits} bits" for bits in (8, 12) for way in WAYS]
        assert [len(panel.lines) for panel in panels.values()] == [3] * 4
        for direction, way in (("i2t", "image to text"), ("t2i", "text to image")):
            alpha, beta, chance = panels[f"{way}, 12 bits"].lines
            for line, method in ((alpha, "alpha"), (beta, "beta")):
                stored = [r["scores"][direction] for r in item["results"] if (r["method"], r["bits"]) == (method, 12)]
                for drawn, field in ((line.get_xdata(), "recall_macro"), (line.get_ydata(), "precision_macro")):
                    np.testing.assert_allclose(drawn, np.mean([scores[metric][field] for scores in stored], axis=0))
            assert set(chance.get_ydata()) == {stored[0]["relevant_share"]}


def test_top_n_ends_with_the_database(drawings):
    for panel in drawings["top-n-precision"].figure.axes:
        assert max(panel.lines[0].get_xdata()) <= 40


def test_the_maps_are_those_of_the_table(item, drawings):
    for panel, direction in zip(drawings["map"].figure.axes, ("i2t", "t2i"), strict=True):
        for number, method in enumerate(("alpha", "beta")):
            means = [
                np.mean(
                    [r["scores"][direction]["map"] for r in item["results"] if (r["method"], r["bits"]) == (method, n)]
                )
                for n in (8, 12)
            ]
            assert any(np.array_equal(line.get_ydata(), means) for line in panel.lines), number
        assert set(panel.lines[-1].get_ydata()) == {item["results"][0]["floor"]}


def test_distances_are_counted_by_the_evaluator(item, drawings):
    found = []
    for run in (r for r in item["results"] if (r["method"], r["bits"]) == ("beta", 8)):
        codes, track = load_codes(Path(run["run"]) / "codes.npz"), Track.load(Path(run["run"]).parents[1])
        labels = track.query_labels, track.database_labels
        found.append(distance_counts(codes["text_query"], codes["image_database"], *labels))
        # The same pass as the evaluator's: what it found within each radius, over all pairs.
        curve = run["scores"]["t2i"]["pr_curve_radius"]
        within = found[-1].cumsum(axis=1)
        np.testing.assert_allclose(within[1] / within[1, -1], curve["recall_micro"])
        np.testing.assert_allclose(within[1] / np.maximum(within.sum(axis=0), 1), curve["precision_micro"])
    irrelevant, relevant = np.sum(found, axis=0)
    drawn = [patch.get_data().values for patch in panels_of(drawings["distances-8"])["beta, text to image"].patches]
    for values, pairs in zip(drawn, (relevant, irrelevant), strict=True):
        np.testing.assert_allclose(values, pairs / pairs.sum())


def test_bits_are_described_as_the_health_of_a_run(item, drawings):
    run = next(r for r in item["results"] if (r["method"], r["bits"], r["seed"]) == ("beta", 12, 0))
    shares = panels_of(drawings["bit-balance"])["image codes, 12 bits"].lines[-1].get_ydata()
    assert np.mean(2 * np.minimum(shares, 1 - shares)) == pytest.approx(run["health"]["image"]["balance"])
    pairs = pair_correlations(load_codes(Path(run["run"]) / "codes.npz")["image_database"].unpack())
    assert pairs.mean() == pytest.approx(run["health"]["image"]["bit_correlation"], rel=1e-5)
    at_zero, *_, at_one = panels_of(drawings["bit-correlation"])["image codes, 12 bits"].lines[-1].get_ydata()
    assert (at_zero, at_one) == (np.mean(pairs > 0), 0)


def test_constant_bits_have_no_correlation():
    assert pair_correlations(np.ones((9, 4), dtype=bool)).size == 0


def test_a_history_puts_stages_one_after_the_other():
    history = read_history(LOG)
    assert history.stages == [("teacher", 0, 2), ("student", 2, 4)]
    assert dict(history.measured) == {"image_to_label_map": [(2, 0.8)]}
    assert list(history.terms) == ["likelihood", "balance"]
    np.testing.assert_array_equal(history.terms["likelihood"], [(1, 3), (2, 2), (3, np.nan), (4, 1)])


def test_each_term_has_a_panel_and_each_run_a_line(drawings):
    panels = panels_of(drawings["training-alpha"])
    assert list(panels) == ["likelihood", "image to label map, measured\nbeside", "balance"]
    lines = [line for line in panels["balance"].lines if len(line.get_xdata()) == 2 and line.get_ydata()[0] == 0.1]
    assert len(lines) == 4
    assert "Measured beside the terms, not minimised: image to label map." in drawings["training-alpha"].caption


def test_a_picture_says_in_words_what_it_shows(drawings):
    for drawing in drawings.values():
        picture = ElementTree.fromstring(drawing.svg())
        assert picture.tag == f"{SVG}svg"
        assert picture.find(f"{SVG}title").text == drawing.title
        assert picture.find(f"{SVG}desc").text == drawing.alt
        assert drawing.alt in picture.get("aria-label")
        assert len(drawing.alt) > 60
        assert drawing.alt.endswith(".")
        assert drawing.caption.endswith(".")


def test_no_words_are_cut(tmp_path):
    long = track_of(tmp_path, ("alpha", "a-method-with-a-name-that-is-far-too-long-for-any-legend-of-a-figure"))
    for result in long["results"]:
        result["settings"] = {"trainer.prompt": "a $x$ of {}", "head.hidden": 512}
    one_length = long | {"results": [result for result in long["results"] if result["bits"] == 8]}
    with house_style():
        bars = list(draw_lengths(Material(one_length, looks([long]))))
    for drawing in (*draw(long), *bars):
        assert inside(drawing), drawing.name


def test_equal_runs_give_equal_pictures(item, drawings):
    with house_style():
        material = Material(item, looks([item]))
        again = [*draw_lengths(material), *draw_training(material)]
    for drawing in again:
        assert drawing.svg() == drawings[drawing.name].svg() == drawings[drawing.name].svg()


def test_a_page_may_set_the_colours(drawings):
    light, dark, css = (drawings["map"].svg(theme) for theme in ("light", "dark", "css"))
    assert "#1b1f24" in light
    assert "#1b1f24" not in dark
    assert "var(--figure-ink, #1b1f24)" in css
    assert "var(--figure-series-1, #0650f3)" in css
    assert len(light) < 60_000
    with pytest.raises(HashzooError, match="there is no theme 'sepia'; choose from: css, dark, light"):
        drawings["map"].svg("sepia")


def test_rows_keep_their_look_whichever_tracks_there_are(item):
    other = {
        **item,
        "results": [{**r, "method": "gamma" if r["method"] == "alpha" else "beta"} for r in item["results"]],
    }
    found = looks([item, other])
    assert list(found) == ["alpha", "beta", "gamma"]
    assert len(set(found.values())) == 3
    many = [{**item["results"][0], "method": f"method-{n}"} for n in range(24)]
    assert len(set(looks([{**item, "results": many}]).values())) == 24


def test_one_run_of_random_codes_is_drawn(tmp_path):
    names = [drawing.name for drawing in draw(track_of(tmp_path, ["random"], [8], [0]))]
    assert names[:2] == ["map", "precision-recall-rank"]
    assert "training-random" in names


def test_what_is_missing_is_said_and_the_rest_is_drawn(tmp_path, capsys):
    item = track_of(tmp_path, ["alpha", "beta"], [8], [0])
    alpha, beta = (Path(result["run"]) for result in item["results"])
    (alpha / "codes.npz").unlink()
    (alpha / "train.jsonl").unlink()
    (beta / "per_query.npz").unlink()
    item["results"].append({**item["results"][0], "bits": 12, "status": "failed", "reason": "no memory"})
    drawings = {drawing.name: drawing for drawing in draw(item)}
    assert [name for name in drawings if name.startswith("training")] == ["training-beta"]
    assert list(panels_of(drawings["distances-8"])) == [f"beta, {way}" for way in WAYS]
    assert len(drawings["map"].figure.axes[0].patches) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert said[0].startswith("hashzoo: not drawn: bits and distances of alpha, 8 bits, seed 0: ")
    assert said[1].startswith("hashzoo: not drawn: the training of alpha, 8 bits, seed 0: its log ")
    (beta.parents[1] / "labels.npz").unlink()
    assert not [drawing.name for drawing in draw(item) if drawing.name.startswith("distances")]
    assert draw({**item, "results": item["results"][2:]}) == []
    assert "none of its runs has finished well" in capsys.readouterr().err


def test_file_names_are_readable_and_differ():
    assert list(file_names(["soda", "soda*", "Soda lr=1e-3", "/", "x" * 99]).values()) == [
        *("soda", "soda-2", "soda-lr-1e-3", "row", "x" * 60)
    ]


def test_empty_groups_leave_no_end_without_a_beginning():
    assert _unwrapped('<svg><g id="a"/><g id="b"><path/></g><g clip="c"><g/></g></svg>') == (
        '<svg><path/><g clip="c"><g/></g></svg>'
    )


# ---- the command


@pytest.fixture
def runs(tiny, monkeypatch) -> Path:
    monkeypatch.setattr(figures, "FAMILIES", (draw_curves,))
    bench(["toy"], [16], dataset="scenes", encoders="tiny+bow", settings=SMALL, threads=1)
    return Path("runs")


def test_report_draws_into_a_folder_and_overwrites_only_its_own(runs, command, sentence):
    first = command("report", "--figures", "pictures")
    files = [Path(line) for line in first.out.splitlines()]
    (track,) = (path.name for path in Path("pictures").iterdir())
    assert [path.name for path in files[:4]] == [
        *("precision-recall-rank.svg", "precision-recall-rank.png"),
        *("precision-recall-radius.svg", "precision-recall-radius.png"),
    ]
    assert {path.parent for path in files} == {Path("pictures") / track}
    assert files[1].read_bytes().startswith(b"\x89PNG")
    before = {path: path.read_bytes() for path in files}
    (Path("pictures") / track / "notes.txt").write_text("mine")
    assert command("report", "--figures", "pictures").out == first.out
    assert {path: path.read_bytes() for path in files} == before
    assert (Path("pictures") / track / "notes.txt").read_text() == "mine"

    # What others put there stays, and then nothing is written.
    mine = Path("pictures") / track / "top-n-precision.png"
    mine.write_bytes(b"mine")
    said = sentence("report", "--figures", "pictures", code=2)
    assert said.endswith(f"{mine} was not drawn by hashzoo; move it away, or name another folder with --figures")
    files.remove(mine)
    assert {path: path.read_bytes() for path in (*files, mine)} == before | {mine: b"mine"}


def test_figures_stand_alone(sentence):
    said = sentence("report", "--figures", "pictures", "--json", code=2)
    assert "--figures and --plot draw and print the names of files; leave the other forms of a report out" in said


def test_without_matplotlib_the_package_is_named(item, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(HashzooError, match=r"figures need matplotlib; type: pip install 'hashzoo\[figures\]'"):
        draw(item)
