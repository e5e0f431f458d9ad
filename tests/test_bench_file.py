"""Bench files say what the options say; options win; nothing is started for a file that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers import HERE

from hashzoo.benches.bench_file import read_bench_file
from hashzoo.benches.benchmark import Request
from hashzoo.benches.sweep import axes_of, parse_sweep
from hashzoo.data.stream import Stream
from hashzoo.errors import HashzooError

STUDY = """
dataset = "scenes"
encoders = ["tiny+bow"]
bits = 8
threads = 1
jobs = 1
set.dataset = {pairs = 100, pixels = 16, difficulty = 0}

[[bench]]
method = ["toy", "fragile"]
seeds = [0, 1]
sweep."trainer.epochs" = [1, 2]

[[bench]]
method = "toy"
folds = 2
bits = [8, 16]
"""


def write(text: str) -> Path:
    path = Path("study.toml")
    path.write_text(text)
    return path


def test_a_file_is_read_with_what_holds_for_all_of_its_benches():
    (one, other), jobs = read_bench_file(write(STUDY), {})
    assert jobs == 1
    assert one["methods"] == ["toy", "fragile"]
    assert (one["bits"], one["seeds"], one["encoders"], one["threads"]) == ([8], [0, 1], "tiny+bow", 1)
    assert one["settings"] == ["dataset.pairs=100", "dataset.pixels=16", "dataset.difficulty=0"] == other["settings"]
    assert one["sweep"] == {"trainer.epochs": ["1", "2"]}
    assert (other["bits"], other["folds"], other["sweep"]) == ([8, 16], 2, {})


def test_every_value_has_the_words_of_the_command_line():
    text = """
    method = "toy"
    sweep = {trainer.prompt = ["a, {}", "{}"], toy.trainer.widths = [[512, 256], [1024]], "loss.balanced" = [true]}
    set = {trainer.lr = 1e-5, "image.weights" = "random"}
    """
    ((asked,), jobs) = read_bench_file(write(text), {})
    assert jobs is None
    typed = parse_sweep(['trainer.prompt="a, {}","{}"', 'toy.trainer.widths="512,256",1024', "loss.balanced=true"])
    assert {name: tuple(values) for name, values in asked["sweep"].items()} == typed
    assert asked["settings"] == ["trainer.lr=1e-05", "image.weights=random"]


def test_what_is_given_otherwise_wins_setting_by_setting():
    text = 'method = "toy"\nset = {trainer.lr = 1, trainer.epochs = 2}\nsweep = {loss.a = [1, 2], loss.b = [3]}\n'
    given = {"methods": ["soda"], "settings": ["loss.a=5", "trainer.lr=4"], "sweep": {"trainer.epochs": ["7", "8"]}}
    ((asked,), _) = read_bench_file(write(text), given)
    assert asked["methods"] == ["soda"]
    assert asked["settings"] == ["loss.a=5", "trainer.lr=4"]
    assert asked["sweep"] == {"loss.b": ["3"], "trainer.epochs": ["7", "8"]}


STREAM = """
method = "toy"
protocol = "online"
chunk = 40
[[bench]]
[[bench]]
chunks-by = "classes"
order-seed = 3
database-codes = "kept"
[[bench]]
protocol = "offline"
"""


def test_a_stream_is_asked_for_with_the_words_of_the_options():
    benches, _ = read_bench_file(write(STREAM), {})
    assert [one["stream"] for one in benches] == [Stream(40), Stream(40, "classes", 3, "kept"), None]
    benches, _ = read_bench_file(write(STREAM), {"protocol": "online", "chunk": 7})
    assert [one["stream"] for one in benches] == [Stream(7), Stream(7, "classes", 3, "kept"), Stream(7)]
    benches, _ = read_bench_file(write(STREAM), {"protocol": "offline"})
    assert [one["stream"] for one in benches] == [None] * 3


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("method = 'toy'\nmetod = 1", "'metod' in study.toml is no option of a bench; did you mean method?"),
        ("[[bench]]\nmethod = 'toy'\njobs = 2", "'jobs' in study.toml is no option of a bench"),
        ("bits = 8", 'study.toml names no method; write method = ["soda", "dcmh"]'),
        ("method = 'toy'\nbits = [8, 2.5]", "bits in study.toml is a list of whole numbers, not [8, 2.5]"),
        ("method = 'toy'\nfolds = '5'", "folds in study.toml is a whole number, not '5'"),
        ("method = 'toy'\nfolds = [5]", "folds in study.toml is a whole number, not [5]"),
        ("method = 'toy'\nset = ['trainer.lr=1']", "set in study.toml is a table, not"),
        ("method = 'toy'\nset = {trainer.lr = 2020-01-01}", "a setting is a number, a word, true, false or a list"),
        ("method = 'toy'\nallow-overlap = 1", "allow-overlap in study.toml is true or false, not 1"),
        ("method = 1", "method in study.toml is a list of words, not 1"),
        ("method = 'toy'\njobs = 'all'", "jobs in study.toml is a whole number, not 'all'"),
        ("[bench]\nmethod = 'toy'", "bench in study.toml is a list of tables; write [[bench]] above each"),
        ("method = ", "study.toml cannot be read as TOML ("),
        ("method = 'toy'\nchunk = 5", "study.toml: --chunk is for --protocol online; add that, or leave it out"),
        ("method = 'toy'\nprotocol = 'stream'", "study.toml: --protocol is offline or online, not 'stream'"),
        ("method = 'toy'\nprotocol = 'online'\nchunk = '5'", "chunk in study.toml is a whole number, not '5'"),
        ("method = 'toy'\nprotocol = 'online'\nchunks-by = 'label'", "chunks are made by rows or classes, not 'label'"),
    ],
)
def test_files_that_are_refused(text, said):
    with pytest.raises(HashzooError) as refused:
        read_bench_file(write(text), {})
    assert said in str(refused.value)


def test_one_command_runs_a_study_and_goes_on_with_it(tiny, command):
    path = write(STUDY)
    shown = command("bench", path, "--json")
    assert shown.code == 0, shown
    tracks = json.loads(shown.out)["tracks"]
    rows = [(item["track"].get("fold", {}).get("number"), len(item["results"])) for item in tracks]
    # Two seeds of toy at two settings, of fragile and of the floor; then two folds of toy and the floor at two lengths.
    assert rows == [(None, 8), (1, 4), (2, 4)]
    assert "16/16 random" in shown.err
    again = command("bench", path, "--bits", "8", "--seeds", "1", "--sweep", "trainer.epochs=2", "--json")
    tracks = json.loads(again.out)["tracks"]
    assert [[(r["method"], r["seed"], r["reused"]) for r in item["results"]] for item in tracks] == [
        [("toy", 1, True), ("fragile", 1, True), ("random", 1, True)],
        [("toy", 1, False), ("random", 1, False)],
        [("toy", 1, False), ("random", 1, False)],
    ]


def test_a_study_of_which_one_bench_is_wrong_starts_none(tiny, sentence):
    path = write(STUDY.replace('method = "toy"', 'method = "tooy"'))
    assert sentence("bench", path) == "hashzoo: no method is called 'tooy'; did you mean toy?"
    path = write(STUDY.replace("folds = 2", 'set."trainer.epochs" = "many"'))
    assert sentence("bench", path) == "hashzoo: trainer.epochs must be a whole number, not 'many'"
    assert sentence("bench", "nothing.toml") == (
        "hashzoo: there is no bench file nothing.toml; methods are named so: --method soda,dcmh"
    )
    assert not Path("runs").exists()


@pytest.mark.parametrize("path", sorted((HERE.parent / "benchmarks").rglob("*.toml")), ids=lambda path: path.name)
def test_the_files_that_come_with_hashzoo(path):
    """They can be asked for with the plugins of this repository."""
    benches, _ = read_bench_file(path, {})
    for asked in benches:
        request = Request(**asked)
        request.check()
        axes_of(request.sweep, request.settings, request.methods)


def test_the_file_of_the_documentation():
    page = (HERE.parent / "docs" / "benches.md").read_text(encoding="utf-8")
    (one, other, stream), jobs = read_bench_file(write(page.split("```toml\n")[1].split("```")[0]), {})
    assert (one["methods"], one["bits"], jobs) == (["soda", "dcmh"], [16, 32], 4)
    assert one["settings"] == ["soda.trainer.alpha=0.3"]
    assert one["sweep"]["trainer.prompt"] == ["An image of {}, drawn.", "{}"]
    assert (other["folds"], other["sweep"]) == (5, {"train_data.label_noise": ["0", "0.2"]})
    assert (one["stream"], stream["stream"]) == (None, Stream(500))
