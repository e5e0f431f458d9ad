"""From a run to codes of new items: models loaded again, sources of items, collections filled and gone on with."""

from __future__ import annotations

import contextlib
import gc
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL
from PIL import Image

from hashzoo.benches.benchmark import bench
from hashzoo.codes import load_codes
from hashzoo.errors import HashzooError
from hashzoo.inference import encoding, filling, items
from hashzoo.inference.model import MODEL, load_model
from hashzoo.opening import open_dataset
from hashzoo.runners import Task
from hashzoo.search import Collection
from hashzoo.settings import parse_assignments
from hashzoo.storage.files import read_json, write_json


def a_run(method: str = "toy", *settings: str) -> Path:
    made = bench([method], [16], dataset="scenes", encoders="tiny+bow", settings=[*SMALL, *settings], threads=1)
    (result,) = (result for result in made["results"] if result["method"] == method)
    assert result["status"] == "ok", result
    return Path(result["run"])


@pytest.fixture
def run(tiny) -> Path:
    return a_run()


def data():
    return open_dataset("scenes", parse_assignments(SMALL, []))


def folder_of_pictures(folder: Path, count: int = 5) -> Path:
    for number in range(count):
        path = folder / ("below" if number % 2 else "") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        data().image(number).save(path)
    return folder


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("toy", ("text.size=32", "image.gain=0.5", "image.stored=float16")),
        ("toy", ("image.frozen=false", "text.frozen=false", "trainer.encoder_lr=0.1")),
        ("fragile", ()),
    ],
)
def test_a_run_and_its_copy_give_the_codes_that_the_run_gave(tiny, tmp_path, method, settings):
    folder = a_run(method, *settings)
    codes, dataset = load_codes(folder / "codes.npz"), data()
    rows = dataset.splits.query
    filling.fill(tmp_path / "codes", load_model(folder), items.lines_of(written(tmp_path / "t.txt", "a\nb\n")))
    for place in (folder, tmp_path / "codes", tmp_path / "codes" / MODEL):
        model = load_model(place)
        assert model.copied == (place != folder)
        model.check()
        texts, text_values = model.encode_texts([dataset.text(row) for row in rows])
        images, image_values = model.encode_images([dataset.image(row) for row in rows])
        np.testing.assert_array_equal(texts.data, codes["text_query"].data)
        np.testing.assert_array_equal(images.data, codes["image_query"].data)
        for values, made in ((text_values, texts), (image_values, images)):
            assert (values.dtype, values.shape) == (np.float32, (len(rows), 16))
            np.testing.assert_array_equal(values > 0, made.unpack())


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_a_copy_needs_neither_run_nor_data_set(run, tmp_path, monkeypatch):
    model = load_model(run)
    texts = ["a red circle", "nothing that the vocabulary has"]
    before = model.encode_texts(texts)[0].data
    filling.fill(tmp_path / "codes", model, items.lines_of(written(tmp_path / "t.txt", "a red circle\n")))
    run.parent.parent.rename(tmp_path / "elsewhere")
    monkeypatch.setenv("HASHZOO_CACHE", str(tmp_path / "another cache"))
    collection = Collection(tmp_path / "codes")
    np.testing.assert_array_equal(collection.model().encode_texts(texts)[0].data, before)
    answer = collection.query(text="a red circle", k=1)
    assert (answer.ids.tolist(), answer.distances.tolist()) == ([[1]], [[0]])


