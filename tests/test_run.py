"""One cell: what a trainer can reach, what is kept, what decides the codes."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import random
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import HERE, SMALL
from safetensors.torch import load_file

from hashzoo import fitting, zoo
from hashzoo.benches.rounds import score_run
from hashzoo.benches.run import Planned, describe, folder_of, key_of, train_cell
from hashzoo.benches.track import Track
from hashzoo.benches.workbench import Workbench
from hashzoo.codes import load_codes, save_codes
from hashzoo.errors import HashzooError
from hashzoo.fitting import make_job, seeded
from hashzoo.opening import open_dataset
from hashzoo.recipe import Cell, build
from hashzoo.settings import parse_assignments
from hashzoo.storage import files
from hashzoo.storage.files import StorageError, read_json

PAIR = {"image": "tiny", "text": "bow"}


@pytest.fixture
def bench(tiny) -> Workbench:
    tiny.install(HERE / "plugins_working" / "faulty")
    data = open_dataset("scenes", parse_assignments(SMALL, []))
    return Workbench(data, Track.of(data), torch.device("cpu"), threads=1)


def recipe_of(method: str = "toy", *settings: str, pair: dict[str, str] = PAIR):
    return build(zoo.load(), method, pair, parse_assignments(settings, [method]))


def trained(bench, method="toy", *settings, bits=8, seed=0, where="runs", watch=lambda line: None, pair=PAIR):
    recipe, cell = recipe_of(method, *settings, pair=pair), Cell(method, "tiny+bow", bits, seed)
    description = describe(bench, recipe, cell)
    folder = folder_of(Path(where), bench.track, cell, dict(recipe.encoders), key_of(description))
    return folder, train_cell(bench, Planned(recipe, cell, folder, description, "request"), watch)


def test_a_finished_run_holds_all_that_it_promises(bench):
    seen = []
    folder, result = trained(bench, "toy", "trainer.lr=0.01", watch=seen.append)
    assert {path.name for path in folder.iterdir()} == {
        *("run.json", "train.jsonl", "model.safetensors", "codes.npz", "per_query.npz", "result.json")
    }
    assert folder.parent.parent.name == bench.track.id
    assert folder.name == f"tiny+bow-8-s0-{result['key'][:8]}"
    assert read_json(folder / "result.json") == result
    assert [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()] == seen
    assert [line["epoch"] for line in seen] == [1, 2]

    codes = load_codes(folder / "codes.npz")
    splits = bench.dataset.splits
    assert {name: (len(c), c.bits) for name, c in codes.items()} == {
        f"{role}_{split}": (len(getattr(splits, split)), 8)
        for role in ("image", "text")
        for split in ("query", "database")
    }
    assert bench.track.score(codes)[0]["scores"] == result["scores"]
    state = load_file(folder / "model.safetensors")
    assert state["image.head.layers.0.weight"].shape == (8, 48)

    kept = read_json(folder / "run.json")
    assert kept["settings"]["trainer.lr"] == {"value": 0.01, "origin": "user"}
    assert kept["settings"]["trainer.epochs"] == {"value": 2, "origin": "method"}
    assert kept["encoders"]["image"]["card"] == {"name": "tiny", "encoder": "tiny", "gain": 1.0}
    assert set(kept["plugins"]) == {"hashzoo", "tiny"}
    assert len(kept["plugins"]["tiny"]["digest"]) == 64
    assert kept["plugins"]["tiny"]["distribution"] == "hashzoo-tiny"
    assert (kept["device"], kept["threads"], kept["bits"], kept["seed"]) == ("cpu", 1, 8, 0)
    assert kept["versions"]["torch"] == metadata.version("torch")
    assert kept["plugin"] == result["plugin"]
    assert kept["classes"] == list(bench.dataset.classes)
    assert kept["widths"] == {"image": {"pooled": 48}, "text": {"pooled": 64}}
    added = ("key", "request", "plugin", "dataset_settings", "classes", "widths")  # beside what the key is made of
    assert kept["key"] == result["key"] == key_of({k: v for k, v in kept.items() if k not in added})

    assert result["settings"] == {"trainer.lr": 0.01}
    assert result["status"] == "ok"
    assert result["plugin"]["name"] == "tiny"
    assert set(result["health"]) == {"image", "text"}
    assert set(result["seconds"]) == {"train", "encode", "evaluate"}
    assert 0 < result["floor"] < result["ceiling"] <= 1


def test_the_seed_decides_the_codes(bench):
    first = (trained(bench)[0] / "codes.npz").read_bytes()
    assert (trained(bench, where="again")[0] / "codes.npz").read_bytes() == first
    other = load_codes(trained(bench, seed=1)[0] / "codes.npz")
    before = load_codes(trained(bench)[0] / "codes.npz")
    for name, codes in other.items():
        assert not np.array_equal(codes.data, before[name].data)
    assert not np.array_equal(before["image_query"].data, before["text_query"].data)


def test_the_floor_method_has_different_codes_for_image_and_text_and_for_each_seed(bench):
    folders = [trained(bench, "random", seed=seed, bits=64)[0] for seed in (0, 1)]
    first, second = (load_codes(folder / "codes.npz") for folder in folders)
    for name in first:
        assert 0.35 < (first[name].unpack() != second[name].unpack()).mean() < 0.65
    assert 0.35 < (first["image_query"].unpack() != first["text_query"].unpack()).mean() < 0.65


def test_a_job_reaches_training_rows_only(bench):
    recipe = recipe_of()
    job = make_job(bench, recipe, Cell("toy", "tiny+bow", 8, 0), lambda **terms: None)
    data, train = bench.dataset, bench.dataset.splits.train
    everything = torch.arange(len(job.train))
    assert len(job.train) == len(train) < len(data)
    for role in ("image", "text"):
        whole = bench.encoded(recipe, role).features
        held = getattr(job.train, role)(everything).numpy()
        np.testing.assert_array_equal(held, whole[train])
        # The rows are a copy: nothing leads from them back to the file that holds all rows.
        kept = getattr(job.train, f"_{role}")
        assert type(kept) is np.ndarray
        assert not np.shares_memory(kept, whole)
        assert kept.base is None or len(kept.base) == len(train)
    np.testing.assert_array_equal(job.train.labels.numpy(), data.labels[train])
    with pytest.raises(IndexError):
        job.train.image(torch.tensor([len(train)]))
    assert (job.bits, job.classes) == (8, data.classes)
    assert job.widths == {"image": {"pooled": 48}, "text": {"pooled": 64}}
    assert not [name for name, value in vars(job).items() if value is data or value is bench]


def test_a_job_has_the_validation_rows_of_its_data_set(bench):
    recipe, cell = recipe_of(), Cell("toy", "tiny+bow", 8, 0)
    assert make_job(bench, recipe, cell, lambda **terms: None).val is None
    data = open_dataset("scenes", parse_assignments((*SMALL, "dataset.val=0.25"), []))
    job = make_job(Workbench(data, Track.of(data), torch.device("cpu"), 1), recipe, cell, lambda **terms: None)
    assert (len(job.train), len(job.val)) == (60, 20)
    np.testing.assert_array_equal(job.val.labels.numpy(), data.labels[data.splits.val])
    features = bench.encoded(recipe, "image").features
    np.testing.assert_array_equal(job.val.image(torch.arange(20)).numpy(), features[data.splits.val])


def test_towers_of_a_job_are_standardised_on_training_rows_and_differ(bench):
    recipe = recipe_of()
    job = make_job(bench, recipe, Cell("toy", "tiny+bow", 8, 0), lambda **terms: None)
    one, two = job.towers(), job.towers()
    features = bench.encoded(recipe, "image").features[bench.dataset.splits.train]
    np.testing.assert_allclose(one.image.mean.numpy(), features.mean(0), rtol=1e-4, atol=1e-6)
    assert not torch.equal(one.image.head.layers[0].weight, two.image.head.layers[0].weight)


def test_prompts_go_through_the_text_encoder(bench):
    recipe = recipe_of()
    job = make_job(bench, recipe, Cell("toy", "tiny+bow", 8, 0), lambda **terms: None)
    row = int(bench.dataset.splits.train[0])
    found = job.text_inputs([bench.dataset.text(row), "nothing known here at all"])
    np.testing.assert_array_equal(found[0].numpy(), bench.encoded(recipe, "text").features[row])


def test_a_trainable_encoder_is_trained_and_the_cached_one_is_not(bench):
    folder, result = trained(bench, "toy", "image.frozen=false", "trainer.encoder_lr=0.1")
    assert result["status"] == "ok", result
    assert load_file(folder / "model.safetensors")["image.encoder.scale"].sub(1).abs().max() > 0.01
    assert bench.described(recipe_of(), "image").encoder.scale.unique().tolist() == [1.0]


def test_a_run_leaves_the_global_random_state_as_it_was(bench):
    random.seed(5)
    np.random.seed(5)  # noqa: NPY002 - the state that plugins may use
    torch.manual_seed(5)
    before = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    threads = torch.get_num_threads()
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        trained(bench)
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.is_deterministic_algorithms_warn_only_enabled()
    finally:
        torch.use_deterministic_algorithms(False)
    assert random.getstate() == before[0]
    assert np.random.get_state()[1].tolist() == before[1]  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), before[2])
    assert torch.get_num_threads() == threads


def test_the_block_of_a_seed_is_deterministic_and_ends_with_an_error_too():
    def draw():
        return random.random(), np.random.rand(), torch.rand(1).item(), torch.get_num_threads()  # noqa: NPY002

    with seeded(3, 1):
        first = draw()
        assert torch.are_deterministic_algorithms_enabled()
    with contextlib.suppress(RuntimeError), seeded(3, 1):
        assert draw() == first
        raise RuntimeError
    assert not torch.are_deterministic_algorithms_enabled()
    assert first[-1] == 1


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("forgets", "the trainer of 'forgets' gave back NoneType, not Towers"),
        ("widens", "the image tower of 'widens' gave (9,) values a row, not 8"),
        ("explodes", "the image tower of 'explodes' gave values that are not finite"),
        ("quits", "SystemExit: enough"),
    ],
)
def test_a_failed_run_keeps_its_reason(method, reason, bench):
    folder, result = trained(bench, method)
    assert (result["status"], result["reason"]) == ("failed", reason)
    assert (folder / "error.txt").read_text().splitlines()[0] == reason
    assert "Traceback" in (folder / "error.txt").read_text()
    assert not (folder / "result.json").exists()
    assert not (folder / "codes.npz").exists()


def test_the_reason_is_one_line(bench):
    _, result = trained(bench, "fragile", bits=32)
    assert result["reason"] == "RuntimeError: cannot make 32 bits of [/this]"


def test_constant_codes_are_told_by_their_health(bench):
    _, result = trained(bench, "collapses")
    assert result["health"]["image"]["constant_bits"] == 8
    assert result["scores"]["i2t"]["map"] == pytest.approx(result["floor"], abs=0.02)


def test_a_failure_that_is_mended_is_a_result(bench, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(fitting, "pack", lambda values: 1 / 0)
        folder, result = trained(bench)
        assert result["reason"] == "ZeroDivisionError: division by zero"
    again, result = trained(bench)
    assert again == folder
    assert result["status"] == "ok"
    assert not (folder / "error.txt").exists()


def test_a_setting_that_json_lacks_is_the_plugins_fault(bench):
    with pytest.raises(
        HashzooError, match=r"the default of trainer\.schedule is <object.*cannot be written as JSON"
    ) as e:
        recipe_of("unstorable")
    assert e.value.exit_code == 1


def test_an_encoder_that_cannot_be_described_is_the_plugins_fault(bench, monkeypatch):
    from hashzoo_tiny.parts import Tiny

    monkeypatch.setattr(Tiny, "card", lambda self: {"layer": self})
    with pytest.raises(
        HashzooError, match=r"encoder 'tiny' of hashzoo-tiny 1\.0 cannot be fitted and described: TypeError"
    ) as e:
        trained(bench)
    assert e.value.exit_code == 1


@pytest.mark.parametrize("name", ["run.json", "train.jsonl", "model.safetensors", "codes.npz", "result.json"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_one_of_the_files(name, code, bench, monkeypatch):
    """The run is unfinished, the sentence says why, and nothing half-written stays."""

    def refuse():
        raise OSError(code, os.strerror(code))

    def replace(source, target, real=os.replace):
        refuse() if Path(target).name == name else real(source, target)

    real_open = open
    with monkeypatch.context() as patch:
        patch.setattr(files.os, "replace", replace)
        if name == "train.jsonl":
            patch.setattr(
                "builtins.open",
                lambda path, *a, **k: refuse() if str(path).endswith(name) else real_open(path, *a, **k),
            )
        with pytest.raises(StorageError, match=r"is full|cannot be written to"):
            trained(bench)
    assert not list(Path("runs").glob("*/*/*/result.json"))
    assert not list(Path("runs").rglob("*.part"))
    _, result = trained(bench)
    assert result["status"] == "ok"


def test_a_full_disk_while_the_training_is_logged(bench, monkeypatch):
    from hashzoo.benches.run import _append_lines

    class Full:
        def write(self, text):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr("builtins.open", lambda *arguments, **options: Full())
    with pytest.raises(StorageError, match="is full"), _append_lines(Path("train.jsonl")) as append:
        append({"epoch": 1})


def test_a_leftover_that_cannot_be_removed(bench, monkeypatch):
    def refuse(self, missing_ok=False):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "unlink", refuse)
    with pytest.raises(StorageError, match="cannot be written to"):
        trained(bench)


@pytest.mark.parametrize(
    ("settings", "bits", "seed"),
    [(("trainer.lr=0.1",), 8, 0), (("image.frozen=false",), 8, 0), ((), 9, 0), ((), 8, 1)],
)
def test_what_changes_the_key(settings, bits, seed, bench):
    def key(*settings, bits=8, seed=0):
        return key_of(describe(bench, recipe_of("toy", *settings), Cell("toy", "x", bits, seed)))

    assert key("trainer.lr=0.001") == key()
    assert key(*settings, bits=bits, seed=seed) != key()


def test_names_of_encoders_make_readable_folders(bench):
    pair = {"image": "timm:a/b.c", "text": "bow"}
    folder = folder_of(Path("runs"), bench.track, Cell("toy", "x", 16, 2), pair, "0123456789")
    assert folder.name == "timm-a-b.c+bow-16-s2-01234567"


def test_codes_that_lack_a_split_are_not_scored(bench):
    folder, _ = trained(bench)
    codes = load_codes(folder / "codes.npz")
    del codes["text_database"]
    save_codes(folder / "codes.npz", **codes)
    with pytest.raises(HashzooError, match=r"codes.npz holds no text_database; the same bench makes it again"):
        score_run(bench.track, folder)
