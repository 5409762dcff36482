"""What the classifier is trained and scored on: batches of candidates by step."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmocnet.config import AugmentationSettings, ClassifierSettings, StageSettings
from mmocnet.errors import InputError
from mmocnet.nets.losses import joint_loss
from mmocnet.train.candidate_sets import MARGIN_PX, CandidateSet
from mmocnet.train.trainer import Batch

POSITIVE_SHARE = 0.4
"""Share of microbleeds in a batch."""
SINGLE_SHARE = 0.3
"""Share of candidates of single slices in a batch."""
WITHOUT_PHASE = 0.5
"""Share of patches whose phase is hidden: most users have none."""


class CandidateData:
    """Batches and validation of the classifier; every batch is a function of the step.

    Args:
        train: Candidates to learn from.
        validation: Of other subjects.
        settings: Of the classifier.
        stage: Batch size and loss.
        change: What is changed of intensities.
        seed: Everything random comes from it and the step.
    """

    def __init__(
        self,
        train: Sequence[CandidateSet],
        validation: Sequence[CandidateSet],
        settings: ClassifierSettings,
        stage: StageSettings,
        change: AugmentationSettings,
        seed: int,
    ) -> None:
        self.train, self.settings, self.stage = train, settings, stage
        self.change, self.seed = change, seed
        self.device = torch.device("cpu")
        self.kinds = [
            kind
            for kind in (_index(train, hit, single) for hit in (True, False) for single in (0, 1))
            if len(kind)
        ]
        positive = [bool(train[kind[0][0]].hit[kind[0][1]] > 0) for kind in self.kinds]
        alone = [train[kind[0][0]].single for kind in self.kinds]
        if all(positive) or not any(positive):
            raise InputError("expected microbleeds and others among the candidates to learn from")
        shares = np.array(
            [
                (POSITIVE_SHARE if p else 1 - POSITIVE_SHARE)
                * (SINGLE_SHARE if a else 1 - SINGLE_SHARE)
                for p, a in zip(positive, alone, strict=True)
            ]
        )
        self.shares = shares / shares.sum()
        self.validation = validation

    def draw(self, step: int) -> Batch:
        """Return the changed patches of a step and whether each is a microbleed, (B, 1, 1, 1)."""
        rng = np.random.default_rng([self.seed, 3, step])
        patches, truth = [], []
        for _ in range(self.stage.batch_size):
            kind = self.kinds[int(rng.choice(len(self.kinds), p=self.shares))]
            number, row = kind[int(rng.integers(len(kind)))]
            patches.append(self._turned(self.train[number].patches[row], rng))
            truth.append(self.train[number].hit[row] > 0)
        images = torch.from_numpy(np.stack(patches).astype(np.float32))
        return self._changed(images, rng), torch.tensor(truth).float()[:, None, None, None]

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the loss on all validation candidates, and the score: minus it."""
        logits, truth = [], []
        for one in self.validation:
            if len(one.hit):
                logits.append(logits_of(network, one.patches, self.device))
                truth.append(torch.from_numpy(one.hit > 0).float())
        loss = float(
            joint_loss(
                torch.cat(logits)[:, None, None, None],
                torch.cat(truth)[:, None, None, None],
                self.stage.loss,
            )
        )
        return {"val_loss": loss, "score": -loss}

    def _turned(self, patch: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return a shifted, turned and mirrored patch without its margin."""
        size, room = self.settings.size, patch.shape[-1] - self.settings.size
        row, col = rng.integers(0, room + 1, 2)
        patch = patch[:, row : row + size, col : col + size]
        patch = np.rot90(patch, int(rng.integers(4)), axes=(1, 2))
        if rng.random() < 0.5:
            patch = patch[:, :, ::-1]
        if rng.random() < 0.5:
            patch = patch[self._reversed()]
        return np.ascontiguousarray(patch)

    def _reversed(self) -> NDArray[np.intp]:
        """Return the channels with all planes in reverse order."""
        planes, phases = len(self.settings.offsets_mm), len(self.settings.phase_offsets_mm)
        parts, start = [], 0
        for count in (planes, planes, phases, 1):
            parts.append(np.arange(start, start + count)[::-1])
            start += count
        return np.concatenate(parts)

    def _changed(self, images: Tensor, rng: np.random.Generator) -> Tensor:
        """Return images with other intensities, and half of them without phase."""
        count, planes = len(images), len(self.settings.offsets_mm)
        seen = images[:, :planes]
        low, high = np.log(self.change.gamma)
        exponent = np.exp(rng.uniform(low, high, count))
        scale = 1 + rng.uniform(-1, 1, count) * self.change.intensity_sd
        noise = rng.uniform(0, self.change.noise_sd, count)
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        seen = seen.clamp(0, 1).pow(_column(exponent)) * _column(scale)
        seen = seen + torch.randn(seen.shape, generator=generator) * _column(noise)
        images[:, :planes] = torch.where(images[:, :planes] > 0, seen.clamp(0, 1), 0.0)
        without = torch.from_numpy(rng.random(count) < WITHOUT_PHASE)
        images[without, 2 * planes : -1] = 0.0
        return images.to(self.device)


def _index(sets: Sequence[CandidateSet], positive: bool, single: int) -> list[tuple[int, int]]:
    return [
        (number, row)
        for number, one in enumerate(sets)
        if one.single == bool(single)
        for row in np.flatnonzero((one.hit > 0) == positive).tolist()
    ]


def _column(values: NDArray[np.float64]) -> Tensor:
    return torch.from_numpy(values.astype(np.float32))[:, None, None, None]


def logits_of(network: nn.Module, patches: NDArray[np.float16], device: torch.device) -> Tensor:
    """Return a classifier's logits of patches that have a margin, shape (N,), on the CPU."""
    margin = MARGIN_PX
    parts = []
    with torch.inference_mode():
        for start in range(0, len(patches), 64):
            inner = patches[start : start + 64, :, margin:-margin, margin:-margin]
            batch = torch.from_numpy(np.ascontiguousarray(inner, np.float32)).to(device)
            parts.append(network(batch).reshape(-1).float().cpu())
    return torch.cat(parts) if parts else torch.zeros(0)