def test_pictures_of_a_folder_are_found_again_by_their_path(run, tmp_path, capsys):
    folder = folder_of_pictures(tmp_path / "pictures")
    (folder / ".hidden.png").write_bytes((folder / "0.png").read_bytes())
    (folder / "notes.txt").write_text("no picture")
    (folder / "broken.jpg").write_bytes(b"no picture either")
    model = load_model(run)
    filled = filling.fill(tmp_path / "codes", model, items.pictures_in(folder))
    assert (filled.there, filled.added, list(filled.left_out)) == (0, 5, ["broken.jpg"])
    assert capsys.readouterr().err.count("broken.jpg is left out: ") == 1
    table = filled.collection.metadata(filled.collection.ids())
    assert sorted(table["key"]) == ["0.png", "2.png", "4.png", "below/1.png", "below/3.png"]
    shown = items.Shown(filled.collection.about["source"])
    for number, path in zip(table["id"], table["key"], strict=True):
        answer = filled.collection.query(image=folder / path, k=1)
        assert (answer.ids.item(), answer.distances.item()) == (number, 0)
        assert shown.picture(number, {"key": path}).tobytes() == Image.open(folder / path).tobytes()
    with pytest.raises(HashzooError, match="outside of its folder"):
        shown.picture(0, {"key": "../pictures/0.png"})

    # The same command adds what is new, and nothing twice.
    data().image(7).save(folder / "1-new.png")
    (folder / "broken.jpg").unlink()
    again = filling.fill(tmp_path / "codes", model, items.pictures_in(folder))
    assert (again.there, again.added, again.left_out) == (5, 1, {})
    assert sorted(again.collection.metadata(again.collection.ids())["key"]) == sorted([*table["key"], "1-new.png"])


def files_of(folder: Path) -> dict[str, bytes]:
    """What a collection holds, without what is gone when nobody writes."""
    found = sorted(path for path in folder.rglob("*") if path.is_file())
    inside = [path.relative_to(folder) for path in found]
    assert not any(path.parts[0] == ".parts" for path in inside)
    return {str(path): (folder / path).read_bytes() for path in inside if not path.name.startswith(".")}


