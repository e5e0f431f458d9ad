"""The multi-scale head against loops."""

import pytest
import torch
from hashzoo_adversarial.scales import MultiScaleHead


def stretched(values, width):
    """Linear interpolation between the centres of `values`, at the centres of `width` places; flat at the ends."""
    found = []
    for place in range(width):
        at = min(max((place + 0.5) * len(values) / width - 0.5, 0), len(values) - 1)
        left = int(at)
        right = min(left + 1, len(values) - 1)
        found.append(values[left] * (1 - (at - left)) + values[right] * (at - left))
    return found


def test_a_scale_is_the_means_of_windows_stretched_back():
    head = MultiScaleHead({"pooled": 7}, bits=3, feature=4, scales=(3, 2))
    with torch.no_grad():
        head.weights[1].fill_(-0.5)
    x = torch.randn(2, 7)
    rows = []
    for row in x.tolist():
        parts = [*row]
        for scale, weight in ((3, 1.0), (2, -0.5)):
            means = [sum(row[at : at + scale]) / scale for at in range(0, 7 - scale + 1, scale)]
            parts += stretched([max(weight * mean, 0.0) for mean in means], 7)
        rows.append(parts)
    torch.testing.assert_close(head.feature({"pooled": x}), head.layers(torch.tensor(rows)))


def test_without_scales_it_is_the_plain_head():
    head = MultiScaleHead({"pooled": 7}, bits=3, hidden=(5,), feature=4)
    x = torch.randn(2, 7)
    torch.testing.assert_close(head.feature({"pooled": x}), head.layers(x))
    assert not list(head.weights)


@pytest.mark.parametrize("scale", [0, 8])
def test_a_window_that_does_not_fit_is_refused(scale):
    with pytest.raises(ValueError, match="windows from 1 to the 7 features"):
        MultiScaleHead({"pooled": 7}, bits=3, scales=(scale,))
