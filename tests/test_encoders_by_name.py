"""Encoders from folders, repositories and files: every way in which weights come, with small models."""

from __future__ import annotations

import copy
import json
from unittest.mock import Mock

import numpy as np
import open_clip
import pytest
import timm
import torch
from encoder_contract import check_contract
from PIL import Image
from safetensors.torch import load_file, save_file
from timm.models.vgg import VGG

from hashzoo.encoders.base import MissingWeights
from hashzoo.encoders.clip import Clip
from hashzoo.encoders.timm import TimmEncoder
from hashzoo.encoders.vgg import VGG16, VGG19
from hashzoo.errors import HashzooError

CLIP = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
RECORD = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "interpolation": "bilinear", "resize_mode": "squash"}
TEXTS = ["a kitten", "a cat sleeps", "", "red, heart, balloon", "word " * 400, "été"]


pytestmark = pytest.mark.usefixtures("one_thread")


def pictures(count: int = 3) -> list[Image.Image]:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return [Image.fromarray(a).resize((60 + 20 * n, 90), Image.Resampling.BICUBIC) for n, a in enumerate(small)]


def features(encoder, items) -> torch.Tensor:
    with torch.inference_mode():
        return encoder(torch.stack([encoder.prepare(item) for item in items]))


def seeded(build):
    """A model with weights that are not those of seed 0; the global generator is as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return build()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that refuses connections; returns how a folder's files get into its cache under a repository's name."""
    from huggingface_hub import constants

    cache = tmp_path / "hub"
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)

    def put(name, folder):
        repository = cache / f"models--{name.replace('/', '--')}"
        (repository / "refs").mkdir(parents=True)
        (repository / "refs" / "main").write_text("0" * 40)
        (repository / "snapshots").mkdir()
        folder.rename(repository / "snapshots" / ("0" * 40))

    return put


# ---- timm: folders and repositories that timm wrote


@pytest.fixture
def timm_folder(tmp_path):
    """A small transformer, fine-tuned at another size with a preprocessing of its own, and the model."""
    from timm.models import save_for_hf

    model = seeded(lambda: timm.create_model("test_vit", num_classes=7, img_size=96)).eval()
    record = {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.6, 0.7), "crop_pct": 1.0, "interpolation": "bilinear"}
    folder = tmp_path / "tuned"
    save_for_hf(model, folder, data_config={"input_size": (3, 96, 96), **record}, safe_serialization=True)
    return folder, model


def test_a_folder_that_timm_wrote_brings_its_size_and_preprocessing(timm_folder):
    folder, model = timm_folder
    encoder = TimmEncoder(f"local-dir:{folder}")
    assert (encoder.pixels, encoder.resize, encoder.interpolation) == (96, 96, "bilinear")
    card = encoder.card()
    assert (card["architecture"], card["mean"], card["std"]) == ("test_vit", [0.1, 0.2, 0.3], [0.5, 0.6, 0.7])
    found = check_contract(encoder, pictures())
    x = torch.stack([encoder.normalise(encoder.prepare(picture)) for picture in pictures()])
    with torch.inference_mode():
        expected = model.forward_head(model.forward_features(x), pre_logits=True)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_a_cached_repository_is_found_by_its_name_without_a_hub(timm_folder, hub):
    expected = features(TimmEncoder(f"local-dir:{timm_folder[0]}"), pictures())
    hub("someone/tuned", timm_folder[0])
    torch.testing.assert_close(features(TimmEncoder("hf-hub:someone/tuned"), pictures()), expected)
    with pytest.raises(MissingWeights, match=r"encoder 'timm:hf-hub:someone/other': the hub cannot be reached"):
        TimmEncoder("hf-hub:someone/other")


def test_a_repository_that_the_hub_does_not_know_is_said(hub, monkeypatch):
    from huggingface_hub.errors import RepositoryNotFoundError

    def unknown(_name):
        raise RepositoryNotFoundError("404", response=Mock(headers={}))

    monkeypatch.setattr("timm.models.load_model_config_from_hf", unknown)
    with pytest.raises(MissingWeights, match="the hub has no public repository of that name"):
        TimmEncoder("hf-hub:someone/misspelt")