def test_what_was_encoded_before_a_failure_is_kept_as_if_there_were_none(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(encoding, "PART", 4)
    monkeypatch.setattr(encoding, "GROUP", 12)
    source = written(tmp_path / "t.txt", "\n".join(f"text number {n}" for n in range(50)))
    model = load_model(run)
    whole = filling.fill(tmp_path / "whole", model, items.lines_of(source), outputs=True, workers=1)
    assert (whole.there, whole.added) == (0, 50)
    items_of_probes = 7  # which a new collection keeps, in two calls
    outputs, encoded = model.outputs, []
    for number, error in enumerate((RuntimeError, KeyboardInterrupt)):
        calls = iter(range(100))

        def failing(role, rows, calls=calls, error=error, last=(7, 5)[number]):
            if next(calls) == last:
                raise error
            encoded.append(len(rows))
            return outputs(role, rows)

        monkeypatch.setattr(model, "outputs", failing)
        with pytest.raises(error):
            filling.fill(tmp_path / "codes", model, items.lines_of(source), outputs=True)
        gc.collect()  # what reads a segment keeps it
        assert len(Collection(tmp_path / "codes")) == (12, 36)[number]  # whole groups alone
    monkeypatch.setattr(model, "outputs", lambda role, rows: encoded.append(len(rows)) or outputs(role, rows))
    filled = filling.fill(tmp_path / "codes", model, items.lines_of(source), outputs=True, workers=2)
    assert sum(encoded) == 50 + items_of_probes
    assert (filled.there, filled.added) == (36, 14)
    assert "that are encoded already" in capsys.readouterr().err
    assert files_of(tmp_path / "codes") == files_of(tmp_path / "whole")


def test_shares_and_the_whole_make_the_bytes_that_the_whole_makes_alone(run, tmp_path, monkeypatch, command, sentence):
    monkeypatch.setattr(encoding, "PART", 2)
    folder = folder_of_pictures(tmp_path / "pictures", 7)
    (folder / "3-broken.jpg").write_bytes(b"no picture")
    assert command("encode", run, "--images", folder, "--out", "alone").code == 1
    counts = []
    for number in (1, 2, 3):
        outcome = command("encode", run, "--images", folder, "--out", "codes", "--shard", f"{number}/3", "--json")
        about = json.loads(outcome.out)
        assert about["codes"] == about["added"] == 0
        assert about["shard"]["of_items"] == 8
        assert outcome.code == bool(about["left_out"])
        counts.append(about["shard"]["items"])
    assert sorted(counts) == [2, 2, 4]
    again = command("encode", run, "--images", folder, "--out", "codes", "--shard", "1/3")
    assert "share 1/3 is encoded" in again.out
    with monkeypatch.context() as patch:
        patch.setattr("hashzoo.inference.model.Model.outputs", None)  # nothing is encoded again
        patch.setattr("hashzoo.inference.filling.load_model", lambda *_: unopened(run))
        whole = command("encode", run, "--images", folder, "--out", "codes")
    assert (whole.code, whole.out) == (1, "codes: 7 codes by toy, tiny+bow, 16 bits, 1 left out\n"), whole.err
    assert files_of(tmp_path / "codes") == files_of(tmp_path / "alone")
    assert "a share is written as 2/8" in sentence("encode", run, "--images", folder, "--out", "codes", "--shard", "2")


def unopened(run: Path):
    """The model of a run, of which nothing is asked but what its collection is told."""
    model = load_model(run)
    model.encoder("image")
    return model


class Lossy:
    """A runner whose workers are lost with the tasks that have some of the rows."""

    name, jobs = "processes", 2

    def __init__(self, *rows):
        self.rows = set(rows)

    @contextlib.contextmanager
    def workers(self, kind):
        self.doer = kind.here()
        yield self

    def gpu(self, device):
        return False

    def do(self, tasks, tell, held=False):
        for number in reversed(tasks):
            words = dict(tasks[number].words)
            if self.rows.intersection(words["rows"]):
                for times in (1, 2, 3):
                    tell("lost", number, {"reason": "ended by SIGKILL", "times": times})
                words |= {"do": "fail", "reason": "its worker was lost 3 times"}
            tell("done", number, self.doer.do(words, lambda line: None))


def test_only_the_item_whose_worker_is_always_lost_is_left_out_and_it_is_told_once(run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(encoding, "PART", 4)
    folder, model = folder_of_pictures(tmp_path / "pictures", 6), load_model(run)
    (folder / "1-broken.png").write_bytes(b"no picture")
    pictures = items.pictures_in(folder)
    filling.fill(tmp_path / "alone", model, pictures)
    told = {"run": str(run), "batch": None}
    job = filling.Job(Lossy(pictures.columns["key"].index("2.png")), told, Task({}))
    for there, added in ((0, 5), (5, 0)):  # the same command tries it again
        filled = filling.fill(tmp_path / "codes", model, pictures, job=job)
        assert (filled.there, filled.added, sorted(filled.left_out)) == (there, added, ["1-broken.png", "2.png"])
        assert filled.left_out["2.png"] == "its worker was lost 3 times"
        said = capsys.readouterr().err
        assert said.count("2.png is left out: its worker was lost 3 times") == 1
        assert said.count("the worker was lost (ended by SIGKILL); done again") == 2
    assert not (tmp_path / "codes" / filling.PARTS).exists()
    again = filling.fill(tmp_path / "codes", model, pictures)
    assert (again.there, again.added, sorted(again.left_out)) == (5, 1, ["1-broken.png"])
    codes = [Collection(tmp_path / place) for place in ("codes", "alone")]
    for name in set(pictures.columns["key"]) - {"1-broken.png"}:
        one, other = (c.query(image=folder / name, k=1) for c in codes)
        assert one.distances.item() == other.distances.item() == 0


def test_where_every_item_ends_its_worker_not_every_one_is_tried(run, tmp_path, monkeypatch):
    monkeypatch.setattr(encoding, "PART", 4)
    monkeypatch.setattr(filling, "MOST_LOST", 2)
    folder, model = folder_of_pictures(tmp_path / "pictures", 7), load_model(run)
    runner = Lossy(*range(7))
    alone, do = [], runner.do
    monkeypatch.setattr(runner, "do", lambda tasks, tell, held=False: (alone.append(len(tasks)), do(tasks, tell)))
    job = filling.Job(runner, {"run": str(run), "batch": None}, Task({}))
    filled = filling.fill(tmp_path / "codes", model, items.pictures_in(folder), job=job)
    assert (filled.added, len(filled.left_out), alone) == (0, 7, [2, 1, 1])


def test_a_worker_that_finds_other_items_says_so(run, tmp_path):
    folder = folder_of_pictures(tmp_path / "pictures", 3)
    told = {"run": str(run), "device": "cpu", "source": {"images": str(folder)}, "batch": None, "parts": "."}
    (part,) = encoding.parts_of(items.pictures_in(folder), ["image"], np.ones(3, dtype=bool), load_model(run))
    (folder / "2.png").rename(folder / "two.png")
    words = {"do": "encode", "role": "image", "rows": part.rows.tolist(), "name": part.name, "threads": 1}
    with pytest.raises(HashzooError, match="does not find the items .* run the same command again"):
        encoding.Filler(told).do(words, lambda line: None)


def test_rows_of_a_table(run, tmp_path):
    folder_of_pictures(tmp_path, 2)
    rows = "id,image,text,year,tag\n7,0.png,a thing,1999,x\n9,,only words,2001,\n3,below/1.png,,2005,y\n4,,,2006,z\n"
    made = items.rows_of_table(written(tmp_path / "rows.csv", rows))
    assert made.roles.tolist() == ["image", "text", "image", ""]
    filled = filling.fill(tmp_path / "codes", load_model(run), made)
    assert (filled.added, filled.left_out) == (3, {"id 4": "there is neither a picture nor a text"})
    collection = filled.collection
    assert collection.columns == {"image": "VARCHAR", "text": "VARCHAR", "year": "BIGINT", "tag": "VARCHAR"}
    assert collection.query(text="only words", k=1).ids.item() == 9
    assert collection.query(image=tmp_path / "0.png", k=1, where="year < 2000").ids.item() == 7
    assert items.rows_of_table(tmp_path / "rows.csv", "text").roles.tolist() == ["text", "text", "", ""]

    # Without ids the row numbers are ids, which holds as long as the table is what it was.
    plain = written(tmp_path / "plain.tsv", "text\tn\none\t1\ntwo\t2\n")
    assert filling.fill(tmp_path / "plain", load_model(run), items.rows_of_table(plain)).added == 2
    written(plain, "text\tn\nzero\t0\none\t1\ntwo\t2\n")
    with pytest.raises(HashzooError, match="something else than plain.tsv as it is now"):
        filling.fill(tmp_path / "plain", load_model(run), items.rows_of_table(plain))

    # Ids that are texts tell rows apart wherever they stand.
    keyed = written(tmp_path / "keyed.jsonl", '{"id": "a", "text": "one"}\n')
    filling.fill(tmp_path / "keyed", load_model(run), items.rows_of_table(keyed))
    written(keyed, '{"id": "b", "text": "two"}\n{"id": "a", "text": "one"}\n')
    again = filling.fill(tmp_path / "keyed", load_model(run), items.rows_of_table(keyed))
    assert (again.there, again.added) == (1, 1)
    assert again.collection.metadata([0, 1])["key"].tolist() == ["a", "b"]


def test_rows_of_the_data_set_come_from_its_features(run, tmp_path, monkeypatch):
    dataset, codes = data(), load_codes(run / "codes.npz")
    with monkeypatch.context() as patch:
        patch.setattr("hashzoo.inference.model.Model.prepare", None)  # nothing is read that has been computed
        patch.setattr("hashzoo.inference.model.Model.files", lambda model: {})
        for of in ("image", "text"):
            made = items.rows_of_dataset(run, of)
            collection = filling.fill(tmp_path / of, load_model(run), made).collection
            rows = np.sort(dataset.splits.database)
            np.testing.assert_array_equal(collection.ids(), rows)
            stored = np.concatenate([block.data for _, block, _ in collection.blocks()])
            order = np.argsort(dataset.splits.database)
            np.testing.assert_array_equal(stored, codes[f"{of}_database"].data[order])
    table = collection.metadata(rows[:3])
    assert table["text"].tolist() == [dataset.text(row) for row in rows[:3]]
    assert [list(labels) for labels in table["labels"]] == [
        [name for name, on in zip(dataset.classes, dataset.labels[row], strict=True) if on] for row in rows[:3]
    ]
    shown = items.Shown(collection.about["source"])
    assert shown.picture(int(rows[0]), {}) == dataset.image(rows[0])


def test_the_command_line(run, tmp_path, command, sentence):
    folder = folder_of_pictures(tmp_path / "pictures", 3)
    outcome = command("encode", run, "--images", folder, "--out", "codes")
    assert (outcome.code, outcome.out) == (0, "codes: 3 codes by toy, tiny+bow, 16 bits\n"), outcome.err
    (folder / "x.png").write_bytes(b"")
    outcome = command("encode", run, "--images", folder, "--out", "codes", "--json")
    found = json.loads(outcome.out)
    assert (outcome.code, found["codes"], found["there"], found["added"]) == (1, 3, 3, 0)
    assert list(found["left_out"]) == ["x.png"]
    outcome = command("encode", run, "--out", "own", "--of", "text")
    assert (outcome.code, outcome.out) == (0, f"own: {len(data().splits.database)} codes by toy, tiny+bow, 16 bits\n")
    texts = written(tmp_path / "t.txt", "a\n")
    for arguments, said in (
        (("--images", folder, "--texts", texts), "--images and --texts exclude each other"),
        (("--texts", texts, "--of", "text"), "--of is for rows that have both"),
        (("--of", "sound"), "--of is image or text"),
        (("--split", "test"), "--split is database, query, train or all"),
        (("--texts", texts, "--split", "all"), "--split is for rows of the data set"),
        (("--images", tmp_path / "nowhere"), "nowhere is no folder"),
        (("--table", texts), "t.txt is no .csv"),
        (("--texts", written(tmp_path / "blank.txt", " \n")), "blank.txt holds no text"),
        (("--texts", texts), "codes holds codes of something else than t.txt"),
        (("--images", folder, "--outputs"), "codes was begun without --outputs; leave it out, or give another --out"),
        (("--images", folder, "--device", "tpu"), "the device is auto"),
    ):
        assert said in sentence("encode", run, "--out", "codes", *arguments), arguments
    before = sorted(folder.iterdir())
    assert f"{folder} is not empty; give a new folder" in sentence("encode", run, "--images", folder, "--out", folder)
    assert sorted(folder.iterdir()) == before
    assert "is a collection; name what to encode" in sentence("encode", "codes", "--out", "more")
    assert "neither a run nor a collection" in sentence("encode", tmp_path, "--out", "more")
    other = a_run("random")
    assert "codes holds codes of another model (toy, tiny+bow, 16 bits)" in sentence(
        "encode", other, "--images", folder, "--out", "codes"
    )
    assert command("encode", "codes", "--texts", texts, "--out", "more").code == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("text,id,id\na,1,2\n", "has two columns called 'id'"),
        ("text,text\na,b\n", "has two columns called 'text'"),
        ("text,id\n" + "".join(f"a,{n}\n" for n in range(30_000)) + "a,29999\n", "has the id 29999 twice"),
        ('{"text": "a", "id": [1]}\n', "ids of"),
        ('{"text": "a", "id": {"x": 1}}\n', "ids of"),
    ],
)
def test_a_table_that_cannot_be_told_apart_is_refused(content, said, tmp_path):
    path = written(tmp_path / f"t.{'jsonl' if content.startswith('{') else 'csv'}", content)
    with pytest.raises(HashzooError, match=said):
        items.rows_of_table(path)


