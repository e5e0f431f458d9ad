"""The linear head: what is dropped are bits."""

import torch
from hashzoo_clip.heads import LinearHead


def test_dropped_bits_are_zero_and_the_others_are_scaled_up_before_tanh():
    head, x = LinearHead({"pooled": 9}, bits=200, dropout=0.25), {"pooled": torch.randn(50, 9)}
    whole = head.eval()(x)
    dropped = head.train()(x)
    kept = dropped != 0
    assert 0.7 < kept.float().mean().item() < 0.8
    torch.testing.assert_close(
        dropped[kept], torch.tanh(torch.atanh(whole.double())[kept] / 0.75).float(), atol=1e-4, rtol=1e-3
    )


def test_a_hidden_layer_is_asked_for():
    plain, hidden = (LinearHead({"pooled": 9}, bits=8, hidden=width) for width in (0, 12))
    sizes = [[tuple(p.shape) for p in head.parameters()] for head in (plain, hidden)]
    assert sizes == [[(8, 9), (8,)], [(12, 9), (12,), (8, 12), (8,)]]
