"""CCA-ITQ, CVH and SCM against slow transcriptions: covariances by loops, eigenproblems by inverses, S formed."""

import itertools
import math

import numpy as np
import pytest
import torch
from hashzoo_shallow.canonical import cca
from hashzoo_shallow.ccaitq import CcaItq, itq_step
from hashzoo_shallow.cvh import Cvh
from hashzoo_shallow.scm import Scm, leading_pair
from hashzoo_shallow.views import Blocks

from hashzoo.testing import share, toy_job


def centred(features):
    features = np.asarray(features, dtype=float)
    return features - features.mean(axis=0)


def held(rows):
    return Blocks.of(torch.from_numpy(rows))


def covariance(x, y):
    """C_xy = X^T Y / n, entry by entry."""
    return np.array([[sum(x[:, i] * y[:, j]) / len(x) for j in range(y.shape[1])] for i in range(x.shape[1])])


def ridged(x, share):
    """C_xx with `share` of its mean variance on the diagonal."""
    found = covariance(x, x)
    return found + share * np.trace(found) / len(found) * np.eye(len(found))


def eigen(cxx, cyy, cxy, count):
    """The strongest pairs a, b of C_xy C_yy^-1 C_yx a = c^2 C_xx a and b = C_yy^-1 C_yx a / c, and their c."""
    values, vectors = np.linalg.eig(np.linalg.inv(cxx) @ cxy @ np.linalg.inv(cyy) @ cxy.T)
    order = np.argsort(-values.real)[:count]
    a, c = vectors[:, order].real, np.sqrt(values[order].real)
    return a, np.linalg.inv(cyy) @ cxy.T @ a / c, c


def assert_same_bits(codes, expected):
    """Codes (n, bits) of both modalities are the expected ones, but for bits that are flipped in both."""
    flips = [np.sign((mine * theirs).sum(axis=0)) for mine, theirs in zip(codes, expected, strict=True)]
    np.testing.assert_array_equal(*flips)
    for mine, theirs in zip(codes, expected, strict=True):
        np.testing.assert_array_equal(mine * flips[0], theirs)


def signs(values):
    return np.where(np.asarray(values) > 0, 1.0, -1.0)


def test_canonical_directions_solve_the_eigenproblem_and_are_scaled_to_unit_variance():
    toy = toy_job(rows=60)
    x, y = centred(toy.image), centred(toy.text)
    found = cca(held(x), held(y), 0.3)
    cxx, cyy, cxy = ridged(x, 0.3), ridged(y, 0.3), covariance(x, y)
    a, b, c = eigen(cxx, cyy, cxy, 9)
    left, right = found.left.numpy()[:, :9], found.right.numpy()[:, :9]
    correlations = found.correlations.numpy()[:9]
    np.testing.assert_allclose(correlations, c, rtol=1e-9)
    np.testing.assert_allclose(left.T @ cxx @ left, np.eye(9), atol=1e-9)
    np.testing.assert_allclose(right.T @ cyy @ right, np.eye(9), atol=1e-9)
    np.testing.assert_allclose(left.T @ cxy @ right, np.diag(c), atol=1e-9)
    scale = left[0] / a[0]
    np.testing.assert_allclose(left, a * scale, atol=1e-8)
    np.testing.assert_allclose(right, b * scale, atol=1e-8)


def test_the_scale_and_the_centre_of_features_change_no_correlation():
    toy = toy_job(rows=60)
    x, y = (centred(rows) for rows in (toy.image, toy.text))
    found = cca(held(1000 * x), held(y / 50), 0.1).correlations
    torch.testing.assert_close(cca(held(x), held(y), 0.1).correlations, found)


def test_features_that_never_change_correlate_with_nothing():
    found = cca(held(np.zeros((20, 3))), held(np.random.default_rng(0).normal(size=(20, 4))), 0.1)
    assert torch.isfinite(found.left).all()
    assert found.correlations.abs().max() == 0


def slow_ccaitq(toy, generator, bits, ridge, power, iterations):
    """The paper's alternation, B^T V = S O S_hat^T and R = S_hat S^T, on padded canonical variables."""
    x, y = centred(toy.image), centred(toy.text)
    found = cca(held(x), held(y), ridge)  # the same sign of every direction
    scale = found.correlations.numpy()[:bits] ** power
    parts = [x @ (found.left.numpy()[:, :bits] * scale), y @ (found.right.numpy()[:, :bits] * scale)]
    v = np.zeros((2 * len(x), bits))
    v[:, : len(scale)] = np.concatenate(parts)
    r = np.linalg.qr(torch.randn(bits, bits, generator=generator, dtype=torch.float64).numpy())[0]
    losses = []
    for _ in range(iterations):
        b = signs(v @ r)
        losses.append(np.square(b - v @ r).mean())
        s, _, s_hat = np.linalg.svd(b.T @ v)
        r = s_hat.T @ s.T
    return signs(v @ r)[: len(x)], signs(v @ r)[len(x) :], losses


