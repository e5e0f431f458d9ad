"""Loss terms against slow transcriptions, and their gradients against finite differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from hashzoo import fused, losses
from hashzoo.losses import (
    Loss,
    Pairwise,
    bit_balance,
    code_likelihood,
    in_blocks,
    pair_likelihood,
    pair_weights,
    quantisation,
    shared_labels,
    sign,
)
from hashzoo.model import Outputs
from hashzoo.train import Batch

GENERATOR = torch.Generator().manual_seed(3)
THETA = torch.randn((5, 7), generator=GENERATOR, dtype=torch.float64) * 3
SIMILAR = (torch.rand((5, 7), generator=GENERATOR) < 0.3).double()
IMAGE = torch.randn((6, 4), generator=GENERATOR, dtype=torch.float64)
TEXT = torch.randn((6, 4), generator=GENERATOR, dtype=torch.float64)
LABELS = (torch.rand((6, 3), generator=GENERATOR) < 0.4).double()


def slow_likelihood(theta, similarity, balanced=False):
    terms = {0: [], 1: []}
    for row, similar in zip(theta.tolist(), similarity.tolist(), strict=True):
        for t, s in zip(row, similar, strict=True):
            terms[int(s)].append(math.log(1 + math.exp(t)) - s * t)
    if balanced and terms[0] and terms[1]:
        return sum(sum(part) / len(part) for part in terms.values()) / 2
    return sum(terms[0] + terms[1]) / similarity.numel()


@pytest.mark.parametrize("balanced", [False, True])
def test_the_likelihood_is_what_the_paper_says(balanced):
    found = pair_likelihood(THETA, SIMILAR, balanced).item()
    assert found == pytest.approx(slow_likelihood(THETA, SIMILAR, balanced), rel=1e-12)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("similarity", [SIMILAR, torch.zeros(5, 7), torch.ones(5, 7)])
def test_codes_that_know_nothing_cost_log_two(similarity, balanced):
    found = pair_likelihood(torch.zeros(5, 7, dtype=torch.float64), similarity.double(), balanced)
    assert found.item() == pytest.approx(math.log(2), rel=1e-6)


@pytest.mark.parametrize("balanced", [False, True])
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_likelihood_of_codes_is_that_of_their_inner_products(kind, balanced):
    image, text = (values.to(kind, copy=True).requires_grad_() for values in (IMAGE, TEXT[:5]))
    similarity = shared_labels(LABELS, LABELS[:5]).float()
    found = code_likelihood(image, text, similarity, balanced, scale=1.7)
    slow = pair_likelihood(1.7 * image.double() @ text.double().T, similarity.double(), balanced)
    torch.testing.assert_close(found, slow.to(kind))
    for own, wanted in zip(*(torch.autograd.grad(3 * value, [image, text]) for value in (found, slow)), strict=True):
        torch.testing.assert_close(own, wanted)


def test_fixed_partners_get_no_gradient_and_codes_may_be_their_own_partners():
    image = IMAGE.clone().requires_grad_()
    similarity = shared_labels(LABELS, LABELS)
    code_likelihood(image, TEXT, similarity).backward()
    (slow,) = torch.autograd.grad(pair_likelihood(image @ TEXT.T / 2, similarity), image)
    torch.testing.assert_close(image.grad, slow)
    (own,) = torch.autograd.grad(code_likelihood(image, image, similarity), image)
    (slow,) = torch.autograd.grad(pair_likelihood(image @ image.T / 2, similarity), image)
    torch.testing.assert_close(own, slow)


@pytest.fixture
def blocks_of_two(monkeypatch):
    monkeypatch.setattr(losses, "WHOLE", 29)
    monkeypatch.setattr(losses, "BLOCK", 13)


@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
@pytest.mark.usefixtures("blocks_of_two")
def test_blocks_of_partners_change_nothing(kind):
    codes, partners = (values.to(kind, copy=True).requires_grad_() for values in (IMAGE, TEXT[:5]))
    similarity = shared_labels(LABELS, LABELS[:5]).to(kind)
    weights = pair_weights(similarity, balanced=True)

    def term(codes, rows):
        assert len(partners[rows]) in (1, 2)
        return pair_likelihood(codes @ partners[rows].T / 2, similarity[:, rows], weights=weights)

    slow = pair_likelihood(codes @ partners.T / 2, similarity, balanced=True)
    wanted = torch.autograd.grad(3 * slow, [codes, partners])
    found = code_likelihood(codes, partners, similarity, balanced=True)
    torch.testing.assert_close(found, slow)
    for own, right in zip(torch.autograd.grad(3 * found, [codes, partners]), wanted, strict=True):
        torch.testing.assert_close(own, right)
    found = in_blocks(term, codes, len(partners))
    torch.testing.assert_close(found, slow)
    torch.testing.assert_close(torch.autograd.grad(3 * found, codes), wanted[:1])


@pytest.mark.usefixtures("blocks_of_two")
def test_a_likelihood_keeps_no_matrix_of_pairs():
    codes = torch.ones(6, 4, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: kept.append(tensor.numel()) or tensor, lambda tensor: tensor
    ):
        code_likelihood(codes, torch.ones(50, 4), torch.ones(6, 50))
        in_blocks(lambda codes, rows: (codes @ torch.ones(50, 4)[rows].T).square().sum(), codes, 50)
    assert max(kept) <= 24


@pytest.mark.parametrize("spread", [1, 10, 100, 1000])
@pytest.mark.parametrize("pairs", [1, 1023, 3000])  # of a row; the kernel takes 1,024 at once
def test_the_compiled_likelihood_is_as_exact_as_float32_can_be(pairs, spread):
    theta = torch.randn((3, pairs), generator=torch.Generator().manual_seed(0)) * spread
    similarity = (torch.arange(3 * pairs).view(3, pairs) % 5 == 0).float()
    slope = theta.clone()
    similar, dissimilar = np.float32(0.25), np.float32(2.0)
    found = fused.likelihood(slope.numpy(), similarity.numpy(), similar, dissimilar)
    weight = torch.where(similarity > 0, 0.25, 2.0).double()
    terms = torch.logaddexp(theta.double(), torch.zeros(())) - similarity * theta
    assert found == pytest.approx((weight * terms).sum().item(), rel=1e-6)
    torch.testing.assert_close(slope.double(), weight * (torch.sigmoid(theta.double()) - similarity), rtol=0, atol=4e-7)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_balancing_changes_nothing_where_all_pairs_are_alike(value):
    similarity = torch.full((5, 7), value, dtype=torch.float64)
    assert pair_likelihood(THETA, similarity, True) == pair_likelihood(THETA, similarity)


def test_the_likelihood_survives_long_codes():
    theta = torch.tensor([[4096.0, -4096.0]])
    assert pair_likelihood(theta, torch.tensor([[1.0, 0.0]])).item() == pytest.approx(0)
    assert pair_likelihood(theta, torch.tensor([[0.0, 1.0]])).item() == pytest.approx(4096)


def test_quantisation_and_balance():
    slow = sum((c - v) ** 2 for c, v in zip(sign(IMAGE).flatten().tolist(), IMAGE.flatten().tolist(), strict=True))
    assert quantisation(IMAGE, sign(IMAGE)).item() == pytest.approx(slow / 24)
    means = [sum(column) / 6 for column in zip(*IMAGE.tolist(), strict=True)]
    assert bit_balance(IMAGE).item() == pytest.approx(sum(m * m for m in means) / 4)
    assert bit_balance(torch.tensor([[1.0, -1.0], [-1.0, 1.0]])) == 0


def test_zero_is_a_zero_bit():
    assert sign(torch.tensor([-2.0, 0.0, 1e-30])).tolist() == [-1, -1, 1]


def test_similarity_is_a_shared_label():
    a = torch.tensor([[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    b = torch.tensor([[1.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    assert shared_labels(a, b).tolist() == [[1, 0, 1], [0, 0, 0]]


def batch_of(labels):
    return Batch(torch.arange(len(labels)), IMAGE, TEXT, labels)


def test_the_terms_of_the_pairwise_loss():
    terms = Pairwise(quantisation=0.3, balance=0.7, balanced_pairs=False)(Outputs(IMAGE, TEXT), batch_of(LABELS))
    similarity = [
        [float(any(x and y for x, y in zip(a, b, strict=True))) for b in LABELS.tolist()] for a in LABELS.tolist()
    ]
    theta = [[sum(x * y for x, y in zip(a, b, strict=True)) / 2 for b in TEXT.tolist()] for a in IMAGE.tolist()]
    codes = torch.tensor(
        [
            [1.0 if x + y > 0 else -1.0 for x, y in zip(a, b, strict=True)]
            for a, b in zip(IMAGE.tolist(), TEXT.tolist(), strict=True)
        ]
    )
    assert set(terms) == {"likelihood", "quantisation", "balance"}
    assert terms["likelihood"].item() == pytest.approx(
        slow_likelihood(torch.tensor(theta), torch.tensor(similarity)), rel=1e-5
    )
    distance = ((codes - IMAGE) ** 2).mean() + ((codes - TEXT) ** 2).mean()
    assert terms["quantisation"].item() == pytest.approx(0.3 * distance.item())
    assert terms["balance"].item() == pytest.approx(0.7 * (bit_balance(IMAGE) + bit_balance(TEXT)).item())


@pytest.mark.parametrize("balanced", [False, True])
def test_gradients_by_finite_differences(balanced):
    image, text = IMAGE.clone().requires_grad_(), TEXT.clone().requires_grad_()
    loss = Pairwise(0.3, 0.7, balanced)

    def total(image, text):
        return sum(loss(Outputs(image, text), batch_of(LABELS)).values())

    assert torch.autograd.gradcheck(total, (image, text))
    assert torch.autograd.gradcheck(lambda t: pair_likelihood(t, SIMILAR, balanced), THETA.clone().requires_grad_())
    assert torch.autograd.gradcheck(lambda a, b: code_likelihood(a, b, LABELS @ LABELS.T > 0, balanced), (image, text))


def test_a_loss_must_say_its_terms():
    assert Loss.forward.__isabstractmethod__
