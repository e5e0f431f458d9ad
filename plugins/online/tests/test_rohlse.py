"""ROHLSE against a transcription with columns as samples that keeps all rows, and what each update must fulfil."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hashzoo_online.kernel import Kernel, kernel_of
from hashzoo_online.rohlse import Rohlse, shrink, shrink_singular_values
from torch.nn.functional import normalize

from hashzoo import HashzooError
from hashzoo.model import encode
from hashzoo.once import bytes_held
from hashzoo.testing import toy_job, toy_stream
from hashzoo.train import Rows

BITS, CHUNK = 4, 40
RELEASED = {"alpha": 1.0, "beta": 0.1, "mu": 0.1, "gamma": 1.0, "phi": 1e-3, "ridge": 0.01, "iterations": 10}
OTHERS = {"alpha": 0.05, "beta": 2.0, "mu": 0.7, "gamma": 0.4, "phi": 9.0, "ridge": 3.0, "iterations": 4}


def turned(vectors):
    """Eigenvectors come with either sign: the largest entry is above zero."""
    return vectors * np.sign(vectors[abs(vectors).argmax(axis=0), range(len(vectors))])


class Slow:
    """The released loops, with columns as samples; D, G and V of all rows are kept, or summed in each iteration."""

    def __init__(self, alpha, beta, mu, gamma, phi, ridge, iterations, anchors, repeat=False):
        self.alpha, self.beta, self.mu, self.gamma = alpha, beta, mu, gamma
        self.phi, self.ridge, self.iterations, self.repeat = phi, ridge, iterations, repeat
        self.anchors, self.rows = anchors, []  # rows: X, T, D, G, V, B of each chunk

    def kernel(self, which, x, generator):
        if not self.rows:
            chosen = x[:, torch.randperm(x.shape[1], generator=generator)[: self.anchors].numpy()]
            spread = np.mean([[sum((a - b) ** 2) for b in chosen.T] for a in x.T])
            made = np.exp(-np.array([[sum((a - b) ** 2) for a in x.T] for b in chosen.T]) / (2 * spread))
            self.kernels = {**getattr(self, "kernels", {}), which: (chosen, spread, made.mean(axis=1, keepdims=True))}
        chosen, spread, mean = self.kernels[which]
        return np.exp(-np.array([[sum((a - b) ** 2) for a in x.T] for b in chosen.T]) / (2 * spread)) - mean

    def components(self, x):
        return turned(np.linalg.eigh(np.cov(x))[1][:, ::-1])[:, :BITS].T @ x

    def old(self, *names):
        """Sum over old rows of the product of two kinds of rows."""
        one, other = ([rows[name] for rows in self.rows] for name in names)
        return sum(a @ b.T for a, b in zip(one, other, strict=True)) if one else 0.0

    def learn(self, toy):
        generator = toy.job.generator
        x1, x2 = (self.kernel(w, x.T.astype(float), generator) for w, x in (("X", toy.image), ("T", toy.text)))
        lab, n, c = toy.labels.T.astype(float), len(toy.labels), toy.labels.shape[1]
        repeat = self.repeat and self.rows
        v = (self.components(x1) + self.components(x2)) / 2
        m, z = turned(np.linalg.eigh(np.cov(lab))[1][:, ::-1]).T @ lab, np.eye(c)
        low, e, f1, f2, rho = z @ m, np.zeros_like(lab), np.zeros_like(lab), np.zeros_like(lab), 1.0
        inverse = [
            np.linalg.inv(self.mu * (self.old(k, k) + x @ x.T) + self.ridge * np.eye(len(x)))
            for k, x in (("X", x1), ("T", x2))
        ]
        sums = getattr(self, "sums", [self.old("D", "X"), self.old("D", "T"), self.old("V", "G")])
        w1, w2 = (self.mu * (s + lab @ x.T) @ i for s, x, i in zip(sums[:2], (x1, x2), inverse, strict=True))
        y = lab / (np.sqrt((lab**2).sum(axis=0)) + 1e-8)
        for _ in range(self.iterations):
            vy = sums[2] + v @ y.T
            b = np.where(self.phi * v + BITS * vy @ y > 0, 1.0, -1.0)
            if repeat:
                sums[2] = vy
            near = rho / 2 * (lab - e + f1 / rho) + rho / 2 * (low - f2 / rho) + self.mu * (w1 @ x1 + w2 @ x2)
            weight = rho + 2 * self.mu + self.gamma
            z = (near + self.gamma * m) @ m.T @ np.linalg.pinv(weight * m @ m.T)
            m = np.linalg.pinv(weight * z.T @ z + self.gamma * (np.eye(c) - z)) @ z.T @ near
            zm = z @ m
            left, values, right = np.linalg.svd(zm + f2 / rho, full_matrices=False)
            low = left @ np.diag(np.maximum(values - self.alpha / rho, 0)) @ right
            dx = [s + zm @ x.T for s, x in zip(sums[:2], (x1, x2), strict=True)]
            w1, w2 = (self.mu * d @ i for d, i in zip(dx, inverse, strict=True))
            if repeat:
                sums[:2] = dx
            off = lab - zm + f1 / rho
            e = np.sign(off) * np.maximum(abs(off) - self.alpha * self.beta / rho, 0)
            y = lab - e
            y = y / (np.sqrt((y**2).sum(axis=0)) + 1e-8)
            d = (BITS * b @ y.T @ y + self.phi * b).T
            centred = d - np.ones((n, n)) @ d / n
            values, vectors = np.linalg.eigh(centred.T @ centred)
            v = (np.sqrt(n) * centred @ vectors @ np.diag(values**-0.5) @ vectors.T).T  # the polar factor
            f1, f2 = f1 + rho * (lab - zm - e), f2 + rho * (zm - low)
            rho = min(1e6, 1.21 * rho)
        if repeat:
            self.sums = sums
        elif self.repeat:
            self.sums = [zm @ x1.T, zm @ x2.T, v @ y.T]
        self.rows.append({"X": x1, "T": x2, "D": zm, "G": y, "V": v, "B": b, "1": np.ones((1, n))})
        hashing = []
        for name in "XT":
            x = np.concatenate([rows[name] for rows in self.rows], axis=1)
            every = np.concatenate([rows["B"] for rows in self.rows], axis=1)
            p = every @ x.T @ np.linalg.inv(x @ x.T + self.ridge * np.eye(len(x)))
            hashing.append((p, (p @ x).mean(axis=1, keepdims=True)))
        return hashing


@pytest.mark.parametrize(
    ("settings", "repeat"), [(RELEASED, False), (RELEASED, True), (OTHERS, False)], ids=["once", "repeated", "others"]
)
def test_it_is_the_slow_transcription(settings, repeat):
    trainer = Rohlse(**settings, anchors=12, repeat_sums=repeat)
    slow = Slow(**settings, anchors=12, repeat=repeat)
    for toy, copy in zip(*(toy_stream(3, CHUNK, bits=BITS, classes=10) for _ in range(2)), strict=True):
        towers = trainer.partial_fit(toy.job)
        hashing = slow.learn(copy)
        np.testing.assert_array_equal(trainer.learned_codes().image.numpy(), slow.rows[-1]["B"].T)
        np.testing.assert_array_equal(trainer.learned_codes().text.numpy(), slow.rows[-1]["B"].T)
        for tower, (p, mean), name in zip((towers.image, towers.text), hashing, "XT", strict=True):
            inputs = torch.from_numpy(copy.image if name == "X" else copy.text)
            expected = (p @ slow.rows[-1][name] - mean).T
            np.testing.assert_allclose(encode(tower, inputs).numpy(), expected, rtol=1e-3, atol=1e-4)
    if not repeat:
        assert len(trainer.sums) == 10
        for name, kept in trainer.sums.items():
            one, other = (np.concatenate([rows[kind] for rows in slow.rows], axis=1) for kind in name)
            np.testing.assert_allclose(kept.numpy().squeeze(), (one @ other.T).squeeze(), 1e-5, 1e-6, err_msg=name)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize(
    ("shrunk", "penalty"),
    [(shrink, lambda e: e.abs().sum()), (shrink_singular_values, lambda n: torch.linalg.svdvals(n).sum())],
)
def test_shrinking_minimises_its_penalty_and_the_distance(shrunk, penalty):
    values = normal(9, 5)

    def objective(at):
        return 0.8 * penalty(at) + 0.5 * (values - at).square().sum()

    found = shrunk(values, 0.8)
    assert all(objective(found) < objective(found + size * normal(9, 5, seed=1)) for size in (1e-3, -1e-3, 0.1, -1))
    assert not torch.equal(found, values)


def noisy_job(bits, share):
    """Labels in groups of four, which always occur together, of which a share is wrong; and the right ones."""
    toy = toy_job(bits=bits, rows=400)
    right = np.repeat(toy.labels, 4, axis=1)
    wrong = right ^ (np.random.default_rng(0).random(right.shape) < share)
    job = replace(toy.job, train=Rows(toy.image, toy.text, wrong, toy.job.device), classes=("",) * 24)
    return replace(toy, job=job), torch.from_numpy(right).double()


def test_cleaned_labels_are_of_lower_rank_and_nearer_to_the_right_ones():
    toy, right = noisy_job(BITS, 0.1)
    made, trainer = [], Rohlse(anchors=100)
    learn = trainer._learn

    def watched(*arguments, **options):
        made.append(learn(*arguments, **options))
        return made[-1]

    trainer._learn = watched
    trainer.partial_fit(toy.job)
    codes, latent, clean, labels = made[0]
    assert (latent.T @ latent / 400 - torch.eye(BITS)).abs().max() < 1e-9
    assert latent.sum(dim=0).abs().max() / 400 < 1e-9
    torch.testing.assert_close(labels.norm(dim=1), torch.ones(400).double(), atol=1e-4, rtol=0)
    assert set(codes.unique().tolist()) == {-1, 1}
    # Of labels in six groups the right ones have rank 6.
    given, right = normalize(toy.job.train.labels.double()), normalize(right)
    beyond = [torch.linalg.svdvals(rows)[6:].norm() / rows.norm() for rows in (clean, given)]
    assert beyond[0] < 0.4 * beyond[1]
    angles = [(rows * right).sum(dim=1).mean() for rows in (labels, given)]
    assert 1 - angles[0] < 0.5 * (1 - angles[1])
    assert toy.lines[-1]["unexplained"] < 1e-5 < toy.lines[0]["unexplained"]


def test_codes_follow_the_right_labels_better_than_without_cleaning():
    def agreement(beta):
        toy, right = noisy_job(16, 0.2)
        trainer = Rohlse(beta=beta, anchors=100)
        trainer.partial_fit(toy.job)
        codes = trainer.learned_codes().image
        pairs = [codes @ codes.T, right @ right.T / (right.norm(dim=1) * right.norm(dim=1)[:, None])]
        return torch.corrcoef(torch.stack([pair.flatten().double() for pair in pairs]))[0, 1].item()

    assert agreement(beta=0.1) > agreement(beta=1e6) + 0.05


def test_what_it_keeps_does_not_depend_on_how_many_chunks_there_were():
    trainer, sizes = Rohlse(anchors=20), []
    for toy in toy_stream(5, CHUNK, bits=BITS):
        trainer.partial_fit(toy.job)
        sizes.append(bytes_held(trainer))
    assert len(set(sizes)) == 1


def test_a_kernel_is_one_at_its_anchors_and_falls_with_distance():
    job, rows = toy_job().job, normal(30, 7)
    kernel = kernel_of(job, rows, 9)
    values = kernel(rows)
    assert values.shape == (30, 9)
    distances = (rows[:, None] - kernel.anchors).square().sum(dim=2)
    assert kernel.spread.item() == pytest.approx(distances.mean().item())
    torch.testing.assert_close(values, torch.exp(-distances / (2 * distances.mean())))
    assert all((rows == anchor).all(dim=1).any() for anchor in kernel.anchors)


def test_a_kernel_of_fewer_rows_than_anchors_has_the_shape_that_was_asked_for():
    kernel = kernel_of(toy_job().job, normal(5, 7), 9)
    assert kernel.anchors.shape == (9, 7)
    assert not kernel.anchors[5:].any()
    assert torch.isfinite(kernel(normal(3, 7))).all()
    same = kernel_of(toy_job().job, torch.ones(5, 7), 5)
    assert torch.isfinite(same(torch.ones(3, 7))).all()


def test_without_anchors_it_learns_from_the_features_as_they_are():
    toy = toy_job(bits=BITS, rows=60)
    towers = Rohlse(anchors=0).partial_fit(toy.job)
    assert isinstance(towers.image[0], Kernel)
    x = torch.from_numpy(toy.image)
    assert towers.image[0](x) is x
    values = encode(towers.image, x)
    assert values.mean(dim=0).abs().max() < 1e-5
    torch.testing.assert_close(encode(towers.image, (x[:2] + x[2:4]) / 2), (values[:2] + values[2:4]) / 2)


def test_more_bits_than_features_begin_with_random_directions():
    toy = toy_job(bits=24, rows=80, widths={"image": {"pooled": 30}, "text": {"pooled": 5}})
    trainer = Rohlse(anchors=0)
    towers = trainer.partial_fit(toy.job)
    assert torch.isfinite(towers.text[1].weight).all()
    assert len(torch.unique(trainer.learned_codes().image, dim=1).T) > 10


def test_chunks_without_a_class_or_with_rows_without_labels_are_learned_from():
    trainer = Rohlse(anchors=10)
    for number, toy in enumerate(toy_stream(3, CHUNK, bits=BITS)):
        toy.job.train.labels[:, number] = 0
        toy.job.train.labels[5] = 0
        towers = trainer.partial_fit(toy.job)
        assert torch.isfinite(towers.image[1].weight).all()
        assert trainer.learned_codes().image.abs().min() == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"anchors": -1}, "anchors is 0 or more, not -1"), ({"ridge": 0}, "ridge must be above 0, not 0")],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        Rohlse(**settings)


def test_codes_for_a_chunk_no_larger_than_a_code_are_refused():
    with pytest.raises(HashzooError, match="ROHLSE needs more rows in a chunk than bits, and has 16 for 16 bits"):
        Rohlse().partial_fit(toy_job(bits=16, rows=16).job)