@pytest.mark.parametrize("bits", [8, 16, 20], ids=["fewer bits", "as many bits", "more bits than directions"])
@pytest.mark.parametrize("settings", [{}, {"ridge": 0.5, "power": 0.0, "iterations": 7}])
def test_ccaitq_is_the_slow_transcription(bits, settings):
    toy, copy = toy_job(bits=bits), toy_job(bits=bits)
    towers = CcaItq(**settings).fit(toy.job)
    image, text, losses = slow_ccaitq(
        copy, copy.job.generator, bits, **{"ridge": 1.0, "power": 1.0, "iterations": 50} | settings
    )
    np.testing.assert_array_equal(signs(towers.image(torch.from_numpy(toy.image))), image)
    np.testing.assert_array_equal(signs(towers.text(torch.from_numpy(toy.text))), text)
    np.testing.assert_allclose([line["quantisation"] for line in toy.lines], losses, rtol=1e-9)


@pytest.mark.parametrize("bits", [5, 9])
def test_a_step_of_itq_finds_the_best_rotation_and_never_loses(bits):
    generator = torch.Generator().manual_seed(0)
    values = torch.randn(40, 5, generator=generator, dtype=torch.float64)
    drawn = [torch.linalg.qr(torch.randn(bits, bits, generator=generator).double()).Q[:5] for _ in range(20)]
    rotation, before = itq_step(values, drawn[0])
    codes = torch.where(values @ drawn[0] > 0, 1.0, -1.0).double()
    after = (codes - values @ rotation).square().mean().item()
    assert after < before
    assert all(after < (codes - values @ other).square().mean() for other in drawn)
    torch.testing.assert_close(rotation @ rotation.T, torch.eye(5, dtype=torch.float64))
    losses = []
    for _ in range(30):
        rotation, loss = itq_step(values, rotation)
        losses.append(loss)
    assert all(later <= earlier + 1e-12 for earlier, later in itertools.pairwise(losses))


def test_a_ridge_of_zero_is_refused():
    with pytest.raises(ValueError, match="ridge must be above 0, not 0"):
        CcaItq(ridge=0)


def test_bits_are_the_signs_of_the_solutions_of_the_eigenproblem():
    toy = toy_job(bits=12)
    towers = Cvh(ridge=0.05).fit(toy.job)
    x, y = centred(toy.image), centred(toy.text)
    a, b, c = eigen(ridged(x, 0.05), ridged(y, 0.05), covariance(x, y), 12)
    codes = [signs(towers.image(torch.from_numpy(toy.image))), signs(towers.text(torch.from_numpy(toy.text)))]
    assert_same_bits(codes, [signs(x @ a), signs(y @ b)])
    assert toy.lines == [{"epoch": 1, "correlation": pytest.approx(c.mean())}]


def test_the_first_bits_do_not_depend_on_how_many_there_are():
    short, long = (Cvh().fit(toy_job(bits=bits).job) for bits in (4, 16))
    torch.testing.assert_close(short.image.weight, long.image.weight[:, :4])


def test_bits_beyond_the_directions_mix_them_alike_in_both_modalities():
    toy = toy_job(bits=40)
    towers = Cvh().fit(toy.job)
    image, text = towers.image.weight.numpy(), towers.text.weight.numpy()
    mixed = np.linalg.lstsq(image[:, :16], image[:, 16:], rcond=None)[0]
    np.testing.assert_allclose(image[:, :16] @ mixed, image[:, 16:], atol=1e-4)
    np.testing.assert_allclose(text[:, :16] @ mixed, text[:, 16:], atol=1e-4)
    assert len(np.unique(signs(toy.image @ image), axis=1).T) == 40


def similarity(labels):
    """S = 2 cos(labels_i, labels_j) - 1, pair by pair; a row without labels has cosine 0 with all."""
    found = np.empty((len(labels), len(labels)))
    for i, a in enumerate(labels):
        for j, b in enumerate(labels):
            lengths = math.sqrt(a.sum() * b.sum())
            found[i, j] = 2 * (a & b).sum() / lengths - 1 if lengths else -1
    return found


