"""AGAH's terms, label codes and label features against loops, and that it learns."""

import math

import numpy as np
import pytest
import torch
from hashzoo_adversarial.agah import AgahTrainer, label_features, renewed_label_codes
from hashzoo_adversarial.attention import AttentionHead

from hashzoo import Outputs, evaluate
from hashzoo.model import encode
from hashzoo.testing import toy_job

B, BITS = 5, 4
RNG = np.random.default_rng(3)
LABELS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [1, 1, 1], [0, 1, 1]], dtype=float)
IMAGE, TEXT = (np.tanh(RNG.normal(size=(B, BITS))) for _ in range(2))
LABEL_CODES = RNG.choice([-1.0, 1.0], size=(3, BITS))


def cosine(a, b):
    return float(a @ b / math.sqrt(a @ a) / math.sqrt(b @ b))


def slow(image, text):
    total = 0.0
    for source, target in ((image, text), (text, image)):
        for a in range(B):
            for p in range(B):
                for n in range(B):
                    if LABELS[a] @ LABELS[p] > 0 and LABELS[a] @ LABELS[n] == 0:
                        total += max(0.0, cosine(source[a], target[n]) - cosine(source[a], target[p]) + 0.3)
    for codes in (image, text):
        for h, y in zip(codes, LABELS, strict=True):
            total += 0.7 / (1 + math.exp(cosine(np.abs(h), np.ones(BITS))))
            total += 0.2 * sum((h @ c - BITS * (1 if has else -1)) ** 2 for c, has in zip(LABEL_CODES, y, strict=True))
            total += 1.5 * sum((np.sign(value) - value) ** 2 for value in h)
    return total / B


def test_the_loss_and_its_gradient_are_those_written_down():
    trainer = AgahTrainer(alpha=0.7, gamma=0.2, eta=1.5)
    inputs = [torch.from_numpy(part.copy()).requires_grad_() for part in (IMAGE, TEXT)]
    terms = trainer._terms(Outputs(*inputs), torch.from_numpy(LABELS), torch.from_numpy(LABEL_CODES))
    loss = sum(terms.values())
    assert loss.item() == pytest.approx(slow(IMAGE, TEXT), rel=1e-10)
    loss.backward()
    for number, part in enumerate(inputs):
        for place in ((0, 0), (2, 3)):
            moved = [[IMAGE.copy(), TEXT.copy()] for _ in range(2)]
            moved[0][number][place] += 1e-6
            moved[1][number][place] -= 1e-6
            assert part.grad[place].item() == pytest.approx((slow(*moved[0]) - slow(*moved[1])) / 2e-6, abs=1e-6)


def slow_label_codes(codes, image, text, labels):
    """The update written out: for each bit, for each label, sums over rows, labels and all other bits."""
    old, codes = codes, codes.copy()
    classes, bits = codes.shape
    u, v = (np.where(table > 0, 1.0, -1.0) for table in (image, text))
    for k in range(bits):
        column = []
        for c in range(classes):
            wanted = sum(labels[i, c] * (u[i, k] + v[i, k]) for i in range(len(u)))
            wanted += sum((1 if c == d else -1) * old[d, k] for d in range(classes))
            between = 0.0
            for j in set(range(bits)) - {k}:
                between += codes[c, j] * sum(u[i, j] * u[i, k] + v[i, j] * v[i, k] for i in range(len(u)))
                between += codes[c, j] * sum(codes[d, j] * codes[d, k] for d in range(classes))
            column.append(1.0 if 2 * bits * wanted - 2 * between > 0 else -1.0)
        codes[:, k] = column
    return codes


def renewed(codes, tables, labels):
    codes, tables, labels = (torch.from_numpy(array).float() for array in (codes, tables, labels))
    return renewed_label_codes(codes, Outputs(*tables), labels).numpy()


@pytest.mark.parametrize("seed", range(5))
def test_label_codes_are_renewed_bit_after_bit(seed):
    rng = np.random.default_rng(seed)
    codes, labels = rng.choice([-1.0, 1.0], size=(4, 6)), (rng.uniform(size=(20, 4)) < 0.4).astype(float)
    tables = rng.normal(size=(2, 20, 6))
    expected = slow_label_codes(codes, *tables, labels)
    np.testing.assert_array_equal(renewed(codes, tables, labels), expected)
    assert not np.array_equal(expected, codes)


