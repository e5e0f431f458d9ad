"""Weights of one's own: trained on training rows, resumed, loaded again, and refused where they would leak."""

from __future__ import annotations

from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import torch
from helpers import SMALL
from safetensors.torch import load_file

from hashzoo import zoo
from hashzoo.benches.benchmark import bench
from hashzoo.encoders.trained import card_of
from hashzoo.errors import HashzooError
from hashzoo.pretrain import Schedule, augment, pretrain
from hashzoo.recipe import build
from hashzoo.settings import parse_assignments
from hashzoo.storage.files import read_json

NET = "timm:test_resnet"
SETTINGS = (*SMALL, "image.pixels=16")
OUT = "w.safetensors"


def train(encoder=NET, *settings, **options):
    asked = {"dataset": "scenes", "epochs": 2, "batch": 32, "threads": 1, "device": "cpu", "out": OUT, **options}
    return pretrain(encoder, settings=[*SETTINGS, *settings], **asked)


def run(*settings, encoders=f"{NET}+bow"):
    return bench(["toy"], [8], dataset="scenes", encoders=encoders, settings=[*SETTINGS, *settings], threads=1)


def test_weights_are_made_once_the_same_for_a_seed_and_learn_the_labels():
    told = []
    made = train(epochs=3, lr=3e-3, watch=told.append)
    assert [line["epoch"] for line in told] == [1, 2, 3]
    assert told[0]["loss"] > told[-1]["loss"]
    assert made["reused"] is False
    assert made["history"] == [{"epoch": line["epoch"], "loss": line["loss"]} for line in told]
    assert made["card"]["kept"] == made["history"][-1]
    assert {path.name for path in Path().iterdir()} == {OUT, "cache"}
    before = Path(OUT).read_bytes()

    again = train(epochs=3, lr=3e-3)
    assert again == made | {"reused": True}
    assert Path(OUT).read_bytes() == before
    with pytest.raises(HashzooError, match=f"{OUT} is of another pretraining \\(other seed\\); give another --out"):
        train(epochs=3, lr=3e-3, seed=1)
    assert Path(OUT).read_bytes() == before

    train(epochs=3, lr=3e-3, out="again.safetensors")
    assert Path("again.safetensors").read_bytes() == before
    other = train(epochs=3, lr=3e-3, seed=1, out="other.safetensors")
    assert other["history"] != made["history"]


def test_the_card_says_what_the_weights_were_trained_on():
    made = train(epochs=1, out=None)
    card = made["card"]
    assert card == card_of(made["weights"])
    assert (card["encoder"], card["modality"], card["settings"]) == (NET, "image", {"pixels": 16})
    assert card["start"]["weights"] == "random"
    assert card["track"]["dataset"] == "scenes"
    assert {"fingerprint", "splits", "counts"} <= set(card["track"])
    assert (card["epochs"], card["batch"], card["seed"], card["threads"], card["device"]) == (1, 32, 0, 1, "cpu")
    assert "torch" in card["versions"]
    assert card["plugin"]["distribution"] == "hashzoo"
    assert Path(made["weights"]).parent == Path("weights")
    assert Path(made["weights"]).name.startswith("timm-test_resnet-scenes-")
    assert card_of("random") is card_of("nowhere.safetensors") is None
    Path("text.safetensors").write_text("no weights")
    assert card_of("text.safetensors") is None


def test_a_run_that_was_killed_goes_on_as_if_it_had_not_been():
    whole = train(epochs=4, out="whole.safetensors")

    def kill(line):
        if line["epoch"] == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(epochs=4, watch=kill)
    assert not Path(OUT).exists()
    checkpoint = Path(f"{OUT}.checkpoint").read_bytes()
    with pytest.raises(HashzooError, match=r"checkpoint is of another pretraining \(other optimiser\)"):
        train(epochs=4, lr=0.1)
    assert Path(f"{OUT}.checkpoint").read_bytes() == checkpoint
    told = []
    resumed = train(epochs=4, watch=told.append)
    assert [line["epoch"] for line in told] == [3, 4]
    assert resumed["history"] == whole["history"]
    assert Path(OUT).read_bytes() == Path("whole.safetensors").read_bytes()
    assert not Path(f"{OUT}.checkpoint").exists()


