"""Jobs, descent and the default trainer."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from hashzoo.losses import Pairwise
from hashzoo.model import HashHead, Tower, Towers
from hashzoo.train import (
    Batch,
    Descent,
    FusedAdamW,
    GradientTrainer,
    Job,
    Rows,
    Trainer,
    Untrained,
    light,
    parameter_groups,
)

CPU = torch.device("cpu")


def job_of(rows: int = 50, seed: int = 0, loss: nn.Module | None = None, log=lambda **terms: None) -> Job:
    draw = np.random.default_rng(0)
    image, text = (draw.standard_normal((rows, width)).astype(np.float32) for width in (6, 9))
    labels = draw.random((rows, 4)) < 0.3

    def towers() -> Towers:
        return Towers(*(Tower(HashHead({"pooled": w}, 8), {"pooled": w}) for w in (6, 9)))

    return Job(
        train=Rows(image, text, labels, CPU),
        bits=8,
        classes=("a", "b", "c", "d"),
        widths={"image": {"pooled": 6}, "text": {"pooled": 9}},
        loss=loss,
        device=CPU,
        generator=torch.Generator().manual_seed(seed),
        towers=towers,
        text_inputs=lambda strings: torch.zeros(len(strings), 9),
        log=log,
    )


def test_a_batch_takes_what_it_is_asked_for_once(monkeypatch):
    rows, taken = job_of().train, []
    for role in ("image", "text"):
        take = getattr(rows, role)
        monkeypatch.setattr(rows, role, lambda index, role=role, take=take: (taken.append(role), take(index))[1])
    batch = rows.batch(torch.tensor([4, 0]))
    assert not taken
    assert batch.text is batch.text
    assert taken == ["text"]


def test_rows_are_taken_by_number():
    rows = job_of().train
    index = torch.tensor([4, 0, 49])
    batch = rows.batch(index)
    assert isinstance(batch, Batch)
    assert len(rows) == 50
    assert torch.equal(batch.index, index)
    assert torch.equal(batch.image[1], rows.image(torch.tensor([0]))[0])
    assert torch.equal(batch.text[2], rows.text(torch.tensor([49]))[0])
    assert torch.equal(batch.labels, rows.labels[index])
    assert batch.labels.dtype == torch.float32


@pytest.mark.parametrize("size", [1, 7, 49, 50, 51, 1000])
def test_an_epoch_sees_every_row_once(size):
    batches = list(job_of().batches(size))
    assert max(len(batch.index) for batch in batches) <= size
    assert sorted(torch.cat([batch.index for batch in batches]).tolist()) == list(range(50))


def test_epochs_are_in_different_order_and_the_seed_decides_which():
    def order(job):
        return torch.cat([batch.index for batch in job.batches(16)]).tolist()

    job = job_of()
    first, second = order(job), order(job)
    assert first != second
    assert order(job_of(seed=0)) == first
    assert order(job_of(seed=1)) != first


def test_descent_is_adamw_with_cosine_decay():
    """Two epochs of one step each, worked out by hand (Loshchilov and Hutter, ICLR 2019, algorithm 2)."""
    weight = nn.Parameter(torch.tensor([2.0]))
    module = nn.ParameterList([weight])
    lr, decay, epochs = 0.1, 0.01, 2
    descent = Descent.adamw([module], epochs, lr, 0.0, decay)
    x, m, v = 2.0, 0.0, 0.0
    for step, rate in ((1, lr), (2, lr * 0.5)):  # cosine: 1 at the start, 1/2 halfway
        descent.step({"square": (weight**2).sum(), "line": 3 * weight.sum()}, rows=4)
        gradient = 2 * x + 3
        m, v = 0.9 * m + 0.1 * gradient, 0.999 * v + 0.001 * gradient**2
        x -= rate * decay * x
        x -= rate * (m / (1 - 0.9**step)) / ((v / (1 - 0.999**step)) ** 0.5 + 1e-8)
        descent.end_epoch()
        assert weight.item() == pytest.approx(x, rel=1e-6)
    assert descent.optimiser.param_groups[0]["lr"] == pytest.approx(0, abs=1e-12)


def test_the_means_of_an_epoch_are_weighted_by_rows():
    weight = nn.Parameter(torch.zeros(1))
    descent = Descent.adamw([nn.ParameterList([weight])], 3, 0.1, 0.1)
    for value, rows in ((1.0, 3), (5.0, 1)):
        descent.step({"a": weight.sum() * 0 + value, "b": weight.sum() * 0 - value}, rows)
    assert descent.end_epoch() == {"a": 2.0, "b": -2.0}
    descent.step({"a": weight.sum() * 0 + 7}, 2)
    assert descent.end_epoch() == {"a": 7.0}
    assert descent.end_epoch() == {}


def test_encoders_inside_towers_have_a_learning_rate_of_their_own(tiny):
    from hashzoo_tiny.parts import Tiny

    encoder, head = Tiny(), HashHead({"pooled": 48}, 8, hidden=0)
    towers = Towers(Tower(head, {"pooled": 48}, encoder), Tower(HashHead({"pooled": 9}, 8), {"pooled": 9}))
    fast, slow = parameter_groups([towers], 0.1, 0.001)
    assert (fast["lr"], slow["lr"]) == (0.1, 0.001)
    assert [id(p) for p in slow["params"]] == [id(p) for p in encoder.parameters()]
    assert len(fast["params"]) + len(slow["params"]) == len(list(towers.parameters()))
    assert len(parameter_groups([head], 0.1, 0.001)) == 1


def test_training_lowers_the_loss_and_logs_each_epoch():
    log = []
    torch.manual_seed(0)
    job = job_of(loss=Pairwise(), log=lambda **terms: log.append(terms))
    towers = GradientTrainer(epochs=40, batch=16, lr=1e-2).fit(job)
    assert isinstance(towers, Towers)
    assert [line["epoch"] for line in log] == list(range(1, 41))
    assert set(log[0]) == {"epoch", "likelihood", "quantisation", "balance"}
    totals = [sum(value for name, value in line.items() if name != "epoch") for line in log]
    assert totals[-1] < 0.8 * totals[0]


def test_the_generator_and_the_global_seed_decide_the_outcome():
    def weights(seed):
        torch.manual_seed(seed)
        towers = GradientTrainer(epochs=2, batch=16).fit(job_of(seed=seed, loss=Pairwise()))
        return torch.cat([p.detach().flatten() for p in towers.parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_no_epochs_and_no_training_give_fresh_towers():
    assert isinstance(GradientTrainer(epochs=0).fit(job_of(loss=Pairwise())), Towers)
    assert isinstance(Untrained().fit(job_of()), Towers)


def test_a_trainer_must_fit():
    with pytest.raises(TypeError, match="abstract"):
        Trainer()


def test_adamw_steps_as_that_of_torch_does():
    """Two groups, a schedule, a parameter that gets no gradient at first, and one that gets none later."""
    weights = []
    for make in (torch.optim.AdamW, FusedAdamW):
        torch.manual_seed(0)
        first, second = nn.Linear(5, 300), nn.Linear(300, 3)
        optimiser = make([{"params": first.parameters()}], lr=0.1, weight_decay=0.01, fused=True)
        optimiser.add_param_group({"params": list(second.parameters()), "lr": 0.01, "weight_decay": 0.1})
        line = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, 5)
        for step in range(8):
            optimiser.zero_grad()
            assert first.weight.grad is None
            hidden = first(torch.randn(4, 5))
            (second(hidden) if step > 1 else hidden).square().sum().backward()
            if step == 6:
                second.bias.grad = None
            optimiser.step()
            line.step()
        weights.append(torch.cat([p.detach().flatten() for layer in (first, second) for p in layer.parameters()]))
    assert torch.equal(*weights)


def test_adamw_goes_on_from_a_loaded_state():
    weights = []
    for make in (torch.optim.AdamW, FusedAdamW):
        weight = nn.Parameter(torch.ones(3))
        optimiser = make([weight], lr=0.1, fused=True)
        states = []
        for _ in range(4):
            weight.grad = weight.detach().square()
            optimiser.step()
            states.append(copy.deepcopy(optimiser.state_dict()))
        optimiser.load_state_dict(states[0])
        optimiser.step()
        weights.append(weight.detach())
    assert torch.equal(*weights)


@pytest.mark.parametrize(("optimiser", "settings"), [("AdamW", {"fused": True}), ("SGD", {"momentum": 0.9})])
def test_a_light_optimiser_steps_as_that_of_torch_does(optimiser, settings):
    weights = []
    for make in (getattr(torch.optim, optimiser), light(getattr(torch.optim, optimiser))):
        torch.manual_seed(0)
        module = torch.nn.Linear(5, 3)
        one, other = make([{"params": [module.weight]}], lr=0.1, weight_decay=0.01, **settings), module.bias
        one.add_param_group({"params": [other], "lr": 0.01})
        line = torch.optim.lr_scheduler.CosineAnnealingLR(one, 5)
        for _ in range(5):
            one.zero_grad()
            module(torch.randn(4, 5)).square().sum().backward()
            one.step()
            line.step()
        one.zero_grad()
        assert module.weight.grad is None
        weights.append(torch.cat([module.weight.flatten(), module.bias]).tolist())
    assert weights[0] == weights[1]