def test_folders_of_other_tools_are_refused(tmp_path, timm_folder):
    folder, _ = timm_folder
    (folder / "model.safetensors").unlink()
    with pytest.raises(MissingWeights, match=r"there is no model\.safetensors"):
        TimmEncoder(f"local-dir:{folder}")
    assert TimmEncoder(f"local-dir:{folder}", weights="random").card()["weights"] == "random"
    (folder / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(HashzooError, match="is no folder that timm wrote"):
        TimmEncoder(f"local-dir:{folder}")
    with pytest.raises(MissingWeights, match="neither a file here"):
        TimmEncoder(f"local-dir:{tmp_path / 'absent'}")
    with pytest.raises(HashzooError, match="type timm:hf-hub:OWNER/NAME"):
        TimmEncoder("owner/name")


def test_a_folder_whose_weights_do_not_fit_is_refused_and_not_half_loaded(timm_folder):
    """timm's own loader leaves what is missing as it was drawn."""
    folder, _ = timm_folder
    state = load_file(folder / "model.safetensors")
    state.pop("blocks.0.attn.qkv.weight")
    save_file(state, folder / "model.safetensors")
    with pytest.raises(HashzooError, match=r"does not fit encoder .* \(1 tensors missing, 0 unknown"):
        TimmEncoder(f"local-dir:{folder}")


def test_positions_of_weights_for_another_size_are_interpolated(timm_folder):
    folder, model = timm_folder
    encoder = TimmEncoder("test_vit", weights=str(folder / "model.safetensors"), pixels=128)
    assert encoder.pixels == 128
    resized = seeded(lambda: timm.create_model("test_vit", num_classes=0, img_size=128)).eval()
    state = {key: value for key, value in model.state_dict().items() if not key.startswith("head.")}
    resized.load_state_dict(timm.models.vision_transformer.checkpoint_filter_fn(state, resized))
    x = torch.stack([encoder.normalise(encoder.prepare(picture)) for picture in pictures()])
    with torch.inference_mode():
        torch.testing.assert_close(features(encoder, pictures()), resized(x), atol=1e-5, rtol=1e-4)


def test_a_file_with_code_in_it_is_refused(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "sprung"), "w"))

    torch.save({"state_dict": {"x": Trap()}}, tmp_path / "trap.pt")
    with pytest.raises(HashzooError, match="cannot be read as weights"):
        TimmEncoder("test_vit", weights=str(tmp_path / "trap.pt"))
    assert not (tmp_path / "sprung").exists()


# ---- VGG


@pytest.fixture
def narrow_vgg(monkeypatch):
    """VGG-16 with narrow layers in the place of timm's; its fc7 is as wide as ever."""
    asked = []

    def create(name, **_arguments):
        asked.append(name)
        model = seeded(lambda: VGG([4, "M", 4, "M", 8, "M", 8, "M", 8, "M"], num_classes=0, mlp_ratio=1 / 64))
        model.pretrained_cfg = {"architecture": name.partition(".")[0]}
        return model

    monkeypatch.setattr(timm, "create_model", create)
    return asked


@pytest.mark.parametrize(("target", "name"), [(VGG16, "vgg16"), (VGG19, "vgg19")])
def test_vgg_is_fc7_with_the_preprocessing_of_torchvision(target, name, narrow_vgg):
    encoder = target(weights="random")
    assert narrow_vgg == [f"{name}.tv_in1k"]
    card = encoder.card()
    assert (card["encoder"], card["pixels"]) == (name, 224)
    assert card["resize"] == ["shortest", 256, "bilinear"]
    assert (card["mean"], card["std"]) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    found = check_contract(encoder, pictures())
    assert found.shape == (3, 4096)
    assert (found >= 0).all()
    assert (found == 0).any()


def test_vgg_of_timm_gives_fc7_after_its_relu(narrow_vgg):
    encoder = VGG16(weights="random")
    seen = {}
    encoder.model.pre_logits.act2.register_forward_hook(lambda _m, _i, out: seen.update(fc7=out.flatten(1)))
    torch.testing.assert_close(features(encoder, pictures()), seen["fc7"])


