"""The adversary of a tower: a critic that tells two sources of vectors apart, and its own optimiser."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from hashzoo.train import light


class Adversary:
    """A critic D that learns to tell real vectors from fake ones, and what it costs the fake ones to be found out.

    With "logistic" the critic minimises -log s(D(real)) - log(1 - s(D(fake))), s the sigmoid, and a fake costs
    -log s(D(fake)). With "wasserstein" it minimises D(fake) - D(real), and a fake costs -D(fake). All are means over
    the batch. Either may add `penalty` times the gradient penalty (Gulrajani et al., NeurIPS 2017).

    Args:
        widths: of the critic's layers, the vectors' own first; a last layer of width 1 is added.
        divergence: "logistic" or "wasserstein".
        penalty: weight of the gradient penalty, 0 for none.
        lr: Adam's learning rate; betas are (0.5, 0.9), weight decay 1e-4.
        device: where the vectors are.
        generator: source of the places at which the penalty looks, on the CPU.
    """

    def __init__(
        self,
        widths: tuple[int, ...],
        divergence: str,
        penalty: float,
        lr: float,
        device: torch.device,
        generator: torch.Generator,
    ):
        self.critic = _perceptron((*widths, 1)).to(device)
        self.divergence, self.penalty, self.generator = divergence, penalty, generator
        self.optimiser = light(torch.optim.Adam)(
            self.critic.parameters(), lr=lr, betas=(0.5, 0.9), weight_decay=1e-4, fused=True
        )

    def learn(self, real: Tensor, fake: Tensor) -> None:
        """One step of the critic on two batches, (B, width) each; no gradient goes into them."""
        real, fake = real.detach(), fake.detach()
        loss = self.loss(real, fake)
        if self.penalty:
            loss = loss + self.penalty * gradient_penalty(self.critic, self.between(real, fake))
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        self.optimiser.step()

    def loss(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the critic minimises, without the penalty."""
        scores = self.critic(torch.cat([real, fake]))
        of_real, of_fake = scores[: len(real)], scores[len(real) :]
        if self.divergence == "wasserstein":
            return of_fake.mean() - of_real.mean()
        return softplus(-of_real).mean() + softplus(of_fake).mean()

    def cost(self, fake: Tensor) -> Tensor:
        """What it costs vectors, (B, width), that the critic knows them for fake; the gradient goes into them."""
        scores = self.critic(fake)
        return -scores.mean() if self.divergence == "wasserstein" else softplus(-scores).mean()

    def between(self, real: Tensor, fake: Tensor) -> Tensor:
        """Random places between real and fake, each coordinate for itself, as in the code of DADH."""
        share = torch.rand(real.shape, generator=self.generator).to(real)
        return share * real + (1 - share) * fake


def gradient_penalty(critic: nn.Module, places: Tensor) -> Tensor:
    """mean((||grad D(x)|| - 1)^2) over places x, (B, width); differentiable in the critic's parameters."""
    places = places.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(critic(places).sum(), places, create_graph=True)
    return (torch.linalg.vector_norm(slopes, dim=1) - 1).square().mean()


def _perceptron(widths: tuple[int, ...]) -> nn.Sequential:
    """Linear layers of these widths with ReLU between them."""
    layers: list[nn.Module] = []
    for width, following in itertools.pairwise(widths):
        layers += [nn.Linear(width, following), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
