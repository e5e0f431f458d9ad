"""Encoders beside those of the towers: who names them, whose settings they have, which rows they reach."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import SMALL

from hashzoo import zoo
from hashzoo.benches import benchmark
from hashzoo.benches.benchmark import bench
from hashzoo.benches.run import describe, key_of
from hashzoo.benches.track import Track
from hashzoo.benches.workbench import Workbench
from hashzoo.data.stream import Stream
from hashzoo.data.training import NO_TEXT
from hashzoo.encoders.base import MissingWeights
from hashzoo.errors import HashzooError
from hashzoo.fitting import make_job
from hashzoo.online import RowsOf
from hashzoo.opening import open_dataset, train_data
from hashzoo.recipe import Cell, Recipe, build, check_used, pair_of
from hashzoo.report import collect, frame, make_table
from hashzoo.report.html.provenance import provenance
from hashzoo.settings import parse_assignments
from hashzoo.storage.files import read_json
from hashzoo.testing import toy_job

PAIR = {"image": "tiny", "text": "bow"}
HOOKS = """
from hashzoo.plugin import Method, Part, hookimpl

HASHZOO_API = 1


@hookimpl
def hashzoo_encoders():
    return [Part("second", "hashzoo_tiny.parts:Tiny", "the same under another name")]


@hookimpl
def hashzoo_trainers():
    return [Part("taught", "school.parts:Taught", "looks at what a teacher would see")]


@hookimpl
def hashzoo_methods():
    extra = {"teacher_image": "second", "teacher_text": "bow"}
    settings = {"text.size": 64, "teacher_image.gain": 3.0, "teacher_text.size": 16}
    return [Method("taught", "tiny", "bow", trainer="taught", extra=extra, settings=settings, summary="with a teacher")]
"""
PARTS = """
import torch
from hashzoo import OnlineTrainer


class Taught(OnlineTrainer):
    def partial_fit(self, job):
        rows = torch.arange(len(job.train))
        means = {role: job.train.extra(role, rows).mean() for role in ("teacher_image", "teacher_text")}
        job.log(epoch=1, rows=len(rows), **means)
        return job.towers()
