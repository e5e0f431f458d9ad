"""What may share a table, kept beside its runs."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import HERE

from hashzoo.benches.track import Track, evaluator_digest, read_result
from hashzoo.codes import pack
from hashzoo.data.scenes import Scenes
from hashzoo.errors import HashzooError
from hashzoo.evaluator import ceiling, evaluate, floor
from hashzoo.opening import open_dataset
from hashzoo.storage.files import read_json, write_json


@pytest.fixture(scope="module")
def track() -> Track:
    return Track.of(Scenes(pairs=120, pixels=16, difficulty=0))


def codes_of(track: Track, bits: int = 8, seed: int = 0):
    draw = np.random.default_rng(seed)
    rows = {"query": len(track.query_labels), "database": len(track.database_labels)}
    return {
        f"{role}_{split}": pack(draw.standard_normal((count, bits)))
        for role in ("image", "text")
        for split, count in rows.items()
    }


def test_a_track_is_its_data_splits_and_protocol(track):
    data = Scenes(pairs=120, pixels=16, difficulty=0)
    assert track.describe() == {
        "dataset": "scenes",
        "fingerprint": data.fingerprint(),
        "splits": data.splits.digest(),
        "rule": data.splits.rule,
        "protocol": "expected",
        "counts": {"train": 96, "val": 0, "query": 24, "database": 96, "labels": 22},
    }
    assert track.id.startswith("scenes-")
    assert len(track.id) == len("scenes-") + 8
    np.testing.assert_array_equal(track.query_labels, data.labels[data.splits.query])


@pytest.mark.parametrize("settings", [{"pixels": 17}, {"seed": 1}, {"pairs": 121}, {"difficulty": 0.1}])
def test_other_data_is_another_track(settings, track):
    other = Track.of(Scenes(**{"pairs": 120, "pixels": 16, "difficulty": 0, **settings}))
    assert other.id != track.id


def test_the_name_of_a_variant_makes_a_folder(track):
    labels = track.query_labels, track.database_labels
    assert Track("emoji/full", "f", "s", "r", {}, *labels).id.startswith("emoji-full-")


def test_splits_that_leak_make_no_track(tiny):
    tiny.install(HERE / "plugins_working" / "faulty")
    with pytest.raises(HashzooError, match="1 of 20 query rows are also in 'train'"):
        Track.of(open_dataset("leaking"))


def test_scores_are_those_of_the_evaluator_in_each_direction(track):
    codes = codes_of(track)
    scored, per_query = track.score(codes)
    labels = track.query_labels, track.database_labels
    for direction, pair in (("i2t", ("image", "text")), ("t2i", ("text", "image"))):
        expected = evaluate(codes[f"{pair[0]}_query"], codes[f"{pair[1]}_database"], *labels).scores
        assert scored["scores"][direction] == expected
        assert per_query[direction].mean() == pytest.approx(expected["map"])
    assert scored["floor"] == floor(*labels)
    assert scored["ceiling"] == ceiling(*labels, 8)
    assert scored["evaluator"] == evaluator_digest()
    assert scored["floor"] < scored["ceiling"] <= 1


def test_the_ceiling_depends_on_the_code_length_and_is_remembered(track):
    assert track.limits(4) is track.limits(4)
    assert track.limits(4)[1] < track.limits(64)[1]
    assert track.limits(4)[0] == track.limits(64)[0]


def test_a_track_comes_back_from_its_folder(track, tmp_path):
    track.save(tmp_path / "t")
    back = Track.load(tmp_path / "t")
    assert back.describe() == track.describe()
    assert back.id == track.id
    codes = codes_of(track)
    assert back.score(codes)[0] == track.score(codes)[0]
    before = (tmp_path / "t" / "labels.npz").stat().st_mtime_ns
    track.save(tmp_path / "t")
    assert (tmp_path / "t" / "labels.npz").stat().st_mtime_ns == before


def test_a_folder_without_a_track(tmp_path):
    with pytest.raises(HashzooError, match=r"has no track\.json; give a run that lies in a runs folder"):
        Track.load(tmp_path)


@pytest.mark.parametrize("damage", ["cut labels", "no labels", "flipped labels", "list", "fields", "counts"])
def test_a_damaged_track_is_one_sentence(damage, track, tmp_path):
    track.save(tmp_path)
    labels, about = tmp_path / "labels.npz", tmp_path / "track.json"
    if damage == "cut labels":
        labels.write_bytes(labels.read_bytes()[:-30])
    elif damage == "no labels":
        labels.unlink()
    elif damage == "flipped labels":
        content = bytearray(labels.read_bytes())
        content[90] ^= 255
        labels.write_bytes(content)
    elif damage == "list":
        write_json(about, [])
    elif damage == "fields":
        write_json(about, read_json(about) | {"colour": "red"})
    else:
        write_json(about, read_json(about) | {"counts": {}})
    with pytest.raises(
        HashzooError, match=r"is damaged .*delete its track.json, and the same bench writes it again"
    ) as e:
        Track.load(tmp_path)
    assert e.value.exit_code == 1


def result_of(**changes):
    """All that a result must have."""
    way = {"map": 0.5, "k": None, "pr_curve_rank": {"rank": [1, 2], "recall_macro": [0.1, 1.0]}}
    health = {"rows": 10, "bits": 8, "constant_bits": 0, "balance": 1.0}
    return {
        **{"schema": 1, "key": "k", "request": "r", "method": "soda", "status": "ok", "bits": 8, "seed": 0},
        **{"encoders": {"image": "tiny", "text": "bow"}, "settings": {"trainer.lr": 0.1, "trainer.widths": [8, 8]}},
        "plugin": {"name": "p", "distribution": "d", "version": "1", "digest": "0"},
        **{"scores": {"i2t": way, "t2i": way}, "floor": 0.1, "ceiling": 1, "evaluator": "e"},
        **{"health": {"image": health, "text": health}, "seconds": {"train": 0}},
        **changes,
    }


def test_a_result_has_every_field(tmp_path):
    path = tmp_path / "result.json"
    whole = result_of(something_new=[1])
    write_json(path, whole)
    assert read_result(path) == whole
    for name in result_of():
        write_json(path, {key: value for key, value in whole.items() if key != name})
        with pytest.raises(HashzooError, match=rf"result\.json is damaged .it has no '{name}'.; "):
            read_result(path)
    write_json(path, [])
    with pytest.raises(HashzooError, match=r"is damaged .it is a list, not an object.; delete it and run again"):
        read_result(path)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"bits": "8"}, "bits is text, not a whole number from 1 to 4,096"),
        ({"bits": True}, "bits is True, not a whole number"),
        ({"method": "a\x1b[31m"}, "method is text, not a line of text"),
        ({"scores": {"i2t": {"map": 0.1}, "t2i": {"map": None}}}, "scores.t2i.map is None, not a number"),
        ({"new": {"deep": ["\x07"]}}, r"new.deep\[0\] holds control characters"),
        ({"settings": []}, "settings is a list, not an object"),
    ],
)
def test_a_result_with_a_field_of_a_wrong_type(changes, said, tmp_path):
    write_json(tmp_path / "result.json", result_of(**changes))
    with pytest.raises(HashzooError, match=said):
        read_result(tmp_path / "result.json")
