"""`table:PATH`: each format from the file to a bench, what is noticed, what is drawn, what leaks."""

from __future__ import annotations

import csv
import io
import json
import os
import tarfile
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

import hashzoo
from hashzoo.data import from_frame, from_huggingface
from hashzoo.data.table import Table
from hashzoo.errors import HashzooError
from hashzoo.opening import open_dataset
from hashzoo.settings import parse_assignments

COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}
ROWS = 24
BENCH = ("--method", "toy", "--bits", "8", "--encoders", "tiny+bow", "--jobs", "1")


def picture(row: int) -> Image.Image:
    """Six by six pixels, no two rows the same."""
    made = Image.new("RGB", (6, 6), list(COLOURS.values())[row % 3])
    made.putpixel((0, 0), (row, row, row))
    return made


def encoded(row: int) -> bytes:
    out = io.BytesIO()
    picture(row).save(out, format="PNG")
    return out.getvalue()


def records(rows: int = ROWS) -> list[dict[str, Any]]:
    names = list(COLOURS)
    return [
        {"image": f"photos/{r}.png", "caption": f"a {names[r % 3]} square {r}", "labels": f"{names[r % 3]},square"}
        for r in range(rows)
    ]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Pictures under photos/."""
    (tmp_path / "photos").mkdir()
    for row in range(ROWS):
        (tmp_path / "photos" / f"{row}.png").write_bytes(encoded(row))
    return tmp_path


def make_jsonl(folder: Path) -> str:
    lines = [{**row, "labels": row["labels"].split(",")} for row in records()]
    (folder / "t.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return "t.jsonl"


def make_csv(folder: Path) -> str:
    return write_csv(folder / "t.csv", records()).name


def make_tsv(folder: Path) -> str:
    (folder / "t.tsv").write_text(
        "\n".join("\t".join(map(str, row.values())) for row in [dict.fromkeys(records()[0]), *records()]).replace(
            "None\tNone\tNone", "image\tcaption\tlabels", 1
        )
    )
    return "t.tsv"


def make_parquet(folder: Path) -> str:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(records()), folder / "t.parquet", row_group_size=7)
    return "t.parquet"


def make_folder(folder: Path) -> str:
    make_parquet(folder)
    return "."


def in_memory() -> datasets.Dataset:
    names = list(COLOURS)
    features = {
        "image": datasets.Image(),
        "caption": datasets.List(datasets.Value("string")),
        "label": datasets.List(datasets.ClassLabel(names=[*names, "square"])),
    }
    content = {
        "image": [picture(row) for row in range(ROWS)],
        "caption": [[f"a {names[row % 3]} square {row}", "something"] for row in range(ROWS)],
        "label": [[row % 3, 3] for row in range(ROWS)],
    }
    return datasets.Dataset.from_dict(content, features=datasets.Features(features))


def make_saved(folder: Path) -> str:
    in_memory().save_to_disk(folder / "saved")
    return "saved"


def make_shards(folder: Path) -> str:
    (folder / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(folder / "shards" / f"{shard}.tar", "w") as archive:
            for row in range(shard * 12, shard * 12 + 12):
                about = records()[row]
                files = {"png": encoded(row), "txt": about["caption"].encode()}
                files["json"] = json.dumps({"labels": about["labels"].split(",")}).encode()
                for ending, content in files.items():
                    member = tarfile.TarInfo(f"some/{row:04}.{ending}")
                    member.size = len(content)
                    archive.addfile(member, io.BytesIO(content))
    return "shards"


MAKERS = [make_jsonl, make_csv, make_tsv, make_parquet, make_folder, make_saved, make_shards]


def opened(name: str, *settings: str) -> Any:
    data = open_dataset(name, parse_assignments([f"dataset.{setting}" for setting in settings], [], ["dataset"]))
    data.check()
    return data


@pytest.mark.parametrize("make", MAKERS)
def test_every_format_gives_the_same_rows(make, folder, command):
    name = f"table:{make(folder)}"
    data = opened(name)
    assert data.classes == ("blue", "green", "red", "square")
    assert data.labels.sum(axis=0).tolist() == [8, 8, 8, 24]
    for row in (0, 7, 23):
        assert data.image(row).tobytes() == picture(row).tobytes()
        assert data.text(row) == records()[row]["caption"]
        assert data.labels[row].nonzero()[0].tolist() == [2 - row % 3, 3]
    assert (len(data.splits.query), len(data.splits.train)) == (5, 19)
    assert command("datasets", "prepare", name).code == 0
    assert command("datasets", "verify", name).code == 0


def test_a_table_is_benched_from_the_command_line(tiny, folder, command):
    make_parquet(folder)
    outcome = command("bench", "--dataset", "table:t.parquet", *BENCH, "--set", "dataset.query=6")
    assert outcome.code == 0, outcome.err
    assert "mAP on table:t.parquet, tiny+bow" in outcome.out
    assert "6 queries, 18 database rows, 18 training rows, 4 labels" in outcome.out
    again = command("bench", "--dataset", "table:t.parquet", *BENCH, "--set", "dataset.query=6", "--json")
    assert all(result["reused"] for result in json.loads(again.out)["results"])


@pytest.mark.parametrize("form", ["paths", "pictures", "bytes", "datasets", "splits"])
def test_data_in_memory_is_benched_as_an_object(form, tiny, folder):
    if form == "datasets":
        data = from_huggingface(in_memory(), name="mine")
    elif form == "splits":
        whole = in_memory()
        parts = {"train": whole.select(range(18)), "test": whole.select([19, 18, *range(20, 24)])}
        data = from_huggingface(datasets.DatasetDict(parts))
        assert data.splits.query.tolist() == [18, 19, 20, 21, 22, 23]
        assert data.image(18).tobytes() == picture(19).tobytes()
    else:
        frame = pandas.DataFrame(records())
        if form != "paths":
            frame["image"] = [encoded(row) if form == "bytes" else picture(row) for row in range(ROWS)]
        data = from_frame(frame, name="mine", query=6)
    assert data.image(3).tobytes() == picture(3).tobytes()
    result = hashzoo.bench(["toy"], bits=[8], dataset=data, encoders="tiny+bow", jobs=None)
    assert [run["status"] for run in result["results"]] == ["ok", "ok"]
    with pytest.raises(HashzooError, match="worker processes cannot be given the data set '.*' as an object"):
        hashzoo.bench(["toy"], bits=[8], dataset=data, encoders="tiny+bow", jobs=2)
    with pytest.raises(HashzooError, match="dataset.query is for a data set that is named; .* is made already"):
        hashzoo.bench(["toy"], bits=[8], dataset=data, encoders="tiny+bow", settings=["dataset.query=3"])


def test_pictures_are_looked_at_once_and_changes_are_noticed(folder, capsys):
    make_csv(folder)
    first = opened("table:t.csv")
    assert "looking at t.csv: 24 pictures" in capsys.readouterr().err
    opened("table:t.csv")
    other = opened("table:t.csv", "query=3")
    assert capsys.readouterr().err == ""
    assert other.fingerprint() == first.fingerprint()
    assert other.splits.digest() != first.splits.digest()

    (folder / "photos" / "5.png").write_bytes(encoded(200) + b"trailing")
    changed = opened("table:t.csv")
    assert "1 files of table:t.csv have changed (first: photos/5.png); preparing it again" in capsys.readouterr().err
    assert changed.image(5).getpixel((0, 0)) == (200, 200, 200)
    assert changed.fingerprint() != first.fingerprint()

    write_csv(folder / "t.csv", records()[:20])
    assert len(opened("table:t.csv")) == 20


@pytest.mark.parametrize("what", ["picture", "table"])
def test_verify_reads_bytes_where_size_and_time_are_as_before(what, folder, command):
    make_csv(folder)
    path = folder / ("t.csv" if what == "table" else "photos/7.png")
    with open(path, "ab") as file:
        file.write(b"\n")
    opened("table:t.csv")
    before = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 7  # a carriage return
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    outcome = command("datasets", "verify", "table:t.csv")
    assert outcome.code == 1
    assert f"{path.name} is not what was prepared: type hashzoo datasets prepare table:t.csv" in outcome.out


def test_a_damaged_cache_is_made_again(folder):
    make_csv(folder)
    data = opened("table:t.csv")
    (data.folder / "stats.npz").write_bytes(b"")
    assert opened("table:t.csv").fingerprint() == data.fingerprint()


@pytest.mark.parametrize(
    ("captions", "expected"),
    [("first", {"one"}), ("joined", {"one two three"}), ("drawn", {"one", "two", "three"})],
)
def test_the_caption_that_is_used_is_a_setting(captions, expected, folder):
    rows = [{"image": row["image"], "a": '["one", "two"]', "b": "three", "labels": row["labels"]} for row in records()]
    write_csv(folder / "t.csv", rows)
    first, second = (
        [data.text(row) for row in range(ROWS)]
        for data in (opened("table:t.csv", "text=a,b", f"captions={captions}", f"seed={seed}") for seed in (0, 1))
    )
    assert set(first) == expected
    assert (first == second) == (captions != "drawn")


def test_label_columns_separators_and_rare_labels(folder):
    flags = [
        {"image": r["image"], "text": r["caption"], "label_red": int("red" in r["labels"]), "label_all": 1}
        for r in records()
    ]
    write_csv(folder / "flags.csv", flags)
    data = opened("table:flags.csv")
    assert (data.classes, data.labels.sum(axis=0).tolist()) == (("red", "all"), [8, 24])
    assert opened("table:flags.csv", "labels=label_r*").classes == ("red",)

    write_csv(folder / "joined.csv", [{**r, "labels": r["labels"].replace(",", " ; ")} for r in records()])
    assert opened("table:joined.csv", "separator=;").classes == ("blue", "green", "red", "square")
    assert opened("table:joined.csv", "separator=;", "min_count=9").classes == ("square",)
    assert opened("table:joined.csv", "separator=none").classes == ("blue ; square", "green ; square", "red ; square")


def test_columns_are_named_by_settings_and_paths_by_a_root(folder):
    rows = [{"f": r["image"].removeprefix("photos/"), "t": r["caption"], "l": r["labels"]} for r in records()]
    write_csv(folder / "odd.csv", rows)
    data = opened("table:odd.csv", "image=f", "text=t", "labels=l", "root=photos")
    assert data.image(9).tobytes() == picture(9).tobytes()


WORDS = ["test"] * 6 + ["validation"] * 2 + ["train"] * 15 + [""]


@pytest.mark.parametrize("form", ["column", "json of rows", "json of ids", "csv of ids", "csv of rows"])
def test_splits_are_told_by_a_column_or_a_file(form, folder):
    rows = [{**row, "id": f"p{number}"} for number, row in enumerate(records())]
    settings = ["splits=s.json"]
    if form == "column":
        rows, settings = [{**row, "split": word} for row, word in zip(rows, WORDS, strict=True)], []
    elif form.startswith("json"):
        lists: dict[str, list[Any]] = {}
        for row, word in enumerate(WORDS[:-1]):
            lists.setdefault(word, []).append(f"p{row}" if form.endswith("ids") else row)
        (folder / "s.json").write_text(json.dumps(lists))
    else:
        key = "id" if form.endswith("ids") else "row"
        listed = [{key: f"p{r}" if key == "id" else r, "split": word} for r, word in enumerate(WORDS[:-1])]
        write_csv(folder / "s.csv", listed)
        settings = ["splits=s.csv"]
    if form.endswith("rows"):
        settings.append("id=none")
    write_csv(folder / "t.csv", rows)
    splits = opened("table:t.csv", *settings).splits
    assert splits.query.tolist() == list(range(6))
    assert splits.val.tolist() == [6, 7]
    assert splits.train.tolist() == list(range(8, 23))
    assert splits.database.tolist() == list(range(6, 23))


def test_rows_of_one_picture_stay_together(folder):
    for row in range(12, ROWS):  # the second half repeats the pictures of the first under other names
        (folder / "photos" / f"{row}.png").write_bytes(encoded(row - 12))
    make_csv(folder)
    data = opened("table:t.csv")
    query = set(data.splits.query.tolist())
    assert len(query) == 4
    assert {(row + 12) % ROWS for row in query} == query
    assert "rows of one group, picture or id together (12 groups)" in data.splits.rule
    assert len(np.unique(data.groups)) == 12


def leaking(folder: Path, how: str) -> str:
    """A table whose column of splits puts a query row into the database, too."""
    rows = [{**row, "split": "query" if n < 6 else "train", "id": f"p{n}"} for n, row in enumerate(records())]
    if how == "row":
        rows[0]["split"] = "query+database+train"
        for row in rows[6:]:
            row["split"] = "train+database"
    elif how == "picture":
        (folder / "photos" / "20.png").write_bytes(encoded(0))
    else:
        rows[20]["id"] = "p0"
    write_csv(folder / "t.csv", rows)
    return "table:t.csv"


LEAKS = {
    "row": "1 of 6 query rows are also in 'train' (first: row 0)",
    "picture": "1 of 6 query rows have a picture that is also in 'train' (first: rows 0 and 20)",
    "id": "1 of 6 query rows have an id that is also in 'train' (first: rows 0 and 20)",
}


@pytest.mark.parametrize("how", LEAKS)
def test_query_rows_that_leak_are_refused(how, folder, tiny, command):
    name = leaking(folder, how)
    for verb in (("bench", "--dataset", name, *BENCH), ("train", "toy", "--dataset", name, "--encoders", "tiny+bow")):
        outcome = command(*verb)
        assert outcome.code == 2
        assert outcome.err.splitlines()[-1] == (
            f"hashzoo: {LEAKS[how]}; take them out of one of the two, or type --allow-overlap, which marks every table"
        )
    verified = command("datasets", "verify", name)
    assert (verified.code, LEAKS[how] in verified.out) == (1, True)
    allowed = command("datasets", "verify", name, "--allow-overlap")
    assert allowed.code == 0
    assert f"! overlap: {LEAKS[how]}" in allowed.out
    assert f"! overlap: {LEAKS[how]}" in command("datasets", "show", name).out


def test_an_overlap_that_was_allowed_marks_everything_it_touches(folder, tiny, command):
    name = leaking(folder, "picture")
    line = f"overlap: {LEAKS['picture']}; "
    bench = command("bench", "--dataset", name, *BENCH, "--allow-overlap")
    assert bench.code == 0, bench.err
    assert f"! {line}" in bench.out
    assert "mAP on table:t.csv (overlap)" in bench.out
    stored = json.loads(command("bench", "--dataset", name, *BENCH, "--allow-overlap", "--json").out)
    assert LEAKS["picture"] in stored["track"]["overlap"]
    assert "-overlap-" in stored["track"]["id"]
    assert all(result["reused"] for result in stored["results"])
    for form in ((), ("--md",), ("--compare", "toy", "random")):
        assert line in command("report", *form).out, form
    latex = command("report", "--latex").out
    assert rf"\footnotesize overlap: {LEAKS['picture'][:40]}" in latex
    assert latex.index("bottomrule") < latex.index("footnotesize") < latex.index(r"\end{tabular}")
    assert LEAKS["picture"] in json.loads(command("report", "--json").out)["tracks"][0]["track"]["overlap"]
    rows = list(csv.DictReader(io.StringIO(command("report", "--csv").out)))
    assert all("-overlap-" in row["track"] for row in rows)
    run = stored["results"][0]["run"]
    assert line in command("eval", run).out
    assert LEAKS["picture"] in json.loads(command("eval", run, "--json").out)["results"][0]["overlap"]


def test_what_does_not_leak_is_the_same_track_with_and_without_leave(folder, tiny):
    make_csv(folder)
    tracks = [
        hashzoo.bench(["random"], [8], dataset="table:t.csv", encoders="tiny+bow", allow_overlap=allowed)["track"]
        for allowed in (False, True)
    ]
    assert tracks[0] == tracks[1]
    assert "overlap" not in tracks[0]


def test_a_worker_opens_the_table_again(folder, tiny):
    name = leaking(folder, "id")
    from hashzoo.benches.plan import plan_of
    from hashzoo.recipe import Cell

    words = {"cells": [Cell("random", "tiny+bow", 8, 0)], "dataset": name, "settings": [], "runs": "runs"}
    plan = plan_of(**words, device="cpu", threads=None, allow_overlap=True)
    assert plan_of(**plan.words).track.id == plan.track.id


def test_the_colon_belongs_to_data_sets_that_take_an_argument(sentence):
    assert sentence("datasets", "show", "table") == (
        "hashzoo: data set 'table' needs to know what to read; type table:PATH"
    )
    assert sentence("datasets", "show", "scenes:x") == (
        "hashzoo: data set 'scenes' takes nothing after a colon; type scenes"
    )
    assert "type: hashzoo plugins check table:PATH" in sentence("plugins", "check", "table")


def test_a_prepared_table_conforms(folder):
    from hashzoo.testing.kit import check_plugin

    name = f"table:{make_csv(folder)}"
    said = {f.message for f in check_plugin(name).findings if f.subject == f"dataset:{name}" and f.message}
    assert said == {f"it is not prepared; type: hashzoo datasets prepare {name}"}
    opened(name)
    findings = [f for f in check_plugin(f"./{name}"[2:]).findings if f.subject == f"dataset:{name}"]
    assert [f for f in findings if f.outcome == "failed"] == []
    assert sum(f.outcome == "passed" for f in findings) > len(findings) / 2


def test_settings_are_checked_when_they_are_used_from_python(folder):
    make_csv(folder)
    with pytest.raises(HashzooError, match="Table has no setting 'dataset.captoins'; did you mean captions"):
        from_frame(pandas.DataFrame(records()), captoins="first")
    with pytest.raises(HashzooError, match="dataset.min_count is a whole number from 1 to 2147483648, not 0"):
        Table("t.csv", min_count=0)
    assert Table("t.csv", text="caption").text(2) == "a blue square 2"
    np.testing.assert_array_equal(Table("t.csv").labels, from_frame(pandas.DataFrame(records())).labels)
