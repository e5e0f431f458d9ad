"""Tables in every format: nothing cut, nothing hidden, nothing taken for markup."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest
from helpers import SMALL, check_golden, forget
from rich.console import Console

from hashzoo.benches.benchmark import bench
from hashzoo.errors import HashzooError
from hashzoo.report import collect, frame, make_table
from hashzoo.report.formats import latex, markdown, print_table
from hashzoo.report.table import score
from hashzoo.storage.files import read_json, write_json

TRACK = {
    "id": "emoji-0123abcd",
    "dataset": "emoji",
    "fingerprint": "f",
    "splits": "s",
    "rule": "by concept",
    "protocol": "expected",
    "counts": {"train": 3210, "query": 800, "database": 3210, "labels": 49},
}
HEALTHY = {"constant_bits": 0, "unique_share": 1.0, "balance": 0.9, "bit_correlation": 0.1, "rows": 10, "bits": 16}


def result(method="soda", bits=16, i2t=0.5, t2i=0.6, seed=0, train=1.25, **changes):
    return {
        "method": method,
        "encoders": {"image": "lite0", "text": "minilm"},
        "settings": {},
        "bits": bits,
        "seed": seed,
        "status": "ok",
        "reused": False,
        "random_weights": [],
        "scores": {"i2t": {"map": i2t, "queries": 800, "curve": {"recall": [0.1]}}, "t2i": {"map": t2i}},
        "floor": 0.122,
        "ceiling": 0.9 if bits > 16 else 0.86,
        "health": {"image": HEALTHY, "text": HEALTHY},
        "seconds": {"train": train, "encode": 0.01, "evaluate": 0.02},
        "run": f"runs/{method}",
        **changes,
    }


def failed(method="dcmh", bits=16, reason="RuntimeError: out of [/memory] at 5%", **changes):
    whole = result(method, bits, **changes)
    for name in ("scores", "floor", "ceiling", "health", "seconds"):
        del whole[name]
    return whole | {"status": "failed", "reason": reason}


def bench_of(*results):
    return {"schema": 1, "track": TRACK, "results": list(results)}


def everything():
    collapsed = HEALTHY | {"constant_bits": 3}
    return bench_of(
        result("soda", 16, 0.5, 0.6, health={"image": HEALTHY, "text": collapsed}),
        result("soda", 64, 0.5512, 0.66, train=2.75),
        failed("dcmh", 16),
        result("dcmh", 64, 0.5508, 0.7, settings={}),
        result("random", 16, 0.1225, 0.1218, train=0),
        result("random", 64, 0.1221, 0.1222, train=0),
    )


def shown(table, width):
    out = io.StringIO()
    print_table(table, Console(file=out, width=width, height=50, force_terminal=False, color_system=None))
    return out.getvalue()


def cells_of(table):
    return [cell for row in (*table.rows, *table.limits) for cell in row.cells.values() if cell]


@pytest.mark.parametrize(
    ("value", "text"), [(0.5, ".500"), (0, ".000"), (1, "1.000"), (0.9996, "1.000"), (0.0004, ".000")]
)
def test_three_digits_as_papers_print_them(value, text):
    assert score(value) == text


def test_the_table_of_a_bench():
    table = make_table(everything())
    assert table.title == "mAP on emoji, lite0+minilm"
    assert table.bits == (16, 64)
    assert [row.label for row in table.rows] == ["soda", "dcmh", "random"]
    soda, dcmh, random = table.rows
    assert soda.cells == {("i2t", 16): ".500", ("i2t", 64): ".551", ("t2i", 16): ".600", ("t2i", 64): ".660"}
    assert dcmh.cells[("i2t", 16)] == dcmh.cells[("t2i", 16)] == "failed"
    # .5512 and .5508 look alike in three digits: both lead.
    assert soda.best == {("i2t", 16), ("t2i", 16), ("i2t", 64)}
    assert dcmh.best == {("i2t", 64), ("t2i", 64)}
    assert random.best == set()
    assert (soda.seconds, dcmh.seconds) == ("2.0", "1.2")
    assert [(row.label, row.cells[("t2i", 64)]) for row in table.limits] == [
        ("chance, exact", ".122"),
        ("label oracle", ".900"),
    ]
    assert "800 queries, 3,210 database rows, 3,210 training rows, 49 labels" in table.caption
    assert table.caption.endswith("track emoji-0123abcd")
    assert list(table.notes) == [
        "soda (lite0+minilm, 16 bits, seed 0): 3 of 16 text bits are constant",
        "dcmh (lite0+minilm, 16 bits, seed 0) failed: RuntimeError: out of [/memory] at 5%",
    ]


def test_several_seeds_are_mean_and_deviation():
    table = make_table(
        bench_of(
            *(result(seed=seed, i2t=0.5 + 0.1 * seed) for seed in range(3)), result("dcmh", bits=32), failed("soda", 32)
        )
    )
    soda, dcmh = table.rows
    assert soda.cells[("i2t", 16)] == ".600±.100"
    assert soda.cells[("t2i", 16)] == ".600±.000"
    assert soda.cells[("i2t", 32)] == "failed"
    assert dcmh.cells[("i2t", 16)] == ""
    assert "mean±deviation of 3 seeds" in table.caption


def test_several_pairs_of_encoders_stand_beside_the_method():
    clip = {"image": "clip:ViT-B-16/openai", "text": "clip:ViT-B-16/openai"}
    table = make_table(bench_of(result(), result(encoders=clip, i2t=0.7)))
    assert table.title == "mAP on emoji"
    assert [row.label for row in table.rows] == ["soda lite0+minilm", "soda clip:ViT-B-16/openai"]


def test_settings_and_random_weights_stand_beside_the_method():
    table = make_table(bench_of(result(settings={"trainer.lr": 0.01}), result(random_weights=["image"])))
    assert [row.label for row in table.rows] == ["soda trainer.lr=0.01", "soda*"]
    assert table.notes == ("* an encoder of this row has random weights, because that was asked for",)


def test_a_bench_of_which_everything_failed():
    table = make_table(bench_of(failed(), failed("soda")))
    assert table.limits == ()
    assert table.rows[0].seconds == ""
    assert "failed" in shown(table, 80)
    assert "| dcmh | failed | failed |  |" in markdown(table)


@pytest.mark.parametrize("width", [80, 200])
@pytest.mark.parametrize("bits", [(16,), (16, 32, 64, 128)])
@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
@pytest.mark.parametrize(
    "label", ["soda", "a-method-of-which-the-name-is-far-too-long-for-any-table-that-is-to-fit-a-terminal"]
)
def test_no_cell_is_cut_at_any_width(width, bits, seeds, label):
    table = make_table(
        bench_of(*(result(label, n, 0.5 + 0.01 * seed, 0.6 + 0.02 * seed, seed) for n in bits for seed in seeds))
    )
    text = shown(table, width)
    assert max(len(line) for line in text.splitlines()) <= width
    assert "…" not in text
    for cell in cells_of(table):
        assert cell in text
    joined = "".join(line.split("  ")[0].strip() for line in text.splitlines())
    assert label in joined
    for n in bits:
        assert str(n) in text


def test_both_directions_stand_side_by_side_where_they_fit():
    table = make_table(everything())
    assert "i2t 16" in shown(table, 200).splitlines()[2]
    assert "t2i 16" in shown(table, 200).splitlines()[2]
    wide = make_table(bench_of(*(result("soda", n, seed=s) for n in (16, 32, 64, 128) for s in (0, 1))))
    narrow = shown(wide, 80)
    assert "mAP on emoji, lite0+minilm, image to text" in narrow
    assert "mAP on emoji, lite0+minilm, text to image" in narrow


def test_what_looks_like_markup_is_shown_as_it_is():
    table = make_table(bench_of(result(settings={"trainer.prompt": "[bold]a[/] {}"}), failed(reason="no file [/x]")))
    text = " ".join(shown(table, 200).split())
    assert "soda trainer.prompt=[bold]a[/] {}" in text
    assert "no file [/x]" in text


def test_markdown_is_as_it_was():
    check_golden("report.md", "", markdown(make_table(everything())))


def test_markdown_keeps_its_columns_whatever_stands_in_a_cell():
    lines = markdown(make_table(bench_of(result(settings={"text.pattern": "a|b"})))).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len({line.count("|") for line in rows}) == 1


def test_latex_escapes_and_marks_the_best():
    settings = {"trainer.prompt": r"50% of {} & #1_a$ ~^\x"}
    text = latex(make_table(bench_of(result(settings=settings, seed=0), result(settings=settings, seed=1, i2t=0.7))))
    row = next(line for line in text.splitlines() if line.startswith("soda"))
    assert row.startswith(
        r"soda trainer.prompt=50\% of \{\} \& \#1\_a\$ \textasciitilde{}\textasciicircum{}\textbackslash{}x & "
    )
    assert r"\textbf{.600$\pm$.141}" in row
    assert row.endswith(r" \\")
    assert r"\begin{tabular}{lrr}" in text
    assert r"\cmidrule(lr){2-2} \cmidrule(lr){3-3}" in text
    assert text.index(r"\toprule") < text.index(r"\midrule") < text.index(r"\bottomrule")


def test_latex_notes_stay_comments():
    lines = latex(make_table(everything())).splitlines()
    body = lines.index(r"\begin{tabular}{lrrrr}")
    assert all(line.startswith("% ") for line in lines[:body])
    assert sum(line.startswith("% ! ") for line in lines) == 2


# ---- from a folder of runs


@pytest.fixture
def runs(tiny) -> Path:
    bench(["toy", "fragile"], [16, 32], dataset="scenes", encoders="tiny+bow", settings=SMALL, threads=1)
    return Path("runs")


def run_folder(runs: Path, method: str, bits: int) -> Path:
    (folder,) = runs.glob(f"*/{method}/*-{bits}-s0-*")
    return folder


def test_runs_are_collected_as_the_bench_gave_them(runs):
    (item,) = collect(runs)
    assert item["schema"] == 1
    assert item["track"]["dataset"] == "scenes"
    assert [(r["method"], r["bits"], r["status"]) for r in item["results"]] == [
        ("fragile", 16, "ok"),
        ("fragile", 32, "failed"),
        ("toy", 16, "ok"),
        ("toy", 32, "ok"),
        ("random", 16, "ok"),
        ("random", 32, "ok"),
    ]
    assert item["results"][1]["reason"] == "RuntimeError: cannot make 32 bits of [/this]"
    assert make_table(item).rows[0].cells[("i2t", 32)] == "failed"
    assert json.loads(json.dumps(item, allow_nan=False)) == item


def test_the_frame_has_a_line_a_run(runs):
    table = frame(collect(runs))
    lines = list(csv.DictReader(io.StringIO(table.to_csv(index=False))))
    assert len(lines) == 6
    assert {"method", "bits", "seed", "i2t_map", "t2i_map", "floor", "ceiling", "seconds_train", "run"} <= set(lines[0])
    assert lines[1]["status"] == "failed"
    assert lines[1]["i2t_map"] == ""
    stored = read_json(Path(lines[2]["run"]) / "result.json")
    assert float(lines[2]["i2t_map"]) == stored["scores"]["i2t"]["map"]


def test_two_tracks_never_share_a_table(runs):
    bench(["toy"], [16], dataset="scenes", encoders="tiny+bow", settings=[*SMALL, "dataset.seed=1"], threads=1)
    assert len(collect(runs)) == 2


def test_unfinished_and_damaged_runs_are_left_out_and_said(runs, capsys):
    (run_folder(runs, "toy", 16) / "result.json").unlink()
    (run_folder(runs, "toy", 32) / "result.json").write_text("{}")
    (run_folder(runs, "fragile", 32) / "run.json").write_text("{")
    capsys.readouterr()
    (item,) = collect(runs)
    assert [(r["method"], r["bits"]) for r in item["results"]] == [("fragile", 16), ("random", 16), ("random", 32)]
    said = capsys.readouterr().err
    assert "left out: 1 unfinished runs in" in said
    assert "result.json is damaged (it has no 'schema')" in said
    assert "run.json cannot be read as JSON" in said


def test_of_runs_of_the_same_experiment_the_newest_is_shown(runs, capsys):
    old = run_folder(runs, "toy", 16)
    new = old.with_name(old.name[:-8] + "00000000")
    new.mkdir()
    for name in ("run.json", "result.json"):
        write_json(new / name, read_json(old / name))
    os.utime(old / "run.json", (1, 1))
    capsys.readouterr()
    (item,) = collect(runs)
    (chosen,) = [r for r in item["results"] if (r["method"], r["bits"]) == ("toy", 16)]
    assert chosen["run"] == str(new)
    assert capsys.readouterr().err == (
        "hashzoo: left out: 1 run of toy (tiny+bow), repeated since with other code or packages\n"
    )


def test_a_row_is_never_made_by_two_versions_of_a_plugin(runs, tiny, capsys):
    parts = tiny.folder / "hashzoo_tiny" / "parts.py"
    parts.write_text(parts.read_text() + "\n# edited\n")
    forget(tiny.folder)
    bench(["toy"], [16], dataset="scenes", encoders="tiny+bow", settings=SMALL, threads=1)
    capsys.readouterr()
    (item,) = collect(runs)
    assert [(r["method"], r["bits"]) for r in item["results"]] == [
        *(("fragile", 16), ("fragile", 32), ("toy", 16), ("random", 16))
    ]
    said = capsys.readouterr().err.splitlines()
    old, new = (r["plugin"]["digest"][:8] for r in (item["results"][0], item["results"][2]))
    assert item["results"][1]["plugin"] == item["results"][0]["plugin"]
    expected = (
        f"hashzoo: left out: 1 run of toy (tiny+bow) by hashzoo-tiny 1.0 (source {old}); "
        f"its newest run is by hashzoo-tiny 1.0 (source {new}); the same bench makes them again"
    )
    assert expected in said
    assert "hashzoo: left out: 1 run of toy (tiny+bow), repeated since with other code or packages" in said
    # Of "random" too: its image encoder is of the edited plugin.
    assert len(said) == 4
    assert sum("of random (tiny+bow)" in line for line in said) == 2


def test_a_run_in_the_folder_of_another_track_is_left_out(runs, capsys):
    path = run_folder(runs, "toy", 16) / "run.json"
    stored = read_json(path)
    stored["track"]["splits"] = "another"
    write_json(path, stored)
    capsys.readouterr()
    (item,) = collect(runs)
    assert ("toy", 16) not in [(r["method"], r["bits"]) for r in item["results"]]
    assert capsys.readouterr().err == (
        f"hashzoo: left out: {path.parent} belongs to another track, of data set scenes\n"
    )


def test_scores_of_two_evaluators_never_share_a_table(runs, capsys):
    path = run_folder(runs, "toy", 16) / "result.json"
    write_json(path, read_json(path) | {"evaluator": "older"})
    os.utime(path, (1, 1))
    capsys.readouterr()
    (item,) = collect(runs)
    assert ("toy", 16) not in [(r["method"], r["bits"]) for r in item["results"]]
    assert ("fragile", 32) in [(r["method"], r["bits"]) for r in item["results"]]
    assert capsys.readouterr().err == (
        "hashzoo: left out: 1 run scored by an older evaluator; the same bench scores them again\n"
    )


@pytest.mark.parametrize("content", [None, "{", "[]"])
def test_a_track_that_cannot_be_read_is_left_out_and_said(content, runs, capsys):
    bench(["random"], [8], dataset="scenes", encoders="tiny+bow", settings=[*SMALL, "dataset.seed=1"], threads=1)
    track = run_folder(runs, "toy", 16).parents[1] / "track.json"
    track.unlink() if content is None else track.write_text(content)
    capsys.readouterr()
    (item,) = collect(runs)
    assert [r["bits"] for r in item["results"]] == [8]
    assert capsys.readouterr().err.startswith(f"hashzoo: left out: all of {track.parent}")


@pytest.mark.parametrize("name", ["plugins", "track", "encoders"])
def test_a_run_that_lacks_something_is_left_out_and_said(name, runs, capsys):
    path = run_folder(runs, "fragile", 32) / "run.json"
    stored = read_json(path)
    del stored[name]
    write_json(path, stored)
    capsys.readouterr()
    (item,) = collect(runs)
    assert len(item["results"]) == 5
    assert capsys.readouterr().err == (
        f"hashzoo: left out: {path} is damaged (it has no '{name}'); delete it and run again\n"
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"cost": {"text": {"parameters": 1, "macs": 1}}}, "cost has no 'image'"),
        ({"health": {"image": HEALTHY, "text": HEALTHY, "x": 5}}, "health has an unknown field 'x'"),
        ({"train_data": {"label_noise": 10**400}}, "train_data.label_noise is"),
        ({"floor": 1e300}, "floor is 1e"),
        ({"rounds": [{"round": 1, "rows": 1, "queries": 1}]}, "does not tell of 0 rounds"),
    ],
)
def test_a_result_that_no_run_gives_is_left_out_and_said(change, said, runs, capsys):
    path = run_folder(runs, "toy", 16) / "result.json"
    path.write_text(json.dumps(read_json(path) | change))
    capsys.readouterr()
    (item,) = collect(runs)
    frame(collect(runs))
    make_table(item)
    assert len(item["results"]) == 5
    assert said in capsys.readouterr().err


def test_the_reason_of_a_failure_is_shown_whatever_it_holds(runs):
    path = run_folder(runs, "fragile", 32) / "error.txt"
    path.write_bytes(b"out of \x1b[31mmemory \xe2\x98\nmore")
    (item,) = collect(runs)
    assert item["results"][1]["reason"] == "out of \ufffd[31mmemory \ufffd"


def test_nothing_to_report(tmp_path):
    with pytest.raises(HashzooError, match=r"there is no folder .*run hashzoo bench first"):
        collect(tmp_path / "none")
    with pytest.raises(HashzooError, match="holds no finished run; run hashzoo bench first"):
        collect(tmp_path)
