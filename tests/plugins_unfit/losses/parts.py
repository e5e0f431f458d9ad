import os

import torch

from hashzoo.losses import Loss, Pairwise, pair_likelihood, shared_labels
from hashzoo.model import Outputs


class Fit(Pairwise):
    pass


class FixedCentres(Loss):
    """Every class has a code of its own, which says nothing for any other code of that class."""

    def forward(self, outputs, batch):
        draw = torch.Generator().manual_seed(0)
        centres = torch.randint(2, (batch.labels.shape[1], outputs.image.shape[1]), generator=draw) * 2.0 - 1
        wanted = (batch.labels @ centres).sign()
        return {role: (getattr(outputs, role) - wanted).square().mean() for role in ("image", "text")}


class CodeTable(Loss):
    """Remembers the codes and labels of all rows that it has seen."""

    def __init__(self):
        super().__init__()
        self.rows = {}

    def forward(self, outputs, batch):
        codes = ((outputs.image + outputs.text) / 2).detach()
        self.rows |= dict(zip(batch.index.tolist(), zip(codes, batch.labels, strict=True), strict=True))
        table, labels = (torch.stack(column) for column in zip(*self.rows.values(), strict=True))
        similarity = shared_labels(batch.labels, labels)
        return {role: pair_likelihood(getattr(outputs, role) @ table.T / 2, similarity) for role in ("image", "text")}


class NeedsAnArgument(Fit):
    def __init__(self, margin):
        super().__init__()
        self.margin = margin


class ReturnsANumber(Fit):
    def forward(self, outputs, batch):
        return sum(super().forward(outputs, batch).values())


class SixteenBits(Fit):
    def forward(self, outputs, batch):
        weights = torch.linspace(0.9, 1.1, 16)
        return super().forward(Outputs(outputs.image * weights, outputs.text * weights), batch)


class RemembersTheFirstBatch(Fit):
    first = None

    def forward(self, outputs, batch):
        similarity = shared_labels(batch.labels, batch.labels)
        self.first = similarity if self.first is None else self.first
        return super().forward(outputs, batch) | {"drift": 1e-6 * (similarity - self.first).square().mean()}


class DeafToTexts(Fit):
    def forward(self, outputs, batch):
        return super().forward(Outputs(outputs.image, outputs.text.detach()), batch)


class MeanOverOthers(Fit):
    """Adds a mean over the pairs of different rows of which `chosen` picks some, be there any or not."""

    weight = -0.01

    def forward(self, outputs, batch):
        terms = super().forward(outputs, batch)
        if len(batch.index) == 1:
            return terms
        different = ~torch.eye(len(batch.index), dtype=torch.bool)
        agreement = outputs.image @ outputs.text.T
        chosen = self.chosen(shared_labels(batch.labels, batch.labels)) & different
        return terms | {"mean": self.weight * agreement[chosen].mean()}

    def chosen(self, similarity):
        return similarity > 0


class MeanOverDissimilar(MeanOverOthers):
    weight = 0.01

    def chosen(self, similarity):
        return similarity == 0


class SharesOfLabels(Fit):
    def forward(self, outputs, batch):
        shares = batch.labels / batch.labels.sum(dim=1, keepdim=True)
        return super().forward(outputs, batch) | {"overlap": 1e-6 * (shares @ shares.T).mean()}


class RootOfSquares(Fit):
    def forward(self, outputs, batch):
        length = outputs.image.square().sum(dim=1).sqrt().mean()
        return super().forward(outputs, batch) | {"length": 0.01 * length}


class VarianceOverRows(Fit):
    def forward(self, outputs, batch):
        deviations = outputs.image - outputs.image.mean(dim=0)
        variance = deviations.square().sum(dim=0) / (len(batch.index) - 1)
        return super().forward(outputs, batch) | {"spread": -0.01 * variance.mean()}


class WritesIntoLabels(Fit):
    def forward(self, outputs, batch):
        batch.labels /= batch.labels.sum(dim=1, keepdim=True).clamp(min=1)
        return super().forward(outputs, batch)


class WrongWayRound(Loss):
    def forward(self, outputs, batch):
        theta = -outputs.image @ outputs.text.T / 2
        return {"likelihood": pair_likelihood(theta, shared_labels(batch.labels, batch.labels))}


class Unseeded(Fit):
    def forward(self, outputs, batch):
        noise = torch.Generator().manual_seed(int.from_bytes(os.urandom(4), "little"))
        image = outputs.image + 0.01 * torch.randn(outputs.image.shape, generator=noise)
        return super().forward(Outputs(image, outputs.text), batch)


class Seeds(Fit):
    def forward(self, outputs, batch):
        torch.manual_seed(0)
        return super().forward(Outputs(outputs.image + 0.01 * torch.randn(outputs.image.shape), outputs.text), batch)