@pytest.mark.parametrize(
    "content", [b'{"text": "p\xff"}', b'{"text": "a", "b": "p\xff"}', b'{"text": "a", "\xff": "b"}']
)
def test_a_table_that_is_not_utf_8_is_refused(content, tmp_path):
    (tmp_path / "t.jsonl").write_bytes(content)
    with pytest.raises(HashzooError, match=r"t.jsonl cannot be read as a table \(.*; give --table another file"):
        items.rows_of_table(tmp_path / "t.jsonl")


@pytest.mark.parametrize(
    ("content", "line"),
    [('{"text": "a"}\n\nnull\n', 3), ('{"text": "a"} {"text": "b"}', 1), ("[" * 10**5, 1), ('null\n{"text": "a"}', 1)],
)
def test_each_line_of_a_table_is_an_object(content, line, tmp_path):
    """Over a `null` in the first line pyarrow ends the process."""
    path = written(tmp_path / "t.jsonl", content)
    with pytest.raises(HashzooError, match=rf"t.jsonl cannot be read as a table \(line {line} is no JSON object\)"):
        items.rows_of_table(path)


def test_a_model_that_is_not_what_it_was_is_refused(run, tmp_path, monkeypatch):
    filling.fill(tmp_path / "codes", load_model(run), items.lines_of(written(tmp_path / "t.txt", "a\n")))
    about = read_json(run / "run.json")
    gain = {**about["settings"], "image.gain": {"value": 2.0, "origin": "user"}}
    write_json(run / "run.json", {**about, "settings": gain})
    with pytest.raises(HashzooError, match=r"encoder 'tiny' is not what it was .*\(gain\)"):
        load_model(run).encode_images([data().image(0)])
    write_json(run / "run.json", {**about, "bits": 8})
    with pytest.raises(HashzooError, match="its parameters do not fit .* hashzoo-tiny"):
        load_model(run).encode_texts(["a"])
    write_json(run / "run.json", {name: value for name, value in about.items() if name != "widths"})
    with pytest.raises(HashzooError, match="of an older hashzoo"):
        load_model(run)
    write_json(run / "run.json", {**about, "method": "gone"})
    with pytest.raises(HashzooError, match="no method is called 'gone'.*made with hashzoo .*hashzoo-tiny"):
        load_model(run)
    (run / "model.safetensors").unlink()
    with pytest.raises(HashzooError, match="was not finished"):
        load_model(run)

    # A collection is still sound; it tells when its model gives something else.
    model = load_model(tmp_path / "codes")
    model.check()
    monkeypatch.setattr(type(model.encoder("image")), "forward", lambda encoder, x: x.flatten(1).float() / 254.0 * 0.5)
    with pytest.raises(HashzooError, match="gives other image codes here"):
        load_model(tmp_path / "codes").check()


def test_features_that_are_looked_up_encode_nothing_new(tiny, tmp_path):
    dataset = data()
    features = np.random.default_rng(0).normal(size=(len(dataset), 8)).astype(np.float32)
    dataset.features = {"text": features}
    (result, *_) = bench(["toy"], [16], dataset=dataset, encoders="tiny+given", settings=["trainer.epochs=1"])[
        "results"
    ]
    model = load_model(result["run"])
    assert (model.encodes("image"), model.encodes("text")) == (True, False)
    with pytest.raises(HashzooError, match="looks up the features of texts"):
        filling.fill(tmp_path / "codes", model, items.lines_of(written(tmp_path / "t.txt", "a\n")))
    filled = filling.fill(tmp_path / "codes", model, items.pictures_in(folder_of_pictures(tmp_path / "pictures", 2)))
    assert filled.added == 2
    with pytest.raises(HashzooError, match="looks up the features of texts"):
        filled.collection.query(text="a", k=1)