def test_the_epoch_is_chosen_on_val_rows_where_there_are_any(monkeypatch):
    kept = []
    for losses in ([0.5, 0.2, 0.3], [0.5, 0.2, 0.1]):
        with monkeypatch.context() as forced:
            forced.setattr("hashzoo.pretrain._Run._loss", mock.Mock(side_effect=losses))
            made = train(NET, "dataset.val=0.25", epochs=3, out=f"{losses[2]}.safetensors")
        assert made["card"]["kept"] == min(made["history"], key=lambda line: line["val_loss"])
        kept.append(load_file(f"{losses[2]}.safetensors"))
    second, third = kept
    assert not all(torch.equal(tensor, third[name]) for name, tensor in second.items())
    assert 0 < train(NET, "dataset.val=0.25", epochs=1)["history"][0]["val_loss"] < 2


def test_labels_and_rows_are_those_of_training_alone(monkeypatch):
    from hashzoo.data.scenes import Scenes
    from hashzoo.pretrain import _Run

    seen, batch = [], _Run._batch

    def spy(self, rows, index):
        inputs, labels = batch(self, rows, index)
        seen.append((rows.images[index], labels))
        return inputs, labels

    monkeypatch.setattr(_Run, "_batch", spy)
    train(NET, "train_data.label_noise=0.5", "train_data.size=60", epochs=1)
    data = Scenes(pairs=100, pixels=16, difficulty=0)
    rows = np.concatenate([row for row, _ in seen])
    assert len(rows) == 60
    assert set(rows) <= set(data.splits.train)
    labels = torch.cat([label for _, label in seen]).numpy()
    assert 15 < (labels != data.labels[rows]).any(axis=1).sum() < 45


def test_a_bench_uses_the_weights_and_says_where_they_came_from(tiny, capsys):
    made = train(epochs=4, lr=3e-3)
    trained, random = run(f"image.weights={OUT}"), run("image.weights=random")
    assert [r["random_weights"] for r in trained["results"]] == [[], []]
    card = read_json(Path(trained["results"][0]["run"]) / "run.json")["encoders"]["image"]["card"]
    assert card["trained"] == made["card"]
    assert card["weights"] not in ("random", made["card"]["start"]["digest"])
    assert trained["results"][0]["key"] != random["results"][0]["key"]
    assert "hashzoo: w.safetensors" not in capsys.readouterr().err
    recipe = build(
        zoo.load(), "random", {"image": NET, "text": "bow"}, parse_assignments([f"image.weights={OUT}", *SETTINGS], [])
    )
    state = recipe.encoder("image").state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in load_file(OUT).items())


@pytest.mark.parametrize(
    ("settings", "encoders", "said"),
    [
        (["dataset.val=0.25"], f"{NET}+bow", "was trained on another split of 'scenes', whose training rows may be"),
        (["train_data.size=40"], f"{NET}+bow", "with other settings train_data.* than asked for here"),
        (
            ["image.pixels=32"],
            f"{NET}+bow",
            "with pixels=16, and 32 is asked for; add --set image.pixels=16",
        ),
        ([], "timm:test_resnet.r160_in1k+bow", "holds weights of timm:test_resnet, not of timm:test_resnet.r160_in1k"),
    ],
)
def test_weights_that_would_leak_or_do_not_fit_are_refused(settings, encoders, said, tiny):
    train(epochs=1)
    with pytest.raises(HashzooError) as refused:
        run(f"image.weights={OUT}", *settings, encoders=encoders)
    assert said in str(refused.value)
    assert refused.value.exit_code == 2
    assert not Path("runs").exists()


