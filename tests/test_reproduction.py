"""A recorded run is repeated and compared; a stranger's record is data, and refused in one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from helpers import SMALL, forget

from hashzoo.benches.benchmark import bench
from hashzoo.benches.records import DESCRIPTION, key_of
from hashzoo.benches.reproduction import Difference, Flips, read_run, repeat
from hashzoo.codes import Codes, load_codes, save_codes
from hashzoo.data.stream import Stream
from hashzoo.errors import HashzooError
from hashzoo.storage.files import read_json, write_json

pytestmark = pytest.mark.usefixtures("one_thread")


def trained(method="toy", runs="runs", settings=(), **options) -> Path:
    outcome = bench(
        [method],
        [8],
        dataset="scenes",
        encoders="tiny+bow",
        settings=[*SMALL, *settings],
        runs=runs,
        threads=1,
        **options,
    )
    tracks = outcome.get("tracks", [outcome])
    return Path(next(r["run"] for r in tracks[-1]["results"] if r["method"] == method))


def again(run: Path, **options):
    return repeat(read_run(run), runs=Path("repeated"), **options)


def change(run: Path, key: bool = True, **changes) -> None:
    """Change fields of run.json, with a key that fits unless asked otherwise."""
    about = read_json(run / "run.json") | changes
    if key:
        about["key"] = key_of({name: about[name] for name in DESCRIPTION if name in about})
        write_json(run / "result.json", read_json(run / "result.json") | {"key": about["key"]})
    write_json(run / "run.json", about)


def test_the_same_run_again_is_the_same(tiny):
    run = trained(settings=["trainer.lr=0.01"], seeds=[3])
    before = {path: path.read_bytes() for path in run.iterdir()}
    found = again(run)
    assert found.same
    assert (found.made, found.flips, found.scores, found.recorded_scores) == ([], [], [], [])
    assert found.bits_compared == 2 * 8 * (20 + 80)
    assert Path(found.run) == Path("repeated") / run.relative_to("runs")
    assert (Path(found.run) / "codes.npz").read_bytes() == before[run / "codes.npz"]
    assert {path: path.read_bytes() for path in run.iterdir()} == before
    events = []
    assert again(run, watch=events.append).same
    assert events[-1].content["reused"]
    assert not read_json(Path(again(run, fresh=True).run) / "result.json").get("reused")


@pytest.mark.parametrize(
    ("settings", "options"),
    [
        (("train_data.label_noise=0.2", "train_data.seed=1"), {}),
        ((), {"folds": 3, "fold_seed": 2}),
        ((), {"stream": Stream(chunk=40, order_seed=1, database_codes="recomputed")}),
        (("image.frozen=false", "toy.trainer.epochs=1"), {}),
    ],
)
def test_every_kind_of_track_is_opened_as_it_was(settings, options, tiny):
    run = trained(settings=settings, **options)
    found = again(run)
    assert found.same
    assert found.made == []
    assert Path(found.run).name == run.name


def test_a_run_json_alone_is_enough(tiny):
    run = trained()
    alone = Path("mail")
    alone.mkdir()
    shutil.copy(run / "run.json", alone)
    found = again(alone / "run.json")
    assert found.same
    assert (found.bits_compared, found.recorded_scores) == (0, None)
    assert Path(found.run).name == run.name
    fold = trained(folds=2)
    shutil.copy(fold / "run.json", alone)
    with pytest.raises(HashzooError, match=r"of which only dataset\.json knows the seed; give the run folder inside"):
        read_run(alone)


def test_what_a_run_was_made_of_is_compared(tiny):
    run = trained()
    about = read_json(run / "run.json")
    versions = about["versions"] | {"torch": "1.0", "gone": "2"}
    plugins = about["plugins"] | {"tiny": about["plugins"]["tiny"] | {"digest": "0" * 64}}
    change(run, versions=versions, plugins=plugins, device="some GPU", threads=2)
    found = repeat(read_run(run), runs=Path("repeated"), device="cpu")
    here = about["versions"]["torch"]
    assert found.made == [
        Difference("version", "torch", "1.0", here),
        Difference("version", "gone", "2", None),
        Difference("plugin", "tiny.digest", "0" * 64, about["plugins"]["tiny"]["digest"]),
        Difference("device", "", "some GPU", "cpu"),
    ]
    assert found.same


def test_other_data_is_told_by_its_digest(tiny):
    run = trained()
    found = again(run, settings=["dataset.seed=1"])
    data = {one.name: one for one in found.made if one.what == "data"}
    assert {"fingerprint", "splits"} & set(data)
    assert not found.same
    assert found.recorded_scores is None
    found = again(run, settings=["dataset.pairs=110"])
    assert [one.name for one in found.other_rows] == ["image_database", "image_query", "text_database", "text_query"]
    assert found.other_rows[0].recorded == [80, 8]


def test_a_default_that_is_another_here_is_set_as_the_run_had_it(tiny):
    run = trained(settings=["trainer.lr=0.02"])
    about = read_json(run / "run.json")
    about["settings"]["trainer.lr"]["origin"] = "default"  # as if 0.02 were the default where the run was made
    change(run, settings=about["settings"])
    found = again(run)
    assert found.same
    assert found.made == []
    about["settings"]["trainer.gone"] = {"value": 1, "origin": "default"}
    change(run, settings=about["settings"])
    assert again(run).made == [Difference("setting", "trainer.gone", 1, None)]


def test_every_bit_that_differs_is_named(tiny):
    run = trained()
    codes = load_codes(run / "codes.npz")
    data = codes["text_query"].data.copy()
    data[[1, 5], 0] ^= 0b100
    data[5, 0] ^= 0b1
    save_codes(run / "codes.npz", **codes | {"text_query": Codes(data, 8)})
    found = again(run)
    assert found.flips == [Flips("text_query", 20, 2, {0: 1, 2: 2})]
    assert not found.same
    assert not found.scores  # the recorded scores are those of the repetition,
    assert "scores.t2i.map" in {one.name for one in found.recorded_scores}  # and not those of the recorded codes
    result = read_json(run / "result.json")
    result["scores"]["i2t"]["map"] += 0.25
    write_json(run / "result.json", result)
    (score,) = again(run).scores
    assert (score.name, score.recorded - score.here) == ("scores.i2t.map", pytest.approx(0.25))


def test_codes_of_too_few_rows_are_told_and_not_scored(tiny):
    run = trained()
    codes = load_codes(run / "codes.npz")
    save_codes(run / "codes.npz", **{name: Codes(one.data[:5], one.bits) for name, one in codes.items()})
    found = again(run)
    assert (found.same, found.recorded_scores) == (False, None)
    assert found.other_rows[0] == Difference("code", "image_database", [5, 8], [80, 8])


def test_a_run_is_not_written_over(tiny, sentence):
    run = trained()
    before = (run / "result.json").read_bytes()
    said = sentence("bench", "--from", run, "--runs", "runs")
    assert said.endswith("would be written over it; name another folder, such as --runs repeated")
    assert (run / "result.json").read_bytes() == before


def test_the_command_line(tiny, command, sentence):
    run = trained()
    outcome = command("bench", "--from", run)
    assert outcome.code == 0, outcome
    assert "toy, tiny+bow, 8 bits, seed 0, again in repeated/" in outcome.out
    assert "codes: all 1,600 bits are the same\nscores: all numbers are the same\n" in outcome.out
    about = read_json(run / "run.json")
    change(run, versions=about["versions"] | {"torch": "1.0"})
    codes = load_codes(run / "codes.npz")
    save_codes(run / "codes.npz", **codes | {"image_query": Codes(codes["image_query"].data ^ 1, 8)})
    outcome = command("bench", "--from", run / "run.json")
    assert outcome.code == 1
    assert "  version torch: 1.0 there, " in outcome.out
    assert "codes: 20 of 1,600 bits differ\n  image_query: in 20 of 20 rows; bits, with how many rows: 0 (20)\n" in (
        outcome.out
    )
    assert "the recorded scores are not those of the recorded codes" in outcome.out
    found = json.loads(command("bench", "--from", run, "--json").out)
    assert found["same"] is False
    assert found["flips"] == [{"name": "image_query", "rows": 20, "rows_changed": 20, "bits": {"0": 20}}]
    assert sentence("bench", "--from", run, "--bits", "16") == (
        "hashzoo: --from repeats a run as it was; leave --bits out"
    )
    assert "leave the bench file out" in sentence("bench", "file.toml", "--from", run)


@pytest.mark.parametrize(
    ("changes", "key", "said"),
    [
        ({"surprise": 1}, True, "it has an unknown field 'surprise'"),
        ({"bits": "8"}, True, "bits is text, not a whole number from 1 to 4,096"),
        ({"bits": 10**9}, True, "bits is 1000000000, not a whole number from 1 to 4,096"),
        ({"seed": -1}, True, "seed is -1, not a whole number"),
        ({"threads": 10**6}, True, "threads is 1000000, not a whole number from 1 to 1,024"),
        ({"method": ["toy"]}, True, "method is a list, not a line of text"),
        ({"method": "toy\x1b]0;pwned\x07"}, True, "method is text, not a line of text"),
        ({"method": "nowhere"}, True, "no method is called 'nowhere'"),
        ({"device": "toaster", "method": "toy"}, True, None),
        ({"encoders": {"image": {"name": "tiny", "card": {}}}}, True, "encoders has no 'text'"),
        ({"settings": {"trainer.lr": 0.1}}, False, "settings.trainer.lr is 0.1, not an object"),
        ({"schema": 2}, True, "schema is 2, not a whole number from 1 to 1"),
        ({"seed": 4}, False, "was changed: its key is not that of what it holds"),
    ],
)
def test_a_strangers_record_is_refused_in_one_sentence(changes, key, said, tiny, sentence):
    run = trained()
    change(run, key, **changes)
    if said is None:  # a device of another kind is looked for, and not found, or found on a machine with a GPU
        with pytest.raises(HashzooError, match="was made on toaster, and torch sees no GPU here; type --device cpu"):
            again(run)
        return
    before = sorted(Path().rglob("*"))
    assert said in sentence("bench", "--from", run, code=2 if "called" in said else 1)
    assert sorted(Path().rglob("*")) == before


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("run.json", b"[" * 100_000, "cannot be read as JSON"),
        ("run.json", b'{"schema": NaN}', "NaN is no JSON"),
        ("run.json", b"\x80\x04K\x01.", "cannot be read as JSON"),  # a pickle
        ("run.json", b"", "cannot be read as JSON"),
        ("codes.npz", b"\x80\x04K\x01.", "cannot be read"),
        ("result.json", b"{}", "is damaged (it has no 'schema')"),
    ],
)
def test_a_file_of_a_record_that_is_no_such_file(name, content, said, tiny, sentence):
    run = trained()
    (run / name).write_bytes(content)
    assert said in sentence("bench", "--from", run, code=1)
    assert not Path("repeated").exists()


def test_arrays_of_objects_and_arrays_larger_than_their_file_are_not_read(tiny, sentence):
    run = trained()
    np.savez(run / "codes.npz", **{"a.data": np.array([{}], dtype=object), "a.bits": 8})
    assert "no number and no text" in sentence("bench", "--from", run, code=1)
    np.savez_compressed(run / "codes.npz", **{"a.data": np.zeros((10**6, 1), np.uint8), "a.bits": 8})
    assert "is compressed, which hashzoo does not do" in sentence("bench", "--from", run, code=1)


def test_a_folder_that_is_no_run(tiny, sentence):
    assert sentence("bench", "--from", "nowhere") == (
        "hashzoo: there is no recorded run at nowhere; give a run folder of hashzoo bench, or the run.json in it"
    )


def test_a_repetition_that_fails_says_why(tiny, command):
    run = trained()
    file = tiny.folder / "hashzoo_tiny" / "parts.py"
    file.write_text(
        file.read_text() + "\n\ndef _fail(self, pictures):\n    raise RuntimeError('no')\n\n\nTiny.forward = _fail\n"
    )
    forget(tiny.folder)
    shutil.rmtree("cache")
    outcome = command("bench", "--from", run)
    assert outcome.code == 1
    assert "it failed: RuntimeError: no" in outcome.out
    assert "plugin tiny.digest" in outcome.out
