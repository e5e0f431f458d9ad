"""Broken and hostile tables: one sentence each, nothing is executed, nothing outside of the root is read."""

from __future__ import annotations

import io
import json
import os
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from hashzoo.data import from_frame
from hashzoo.data.table import Table
from hashzoo.data.table_columns import label_matrix
from hashzoo.data.table_files import Frame
from hashzoo.errors import HashzooError

ROWS = 6


@pytest.fixture(autouse=True)
def pictures(tmp_path: Path) -> Path:
    """Six pictures in the working folder, and a folder that is called like one."""
    (tmp_path / "folder.png").mkdir()
    for row in range(ROWS):
        Image.new("RGB", (4, 4), (40 * row, 0, 0)).save(tmp_path / f"{row}.png")
    return tmp_path


def good(**changes: Any) -> list[dict[str, Any]]:
    """Rows of JSON; `column=(row, value)` spoils one cell, `column=[...]` is a column more."""
    rows: list[dict[str, Any]] = [
        {"image": f"{row}.png", "text": f"number {row}", "labels": ["a", "b"][: 1 + row % 2]} for row in range(ROWS)
    ]
    for column, change in changes.items():
        if isinstance(change, tuple):
            rows[change[0]][column] = change[1]
        else:
            for row, value in zip(rows, change, strict=True):
                row[column] = value
    return rows


def jsonl(rows: list[Any]) -> str:
    Path("t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "t.jsonl"


def refusal(argument: str, **settings: Any) -> str:
    with pytest.raises(HashzooError) as caught:
        Table(argument, **settings)
    said = str(caught.value)
    assert "\n" not in said
    assert caught.value.exit_code == 2
    return said


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"text": (2, None)}, "1 rows whose picture or text cannot be used (row 2: its text is missing)"),
        ({"text": (2, float("nan"))}, "row 2: its text is missing"),
        ({"text": (2, " ")}, "row 2: its text is missing"),
        ({"text": (2, 3.5)}, "has float 3.5 in row 2 of column 'text', where text belongs"),
        ({"text": (2, {"en": "x"})}, "has a nested object in row 2 of column 'text', where text belongs"),
        ({"text": (2, [["x"]])}, "has a list in a list in row 2 of column 'text'"),
        ({"text": (2, "\ud800")}, "has text in row 2 of column 'text' that is no Unicode"),
        ({"text": (2, "['a dog', 'the dog']")}, "row 2 of column 'text', which is no JSON list; write it as [\"a\","),
        ({"labels": (2, {"a": 1})}, "has a nested object in row 2 of column 'labels'"),
        ({"labels": (2, [["a"], ["b"]])}, "has a list in a list in row 2 of column 'labels'"),
        ({"labels": (2, [0.5])}, "has float 0.5 in row 2 of column 'labels'"),
        ({"labels": (2, [True])}, "has bool True in row 2 of column 'labels'"),
        ({"labels": ["a|b"] * ROWS}, "has labels such as 'a|b' in column 'labels'; type --set 'dataset.separator=|'"),
        ({"labels": [[0, 1, 1]] * ROWS}, "has 0/1 vectors in column 'labels', whose classes have no names"),
        ({"labels": [None] * ROWS}, "has no label in column 'labels' that enough rows have"),
        ({"split": ["train"] * 5 + ["tset"]}, "has 'tset' in row 5 of the split column 'split'; write train, val"),
        ({"split": ["train"] * ROWS}, "puts no row into 'query'"),
        ({"split": (2, ["train", "test"])}, "has a list in row 2 of column 'split', where one value belongs"),
        ({"group": [1] * ROWS}, "6 rows with labels in 1 groups cannot be split"),
        ({"caption": ["x"] * ROWS, "text_": (0, 1)}, ""),  # "text" goes before other names: nothing to refuse
        ({"image": (2, "../../etc/passwd")}, "row 2: ../../etc/passwd lies outside of "),
        ({"image": (2, "/etc/passwd")}, "row 2: /etc/passwd lies outside of "),
        ({"image": (2, "~/x.png")}, "row 2: ~/x.png does not exist"),
        ({"image": (2, "missing.png")}, "row 2: missing.png does not exist"),
        ({"image": (2, "a\0b.png")}, "is no path"),
        ({"image": (2, "folder.png")}, "row 2: folder.png is no file"),
        ({"image": (2, 7)}, "row 2: its picture is int, not a path"),
        ({"image": (2, None)}, "row 2: its picture is not named"),
        ({"image": (2, "http://a.b/c.png")}, "row 2: http://a.b/c.png is an address; hashzoo downloads no pictures"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_a_spoiled_cell_is_named(changes, said):
    if said:
        assert said in refusal(jsonl(good(**changes)))
    else:
        Table(jsonl(good(**changes)), text="text")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"image": "img"}, "has no column 'img'; did you mean image?"),
        ({"text": ("txt",)}, "has no column 'txt'; did you mean text?"),
        ({"labels": ("tags*",)}, "has no column 'tags*'"),
        ({"captions": "last"}, "dataset.captions is first, joined or drawn, not 'last'"),
        ({"query": 6}, "dataset.query=6 takes all 6 rows; give a smaller number or a share"),
        ({"query": 1.5}, "dataset.query is a share below 1 or a whole number of rows, not 1.5"),
        ({"val": -0.1}, "dataset.val is a share below 1 or a whole number of rows, not -0.1"),
        ({"min_count": 7}, "has no label in column 'labels' that enough rows have; name another column"),
        ({"splits": "s.json"}, "there is no file of splits s.json"),
        ({"root": "nowhere"}, "has 6 rows whose picture or text cannot be used"),
    ],
)
def test_a_setting_that_does_not_suit_the_table_is_refused(settings, said):
    assert said in refusal(jsonl(good()), **settings)


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ('{"train": [1, 2], "query": [99]}', "s.json names row '99' in 'query', which the table does not have"),
        ('{"train": [1, 2], "probe": [0]}', "each a list of ids or row numbers; 'probe' is not"),
        ('{"train": [1, {}]}', "each a list of ids or row numbers; 'train' is not"),
        ("[1, 2]", 's.json has to be {"train": [...], "query": [...], "database": [...]}'),
        ("{", "s.json is no readable JSON or CSV file of splits"),
        ('{"train": [1, 2]}', "s.json puts no row into 'query'"),
    ],
)
def test_a_file_of_splits_that_cannot_be_followed_is_refused(stored, said):
    Path("s.json").write_text(stored)
    assert said in refusal(jsonl(good()), splits="s.json")


