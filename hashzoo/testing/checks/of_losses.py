"""Checks of losses: on batches that are made up, without any towers.

A loss may keep state between batches (code tables by `batch.index`, a matrix by the number of classes), so
every check builds a new one. It may draw from the global generators, which the core seeds for a training.
"""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor, nn

from hashzoo.fitting import seeded
from hashzoo.model import Outputs
from hashzoo.recipe import ROLES
from hashzoo.testing.kit import Subject, check
from hashzoo.testing.probing import failure, generator_states
from hashzoo.train import Batch

BITS, ROWS, CLASSES = 16, 12, 5
USUAL_BITS = (16, 32, 64, 128)  # those of `hashzoo bench`
STEPS, RATE = 60, 0.1  # of a descent
MARGIN = 0.05  # of equal bits; between random codes of as many rows it has a standard deviation of 0.012


def build(subject: Subject) -> nn.Module:
    """The loss with its default settings."""
    return subject.target()()


def batch(labels: Tensor) -> Batch:
    """Rows with these labels (B, C); inputs of both modalities are noise, (B, 8)."""
    noise = torch.Generator().manual_seed(1)
    inputs = [torch.randn(len(labels), 8, generator=noise) for _ in range(2)]
    return Batch(torch.arange(len(labels)), inputs[0], inputs[1], labels.float())


def some_labels(rows: int = ROWS) -> Tensor:
    """One or two labels a row, so that some pairs of rows share one and others do not."""
    place = torch.arange(rows)
    return torch.eye(CLASSES)[place % CLASSES].maximum(torch.eye(CLASSES)[place * 3 % 4])


def outputs_of(image: Tensor, text: Tensor) -> Outputs:
    """Outputs whose gradients can be read; like those of towers they are no leaves, and can be written to."""
    outputs = Outputs(*(values.clone().requires_grad_().clone() for values in (image, text)))
    outputs.image.retain_grad()
    outputs.text.retain_grad()
    return outputs


def some_outputs(rows: int = ROWS, bits: int = BITS, seed: int = 0) -> Outputs:
    """Values in (-1, 1), as heads with tanh give them."""
    noise = torch.Generator().manual_seed(seed)
    return outputs_of(*(torch.randn(rows, bits, generator=noise).tanh() for _ in range(2)))


def total(terms: dict[str, Tensor]) -> Tensor:
    """What a trainer descends."""
    return torch.stack(list(terms.values())).sum()


def demand_finite(loss: nn.Module, outputs: Outputs, labels: Tensor, where: str) -> None:
    """Raise unless all terms, and the gradients of both outputs, are finite."""
    terms = loss(outputs, batch(labels))
    for name, term in terms.items():
        assert torch.isfinite(term), f"'{name}' is {term.item()} {where}"
    if total(terms).requires_grad:
        total(terms).backward()
    for role in ROLES:
        gradient = getattr(outputs, role).grad
        assert gradient is None or torch.isfinite(gradient).all(), (
            f"its terms are finite, but the gradient of the {role} outputs is not, {where}"
        )


def not_built(subject: Subject) -> str:
    """Why there is nothing to be looked at; a check of its own fails for the same reason."""
    return failure(check_loss_can_be_built, subject)


def no_terms(subject: Subject) -> str:
    """Why there are no terms to be looked at; a check of its own fails for the same reason."""
    return not_built(subject) or failure(check_terms_are_named_finite_scalars, subject)


@check("loss")
def check_loss_can_be_built(subject: Subject) -> None:
    """The loss is a torch module whose settings all have defaults."""
    loss = build(subject)
    assert isinstance(loss, nn.Module), f"it is a {type(loss).__name__}; derive it from hashzoo.losses.Loss"


@check("loss", unless=not_built)
def check_terms_are_named_finite_scalars(subject: Subject) -> None:
    """The loss returns a dict of at least one finite scalar by name."""
    terms = build(subject)(some_outputs(), batch(some_labels()))
    assert isinstance(terms, dict), f"it returns {type(terms).__name__}, not a dict of named terms"
    assert terms, "it returns no terms"
    for name, term in terms.items():
        assert isinstance(name, str), f"the name of a term is {name!r}, not a string"
        assert isinstance(term, Tensor), f"'{name}' is {type(term).__name__}, not a tensor"
        assert term.shape == (), f"'{name}' has the shape {tuple(term.shape)}, not that of a scalar"
        assert torch.isfinite(term), f"'{name}' is {term.item()}"


@check("loss", unless=no_terms)
def check_terms_at_usual_code_lengths(subject: Subject) -> None:
    """The loss takes codes of 16, 32, 64 and 128 bits."""
    for bits in USUAL_BITS:
        demand_finite(build(subject), some_outputs(bits=bits), some_labels(), f"at {bits} bits")


@check("loss", unless=no_terms)
def check_batches_may_differ_in_size(subject: Subject) -> None:
    """One loss takes larger and smaller batches after the first: those of an epoch differ by one row."""
    loss = build(subject)
    for rows in (ROWS - 1, ROWS, ROWS - 1):
        demand_finite(loss, some_outputs(rows), some_labels(rows), f"where a batch of {rows} follows another")


