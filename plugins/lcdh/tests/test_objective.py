"""The terms of teacher and student, and their gradients, against slow transcriptions of the formulas."""

import math

import pytest
import torch
from hashzoo_lcdh.objective import approximation, contrast, cosines, likelihood

ROWS, BITS = 5, 4
GENERATOR = torch.Generator().manual_seed(2)
IMAGE, TEXT, TEACHER = (torch.randn(ROWS, BITS, generator=GENERATOR, dtype=torch.float64) for _ in range(3))
LABELS = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1], [0, 0, 0]], dtype=torch.float64)


def slow_cosine(a, b):
    inner = sum(x * y for x, y in zip(a, b, strict=True))
    return inner / math.sqrt(sum(x * x for x in a) * sum(y * y for y in b))


def slow_student(values, lambda1, lambda2):
    """The student's terms of image and text codes, as one list of 2 ROWS rows."""
    image, text = values[:ROWS], values[ROWS:]
    target = [[slow_cosine(a, b) for b in TEACHER.tolist()] for a in TEACHER.tolist()]

    def distance(a, b):
        pairs = [(slow_cosine(a[i], b[j]) - target[i][j]) ** 2 for i in range(ROWS) for j in range(ROWS)]
        return sum(pairs) / ROWS**2

    to_codes = 0
    for u, v, u_fixed, v_fixed in zip(image, text, IMAGE.tolist(), TEXT.tolist(), strict=True):
        for bit in range(BITS):
            code = 1 if u_fixed[bit] + v_fixed[bit] > 0 else -1
            to_codes += ((code - u[bit]) ** 2 + (code - v[bit]) ** 2) / (ROWS * BITS)
    intra = distance(image, image) + distance(text, text)
    return {"inter": distance(image, text), "intra": lambda1 * intra, "quantisation": lambda2 * to_codes}


def slow_contrast(values, temperature):
    image, text = values[:ROWS], values[ROWS:]
    total = 0
    for i in range(ROWS):
        own = slow_cosine(image[i], text[i]) / temperature
        rows = [math.exp(slow_cosine(image[i], text[j]) / temperature) for j in range(ROWS)]
        columns = [math.exp(slow_cosine(image[j], text[i]) / temperature) for j in range(ROWS)]
        total += (math.log(sum(rows)) - own + math.log(sum(columns)) - own) / (2 * ROWS)
    return total


def slow_likelihood(codes, balanced):
    terms = {True: [], False: []}
    for i in range(ROWS):
        for j in range(ROWS):
            theta = sum(a * b for a, b in zip(codes[i], codes[j], strict=True)) / 2
            similar = any(a and b for a, b in zip(LABELS[i].tolist(), LABELS[j].tolist(), strict=True))
            terms[similar].append(math.log(1 + math.exp(theta)) - similar * theta)
    if balanced:
        return sum(sum(kind) / len(kind) for kind in terms.values()) / 2
    return sum(terms[True] + terms[False]) / ROWS**2


def slow_gradient(function, values, step=1e-6):
    gradient = torch.zeros_like(values)
    for place in range(values.numel()):
        ends = []
        for sign in (1, -1):
            moved = values.clone()
            moved.view(-1)[place] += sign * step
            ends.append(function(moved.tolist()))
        gradient.view(-1)[place] = (ends[0] - ends[1]) / (2 * step)
    return gradient


def agree(function, slow, values):
    """Value and gradient of a function of (rows, bits) and of its transcription, which takes lists."""
    values = values.clone().requires_grad_()
    found = function(values)
    found.backward()
    assert found.item() == pytest.approx(slow(values.tolist()), rel=1e-9)
    torch.testing.assert_close(values.grad, slow_gradient(slow, values.detach()), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("term", ["inter", "intra", "quantisation"])
def test_the_students_terms_are_the_formulas(term):
    target = cosines(TEACHER, TEACHER)
    agree(
        lambda values: approximation(values[:ROWS], values[ROWS:], target, 0.7, 0.3)[term],
        lambda values: slow_student(values, 0.7, 0.3)[term],
        torch.cat([IMAGE, TEXT]),
    )


@pytest.mark.parametrize("temperature", [0.2, 1.0])
def test_the_contrast_is_the_formula(temperature):
    agree(
        lambda values: contrast(values[:ROWS], values[ROWS:], temperature),
        lambda values: slow_contrast(values, temperature),
        torch.cat([IMAGE, TEXT]),
    )


@pytest.mark.parametrize("balanced", [True, False])
def test_the_likelihood_is_the_formula(balanced):
    agree(lambda codes: likelihood(codes, LABELS, balanced), lambda codes: slow_likelihood(codes, balanced), TEACHER)


def test_a_student_that_has_the_teachers_codes_has_nothing_to_learn():
    codes = TEACHER.sign()
    terms = approximation(codes, codes, cosines(codes, codes), 1.0, 1.0)
    assert sum(terms.values()).item() == pytest.approx(0, abs=1e-12)


def test_zero_codes_have_finite_gradients():
    zero = torch.zeros(ROWS, BITS, requires_grad=True)
    sum(approximation(zero, zero, cosines(zero, zero).detach(), 1.0, 1.0).values()).backward()
    assert torch.isfinite(zero.grad).all()