def test_ids_that_stand_twice_name_no_rows():
    Path("s.json").write_text('{"train": ["x"], "query": ["y"]}')
    rows = good(id=["x", "y", "x", "z", "u", "v"])
    assert refusal(jsonl(rows), splits="s.json").startswith(
        "the id 'x' stands in rows 0 and 2, so that s.json cannot use it; type --set dataset.id=none"
    )


def test_columns_that_may_be_meant_are_all_named():
    rows = [{"photo": r["image"], "img": r["image"], "description": "x", "labels": "a"} for r in good()]
    assert refusal(jsonl(rows)) == (
        "t.jsonl has columns img and photo that may hold the image; say which: --set dataset.image=img"
    )
    assert refusal(jsonl([{"a": 1, "b": 2}])) == (
        "t.jsonl has no column that is known to hold the image; name it: --set dataset.image=COLUMN, of a, b"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "t.csv is empty"),
        (b"image,text,labels\n", "t.csv has no rows"),
        (b"image,text,labels\n0.png,\xff\xfe,a\n", "t.csv is not UTF-8 (byte 0xff); save it as UTF-8"),
        (b"image,text,labels\n0.png,a, b,c\n", "t.csv has 4 values in row 0 but 3 columns"),
        (b"image,text,labels\n0.png\n", "t.csv has 1 values in row 0 but 3 columns"),
        (b'image,text,labels\n0.png,"a', "t.csv is no readable CSV (unexpected end of data)"),
        (b"image,image,text\n", "t.csv has two columns called 'image'"),
        (b"image,text,labels\n0.png," + b"x" * 200_000 + b",a\n", "t.csv is no readable CSV (field larger than"),
        (",".join(f"c{n}" for n in range(100_000)).encode(), "t.csv has 100,000 columns, more than 10,000"),
        (b"image,text,label_a\n0.png,x,2\n", "has '2' in row 0 of the label column 'label_a', where 0 or 1 belongs"),
    ],
    ids=lambda value: str(value[:25]),
)
def test_a_broken_csv_is_one_sentence(content, said):
    Path("t.csv").write_bytes(content)
    assert said in refusal("t.csv")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "t.jsonl is empty"),
        (b"{}\n", "t.jsonl is empty"),
        (b"[1]\n", "t.jsonl has no JSON object in line 1, but a list"),
        (b'{"image": "0.png"\n', "t.jsonl has no JSON object in line 1 ("),
        (b'{"image": "\xff"}\n', "t.jsonl has no JSON object in line 1 ("),
        (b"[" * 200_000 + b"\n", "t.jsonl has no JSON object in line 1 ("),
    ],
    ids=lambda value: str(value[:25]),
)
def test_broken_json_lines_are_one_sentence(content, said):
    Path("t.jsonl").write_bytes(content)
    assert said in refusal("t.jsonl")


