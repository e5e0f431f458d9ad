"""Phi_1 and Phi_2 against slow transcriptions of the formulas, finite differences and brute force."""

import itertools
import math

import pytest
import torch
from hashzoo_soda.objective import BatchPairs, BufferPairs, binarisation

from hashzoo.losses import quantisation, sign
from hashzoo.testing import toy_job
from hashzoo.train import Batch

ROWS, BITS = 12, 4
GENERATOR = torch.Generator().manual_seed(5)
IMAGE, LABEL = (torch.randn((ROWS, BITS), generator=GENERATOR, dtype=torch.float64) for _ in range(2))
TABLES = tuple(torch.randn((ROWS, BITS), generator=GENERATOR, dtype=torch.float64) for _ in range(2))
INDEX = torch.tensor([7, 2, 11, 0, 5])


def job():
    made = toy_job(bits=BITS, rows=ROWS).job
    made.train.labels = made.train.labels.double()
    return made


def batch(index=INDEX):
    return Batch(index, torch.empty(0), torch.empty(0), job().train.labels[index])


def slow_phi_1(h, g, labels_h, labels_g, balanced):
    """-mean_ij [S_ij theta_ij - log(1 + exp(theta_ij))], or half of the mean of each kind of pair."""
    terms = {0: [], 1: []}
    for a, y in zip(h.tolist(), labels_h.tolist(), strict=True):
        for b, z in zip(g.tolist(), labels_g.tolist(), strict=True):
            theta = sum(p * q for p, q in zip(a, b, strict=True)) / 2
            similar = int(any(p and q for p, q in zip(y, z, strict=True)))
            terms[similar].append(math.log(1 + math.exp(theta)) - similar * theta)
    if balanced:
        return sum(sum(kind) / len(kind) for kind in terms.values()) / 2
    return sum(terms[0] + terms[1]) / (len(h) * len(g))


def slow_phi_2(h, g, b, c):
    pairs = [*zip(h.flatten(), b.flatten(), strict=True), *zip(g.flatten(), c.flatten(), strict=True)]
    return sum((code - value).item() ** 2 for value, code in pairs) / h.numel()


@pytest.mark.parametrize("balanced", [True, False])
def test_phi_1_is_log_2_where_theta_is_zero(balanced):
    zero = torch.zeros(len(INDEX), BITS, dtype=torch.float64)
    assert BatchPairs(balanced, 0)(zero, IMAGE[INDEX], batch()).item() == pytest.approx(math.log(2), rel=1e-12)
    tables = torch.zeros(ROWS, BITS, dtype=torch.float64), torch.zeros(ROWS, BITS, dtype=torch.float64)
    found = BufferPairs(job(), balanced, 0, *tables)(zero, zero.clone().requires_grad_(), batch())
    assert found.item() == pytest.approx(math.log(2), rel=1e-12)


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("intra", [0, 0.3])
def test_phi_1_inside_a_batch_is_the_formula(balanced, intra):
    image, label = IMAGE[INDEX].requires_grad_(), LABEL[INDEX].requires_grad_()
    labels = batch().labels
    expected = slow_phi_1(image, label, labels, labels, balanced)
    if intra:
        expected += intra * sum(slow_phi_1(h, h, labels, labels, balanced) for h in (image, label))
    assert BatchPairs(balanced, intra)(image, label, batch()).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("balanced", [True, False])
@pytest.mark.parametrize("intra", [0, 0.3])
def test_phi_1_with_buffers_meets_the_renewed_tables_of_all_rows(balanced, intra):
    image, label = IMAGE[INDEX].requires_grad_(), LABEL[INDEX].requires_grad_()
    tables = [table.clone() for table in TABLES]
    found = BufferPairs(job(), balanced, intra, *tables)(image, label, batch()).item()
    images, labels = (table.clone() for table in TABLES)
    images[INDEX], labels[INDEX] = IMAGE[INDEX], LABEL[INDEX]
    assert torch.equal(tables[0], images)
    assert torch.equal(tables[1], labels)
    some, every = batch().labels, job().train.labels
    expected = slow_phi_1(image, labels, some, every, balanced) + slow_phi_1(label, images, some, every, balanced)
    if intra:
        own = slow_phi_1(image, images, some, every, balanced) + slow_phi_1(label, labels, some, every, balanced)
        expected += intra * own
    assert found == pytest.approx(expected, rel=1e-12)


