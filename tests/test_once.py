"""What cells compute alike is computed once, and each gets what it gets alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from hashzoo.errors import HashzooError
from hashzoo.once import Memo
from hashzoo.testing import share, toy_job
from hashzoo.train import Rows

CALLS: list[str] = []


@pytest.fixture(autouse=True)
def calls():
    CALLS.clear()
    return CALLS


def shared(*bits, seed=0, loss=None):
    """The jobs of cells of some lengths, which share what they compute alike."""
    toys = [toy_job(bits=count, rows=20, seed=seed, loss=loss) for count in bits]
    share(*toys)
    return [toy.job for toy in toys], toys


def mean(job, scale=1.0):
    CALLS.append("mean")
    job.log(epoch=1, scale=scale)
    return scale * job.train.image(torch.arange(len(job.train))).mean(dim=0)


def of_bits(job):
    CALLS.append("of_bits")
    return job.bits


def of_towers(job):
    CALLS.append("of_towers")
    return job.towers()


def of_loss(job):
    CALLS.append("of_loss")
    return job.loss


def outer(job):
    CALLS.append("outer")
    return job.once(of_bits) + 1


def drawn(job):
    CALLS.append("drawn")
    own = torch.rand(2, generator=job.generator)
    return torch.cat([own, torch.rand(2), torch.tensor(np.random.rand(2))])  # noqa: NPY002 - plugins may draw so


def test_what_does_not_look_at_the_length_is_computed_once_with_what_it_logs():
    (first, second, third), toys = shared(8, 16, 16)
    values = [job.once(mean, 2.0) for job in (first, second, third)]
    assert CALLS == ["mean"]
    assert values[0] is values[1] is values[2]
    assert [toy.lines for toy in toys] == [[{"epoch": 1, "scale": 2.0}]] * 3
    assert first.common.seconds == 0 < second.common.seconds == third.common.seconds
    second.once(mean, scale=3.0)
    assert CALLS == ["mean"] * 2


@pytest.mark.parametrize("function", [of_bits, of_towers, outer])
def test_what_looks_at_the_length_is_computed_for_each_length(function):
    (first, second, third), _ = shared(8, 16, 16)
    torch.manual_seed(0)
    values = [job.once(function) for job in (first, second)]
    assert CALLS.count(function.__name__) == 2
    if function is not of_towers:  # which draws
        assert values == [8 + (function is outer), 16 + (function is outer)]
        assert third.once(function) == values[1]
        assert CALLS.count(function.__name__) == 2


def test_a_function_around_one_that_is_taken_over_has_looked_at_what_that_looked_at():
    (first, second, third), _ = shared(8, 16, 8)
    assert [job.once(of_bits) for job in (first, second)] == [8, 16]
    assert [job.once(outer) for job in (first, second, third)] == [9, 17, 9]
    assert CALLS == ["of_bits", "of_bits", "outer", "outer"]


def test_a_loss_which_may_learn_is_never_shared():
    (first, second), _ = shared(8, 8, loss=nn.Linear(1, 1))
    assert first.once(of_loss) is first.loss
    assert second.once(of_loss) is second.loss


def test_random_numbers_go_on_as_though_they_had_been_drawn():
    def follow(job):
        torch.manual_seed(1)
        np.random.seed(1)  # noqa: NPY002
        own = job.once(drawn)
        return torch.cat([own, torch.rand(1, generator=job.generator), torch.rand(1), torch.tensor(np.random.rand(1))])  # noqa: NPY002

    (first, second), _ = shared(8, 16)
    alone = follow(toy_job(bits=16, rows=20).job)
    assert torch.equal(follow(first), alone)
    assert torch.equal(follow(second), alone)
    assert CALLS == ["drawn"] * 2
    (first, second), _ = shared(8, 8)
    second.generator.manual_seed(9)
    assert not torch.equal(follow(first)[:2], follow(second)[:2])
    assert CALLS == ["drawn"] * 4


class Teacher:
    def __init__(self, rate=1.0, beta=1.0):
        self.rate, self.beta, self.made = rate, beta, torch.zeros(1)

    def taught(self, job, scale=1):
        CALLS.append(type(self).__name__ if type(self) is Teacher else "taught")
        return self.scaled(scale)

    def scaled(self, scale):
        return scale * self.rate

    def stateful(self, job):
        self.beta = 2.0

    def unclear(self, job):
        CALLS.append("unclear")
        return self.made


class Stricter(Teacher):
    def scaled(self, scale):
        return super().scaled(scale) + 1


def test_a_method_is_computed_anew_for_other_settings_that_it_reads_and_no_others():
    jobs, _ = shared(8, 16, 8, 8, 8)
    owners = [Teacher(), Teacher(beta=5.0), Teacher(rate=3.0), Stricter(), Stricter(beta=2.0)]
    found = [job.once(owner.taught, scale=2) for job, owner in zip(jobs, owners, strict=True)]
    assert found == [2, 2, 6, 3, 3]
    assert len(CALLS) == 3


def test_a_method_must_not_set_attributes():
    (job,), _ = shared(8)
    owner = Teacher()
    with pytest.raises(TypeError, match=r"must not set beta of one trainer; return it"):
        job.once(owner.stateful)
    assert owner.beta == 1.0


def test_what_a_method_reads_that_is_no_plain_value_is_not_shared():
    (first, second), _ = shared(8, 8)
    assert first.once(Teacher().unclear) is not second.once(Teacher().unclear)
    assert CALLS == ["unclear"] * 2


@pytest.mark.parametrize("function", [lambda job: 1, 5, "mean"])
def test_nothing_is_taken_of_which_nobody_knows_on_what_it_depends(function):
    for job in (shared(8)[0][0], toy_job(rows=20).job):
        with pytest.raises(TypeError, match=r"job.once takes a method or a function of a module, not"):
            job.once(function)


def test_a_function_inside_another_is_refused():
    def inside(job):
        return 1

    with pytest.raises(TypeError, match="inside"):
        shared(8)[0][0].once(inside)


def test_other_rows_have_nothing_in_common():
    (first, second), toys = shared(8, 8)
    fewer = Rows(toys[0].image[:5], toys[0].text[:5], toys[0].labels[:5], first.device)
    whole = first.once(mean)
    assert not torch.equal(replace(second, train=fewer).once(mean), whole)
    assert torch.equal(second.once(mean), whole)
    assert CALLS == ["mean"] * 2


def test_a_change_to_what_is_shared_is_refused_and_let_go():
    (first, second), _ = shared(8, 16)
    first.once(mean).add_(1)
    with pytest.raises(HashzooError, match=r"what job.once\([a-z.]*test_once.mean, ...\) gave is for all cells"):
        first.common.memo.check()
    assert len(first.common.memo) == 0
    second.once(mean)
    second.common.memo.check()
    assert CALLS == ["mean"] * 2


def numbers(job, count):
    CALLS.append("numbers")
    return np.zeros(count)


def test_arrays_that_are_shared_cannot_be_written():
    (job,), _ = shared(8)
    with pytest.raises(ValueError, match="read-only"):
        job.once(numbers, 3)[0] = 1


def test_the_newest_are_kept_up_to_so_many_bytes():
    (job,), _ = shared(8)
    memo = job.common.memo = Memo(most=100)
    for count in (5, 6, 5, 7, 20):  # 8 bytes each: the third is the first again, the last is too large
        job.once(numbers, count)
    assert len(CALLS) == 4
    assert len(memo) == 2
    job.once(numbers, 5)
    assert len(CALLS) == 4
    job.once(numbers, 6)
    assert len(CALLS) == 5


def test_a_function_that_fails_leaves_nothing_behind():
    def follow(job):
        with pytest.raises(ZeroDivisionError):
            job.once(failing)

    (first, second), _ = shared(8, 8)
    follow(first)
    follow(second)
    assert CALLS == ["failing"] * 2


def failing(job):
    CALLS.append("failing")
    return 1 / 0