@check("loss", unless=no_terms)
def check_gradients_reach_both_towers(subject: Subject) -> None:
    """Within three batches the sum of the terms has a non-zero gradient for image and for text outputs."""
    loss = build(subject)
    largest = dict.fromkeys(ROLES, 0.0)
    for seed in range(3):
        outputs = some_outputs(seed=seed)
        descended = total(loss(outputs, batch(some_labels())))
        if descended.requires_grad:
            descended.backward()
        for role in ROLES:
            gradient = getattr(outputs, role).grad
            largest[role] = max(largest[role], 0.0 if gradient is None else gradient.abs().max().item())
    still = [role for role in ROLES if not largest[role]]
    assert not still, f"no gradient reaches the {' and the '.join(still)} tower, which can then not be trained"


@check("loss", unless=no_terms)
def check_finite_where_no_rows_share_a_label(subject: Subject) -> None:
    """Terms and gradients are finite in a batch without two rows that share a label."""
    demand_finite(build(subject), some_outputs(), torch.eye(ROWS), "where no two rows share a label")


@check("loss", unless=no_terms)
def check_finite_where_all_rows_share_a_label(subject: Subject) -> None:
    """Terms and gradients are finite in a batch in which all rows share a label."""
    labels = some_labels()
    labels[:, 0] = 1
    demand_finite(build(subject), some_outputs(), labels, "where all rows share a label")


@check("loss", unless=no_terms)
def check_finite_where_a_row_has_no_label(subject: Subject) -> None:
    """Terms and gradients are finite in a batch with a row that has no label at all."""
    labels = some_labels()
    labels[1] = 0
    demand_finite(build(subject), some_outputs(), labels, "where a row has no label")


@check("loss", unless=no_terms)
def check_finite_where_outputs_are_zero(subject: Subject) -> None:
    """Terms and gradients are finite where all outputs are zero, as those of towers that collapse."""
    zeros = torch.zeros(ROWS, BITS)
    demand_finite(build(subject), outputs_of(zeros, zeros), some_labels(), "where all outputs are zero")


@check("loss", unless=no_terms)
def check_finite_for_a_batch_of_one(subject: Subject) -> None:
    """Terms and gradients are finite for a single row."""
    demand_finite(build(subject), some_outputs(1), some_labels(1), "for a batch of one row")


@check("loss", unless=no_terms)
def check_outputs_and_batch_are_unchanged(subject: Subject) -> None:
    """The loss writes into nothing that it is handed: trainers use outputs and labels again."""
    outputs, rows = some_outputs(), batch(some_labels())
    handed = {
        f"{name}.{field.name}": (whole, field.name)
        for name, whole in (("outputs", outputs), ("batch", rows))
        for field in fields(whole)
    }
    before = {name: getattr(*place) for name, place in handed.items()}
    kept = {name: (tensor.detach().clone(), tensor._version) for name, tensor in before.items()}
    build(subject)(outputs, rows)
    for name, place in handed.items():
        assert getattr(*place) is before[name], f"it puts something else in the place of {name}"
        values, version = kept[name]
        assert torch.equal(before[name], values), f"it changes {name}; work on a copy"
        assert before[name]._version == version, f"it writes into {name} in place; work on a copy"


@check("loss", unless=no_terms)
def check_descent_brings_relevant_pairs_nearer(subject: Subject) -> None:
    """Codes that descend the loss agree more with those of rows that share a label than with those of others."""
    labels = torch.eye(4).repeat(3, 1)
    similar = labels @ labels.T > 0
    agreement = torch.zeros(2)
    for seed in range(3):
        noise = torch.Generator().manual_seed(seed)
        image, text = (torch.randn(len(labels), BITS, generator=noise).requires_grad_() for _ in ROLES)
        loss, descent = build(subject), torch.optim.Adam([image, text], lr=RATE)
        with seeded(seed, torch.get_num_threads()):
            for _ in range(STEPS):
                descended = total(loss(Outputs(image.tanh(), text.tanh()), batch(labels)))
                descent.zero_grad()
                if descended.requires_grad:
                    descended.backward()
                descent.step()
        equal = ((image[:, None] > 0) == (text[None] > 0)).float().mean(dim=2)
        agreement += torch.stack([equal[similar].mean(), equal[~similar].mean()]) / 3
    near, far = agreement.tolist()
    assert near - far >= MARGIN, (
        f"after {STEPS} steps down its gradient an image and a text that share a label agree in {near:.0%} of their "
        f"bits, others in {far:.0%}; is the sign of a term, or the similarity, the wrong way round?"
    )


@check("loss", unless=no_terms)
def check_same_seed_gives_same_terms(subject: Subject) -> None:
    """Two losses, with the global generators seeded alike, give the same terms bit for bit."""
    found = []
    for _ in range(2):
        with seeded(0, torch.get_num_threads()):
            found.append(build(subject)(some_outputs(), batch(some_labels())))
    first, second = found
    assert set(first) == set(second), f"it gives the terms {sorted(first)}, and next time {sorted(second)}"
    for name in first:
        assert torch.equal(first[name], second[name]), (
            f"'{name}' is {first[name].item()}, and next time {second[name].item()}; draw random numbers from torch's "
            f"global generator, which the core seeds"
        )


@check("loss", unless=no_terms)
def check_loss_seeds_no_generator(subject: Subject) -> None:
    """The loss may draw from the global generators but seeds none: every step would draw the same."""
    after = []
    for seed in range(2):
        with seeded(seed, torch.get_num_threads()):
            build(subject)(some_outputs(), batch(some_labels()))
            after.append(generator_states())
    fixed = [name for name, state in after[0].items() if state == after[1][name]]
    assert not fixed, f"it seeds {' and '.join(fixed)}; use a torch.Generator of your own"
