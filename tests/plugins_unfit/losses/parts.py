from hashzoo.losses import Pairwise


class Fit(Pairwise):
    pass


class ReturnsANumber(Fit):
    def forward(self, outputs, batch):
        return sum(super().forward(outputs, batch).values())
