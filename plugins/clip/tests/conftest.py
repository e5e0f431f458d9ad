"""What the tests of all losses of this package need."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from hashzoo import evaluate
from hashzoo.model import Outputs, encode
from hashzoo.train import Batch

CLASSES, BITS = 5, 6
# Row 3 has one label, row 4 shares none with rows 0, 1 and 5, and some rows share several.
LABELS = np.array(
    [[1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [1, 0, 1, 0, 1], [0, 1, 0, 0, 0], [0, 0, 0, 1, 1], [1, 1, 0, 0, 0]], dtype=float
)


@pytest.fixture
def codes():
    """Outputs in (-1, 1) as heads give them: image and text, (B, bits) in double precision."""
    rng = np.random.default_rng(0)
    return tuple(np.tanh(rng.normal(size=(len(LABELS), BITS))) for _ in range(2))


@pytest.fixture
def labels():
    return LABELS


@pytest.fixture
def agrees():
    """Compare a function of tensors with one of arrays: the value, and the gradient by central differences."""

    def check(ours: Callable[..., dict[str, Tensor]], slow: Callable[..., float], arrays: list[np.ndarray]) -> None:
        tensors = [torch.from_numpy(array.copy()).requires_grad_(True) for array in arrays]
        value = torch.stack(list(ours(*tensors).values())).sum()
        assert value.item() == pytest.approx(slow(*arrays), rel=1e-9)
        value.backward()
        step = 1e-6
        for array, tensor in zip(arrays, tensors, strict=True):
            expected = np.empty_like(array)
            for place in np.ndindex(array.shape):
                kept = array[place]
                array[place] = kept + step
                above = slow(*arrays)
                array[place] = kept - step
                expected[place] = (above - slow(*arrays)) / (2 * step)
                array[place] = kept
            assert tensor.grad is not None
            np.testing.assert_allclose(tensor.grad.numpy(), expected, rtol=1e-5, atol=1e-8)

    return check


@pytest.fixture
def of_loss(labels):
    """A loss as a function of image and text outputs."""

    def function(loss: torch.nn.Module) -> Callable[..., dict[str, Tensor]]:
        rows = torch.arange(len(labels))
        batch = Batch(rows, torch.empty(0), torch.empty(0), torch.from_numpy(labels))
        return lambda image, text: loss(Outputs(image, text), batch)

    return function


@pytest.fixture
def gain():
    """How much the mean mAP of both directions rose above that of untrained towers, on the rows of a toy job."""

    def measure(toy, trainer) -> float:
        def score(towers):
            image, text = (
                encode(towers.image, torch.from_numpy(toy.image)),
                encode(towers.text, torch.from_numpy(toy.text)),
            )
            pairs = ((image, text), (text, image))
            return np.mean([evaluate(*pair, toy.labels, toy.labels, metrics=["map"]).map for pair in pairs])

        return score(trainer.fit(toy.job)) - score(toy.job.towers())

    return measure