def test_label_codes_that_all_rows_have_and_that_differ_in_half_of_their_bits_stay():
    codes = np.kron([[1.0, 1.0], [1.0, -1.0]], [[1.0, 1.0], [1.0, -1.0]])
    labels = np.tile(np.eye(4), (3, 1))
    assert np.array_equal(renewed(codes, np.stack([labels @ codes] * 2), labels), codes)


def test_the_last_bit_is_the_best_for_the_rows_given_the_others():
    """With so many rows the label codes' own term decides nothing."""
    rng = np.random.default_rng(1)
    codes, labels = rng.choice([-1.0, 1.0], size=(3, 5)), (rng.uniform(size=(200, 3)) < 0.4).astype(float)
    tables = rng.choice([-1.0, 1.0], size=(2, 200, 5))
    found = renewed(codes, tables, labels)

    def squares(codes):
        return np.sum((tables @ codes.T - 5 * labels) ** 2)

    for label in range(3):
        flipped = found.copy()
        flipped[label, 4] *= -1
        assert squares(found) < squares(flipped)


def test_label_features_are_class_means_at_length_one():
    features = RNG.normal(size=(B, 3))
    labels = np.hstack([LABELS, np.zeros((B, 1))])
    found = label_features(torch.from_numpy(features), torch.from_numpy(labels)).numpy()
    for c in range(3):
        mean = features[labels[:, c] > 0].mean(axis=0)
        np.testing.assert_allclose(found[c], mean / math.sqrt(mean @ mean))
    assert not found[3].any()


def attention_head(widths, bits):
    return AttentionHead(widths, bits, feature=128)


def test_a_head_attends_to_what_its_feature_resembles():
    head = AttentionHead({"pooled": 6}, bits=3, feature=4, share=0.7, sharpness=2.0).double()
    label_map = torch.nn.functional.normalize(torch.randn(5, 4, dtype=torch.float64))
    head.attend_to(label_map)
    x = {"pooled": torch.randn(2, 6, dtype=torch.float64)}
    plain = head.layers(x["pooled"]).detach()
    for f, code in zip(plain, head(x), strict=True):
        f = f / math.sqrt(f @ f)
        attention = [1 / (1 + math.exp(-2 * float(f @ row))) for row in label_map]
        seen = sum(a * row for a, row in zip(attention, label_map, strict=True)) / sum(attention)
        expected = torch.tanh(head.hash.weight @ (0.7 * f + 0.3 * seen) + head.hash.bias)
        torch.testing.assert_close(code, expected)


def fitted(toy, **settings):
    """Towers, where the global generator is seeded as in a run."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AgahTrainer(**settings).fit(toy.job)


def test_it_learns():
    toy = toy_job(rows=200, head=attention_head)

    def score(towers):
        codes = encode(towers.image, torch.from_numpy(toy.image)), encode(towers.text, torch.from_numpy(toy.text))
        return evaluate(*codes, toy.labels, toy.labels).map

    before = score(AgahTrainer().towers(toy.job))
    assert score(fitted(toy, epochs=12)) > before + 0.1
    assert [line["epoch"] for line in toy.lines] == list(range(1, 13))
    assert {"triplets", "evenness", "label_codes", "quantisation", "adversary"} <= toy.lines[0].keys()


def test_both_heads_keep_the_map_of_the_last_epoch():
    towers = fitted(toy_job(rows=60, head=attention_head), epochs=2)
    image, text = towers.image.head.label_map, towers.text.head.label_map
    assert torch.equal(image, text)
    assert image.data_ptr() != text.data_ptr()
    torch.testing.assert_close(image.norm(dim=1), torch.ones(6))


@pytest.mark.parametrize("name", ["alpha", "gamma", "eta", "mu"])
def test_every_term_moves_the_towers(name):
    one, other = (
        fitted(toy_job(rows=60, head=attention_head), epochs=2, **choice).state_dict() for choice in ({}, {name: 0.0})
    )
    assert any(not torch.equal(one[key], other[key]) for key in one)