def test_vgg_reads_the_file_of_torchvision(narrow_vgg, tmp_path):
    """There the fully connected layers are matrices over (channel, row, column)."""
    ours = seeded(lambda: VGG([4, "M", 4, "M", 8, "M", 8, "M", 8, "M"], num_classes=3, mlp_ratio=1 / 64)).eval()
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.01)
    theirs = {}
    for name, value in ours.state_dict().items():
        key = name.replace("pre_logits.fc1", "classifier.0").replace("pre_logits.fc2", "classifier.3")
        theirs[key.replace("head.fc", "classifier.6")] = (
            value.flatten(1) if "pre_logits" in name and "weight" in name else value
        )
    assert theirs["classifier.0.weight"].shape == (64, 8 * 7 * 7)
    torch.save(theirs, tmp_path / "vgg.pth")
    save_file(ours.state_dict(), tmp_path / "vgg.safetensors")
    encoder = VGG16(weights=str(tmp_path / "vgg.pth"))
    x = torch.stack([encoder.normalise(encoder.prepare(picture)) for picture in pictures()])
    with torch.inference_mode():
        expected = ours.forward_head(ours.forward_features(x), pre_logits=True)
    torch.testing.assert_close(features(encoder, pictures()), expected, atol=1e-5, rtol=1e-4)
    assert VGG16(weights=str(tmp_path / "vgg.safetensors")).card() == encoder.card()


# ---- CLIP: folders, repositories, OpenAI's archives


@pytest.fixture(scope="module")
def clip_model():
    return seeded(lambda: open_clip.CLIP(**copy.deepcopy(CLIP))).eval()


@pytest.fixture
def clip_folder(tmp_path, clip_model):
    folder = tmp_path / "clip"
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CLIP, "preprocess_cfg": RECORD}))
    save_file(clip_model.state_dict(), folder / "open_clip_model.safetensors")
    return folder


