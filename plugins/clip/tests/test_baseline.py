"""The simple baseline against a slow transcription of its loss."""

import math

import numpy as np
import pytest
import torch
from hashzoo_clip.likelihood import ClipLikelihood

from hashzoo.testing import toy_job
from hashzoo.train import GradientTrainer


def slow(image, text, labels, weight, limit):
    rows, bits = image.shape
    likelihood = quantisation = 0.0
    for i in range(rows):
        for j in range(rows):
            theta = min(max(float(image[i] @ text[j]), -limit), limit) / 2
            likelihood += math.log1p(math.exp(theta)) - float(labels[i] @ labels[j] > 0) * theta
        for h in (image[i], text[i]):
            quantisation += sum((math.copysign(1, value) - value) ** 2 for value in h)
    return likelihood / rows**2 + weight * quantisation / (rows * bits) / 2


@pytest.mark.parametrize("limit", [64.0, 1.5], ids=["the limit of the code", "a limit that acts"])
def test_the_loss_is_the_codes(agrees, of_loss, codes, labels, limit):
    loss = ClipLikelihood(quantisation=0.7, limit=limit, balanced_pairs=False)
    agrees(of_loss(loss), lambda image, text: slow(image, text, labels, 0.7, limit), list(codes))


def test_outputs_of_zero_cost_log_two_a_pair(of_loss, labels):
    zero = torch.zeros(len(labels), 8)
    terms = of_loss(ClipLikelihood(quantisation=0, balanced_pairs=False))(zero, zero)
    assert terms["likelihood"].item() == pytest.approx(math.log(2))


def test_binary_codes_cost_no_quantisation(of_loss, codes):
    signs = [torch.from_numpy(np.sign(each)) for each in codes]
    assert of_loss(ClipLikelihood())(*signs)["quantisation"].item() == 0


def test_it_learns(gain):
    toy = toy_job(rows=200, loss=ClipLikelihood())
    assert gain(toy, GradientTrainer(epochs=20, weight_decay=0.2)) > 0.1