"""


@pytest.fixture(autouse=True)
def school(tiny, site, monkeypatch):
    site.write("hashzoo-school", "school", HOOKS, PARTS)
    monkeypatch.setattr(benchmark, "FLOOR_METHOD", "taught")  # whose encoders take no time


def recipe_of(*settings, encoders=PAIR, method="taught"):
    return build(zoo.load(), method, encoders, parse_assignments(settings, ["taught", "toy"]))


def values(recipe, *names):
    settings = recipe.settings()
    return [settings[name]["value"] for name in names]


def workbench(*settings):
    assignments = parse_assignments((*SMALL, "dataset.val=0.25", *settings), [])
    data = open_dataset("scenes", assignments)
    return Workbench(data, Track.of(data, train_data(assignments)), torch.device("cpu"), 1)


def job_of(bench, recipe):
    return make_job(bench, recipe, Cell("taught", "tiny+bow", 8, 0), lambda **terms: None)


@pytest.mark.parametrize(
    ("spec", "raw", "found"),
    [
        ("lite", ("image", "text"), {"image": "lite0", "text": "minilm"}),
        ("tiny+minilm", ("image", "text"), {"image": "tiny", "text": "minilm"}),
        ("paper", ("image", "text"), PAIR | {"teacher_image": "second", "teacher_text": "bow"}),
        ("paper", ("text",), PAIR | {"image": "given", "teacher_image": "given", "teacher_text": "bow"}),
    ],
)
def test_only_paper_says_which_they_are(spec, raw, found):
    known = zoo.load()
    assert pair_of(spec, known.find("method", "taught")[1], known, raw) == found


def test_they_are_those_of_the_pair_with_its_settings_unless_others_are_named():
    recipe = recipe_of("image.gain=2", "text.size=32", "image.stored=float16")
    assert dict(recipe.encoders) == PAIR | {"teacher_image": "tiny", "teacher_text": "bow"}
    assert values(recipe, "teacher_image.encoder", "teacher_image.gain", "teacher_image.stored") == [
        *("tiny", 2.0, "float16")
    ]
    # The recipe has a size for its teacher's bag of words, which is the pair's, too.
    assert values(recipe, "text.size", "teacher_text.size") == [32, 16]
    assert {s["origin"] for name, s in recipe.settings().items() if name.startswith("teacher_image.")} == {"default"}
    own = recipe_of("image.gain=2", "teacher_image.gain=5", "taught.teacher_text.size=8", "text.stored=float16")
    assert values(own, "image.gain", "teacher_image.gain", "teacher_text.size") == [2.0, 5.0, 8]
    assert values(own, "teacher_text.stored") == ["float16"]


def test_another_encoder_has_the_recipes_settings_or_its_own():
    named = recipe_of("image.gain=2", encoders=PAIR | {"teacher_image": "second", "teacher_text": "bow"})
    assert values(named, "teacher_image.encoder", "teacher_image.gain") == ["second", 3.0]
    assert named.settings()["teacher_image.encoder"]["origin"] == "method"
    typed = recipe_of("image.gain=2", "teacher_image.encoder=timm:resnet18", "teacher_image.weights=random")
    assert typed.settings()["teacher_image.encoder"] == {"value": "timm:resnet18", "origin": "user"}
    assert "teacher_image.name" not in typed.settings()
    assert [plugin.name for plugin in named.plugins()] == ["hashzoo", "school", "tiny"]


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("teacher_image.encoder=secnod", "no encoder is called 'secnod'; did you mean second?"),
        ("taught.teacher_image.gian=1", "Tiny has no setting 'teacher_image.gian'; did you mean teacher_image.gain?"),
        ("taught.teacher_image.frozen=false", "Tiny has no setting 'teacher_image.frozen'"),
        ("taught.pupil_image.gain=1", "'taught' has no pupil_image; did you mean"),
        ("taught.loss.weight=1", "'taught' has no loss"),
        ("teacher_image.stored=float8", "teacher_image.stored is float32 or float16, not 'float8'"),
        ("teacher.gain=1", "'teacher' in 'teacher.gain=1' is no section"),
    ],
)
def test_what_cannot_be_set(setting, said):
    with pytest.raises(HashzooError) as refused:
        recipe_of(setting)
    assert said in str(refused.value)


def test_a_role_that_no_method_has_is_refused():
    recipes = [recipe_of(), recipe_of(method="toy")]
    check_used(parse_assignments(["teacher_image.gain=1", "teacher_image.encoder=tiny"], []), recipes)
    with pytest.raises(HashzooError, match=r"has the setting 'teacher_image\.frozen'; did you mean"):
        check_used(parse_assignments(["teacher_image.frozen=false"], []), recipes)
    with pytest.raises(HashzooError, match=r"no method asked for has the setting 'teacher_image\.gain'"):
        check_used(parse_assignments(["teacher_image.gain=1"], []), recipes[1:])


def test_a_teacher_of_the_wrong_modality_is_refused():
    with pytest.raises(HashzooError, match=r"'bow' encodes texts, not images; .* --set teacher_image.encoder=NAME"):
        recipe_of("teacher_image.encoder=bow").encoder("teacher_image")


def test_a_job_has_their_features_of_the_training_and_val_rows():
    found = workbench()
    recipe = recipe_of("teacher_image.gain=5")
    job, splits = job_of(found, recipe), found.dataset.splits
    assert job.widths == {role: {"pooled": n} for role, n in zip(recipe.encoders, (48, 64, 48, 16), strict=True)}
    features = found.encoded(recipe, "teacher_image").features
    np.testing.assert_allclose(features, 5 * found.encoded(recipe, "image").features, rtol=1e-6)
    for rows, numbers in ((job.train, splits.train), (job.val, splits.val)):
        index = torch.tensor([3, 0, 7])
        np.testing.assert_array_equal(rows.extra("teacher_image", index).numpy(), features[numbers[index.numpy()]])
    with pytest.raises(IndexError):
        job.train.extra("teacher_image", torch.tensor([len(splits.train)]))
    tower = job.standardised("teacher_image")
    made = tower(job.train.extra("teacher_image", torch.arange(len(job.train))))
    assert made.shape == (len(splits.train), 48)
    assert made.mean(dim=0).abs().max() < 1e-5
    assert made.square().mean().item() == pytest.approx(1, abs=1e-4)


def test_features_of_equal_encoders_are_computed_and_held_once():
    found, recipe = workbench(), recipe_of()
    assert found.encoded(recipe, "image") is found.encoded(recipe, "teacher_image")
    trained = recipe_of("image.frozen=false")
    assert not found.encoded(trained, "image").frozen
    assert found.encoded(trained, "teacher_image") is found.encoded(recipe, "image")


def test_a_teacher_sees_training_data_that_were_made_harder():
    found = workbench("train_data.missing_texts=0.5")
    job, texts = job_of(found, recipe_of()), found.training.train.texts
    seen = job.train.extra("teacher_text", torch.arange(len(texts)))
    assert not seen[torch.from_numpy(texts == NO_TEXT)].any()
    assert seen[torch.from_numpy(texts != NO_TEXT)].any()


def test_some_rows_of_a_job_are_some_rows_of_theirs():
    toy = toy_job(rows=9, widths={"teacher_image": {"pooled": 5}})
    assert toy.extra["teacher_image"].shape == (9, 5)
    rows = RowsOf(toy.job.train, torch.tensor([8, 2, 4]))
    found = rows.extra("teacher_image", torch.tensor([2, 0]))
    np.testing.assert_array_equal(found.numpy(), toy.extra["teacher_image"][[4, 8]])


def test_cards_and_settings_make_the_key():
    found, keys = workbench(), set()
    recipes = [recipe_of(*s) for s in ((), ("teacher_image.gain=2",), ("teacher_image.encoder=second",))]
    for recipe in recipes:
        description = describe(found, recipe, Cell("taught", "tiny+bow", 8, 0))
        assert list(description["encoders"]) == ["image", "text", "teacher_image", "teacher_text"]
        assert description["encoders"]["teacher_image"]["card"] == found.described(recipe, "teacher_image").card
        keys.add(key_of(description))
    assert len(keys) == len(recipes)


def test_a_bench_says_whose_teacher_was_another(tmp_path):
    def run(encoders, *settings):
        settings = [*SMALL, *settings]
        return bench(["taught"], [8], encoders=encoders, settings=settings, dataset="scenes", threads=1)["results"][0]

    typed = "teacher_image.encoder=second"
    results = [run("tiny+bow"), run("paper"), run("tiny+bow", typed, "teacher_image.gain=1")]
    assert [r["status"] for r in results] == ["ok"] * 3
    assert results[1]["encoders"] == PAIR | {"teacher_image": "second", "teacher_text": "bow"}
    (track,) = collect(tmp_path / "runs")
    assert {row.label for row in make_table(track).rows} == {
        "taught tiny+bow",
        "taught tiny+bow teacher_image.encoder=second teacher_image.gain=1.0",
        "taught tiny+bow, teacher_image second",
    }
    assert sorted(frame([track])["teacher_image_encoder"]) == ["second", "second", "tiny"]
    ((of_pair,), (of_paper,), _) = map(lines_of, results)
    assert (of_pair["rows"], of_paper["teacher_image"]) == (80, pytest.approx(3 * of_pair["teacher_image"]))
    commands = [made.commands[0] for made in provenance(track["track"], track["results"])]
    assert sorted(c.count("--set teacher_image.encoder=second") for c in commands) == [0, 1, 1]
    assert [run("paper")["reused"], run("tiny+bow", typed)["run"]] == [True, results[1]["run"]]


def lines_of(result):
    return [json.loads(line) for line in (Path(result["run"]) / "train.jsonl").read_text().splitlines()]


def test_on_a_stream_they_reach_the_rows_of_a_chunk():
    how = {"dataset": "scenes", "encoders": "paper", "settings": SMALL, "threads": 1}
    (result,) = bench(["taught"], [8], stream=Stream(chunk=30), **how)["results"]
    lines = lines_of(result)
    assert [line["rows"] for line in lines] == [30, 50]
    assert len({line["teacher_image"] for line in lines}) == 2
    about = read_json(Path(result["run"]) / "run.json")
    assert about["encoders"]["teacher_image"]["name"] == "second"


def test_random_weights_of_a_teacher_mark_the_row(monkeypatch):
    from hashzoo_tiny.parts import Tiny

    monkeypatch.setattr(Tiny, "card", lambda self: {"weights": "random" if self.gain == 3 else "0123"})
    (result,) = bench(["taught"], [8], encoders="paper", dataset="scenes", settings=SMALL, threads=1)["results"]
    assert result["random_weights"] == ["teacher_image"]


def test_weights_that_are_missing_are_told_with_the_setting_that_gives_them(monkeypatch):
    encoder = Recipe.encoder

    def missing(self, role):
        if self.encoders[role] == "second":
            raise MissingWeights("second", "none here", "a file")
        return encoder(self, role)

    monkeypatch.setattr(Recipe, "encoder", missing)
    said = r"no weights for encoder 'second': none here\..*give a file with --set METHOD\.image\.weights=PATH " + (
        r"\(or text\.weights, teacher_image\.weights\)"
    )
    with pytest.raises(HashzooError, match=said):
        bench(["taught"], [8], encoders="paper", dataset="scenes", settings=SMALL, threads=1)


@pytest.mark.parametrize(
    ("extra", "said"),
    [
        ("{'teacher': 'bow'}", "the role 'teacher' of 'odd' does not end in _image or _text"),
        ("{'image': 'bow'}", "the role 'image' of 'odd' does not end in _image or _text"),
        ("{'teacher_text': None}", "the encoder teacher_text of 'odd' is None, not a str"),
        ("('bow',)", "extra of 'odd' is ('bow',), not a mapping"),
    ],
)
def test_a_method_that_names_them_wrongly_is_not_admitted(extra, said, site):
    code = (
        "from hashzoo.plugin import Method, hookimpl\n\nHASHZOO_API = 1\n\n\n@hookimpl\ndef hashzoo_methods():\n"
        f"    return [Method('odd', 'tiny', 'bow', 'pairwise', extra={extra})]\n"
    )
    site.write("hashzoo-odd", "odd", code)
    (found,) = (plugin for plugin in zoo.load().plugins if plugin.name == "odd")
    assert (found.state, said in found.reason) == ("broken", True), found.reason


def test_plugins_show_says_which_they_are(command):
    said = command("plugins", "show", "taught").out
    assert "encoders of the paper: tiny + bow, teacher_image second, teacher_text bow" in said