def test_the_gradient_with_buffers_is_that_of_a_batch_where_the_batch_is_all_rows():
    everything = torch.arange(ROWS)
    gradients = []
    for pairs in (BatchPairs(True, 0), BufferPairs(job(), True, 0, *(table.clone() for table in TABLES))):
        outputs = IMAGE.clone().requires_grad_(), LABEL.clone().requires_grad_()
        gradients.append(torch.autograd.grad(pairs(*outputs, batch(everything)), outputs))
    for inside, against in zip(*gradients, strict=True):
        torch.testing.assert_close(inside, against)


@pytest.mark.parametrize("buffers", [True, False])
def test_fixed_codes_are_paired_with_texts_and_not_with_each_other(buffers):
    fixed, text = sign(IMAGE).double(), LABEL[INDEX].requires_grad_()
    tables = fixed.clone(), TABLES[1].clone()
    pairs = BufferPairs(job(), False, 0.5, *tables) if buffers else BatchPairs(False, 0.5)
    others = torch.arange(ROWS) if buffers else INDEX
    some, every = batch().labels, job().train.labels[others]
    found = pairs(fixed[INDEX], text, batch())
    texts = tables[1] if buffers else text
    expected = slow_phi_1(text, fixed[others], some, every, False) + 0.5 * slow_phi_1(text, texts, some, every, False)
    assert found.item() == pytest.approx(expected, rel=1e-12)


def test_phi_2_is_the_formula_and_exactly_zero_at_codes():
    shared = sign(IMAGE + LABEL)
    assert binarisation(IMAGE, LABEL, "shared").item() == pytest.approx(slow_phi_2(IMAGE, LABEL, shared, shared))
    own = slow_phi_2(IMAGE, LABEL, sign(IMAGE), sign(LABEL))
    assert binarisation(IMAGE, LABEL, "own").item() == pytest.approx(own)
    assert binarisation(sign(IMAGE), sign(IMAGE), "shared") == 0
    assert binarisation(sign(IMAGE), sign(LABEL), "own") == 0


def test_no_other_shared_code_gives_a_smaller_phi_2():
    for h, g in zip(IMAGE, LABEL, strict=True):
        penalties = [
            (quantisation(h, torch.tensor(b)) + quantisation(g, torch.tensor(b))).item()
            for b in itertools.product((-1.0, 1.0), repeat=BITS)
        ]
        assert binarisation(h, g, "shared").item() == pytest.approx(min(penalties), rel=1e-12)


@pytest.mark.parametrize(
    "term",
    [
        *(BatchPairs(balanced, intra) for balanced in (True, False) for intra in (0, 0.3)),
        *(lambda h, g, _, codes=codes: binarisation(h, g, codes) for codes in ("shared", "own")),
        lambda h, g, _: quantisation(g, sign(h).detach()),
    ],
)
def test_gradients_match_finite_differences(term):
    inputs = IMAGE[INDEX].clone().requires_grad_(), LABEL[INDEX].clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda h, g: term(h, g, batch()), inputs, eps=1e-6, atol=1e-8)


@pytest.mark.parametrize("balanced", [True, False])
def test_the_gradient_with_buffers_matches_finite_differences_against_fixed_tables(balanced):
    def phi_1(h, g):
        """Tables as they stand after the batch came, whatever it is moved by."""
        pairs = BufferPairs(job(), balanced, 0.3, *(table.clone() for table in TABLES))
        some, every = batch().labels, pairs.labels
        pairs.image[INDEX], pairs.other[INDEX] = IMAGE[INDEX], LABEL[INDEX]
        cross = slow(h, pairs.other, some, every) + slow(g, pairs.image, some, every)
        return cross + 0.3 * (slow(h, pairs.image, some, every) + slow(g, pairs.other, some, every))

    def slow(h, table, some, every):
        return slow_phi_1(h, table, some, every, balanced)

    outputs = IMAGE[INDEX].clone().requires_grad_(), LABEL[INDEX].clone().requires_grad_()
    pairs = BufferPairs(job(), balanced, 0.3, *(table.clone() for table in TABLES))
    gradients = torch.autograd.grad(pairs(*outputs, batch()), outputs)
    for number, gradient in enumerate(gradients):
        for row, bit in ((0, 0), (3, 2), (4, 3)):
            moved = [[h.detach().clone() for h in outputs] for _ in range(2)]
            moved[0][number][row, bit] += 1e-6
            moved[1][number][row, bit] -= 1e-6
            slope = (phi_1(*moved[0]) - phi_1(*moved[1])) / 2e-6
            assert gradient[row, bit].item() == pytest.approx(slope, abs=1e-7)
