"""What the classifier is trained and scored on: batches of candidates by step."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn

from mmocnet.config import ClassifierSettings, TrainSettings
from mmocnet.errors import InputError
from mmocnet.nets.classifier import PLACE_CHANNELS, upside_down
from mmocnet.nets.losses import joint_loss
from mmocnet.train.augment import other_intensities, warp
from mmocnet.train.candidate_sets import MARGIN_PX, CandidateSet
from mmocnet.train.trainer import Batch
from mmocnet.types import FloatArray

POSITIVE_SHARE = 0.25
"""Share of microbleeds in a batch."""
SINGLE_SHARE = 0.35
"""Share of candidates of single slices in a batch."""
HARD_SHARE = 0.3
"""Share of the others that are drawn by how likely the network that training starts from takes
them for microbleeds: most are easily told, and teach nothing."""
WITHOUT_PHASE = 0.5
"""Share of patches whose phase is hidden: most users have none."""
WITHOUT_PLACE = 0.2
"""Share of patches whose place in the brain is hidden, so that looks suffice too."""
PLACE_SD = 0.04
"""Standard deviation of what is added to each number of the place: 2 or 3 mm."""


class CandidateData:
    """Batches and validation of the classifier; every batch is a function of the step.

    Args:
        train: Candidates to learn from.
        validation: Of other subjects.
        settings: Of the classifier.
        how: Batch size, loss, what is changed; everything random comes from its seed and the step.
        before: The network that training starts from, if it has learned something; in eval mode.
    """

    def __init__(
        self,
        train: Sequence[CandidateSet],
        validation: Sequence[CandidateSet],
        settings: ClassifierSettings,
        how: TrainSettings,
        before: nn.Module | None = None,
    ) -> None:
        self.train, self.settings, self.stage = train, settings, how.classifier
        self.change, self.seed, self.hidden = how.augmentation, how.seed, how.neighbours_hidden
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
        self.cumulative: list[FloatArray | None] = [None] * len(self.kinds)
        if before is not None:
            logits = [logits_of(before, without_margin(one.patches)).numpy() for one in train]
            self.cumulative = [
                None if is_hit else _by_likeness(np.array([logits[n][row] for n, row in kind]))
                for kind, is_hit in zip(self.kinds, positive, strict=True)
            ]

    def draw(self, step: int) -> Batch:
        """Return the changed patches of a step and whether each is a microbleed, (B, 1, 1, 1)."""
        rng = np.random.default_rng([self.seed, 3, step])
        patches, truth, single = [], [], []
        for _ in range(self.stage.batch_size):
            chosen = int(rng.choice(len(self.kinds), p=self.shares))
            kind, cumulative = self.kinds[chosen], self.cumulative[chosen]
            if cumulative is None:
                at = int(rng.integers(len(kind)))
            else:
                at = int(np.searchsorted(cumulative, rng.random(), side="right"))
            number, row = kind[at]
            patches.append(self._moved(self.train[number].patches[row], rng))
            truth.append(self.train[number].hit[row] > 0)
            single.append(self.train[number].single)
        images = torch.from_numpy(np.stack(patches).astype(np.float32))
        changed = self._changed(images, np.array(single), rng)
        return changed, torch.tensor(truth).float()[:, None, None, None]

    def validate(self, network: nn.Module) -> dict[str, float]:
        """Return the loss on all validation candidates, and the score: minus it."""
        logits, truth = [], []
        for one in self.validation:
            if len(one.hit):
                logits.append(logits_of(network, without_margin(one.patches)))
                truth.append(torch.from_numpy(one.hit > 0).float())
        loss = float(
            joint_loss(
                torch.cat(logits)[:, None, None, None],
                torch.cat(truth)[:, None, None, None],
                self.stage.loss,
            )
        )
        return {"val_loss": loss, "score": -loss}

    def _moved(self, patch: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
        """Return a patch shifted within half of its margin, half of them upside down."""
        side = patch.shape[-1] - MARGIN_PX
        row, col = rng.integers(0, MARGIN_PX + 1, 2)
        patch = patch[:, row : row + side, col : col + side]
        return patch[upside_down(self.settings)] if rng.random() < 0.5 else patch

    def _changed(
        self, images: Tensor, single: NDArray[np.bool_], rng: np.random.Generator
    ) -> Tensor:
        """Return turned patches of other intensities, some without phase or neighbours.

        Single slices alone are stretched: theirs may be any plane of any voxels, where the planes
        of a volume are known to be its slices.
        """
        count, planes = len(images), len(self.settings.offsets_mm)
        place = 2 * planes + len(self.settings.phase_offsets_mm) + 1
        marks = place + (PLACE_CHANNELS if self.settings.place else 0)
        alone = torch.from_numpy(single | (rng.random(count) < self.hidden))
        images = self._turned(images, alone, rng)
        seen = other_intensities(images[:, :planes], self.change, rng)
        images = torch.cat([seen, images[:, planes:]], dim=1)
        without = torch.from_numpy(rng.random(count) < WITHOUT_PHASE)
        images[without, 2 * planes : place - 1] = 0.0
        images[alone] = images[alone] * self._of_single_slices()[:, None, None]
        if self.settings.place:
            images[:, place:marks] = _other_places(images[:, place:marks], rng)
        return images.to(self.device)

    def _turned(self, images: Tensor, alone: Tensor, rng: np.random.Generator) -> Tensor:
        shape = (self.settings.size, self.settings.size)
        turned = torch.empty(*images.shape[:2], *shape)
        for part, change in ((alone, self.change), (~alone, replace(self.change, stretch=1.0))):
            if part.any():
                some = images[part]
                turned[part], _ = warp(some, torch.zeros_like(some[:, :1]), shape, change, rng)
        return turned

    def _of_single_slices(self) -> Tensor:
        """Return 1 for the channels that a single slice has, 0 for the others."""
        offsets = (*self.settings.offsets_mm, *self.settings.offsets_mm)
        offsets = (*offsets, *self.settings.phase_offsets_mm, np.inf)
        place = (0.0,) * PLACE_CHANNELS if self.settings.place else ()
        return torch.tensor((*offsets, *place, *self.settings.mark_offsets_mm)) == 0


def _other_places(planes: Tensor, rng: np.random.Generator) -> Tensor:
    """Return planes of the place a little elsewhere, those of some patches hidden.

    Args:
        planes: Shape (B, PLACE_CHANNELS, H, W), each the same at every pixel; all 0 where the
            place is not known.
        rng: Decides everything.
    """
    added = torch.from_numpy(rng.normal(0.0, PLACE_SD, planes.shape[:2]).astype(np.float32))
    known = planes.abs().amax(dim=(1, 2, 3)) > 0
    known &= torch.from_numpy(rng.random(len(planes)) >= WITHOUT_PLACE)
    return (planes + added[:, :, None, None]) * known[:, None, None, None]


def _index(sets: Sequence[CandidateSet], positive: bool, single: int) -> list[tuple[int, int]]:
    return [
        (number, row)
        for number, one in enumerate(sets)
        if one.single == bool(single)
        for row in np.flatnonzero((one.hit > 0) == positive).tolist()
    ]


def _by_likeness(logits: NDArray[np.float32]) -> FloatArray:
    """Return cumulative chances, of which HARD_SHARE follows the probability; the last is 1."""
    probability = expit(logits.astype(float))
    hard = probability / probability.sum()
    chances = np.cumsum((1 - HARD_SHARE) / len(hard) + HARD_SHARE * hard)
    return np.asarray(chances / chances[-1])


def without_phase(
    patches: NDArray[np.float16], settings: ClassifierSettings
) -> NDArray[np.float16]:
    """Return a copy of patches, (N, C, side, side), as they are where there is no phase."""
    copy, first = np.array(patches), 2 * len(settings.offsets_mm)
    copy[:, first : first + len(settings.phase_offsets_mm)] = 0
    return copy


def without_margin(patches: NDArray[np.float16]) -> NDArray[np.float16]:
    """Return the middle of patches (N, C, side, side) that have a margin, a view."""
    return patches[:, :, MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]


def logits_of(network: nn.Module, patches: NDArray[Any]) -> Tensor:
    """Return a classifier's logits of patches without a margin, shape (N,), on the CPU."""
    device = next(network.parameters()).device
    parts = []
    with torch.inference_mode():
        for start in range(0, len(patches), 64):
            batch = np.ascontiguousarray(patches[start : start + 64], np.float32)
            parts.append(network(torch.from_numpy(batch).to(device)).reshape(-1).float().cpu())
    return torch.cat(parts) if parts else torch.zeros(0)