def test_other_content_of_the_same_data_set_is_told(tiny, capsys):
    train(epochs=1)
    capsys.readouterr()
    run(f"image.weights={OUT}", "dataset.pairs=101")
    assert "was trained on other content of 'scenes'; nobody has checked" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("encoder", "options", "said"),
    [
        ("bow", {}, "encoder 'bow' has no weights that could be trained and loaded again"),
        ("given", {}, "encoder 'given' has no weights that could be trained"),
        ("tiny", {}, "encoder 'tiny' has no weights that could be trained"),
        ("timm:resnett18", {}, "did you mean timm:"),
        ("nothing", {}, "no encoder is called 'nothing'"),
        (NET, {"epochs": 0}, "epochs is a whole number from 1 to 100000, not 0"),
        (NET, {"batch": 1}, "batch is a whole number from 2"),
        (NET, {"lr": 0.0}, "the learning rate is a number over 0, such as 0.001, not 0.0"),
        (NET, {"seed": -1}, "seed is a whole number from 0"),
        (NET, {"device": "gpu"}, "the device is auto, cpu, cuda or cuda:N, not 'gpu'"),
        (NET, {"out": "w.pth"}, "--out names a .safetensors file, not w.pth"),
        (NET, {"settings": ["trainer.lr=1"]}, "'trainer' in 'trainer.lr=1' is no section"),
        (NET, {"settings": ["image.pixles=16"]}, "did you mean image.pixels?"),
        (NET, {"settings": ["image.frozen=true"]}, "hashzoo pretrain trains the encoder; leave out image.frozen"),
    ],
)
def test_what_is_refused(encoder, options, said, tiny):
    with pytest.raises(HashzooError) as refused:
        pretrain(encoder, **{"dataset": "scenes", "settings": list(SMALL), "out": OUT, **options})
    assert said in str(refused.value)
    assert not Path(OUT).exists()


def test_what_is_there_already_is_not_written_over():
    Path(OUT).write_bytes(b"mine")
    with pytest.raises(HashzooError, match="is of another pretraining; give another --out, or delete it"):
        train()
    assert Path(OUT).read_bytes() == b"mine"


def test_a_learning_rate_that_is_too_high_is_told():
    with pytest.raises(HashzooError, match="is not finite; lower --lr") as failed:
        train(lr=1e30, epochs=5)
    assert failed.value.exit_code == 1


def test_the_learning_rate_falls_along_a_cosine():
    schedule = Schedule(epochs=4, batch=8, lr=1.0, seed=0)
    assert [round(schedule.rate(epoch), 3) for epoch in (1, 2, 3, 4)] == [1.0, 0.854, 0.5, 0.146]
    assert schedule.seed_of(1) != schedule.seed_of(2) != Schedule(4, 8, 1.0, 1).seed_of(2)


def test_augmented_pictures_are_shifted_and_mirrored():
    torch.manual_seed(0)
    columns = torch.arange(16, dtype=torch.uint8).expand(200, 3, 16, 16)
    lines = columns.transpose(2, 3)
    wide, high = augment(columns), augment(lines)
    assert (wide.dtype, wide.shape) == (torch.uint8, columns.shape)
    mirrored = wide[:, 0, 0, 0] > wide[:, 0, 0, -1]
    assert 70 < mirrored.sum() < 130
    shift = (high[:, 0, 8, 0].int() - 8).tolist()
    assert set(shift) == {-2, -1, 0, 1, 2}
    for picture in wide[:20]:
        assert torch.equal(picture, picture[:1, :1].expand_as(picture))  # columns stay columns, in all channels
        steps = picture[0, 0].int().diff().abs()
        assert steps.max() == 1
        assert steps.sum() >= 13
    tokens = torch.arange(6).view(2, 3)
    assert augment(tokens) is tokens


def test_the_verb(command):
    words = [word for setting in SETTINGS for word in ("--set", setting)]
    made = command("pretrain", NET, "--dataset", "scenes", *words, "--epochs", "1", "--threads", "1", "--out", OUT)
    assert (made.code, made.out) == (0, f"{OUT}\n"), made
    assert "epoch 1/1: loss 0." in made.err
    again = command("pretrain", NET, "--dataset", "scenes", *words, "--epochs", "1", "--threads", "1", "--out", OUT)
    assert (again.code, again.out) == (0, f"{OUT}\n")
    assert f"hashzoo: {OUT} is finished already" in again.err