def test_a_folder_that_open_clip_wrote_brings_its_preprocessing_and_activation(clip_folder, clip_model):
    image = Clip(f"local-dir:{clip_folder}", modality="image")
    text = Clip(f"local-dir:{clip_folder}", modality="text")
    card = image.card()
    assert (card["mean"], card["std"]) == (RECORD["mean"], RECORD["std"])
    assert card["resize"] == ["squash", 32, "bilinear"]
    assert card["quick_gelu"] is True
    x = torch.stack([image.normalise(image.prepare(picture)) for picture in pictures()])
    with torch.inference_mode():
        pictured = clip_model.encode_image(x, normalize=True)
        told = clip_model.encode_text(open_clip.tokenize(TEXTS, context_length=12), normalize=True)
    torch.testing.assert_close(check_contract(image, pictures()), pictured, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(check_contract(text, TEXTS), told, atol=1e-5, rtol=1e-4)


def test_a_folder_is_read_again_after_it_was_written_again(clip_folder, clip_model):
    before = Clip(f"local-dir:{clip_folder}", modality="image").card()
    other = {key: value + 0.01 for key, value in clip_model.state_dict().items()}
    save_file(other, clip_folder / "open_clip_model.safetensors")
    assert Clip(f"local-dir:{clip_folder}", modality="text").card()["weights"]
    assert Clip(f"local-dir:{clip_folder}", modality="image").card() != before


def test_a_cached_repository_of_open_clip_is_found_without_a_hub(clip_folder, hub):
    expected = features(Clip(f"local-dir:{clip_folder}", modality="image"), pictures())
    hub("someone/clip", clip_folder)
    torch.testing.assert_close(features(Clip("hf-hub:someone/clip", modality="image"), pictures()), expected)
    with pytest.raises(MissingWeights, match=r"encoder 'clip:hf-hub:someone/other': the hub cannot be reached"):
        Clip("hf-hub:someone/other", modality="text")


def test_folders_without_weights_or_configuration_are_refused(clip_folder, tmp_path):
    (clip_folder / "open_clip_model.safetensors").unlink()
    with pytest.raises(MissingWeights, match="the folder has none that fit"):
        Clip(f"local-dir:{clip_folder}", modality="image")
    assert Clip(f"local-dir:{clip_folder}", modality="image", weights="random").card()["weights"] == "random"
    with pytest.raises(HashzooError, match="is no folder that open_clip wrote"):
        Clip(f"local-dir:{tmp_path}", modality="image")


@pytest.fixture
def tiny_name(tmp_path, monkeypatch):
    """A name of open_clip's list for the same architecture, with a tag that says QuickGELU."""
    (tmp_path / "configs").mkdir()
    config = {key: value for key, value in CLIP.items() if key != "quick_gelu"}
    (tmp_path / "configs" / "hashzoo-named.json").write_text(json.dumps(config))
    open_clip.add_model_config(tmp_path / "configs")
    tag = {"quick_gelu": True}
    monkeypatch.setattr(open_clip, "get_pretrained_cfg", lambda _model, name: tag if name == "openai" else {})
    return "hashzoo-named"


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:FutureWarning")
def test_the_archive_of_openai_is_read_without_its_program(tiny_name, clip_folder, clip_model, tmp_path):
    torch.jit.script(copy.deepcopy(clip_model).half()).save(str(tmp_path / "archive.pt"))
    for modality, items in (("image", pictures()), ("text", TEXTS)):
        found = Clip(f"{tiny_name}/openai", modality=modality, weights=str(tmp_path / "archive.pt"))
        rounded = {key: value.half().float() for key, value in clip_model.state_dict().items()}
        save_file(rounded, tmp_path / "state.safetensors")
        expected = Clip(f"{tiny_name}/openai", modality=modality, weights=str(tmp_path / "state.safetensors"))
        assert found.card() == expected.card()
        torch.testing.assert_close(features(found, items), features(expected, items))
    with pytest.raises(HashzooError, match=f"type clip:{tiny_name}/openai"):
        Clip(tiny_name, modality="image", weights=str(tmp_path / "archive.pt"))


def test_short_texts_mean_the_same_in_shorter_rows(clip_folder):
    whole = Clip(f"local-dir:{clip_folder}", modality="text")
    short = Clip(f"local-dir:{clip_folder}", modality="text", max_tokens=8)
    assert short.prepare("a cat").shape == (8,)
    assert (short.card()["tokens"], whole.card()["tokens"]) == (8, 12)
    torch.testing.assert_close(features(short, TEXTS[:3]), features(whole, TEXTS[:3]), atol=1e-6, rtol=1e-5)
    assert short.prepare(TEXTS[4])[-1] == whole.prepare(TEXTS[4])[-1] == 49407  # cut texts end with the end token
    check_contract(short, TEXTS)


@pytest.mark.parametrize(
    ("tokens", "said"), [(13, "at most 12 tokens"), (2, "from 3"), (True, "from 3"), ("8", "from 3")]
)
def test_lengths_that_clip_cannot_read_are_refused(tokens, said, clip_folder):
    with pytest.raises(HashzooError, match=said):
        Clip(f"local-dir:{clip_folder}", modality="text", max_tokens=tokens)


def test_a_text_tower_that_reads_its_padding_is_not_shortened(clip_folder):
    config = copy.deepcopy(CLIP)
    config["text_cfg"] |= {"pool_type": "last", "no_causal_mask": True}
    (clip_folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    with pytest.raises(HashzooError, match="was trained on exactly 12 tokens"):
        Clip(f"local-dir:{clip_folder}", modality="text", max_tokens=8, weights="random")


def test_clip_at_another_size_interpolates_its_positions(clip_folder):
    encoder = Clip(f"local-dir:{clip_folder}", modality="image", pixels=64)
    assert encoder.prepare(pictures()[0]).shape == (3, 64, 64)
    assert encoder.tower.positional_embedding.shape == (1 + 8 * 8, 32)
    assert encoder.card() != Clip(f"local-dir:{clip_folder}", modality="image").card()
    check_contract(encoder, pictures())