class Stored(pyarrow.ExtensionType):
    """A type of somebody's own; reading it back must not need, nor run, what they wrote."""

    def __init__(self) -> None:
        super().__init__(pyarrow.string(), "somebody.stored")

    def __arrow_ext_serialize__(self) -> bytes:
        return b"cos\nsystem\n(S'touch executed'\ntR."

    @classmethod
    def __arrow_ext_deserialize__(cls, storage: pyarrow.DataType, serialised: bytes) -> Stored:
        return cls()


def test_extension_types_and_nested_columns_of_parquet_are_refused():
    columns = {name: [row[name] for row in good()] for name in ("image", "text", "labels")}
    stored = pyarrow.ExtensionArray.from_storage(Stored(), pyarrow.array(columns["text"]))
    pyarrow.register_extension_type(Stored())
    try:
        pyarrow.parquet.write_table(pyarrow.table({**columns, "text": stored}), "t.parquet")
        assert refusal("t.parquet") == (
            "t.parquet has column 'text' of the extension type somebody.stored; write it as a plain type"
        )
    finally:
        pyarrow.unregister_extension_type("somebody.stored")
    Table("t.parquet")  # unknown to this process it is the plain text that is stored
    assert not Path("executed").exists()
    pyarrow.parquet.write_table(pyarrow.table({**columns, "text": [{"en": "x"}] * ROWS}), "u.parquet")
    assert "has a nested object in row 0 of column 'text'" in refusal("u.parquet")
    pyarrow.parquet.write_table(pyarrow.table({**columns, "text": [b"\x80"] * ROWS}), "u.parquet")
    assert "has bytes in row 0 of column 'text'" in refusal("u.parquet")
    Path("u.parquet").write_bytes(Path("t.parquet").read_bytes()[:-20])
    assert "u.parquet is no readable Parquet file" in refusal("u.parquet")


def test_a_saved_folder_that_leads_out_is_refused(tmp_path):
    folder = tmp_path / "saved"
    folder.mkdir()
    for content, said in (
        ('{"_data_files": [{"filename": "../../other.arrow"}]}', "which lies outside of it"),
        ('{"_data_files": [{"filename": "none.arrow"}]}', "none.arrow"),
        ("[]", "saved is no readable saved data set"),
    ):
        (folder / "state.json").write_text(content)
        assert said in refusal("saved")


def shard(*members: tuple[tarfile.TarInfo, bytes]) -> str:
    with tarfile.open("0.tar", "w") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return "."


def test_links_devices_and_broken_members_of_shards_are_refused():
    link = tarfile.TarInfo("a.png")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    assert "has a link or device in 0.tar (a.png)" in refusal(shard((link, b"")))
    assert "has a.json in 0.tar, which is no JSON object" in refusal(shard((tarfile.TarInfo("a.json"), b"[]")))
    assert "has a shard that cannot be read, 0.tar" in refusal(shard((tarfile.TarInfo("a.txt"), b"\xff")))
    with tarfile.open("0.tar", "w:gz"):
        pass
    assert "has a shard that cannot be read, 0.tar" in refusal(".")
    escape = tarfile.TarInfo("../../escape.txt"), b"text"
    assert "has no column that is known to hold the image" in refusal(shard(escape))
    assert not Path("../../escape.txt").exists()


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("none.csv", "there is no table none.csv; type table:PATH, with a path from where you are"),
        ("0.png", "0.png is no table that can be read; give a .jsonl, .csv, .tsv, .parquet file, or a folder"),
        ("empty", "holds no table, saved data set or tar shards"),
        ("two", "holds 2 tables (a.csv, b.csv); name one: table:two/a.csv"),
        ("a\0b", "there is no table a\0b"),
    ],
)
def test_what_is_no_table_is_said(path, said):
    for name in ("empty", "two"):
        Path(name).mkdir()
    for name in ("a.csv", "b.csv", ".c.csv"):
        (Path("two") / name).touch()
    assert said in refusal(path)


