"""Encoders that are trained along (`image.frozen=false`) move, at their own rate; the methods take them as they are."""

import dataclasses

import pytest
import torch
from hashzoo_adversarial.agah import AgahTrainer
from hashzoo_adversarial.attention import AttentionHead
from hashzoo_adversarial.dadh import DadhTrainer
from hashzoo_adversarial.heads import FeatureHead
from hashzoo_adversarial.scales import MultiScaleHead
from hashzoo_adversarial.ssah import SsahTrainer
from torch import nn

from hashzoo import Encoder, Towers
from hashzoo.model import Tower
from hashzoo.testing import toy_job


class Layer(Encoder):
    """An image encoder of one layer, over the toy job's 24 numbers an item."""

    modality, dim = "image", 10

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(24, 10)

    def prepare(self, item):
        return item

    def forward(self, x):
        return self.layer(x)

    def card(self):
        return {"encoder": "layer"}


METHODS = {
    "dadh": (DadhTrainer, {"epochs": 2}, FeatureHead, FeatureHead),
    "ssah": (SsahTrainer, {"epochs": 2, "label_epochs": 2}, FeatureHead, MultiScaleHead),
    "agah": (AgahTrainer, {"epochs": 2}, AttentionHead, AttentionHead),
}


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("encoder_lr", [0.0, 1e-3])
def test_an_encoder_moves_at_its_own_rate(name, encoder_lr):
    trainer, settings, image_head, text_head = METHODS[name]
    toy, encoder = toy_job(rows=60), Layer()
    before = encoder.layer.weight.detach().clone()

    def towers():
        image = Tower(image_head({"pooled": 10}, 16, feature=8), {"pooled": 10}, encoder)
        return Towers(image, Tower(text_head({"pooled": 16}, 16, feature=8), {"pooled": 16}))

    job = dataclasses.replace(toy.job, towers=towers)
    trainer(**settings, encoder_lr=encoder_lr).fit(job)
    assert torch.equal(encoder.layer.weight, before) == (encoder_lr == 0)
