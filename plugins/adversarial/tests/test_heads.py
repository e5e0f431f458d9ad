"""The head: its feature and its code."""

import pytest
import torch
from hashzoo_adversarial.heads import FeatureHead, same_width

from hashzoo import HashzooError


def test_a_code_is_tanh_of_a_linear_map_of_the_feature_that_is_not_negative():
    head = FeatureHead({"pooled": 6}, bits=5, hidden=(9, 7), feature=4)
    x = {"pooled": torch.randn(3, 6)}
    feature = head.feature(x)
    assert feature.shape == (3, 4)
    assert (feature >= 0).all()
    torch.testing.assert_close(head(x), torch.tanh(feature @ head.hash.weight.T + head.hash.bias))
    assert [layer.out_features for layer in head.layers if hasattr(layer, "out_features")] == [9, 7, 4]


def test_batch_norm_and_dropout_stand_around_every_relu():
    head = FeatureHead({"pooled": 6}, bits=5, hidden=(9,), feature=4, batch_norm=True, dropout=0.5)
    names = [type(layer).__name__ for layer in head.layers]
    assert names == ["Linear", "BatchNorm1d", "ReLU", "Dropout"] * 2


def test_features_of_two_widths_are_refused():
    image, text = (FeatureHead({"pooled": 6}, bits=5, feature=width) for width in (4, 8))
    with pytest.raises(HashzooError, match="set image_head.feature and text_head.feature to the same number"):
        same_width(image, text)
