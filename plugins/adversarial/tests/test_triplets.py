"""The triplet losses against loops over all triplets."""

import math

import pytest
import torch
from hashzoo_adversarial.triplets import all_triplets, cosine_distance, relevance_gains

from hashzoo.losses import shared_labels

GENERATOR = torch.Generator().manual_seed(5)
H, G = (torch.randn((7, 4), generator=GENERATOR, dtype=torch.float64) for _ in range(2))
LABELS = torch.tensor(
    [[1, 0, 0, 0], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 0, 1], [1, 1, 1, 0], [0, 0, 1, 1], [0, 0, 0, 0]],
    dtype=torch.float64,
)


def distance(a, b):
    inner = sum(x * y for x, y in zip(a, b, strict=True))
    return 1 - inner / math.sqrt(sum(x * x for x in a)) / math.sqrt(sum(y * y for y in b))


def gain(a, b):
    """(2^r - 1) / Z of row b for anchor a, as the paper has it; 0 for an anchor without labels."""
    shared = [int(sum(x * y for x, y in zip(LABELS[a].tolist(), row, strict=True))) for row in LABELS.tolist()]
    ideal = sum((2**r - 1) / math.log2(place + 2) for place, r in enumerate(sorted(shared, reverse=True)))
    return (2 ** shared[b] - 1) / ideal if ideal else 0.0


def slow(anchors, candidates, margin, weighted):
    """One triplet after the other, with the weight g_p - g_n of DADH or 1."""
    total = 0.0
    for a, anchor in enumerate(anchors.tolist()):
        for p, positive in enumerate(candidates.tolist()):
            for n, negative in enumerate(candidates.tolist()):
                if LABELS[a] @ LABELS[p] > 0 and LABELS[a] @ LABELS[n] == 0:
                    weight = gain(a, p) - gain(a, n) if weighted else 1.0
                    total += max(0.0, weight * (distance(anchor, positive) - distance(anchor, negative) + margin))
    return total


def fast(anchors, candidates, margin, weighted):
    gains = relevance_gains(LABELS, LABELS) if weighted else None
    return all_triplets(cosine_distance(anchors, candidates), shared_labels(LABELS, LABELS), margin, gains)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("margin", [0.05, 0.3, 3.0])
def test_the_sum_is_that_over_all_triplets(margin, weighted):
    assert fast(H, G, margin, weighted).item() == pytest.approx(slow(H, G, margin, weighted), rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
def test_its_gradient_is_the_slope_of_the_slow_sum(weighted):
    anchors, candidates = H.clone().requires_grad_(), G.clone().requires_grad_()
    gradients = torch.autograd.grad(fast(anchors, candidates, 0.3, weighted), (anchors, candidates))
    for number, gradient in enumerate(gradients):
        for row, column in ((0, 0), (2, 3), (5, 1)):
            moved = [[H.clone(), G.clone()] for _ in range(2)]
            moved[0][number][row, column] += 1e-6
            moved[1][number][row, column] -= 1e-6
            slope = (slow(*moved[0], 0.3, weighted) - slow(*moved[1], 0.3, weighted)) / 2e-6
            assert gradient[row, column].item() == pytest.approx(slope, abs=1e-6)


def test_gains_are_the_papers_and_zero_for_negatives():
    gains = relevance_gains(LABELS, LABELS)
    for a in range(7):
        for b in range(7):
            assert gains[a, b].item() == pytest.approx(gain(a, b))
    assert not gains[shared_labels(LABELS, LABELS) == 0].any()


@pytest.mark.parametrize("similar", [torch.zeros(7, 7), torch.ones(7, 7)], ids=["no positives", "no negatives"])
def test_without_a_triplet_there_is_no_loss(similar):
    codes = H.clone().requires_grad_()
    loss = all_triplets(cosine_distance(codes, codes), similar.double(), 0.3)
    loss.backward()
    assert loss.item() == 0
    assert not codes.grad.any()


def test_codes_of_zeros_have_finite_gradients():
    codes = torch.zeros(7, 4, dtype=torch.float64, requires_grad=True)
    fast(codes, codes, 0.3, True).backward()
    assert torch.isfinite(codes.grad).all()
