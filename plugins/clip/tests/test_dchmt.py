"""DCHMT's loss on pair vectors, as the paper has them, against ours on their differences; and its head."""

import math

import numpy as np
import pytest
import torch
from hashzoo_clip.dchmt import NEAREST, Dchmt
from hashzoo_clip.heads import SelectHead

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