def slow_scm(toy, bits, ridge, fall_back):
    """Signs of X and Y in the loop of Zhang and Li, and how many bits are canonical directions."""
    x, y = centred(toy.image), centred(toy.text)
    cxx, cyy = ridged(x, ridge), ridged(y, ridge)
    a, b, _ = eigen(cxx, cyy, covariance(x, y), bits)
    image, text = signs(x @ a)[:, ::-1].copy(), signs(y @ b)[:, ::-1].copy()
    residual, last = bits * similarity(toy.labels), np.inf
    for bit in range(bits):
        w, v, c = eigen(cxx, cyy, x.T @ residual @ y / len(x), 1)
        if fall_back and c[0] > last:
            return image, text, bits - bit
        image[:, bit], text[:, bit] = signs(x @ w)[:, 0], signs(y @ v)[:, 0]
        residual = residual - np.outer(image[:, bit], text[:, bit])
        last = c[0]
    return image, text, 0


def usual_job():
    """One row of which has no label."""
    toy = toy_job(bits=16, rows=70)
    toy.labels[3] = False
    toy.job.train.labels[3] = 0
    return toy


def growing_job():
    """A job for which the maximum grows before the last bit."""
    return toy_job(bits=8, rows=30, widths={"image": {"pooled": 9}, "text": {"pooled": 10}}, seed=3)


@pytest.mark.parametrize(
    ("made", "ridge", "grows"),
    [(usual_job, 0.02, False), (usual_job, 1.0, False), (growing_job, 1.0, True), (growing_job, 5.0, True)],
)
@pytest.mark.parametrize("fall_back", [True, False])
def test_scm_is_the_slow_transcription(made, ridge, grows, fall_back):
    toy = made()
    towers = Scm(ridge, fall_back).fit(toy.job)
    codes = [signs(towers.image(torch.from_numpy(toy.image))), signs(towers.text(torch.from_numpy(toy.text)))]
    image, text, canonical = slow_scm(toy, toy.job.bits, ridge, fall_back)
    assert_same_bits(codes, [image, text])
    assert toy.lines[-1].get("canonical_bits", 0) == canonical
    assert (canonical > 0) == (grows and fall_back)


def test_inner_products_of_codes_follow_the_similarity_of_labels():
    toy = toy_job(bits=32)
    towers = Scm().fit(toy.job)
    products = signs(towers.image(torch.from_numpy(toy.image))) @ signs(towers.text(torch.from_numpy(toy.text))).T
    assert np.corrcoef(products.ravel(), similarity(toy.labels).ravel())[0, 1] > 0.8


def test_the_leading_pair_is_that_of_the_product():
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(size, 7, generator=generator, dtype=torch.float64) for size in (12, 5))
    u, value, v = leading_pair(left, right)
    product = left @ right.T
    assert value == pytest.approx(torch.linalg.matrix_norm(product, 2).item())
    torch.testing.assert_close(product @ v, value * u)
    torch.testing.assert_close(product.T @ u, value * v)


def test_more_bits_than_features_are_learned():
    toy = toy_job(bits=40, widths={"image": {"pooled": 24}, "text": {"pooled": 5}})
    towers = Scm(fall_back=False).fit(toy.job)
    assert len(np.unique(signs(towers.text(torch.from_numpy(toy.text))), axis=1).T) > 20


@pytest.mark.parametrize("trainer", [CcaItq, Cvh])
def test_labels_change_nothing(trainer):
    one, other = toy_job(), toy_job()
    other.job.train.labels.zero_()
    states = [trainer().fit(toy.job).state_dict() for toy in (one, other)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("trainer", [Cvh(), CcaItq(), Scm()], ids=lambda trainer: type(trainer).__name__)
def test_cells_of_all_lengths_share_one_pass_over_the_features_and_get_what_they_get_alone(trainer):
    def cells():
        return [toy_job(bits=bits, rows=60) for bits in (4, 20, 8, 8)]  # of 16 directions

    alone, together = cells(), cells()
    share(*together)
    for one, other in zip(alone, together, strict=True):
        expected, found = (trainer.fit(toy.job).state_dict() for toy in (one, other))
        assert all(torch.equal(expected[name], found[name]) for name in expected)
        assert one.lines == other.lines
        other.job.common.memo.check()
    assert [toy.job.common.seconds > 0 for toy in together] == [False, True, True, True]
