"""UCCH's losses against loops over the formulas, its memory, and what it does not look at."""

import math

import pytest
import torch
from hashzoo_shallow.contrast import hash_contrast, ranking
from hashzoo_shallow.ucch import Ucch
from torch.nn.functional import normalize

from hashzoo.testing import toy_job

ROWS, BITS = 6, 4
GENERATOR = torch.Generator().manual_seed(3)
IMAGE, TEXT = (normalize(torch.randn(ROWS, BITS, generator=GENERATOR, dtype=torch.float64)) for _ in range(2))
CODES = torch.where(torch.randn(9, BITS, generator=GENERATOR) > 0, 1.0, -1.0).double()
OWN = torch.tensor([4, 0, 8, 2, 2, 7])


def inner(a, b):
    return sum(p * q for p, q in zip(a.tolist(), b.tolist(), strict=True))


def slow_contrast(outputs, codes, own, temperature):
    total = 0.0
    for h, positive in zip(outputs, own.tolist(), strict=True):
        scores = [math.exp(inner(h, c) / (temperature * math.sqrt(BITS))) for c in codes]
        total -= math.log(scores[positive] / sum(scores)) / len(outputs)
    return total


def slow_ranking(image, text, margin, shift):
    total = 0.0
    for queries, database in ((image, text), (text, image)):
        for i, f in enumerate(queries):
            own = inner(f, database[i])
            scores = [inner(f, g) for g in database]
            spread = sum(math.exp(s if s >= own - margin else s - shift) for s in scores)
            total += (margin - own + math.log(spread)) / len(queries)
    return total


def slopes(loss, inputs):
    """Central differences of a slow loss, for every entry of every input."""
    found = []
    for number, tensor in enumerate(inputs):
        slope = torch.zeros_like(tensor)
        for place in range(tensor.numel()):
            values = []
            for step in (1e-6, -1e-6):
                moved = [part.detach().clone() for part in inputs]
                moved[number].view(-1)[place] += step
                values.append(loss(*moved))
            slope.view(-1)[place] = (values[0] - values[1]) / 2e-6
        found.append(slope)
    return found


@pytest.mark.parametrize("temperature", [0.9, 0.3])
def test_the_contrast_is_the_formula_and_so_is_its_gradient(temperature):
    outputs = IMAGE.clone().requires_grad_()
    found = hash_contrast(outputs, CODES, OWN, temperature)
    assert found.item() == pytest.approx(slow_contrast(IMAGE, CODES, OWN, temperature), rel=1e-12)
    (gradient,) = torch.autograd.grad(found, outputs)
    (expected,) = slopes(lambda h: slow_contrast(h, CODES, OWN, temperature), [IMAGE])
    torch.testing.assert_close(gradient, expected, atol=1e-8, rtol=1e-6)


@pytest.mark.parametrize(("margin", "shift"), [(0.2, 0.1), (0.2, 1.0), (0.0, 0.5)])
def test_the_ranking_is_the_formula_and_so_is_its_gradient(margin, shift):
    inputs = [IMAGE.clone().requires_grad_(), TEXT.clone().requires_grad_()]
    found = ranking(*inputs, margin, shift)
    assert found.item() == pytest.approx(slow_ranking(IMAGE, TEXT, margin, shift), rel=1e-12)
    for gradient, expected in zip(
        torch.autograd.grad(found, inputs),
        slopes(lambda f, g: slow_ranking(f, g, margin, shift), [IMAGE, TEXT]),
        strict=True,
    ):
        torch.testing.assert_close(gradient, expected, atol=1e-8, rtol=1e-6)


def test_a_row_alone_has_nothing_to_be_ranked_against():
    one = IMAGE[:1].clone().requires_grad_()
    found = ranking(one, TEXT[:1], 0.2, 0.1)
    assert found.item() == pytest.approx(0.4)
    assert torch.autograd.grad(found, one)[0].abs().max() < 1e-12


def watched(trainer, job):
    """What each step was contrasted with: codes, where the own ones are, and the rows' unit outputs."""
    seen, terms = [], trainer._terms

    def watch(image, text, codes, own):
        seen.append((image.detach(), text.detach(), codes, own))
        return terms(image, text, codes, own)

    trainer._terms = watch
    trainer.fit(job)
    return seen


def test_the_memory_follows_the_outputs_with_momentum_after_an_epoch_without_it():
    toy, index = toy_job(bits=BITS, rows=20), []
    batches = toy.job.batches

    def recorded(size):
        for batch in batches(size):
            index.append(batch.index)
            yield batch

    toy.job.batches = recorded
    seen = watched(Ucch(epochs=3, batch=7, momentum=0.4), toy.job)
    memory = torch.zeros(20, BITS)
    for number, (rows, (image, text, codes, own)) in enumerate(zip(index, seen, strict=True)):
        if number < 3:  # the first epoch
            assert torch.equal(codes, torch.where(image + text > 0, 1.0, -1.0))
            assert torch.equal(own, torch.arange(len(rows)))
        else:
            assert torch.equal(codes, torch.where(memory > 0, 1.0, -1.0))
            assert torch.equal(own, rows)
        share = 0.0 if number < 3 else 0.4
        for row, f, g in zip(rows.tolist(), image, text, strict=True):
            mean = (f + g) / 2
            moved = share * memory[row] + (1 - share) * mean / mean.norm()
            memory[row] = moved / moved.norm()


def test_rows_beyond_the_negatives_are_drawn_and_the_own_code_is_always_there():
    seen = watched(Ucch(epochs=2, batch=10, negatives=6, warmup=0), toy_job(bits=BITS, rows=20).job)
    for _, _, codes, own in seen:
        assert codes.shape == (16, BITS)
        assert torch.equal(own, torch.arange(10))
    assert not torch.equal(seen[0][2][10:], seen[1][2][10:])


def test_labels_change_nothing_and_the_loss_falls():
    one, other = toy_job(), toy_job()
    other.job.train.labels.zero_()
    states = [Ucch(epochs=10).fit(toy.job).state_dict() for toy in (one, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    losses = [line["contrast"] + line["ranking"] for line in one.lines]
    assert losses[-1] < losses[1]


@pytest.mark.parametrize("name", ["alpha", "momentum"])
def test_a_share_above_one_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} is a share from 0 to 1, not 1.5"):
        Ucch(**{name: 1.5})
