"""DCHMT's loss on pair vectors, as the paper has them, against ours on their differences; and its head."""

import math

import numpy as np
import pytest
import torch
from hashzoo_clip.dchmt import NEAREST, Dchmt
from hashzoo_clip.heads import AttentiveHead, SelectHead

from hashzoo.model import Outputs
from hashzoo.testing import toy_job
from hashzoo.train import Batch, GradientTrainer


def pair_vectors(h):
    """(B, 2 L): the probabilities of 0 and of 1, bit after bit."""
    on = (1 + h) / 2
    return np.stack([1 - on, on], axis=2).reshape(len(h), -1)


def slow(image, text, labels, vartheta, weight):
    rows, bits = image.shape
    margin = math.sqrt(2 * bits * vartheta)
    image, text = pair_vectors(image), pair_vectors(text)
    total = 0.0
    for a, b in ((image, text), (image, image), (text, text)):
        for i in range(rows):
            for j in range(rows):
                distance = math.sqrt(max(sum((x - y) ** 2 for x, y in zip(a[i], b[j], strict=True)), NEAREST))
                similar = labels[i] @ labels[j] > 0
                total += distance**2 if similar else (margin - min(distance, margin)) ** 2
    decided = np.mean([(2 * image - 1) ** 2, (2 * text - 1) ** 2])
    return total / rows**2 + weight * (1 - decided)


@pytest.mark.parametrize("vartheta", [0.75, 0.3])
def test_the_loss_is_the_papers(agrees, of_loss, codes, labels, vartheta):
    loss = Dchmt(vartheta=vartheta, quantisation=0.4)
    agrees(of_loss(loss), lambda image, text: slow(image, text, labels, vartheta, 0.4), list(codes))


@pytest.mark.parametrize(("differing", "costs"), [(8, False), (6, False), (5, True)])
def test_dissimilar_codes_at_the_margin_cost_nothing(of_loss, differing, costs):
    """With vartheta = 3/4 and 8 bits, those that differ in 6 are at distance m = sqrt(2 * 8 * 3/4)."""
    loss = Dchmt(vartheta=0.75)
    image = torch.ones(2, 8)
    image[1, :differing] = -1
    terms = loss(Outputs(image, image), Batch(torch.arange(2), image, image, torch.eye(2)))
    assert (terms["dissimilar"].item() > 1e-6) == costs
    assert terms["quantisation"].item() == 0


def test_a_share_of_no_bits_is_refused():
    with pytest.raises(ValueError, match="share of the bits"):
        Dchmt(vartheta=0)


def test_the_head_is_the_larger_of_two_softmax_values():
    head, x = SelectHead({"pooled": 7}, bits=5), torch.randn(4, 7)
    out = head({"pooled": x})
    logits = head.select(torch.relu(head.embed[0](x)))
    for row in range(4):
        for bit in range(5):
            off, on = torch.softmax(logits[row, 2 * bit : 2 * bit + 2], dim=0)
            assert out[row, bit].item() == pytest.approx((on - off).item(), abs=1e-6)
            assert (out[row, bit] > 0) == (on > off)


def test_it_learns(gain):
    toy = toy_job(rows=200, head=SelectHead, loss=Dchmt())
    assert gain(toy, GradientTrainer(epochs=20, weight_decay=0.2)) > 0.1


def slow_attention(head, whole, seen, padding):
    """Eight heads over the tokens of one row: softmax of scaled products, weighted values, one layer."""
    query, (keys, values) = head.query(whole), head.keys_values(seen).chunk(2, dim=1)
    met = []
    for part in torch.arange(len(whole)).chunk(8):
        scores = keys[:, part] @ query[part] / math.sqrt(len(part))
        weights = torch.softmax(scores.masked_fill(padding, -math.inf), dim=0)
        met.append(weights @ values[:, part])
    return head.mixed(torch.cat(met))


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_the_later_head_attends_to_the_vector_and_the_tokens_that_are_no_padding(norm):
    head = AttentiveHead({"pooled": 9, "tokens": (3, 5)}, bits=4, width=16, norm=norm).eval()
    x = {"pooled": torch.randn(6, 9), "tokens": torch.randn(6, 3, 5)}
    x["tokens"][1, 1:] = 0
    x["tokens"][2] = 0
    out = head(x)
    for row in range(6):
        whole = head.whole(x["pooled"][row])
        seen = torch.cat([whole[None], head.token(x["tokens"][row])])
        padding = torch.tensor([False, *(~x["tokens"][row].any(dim=1)).tolist()])
        logits = head.select(head.norm(slow_attention(head, whole, seen, padding)[None]))[0].relu()
        for bit in range(4):
            off, on = torch.softmax(logits[2 * bit : 2 * bit + 2], dim=0)
            assert out[row, bit].item() == pytest.approx((on - off).item(), abs=1e-5)


def test_the_later_head_without_tokens_attends_to_the_vector_alone():
    head, pooled = AttentiveHead({"pooled": 9}, bits=4, width=16).eval(), torch.randn(2, 9)
    value = head.keys_values(head.whole(pooled))[:, 16:]
    logits = head.select(head.norm(head.mixed(value))).relu().unflatten(1, (4, 2))
    torch.testing.assert_close(head({"pooled": pooled}), torch.tanh((logits[..., 1] - logits[..., 0]) / 2))


@pytest.mark.parametrize("hidden", [0, 32])
def test_what_the_later_head_without_tokens_gives_its_norm_is_linear_but_for_a_hidden_layer(hidden):
    head, x = AttentiveHead({"pooled": 9}, bits=4, width=16, hidden=hidden).eval(), torch.randn(64, 9)
    given = []
    head.norm.register_forward_pre_hook(lambda _, inputs: given.append(inputs[0]))
    for pooled in (x, -x, torch.zeros_like(x)):
        head({"pooled": pooled})
    assert torch.allclose(given[0] + given[1], 2 * given[2], atol=1e-5) == (hidden == 0)


@pytest.mark.parametrize("settings", [{"norm": "none"}, {"width": 100}, {"heads": 0}])
def test_a_later_head_that_cannot_be_is_refused(settings):
    with pytest.raises(ValueError, match=r"norm is batch or layer|width is a multiple of heads"):
        AttentiveHead({"pooled": 9}, bits=4, **settings)


def test_it_learns_with_tokens(gain):
    widths = {"image": {"pooled": 24, "tokens": (5, 10)}, "text": {"pooled": 16, "tokens": (7, 16)}}
    toy = toy_job(rows=200, widths=widths, head=AttentiveHead, loss=Dchmt())
    assert gain(toy, GradientTrainer(epochs=20, weight_decay=0.2)) > 0.1