def test_broken_pictures_are_named_counted_and_left_out_when_asked_for(tmp_path):
    whole = io.BytesIO()
    Image.effect_noise((64, 64), 80).save(whole, format="JPEG")
    rows = good(image=(1, "cut.jpg"))
    Path("cut.jpg").write_bytes(whole.getvalue()[:-300])
    Path("2.png").write_text("no picture")
    Path("3.png").unlink()
    os.mkfifo(tmp_path / "pipe")
    rows[4]["image"] = "pipe"
    said = refusal(jsonl(rows))
    assert said.startswith("t.jsonl has 4 rows whose picture or text cannot be used (row 1: cut.jpg is no readable")
    for part in ("row 2: 2.png is no picture", "row 3: 3.png does not exist", "row 4: pipe is no file"):
        assert part in said
    assert said.endswith("mend them, or type --set dataset.skip_broken=true to leave them out")

    data = Table("t.jsonl", skip_broken=True, query=1)
    assert [data.text(row) for row in range(len(data))] == ["number 0", "number 5"]
    assert "; 4 of 6 rows left out, whose picture or text cannot be used" in data.splits.rule
    assert [line.split(":")[0] for line in data.manifest["source"]["left_out"]] == [f"row {n}" for n in (1, 2, 3, 4)]


def test_a_picture_that_claims_too_much_or_starts_a_program_is_broken():
    bomb = bytearray(Path("0.png").read_bytes())
    for row, side in ((1, 60_000), (3, 2_000)):
        bomb[16:24] = side.to_bytes(4, "big") * 2  # width and height, then a checksum
        bomb[29:33] = zlib.crc32(bomb[12:29]).to_bytes(4, "big")
        Path(f"{row}.png").write_bytes(bomb)
    Path("2.png").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n%%EndComments\n(executed) (w) file\n")
    said = refusal(jsonl(good()))
    assert "row 1: 1.png claims more pixels than Pillow decodes" in said
    assert "row 3: 3.png is no readable picture (OSError: image file is truncated" in said
    assert "row 2: 2.png is no picture" in said
    assert not Path("executed").exists()


def test_links_that_lead_out_of_the_root_need_leave(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "0.png").symlink_to(tmp_path / "0.png")
    (root / "folder").symlink_to(tmp_path)
    for row in range(2, ROWS):
        (root / f"{row}.png").write_bytes((tmp_path / f"{row}.png").read_bytes())
    rows = good(image=(1, "folder/1.png"))
    said = refusal(jsonl(rows), root="root")
    assert f"(row 0: 0.png lies outside of {root}, row 1: folder/1.png lies outside of {root})" in said
    assert Table("t.jsonl", root="root", outside=True).image(1).getpixel((0, 0)) == (40, 0, 0)


def test_too_many_labels_are_refused_with_what_would_do():
    source = Frame(pandas.DataFrame(), "t")
    rows = [[f"l{row}", f"m{row % 50}"] for row in range(10_100)]
    with pytest.raises(HashzooError) as caught:
        label_matrix(source, "tags", rows, None, 1)
    assert str(caught.value) == (
        "t has 10,150 different labels in column 'tags', more than 10,000; "
        "type --set dataset.min_count=2 for the 50 that so many rows have"
    )
    assert label_matrix(source, "tags", rows, None, 2)[1].sum() == 10_100
    with pytest.raises(HashzooError) as caught:
        label_matrix(source, "tags", [f"l{row}" for row in range(60_000)], None, 1)
    assert str(caught.value) == (
        "t has 60,000 different labels in column 'tags', more than 10,000; "
        "name a column whose labels several rows share"
    )


def test_a_label_matrix_takes_a_byte_a_cell():
    values = [f"l{row % 80},l{row % 7}" for row in range(50_000)]
    classes, labels = label_matrix(Frame(pandas.DataFrame(), "t"), "tags", values, None, 1)
    assert (len(classes), labels.nbytes, labels.dtype) == (80, 50_000 * 80, np.bool_)


@pytest.mark.parametrize(
    ("column", "said"),
    [
        ("image", "row 0: its picture is object, not a path"),
        ("text", "frame has object <object object at"),
        ("labels", "in row 0 of column 'labels', where text belongs"),
    ],
)
def test_objects_in_a_frame_are_refused(column, said):
    frame = pandas.DataFrame(good())
    frame[column] = pandas.Series([object()] * ROWS, dtype=object)
    with pytest.raises(HashzooError) as caught:
        from_frame(frame)
    assert said in str(caught.value)


def test_nothing_is_left_behind_by_a_refusal(tmp_path):
    refusal(jsonl(good(image=(2, "missing.png"))))
    assert not list((tmp_path / "cache").rglob("manifest.json"))
