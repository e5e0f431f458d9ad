import os

import torch

from hashzoo.train import GradientTrainer


class Quick(GradientTrainer):
    def __init__(self, epochs: int = 4):
        super().__init__(epochs=epochs, batch=64, lr=5e-3)


class Unseeded(Quick):
    def fit(self, job):
        towers = super().fit(job)
        noise = torch.Generator().manual_seed(int.from_bytes(os.urandom(4), "little"))
        with torch.no_grad():
            for parameter in towers.parameters():
                parameter += 0.1 * torch.randn(parameter.shape, generator=noise)
        return towers
