"""MITH (Liu et al., ACM MM 2023): codes of whole items and of their tokens, which learn from labels and each other."""

from __future__ import annotations

import copy

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, mse_loss

from hashzoo import HashzooError, Job, Towers, Trainer
from hashzoo.losses import in_blocks, pair_likelihood, pair_weights, quantisation, shared_labels, sign
from hashzoo.model import Tower
from hashzoo.train import Descent
from hashzoo_clip.concepts import MithHead, Parts

ROLES = ("image", "text")
LIMIT = 64.0  # of inner products of codes


class MithTrainer(Trainer):
    """Both modalities through one set of concepts; each batch meets the codes of all training rows.

    With f and c the codes of whole items and of tokens of a batch, F and C those of all training rows as they were
    last, S = 1 where a label is shared, theta(A, b) = min(max(<A, b>, -64), 64) / 2 and
    NLL(A, b) = -mean [S theta - log(1 + exp(theta))], for images i and texts t,

        tokens        local (NLL(C_i, c_i) + NLL(C_t, c_t))
        whole         inter (NLL(F_i, f_t) + NLL(F_t, f_i))
        quantisation  quantisation sum_m mean ||b - (f_m + c_m) / 2||^2 / bits,
                      b = sign(sum_m mix f_m + (1 - mix) c_m)
        contrast      contrast (InfoNCE(features) + alpha InfoNCE(concepts of a row))
        distillation  distillation sum_m (mean ||f_m' - c_m||^2 + back mean ||f_m - c_m'||^2)

    where no gradient goes through what has a prime. The names in the paper: alpha, beta (`inter`), gamma
    (`quantisation`), delta (`contrast`), lambda (`mix`), mu (`distillation`).

    Args:
        epochs: passes over the training rows; 30 in the authors' code.
        batch: rows a step.
        lr: AdamW's learning rate of heads, with cosine decay.
        encoder_lr: the same of encoders that are trained along.
        weight_decay: AdamW's.
        local, inter, quantisation, contrast, alpha, distillation, back, mix: see above.
        temperature: of both InfoNCE.
        balanced_pairs: similar and dissimilar pairs weigh alike in each NLL. Not in the authors' code, whose plain mean
            hardly learns where few pairs are similar.
    """

    def __init__(
        self,
        epochs: int = 15,
        batch: int = 128,
        lr: float = 1e-3,
        encoder_lr: float = 2e-6,
        weight_decay: float = 0.01,
        local: float = 1.0,
        inter: float = 10.0,
        quantisation: float = 8.0,
        contrast: float = 50.0,
        alpha: float = 0.01,
        distillation: float = 1.0,
        back: float = 0.1,
        mix: float = 0.99,
        temperature: float = 0.07,
        balanced_pairs: bool = True,
    ):
        if temperature <= 0:
            raise ValueError(f"temperature is a number over 0, not {temperature:.12g}")
        if not 0 <= mix <= 1:
            raise ValueError(f"mix is a share from 0 to 1, not {mix:.12g}")
        self.epochs, self.batch, self.lr = epochs, batch, lr
        self.encoder_lr, self.weight_decay = encoder_lr, weight_decay
        self.local, self.inter, self.quantisation, self.contrast = local, inter, quantisation, contrast
        self.alpha, self.distillation, self.back, self.mix = alpha, distillation, back, mix
        self.temperature, self.balanced_pairs = temperature, balanced_pairs

    def fit(self, job: Job) -> Towers:
        towers = self.towers(job)
        tower, head = {}, {}
        for role in ROLES:
            tower[role] = getattr(towers, role)
            assert isinstance(tower[role], Tower), "a recipe of this trainer needs heads for both modalities"
            head[role] = tower[role].head
            assert isinstance(head[role], MithHead), "a recipe of this trainer needs MithHead for both modalities"
        if head["image"].width != head["text"].width:
            raise HashzooError(
                f"image and text share their concepts and need one width, not {head['image'].width} and "
                f"{head['text'].width}; set image_head.width and text_head.width to the same"
            )
        head["text"].concepts = head["image"].concepts
        shape = (len(job.train), job.bits)
        tables = {
            f"{role} {kind}": torch.randn(shape, generator=job.generator).to(job.device)
            for role in ROLES
            for kind in ("whole", "local")
        }
        descent = Descent.adamw([towers], self.epochs, self.lr, self.encoder_lr, self.weight_decay)
        for epoch in range(1, self.epochs + 1):
            for batch in job.batches(self.batch):
                parts = {role: head[role].parts(tower[role].features(getattr(batch, role))) for role in ROLES}
                for role in ROLES:
                    for kind in ("whole", "local"):
                        tables[f"{role} {kind}"][batch.index] = getattr(parts[role], kind).detach()
                similar = shared_labels(job.train.labels, batch.labels)
                descent.step(self.terms(parts["image"], parts["text"], tables, similar), len(batch.index))
            job.log(epoch=epoch, **descent.end_epoch())
        head["text"].concepts = copy.deepcopy(head["image"].concepts)  # what is saved may share no memory
        return towers

    def terms(self, image: Parts, text: Parts, tables: dict[str, Tensor], similar: Tensor) -> dict[str, Tensor]:
        """The terms of a batch by name, weighted.

        Args:
            image, text: what the heads make of the batch.
            tables: codes of all n training rows, (n, bits) each: "image whole", "image local" and the same of texts.
            similar: (n, B) in {0, 1}.
        """
        both = (image, text)
        mixed = [self.mix * parts.whole.detach() + (1 - self.mix) * parts.local.detach() for parts in both]
        code = sign(mixed[0] + mixed[1]).to(similar.dtype)
        local = self._likelihood(self.local, tables["image local"], image.local, similar)
        local = local + self._likelihood(self.local, tables["text local"], text.local, similar)
        inter = self._likelihood(self.inter, tables["image whole"], text.whole, similar)
        inter = inter + self._likelihood(self.inter, tables["text whole"], image.whole, similar)
        to_codes = [quantisation((parts.whole + parts.local) / 2, code) for parts in both]
        contrast = info_nce(image.feature[None], text.feature[None], self.temperature)
        contrast = contrast + self.alpha * info_nce(image.concepts, text.concepts, self.temperature)
        distilled = [
            mse_loss(parts.whole.detach(), parts.local) + self.back * mse_loss(parts.whole, parts.local.detach())
            for parts in both
        ]
        bits = image.whole.shape[1]
        return {
            "tokens": local,
            "whole": inter,
            "quantisation": self.quantisation * (to_codes[0] + to_codes[1]),
            "contrast": self.contrast * contrast,
            "distillation": self.distillation * bits * (distilled[0] + distilled[1]),
        }

    def _likelihood(self, weight: float, table: Tensor, codes: Tensor, similar: Tensor) -> Tensor:
        """Weighted NLL of the pairs of all rows, (n, bits), and those of a batch, (B, bits), given (n, B) in {0, 1}."""
        weights = pair_weights(similar, self.balanced_pairs)

        def of_block(codes: Tensor, rows: slice) -> Tensor:
            theta = (table[rows] @ codes.T).clamp(-LIMIT, LIMIT) / 2
            return weight * pair_likelihood(theta, similar[rows], weights=weights)

        return in_blocks(of_block, codes, len(table))


def info_nce(image: Tensor, text: Tensor, temperature: float) -> Tensor:
    """Symmetric InfoNCE inside each of N sets of K pairs, (N, K, width) of unit length each; a mean."""
    scores = image @ text.transpose(1, 2) / temperature
    own = torch.arange(scores.shape[1], device=scores.device).repeat(len(scores))
    return (cross_entropy(scores.flatten(0, 1), own) + cross_entropy(scores.transpose(1, 2).flatten(0, 1), own)) / 2
