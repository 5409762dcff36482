"""Boxes of voxels in subject space, smooth random fields, and sampling at points."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from mmocnet.prepare.separable import along_axes
from mmocnet.types import FloatArray, IntTriple, Triple


@dataclass(frozen=True)
class Grid:
    """A box of voxels aligned with the subject's axes (RAS+ mm).

    Attributes:
        low_mm: The box's lowest corner (voxel edges, not centres).
        spacing_mm: Voxel size.
        shape: Number of voxels.
    """

    low_mm: Triple
    spacing_mm: Triple
    shape: IntTriple

    @property
    def size_mm(self) -> Triple:
        """Extent of the box."""
        i, j, k = (n * s for n, s in zip(self.shape, self.spacing_mm, strict=True))
        return i, j, k

    def affine(self) -> FloatArray:
        """Return voxel index to world mm, shape (4, 4)."""
        matrix = np.diag([*self.spacing_mm, 1.0])
        matrix[:3, 3] = np.asarray(self.low_mm) + np.asarray(self.spacing_mm) / 2
        return matrix

    def voxel(self, points_mm: FloatArray) -> FloatArray:
        """Return voxel coordinates (centres at integers) of points (N, 3) in mm."""
        return np.asarray((points_mm - self.low_mm) / self.spacing_mm - 0.5)

    def with_spacing(self, spacing_mm: float) -> "Grid":
        """Return about the same box with isotropic voxels of about `spacing_mm`."""
        shape = [max(2, round(size / spacing_mm)) for size in self.size_mm]
        spacing = [size / n for size, n in zip(self.size_mm, shape, strict=True)]
        return Grid(
            self.low_mm, (spacing[0], spacing[1], spacing[2]), (shape[0], shape[1], shape[2])
        )

    def moved(self, shift: Triple) -> "Grid":
        """Return the box some voxels on along each axis."""
        x, y, z = (a + b * s for a, b, s in zip(self.low_mm, shift, self.spacing_mm, strict=True))
        return Grid((x, y, z), self.spacing_mm, self.shape)

    def centres_mm(self, device: str) -> torch.Tensor:
        """Return the voxel centres, shape (3, I, J, K)."""
        axes = [
            low + (torch.arange(n, device=device, dtype=torch.float32) + 0.5) * s
            for low, s, n in zip(self.low_mm, self.spacing_mm, self.shape, strict=True)
        ]
        return torch.stack(torch.meshgrid(*axes, indexing="ij"))


PLANES = 8
"""Planes that a processor works on at a time: they and what is made of them stay in its cache."""


def plane_blocks(length: int, device: torch.device) -> Iterator[slice]:
    """Return slices that cut an axis into blocks; a GPU takes it whole."""
    step = PLANES if device.type == "cpu" else length
    return (slice(first, min(first + step, length)) for first in range(0, length, step))


def upsample_planes(channels: torch.Tensor, shape: IntTriple, planes: slice) -> torch.Tensor:
    """Return only some planes of the first axis of `upsample(channels, shape)`."""
    count = channels.shape[1]
    at = torch.arange(planes.start, planes.stop, device=channels.device, dtype=torch.float32)
    at = ((at + 0.5) * (count / shape[0]) - 0.5).clamp_(0, count - 1)
    low = at.long()
    part = (at - low)[None, :, None, None]
    out = torch.lerp(channels[:, low], channels[:, (low + 1).clamp_max_(count - 1)], part)
    if tuple(out.shape[2:]) == tuple(shape[1:]):
        return out
    return F.interpolate(out, size=tuple(shape[1:]), mode="bilinear", align_corners=False)


def upsample(channels: torch.Tensor, shape: IntTriple) -> torch.Tensor:
    """Return channels (C, I, J, K) of a box at another number of voxels, trilinear."""
    if tuple(channels.shape[1:]) == tuple(shape):
        return channels
    out: torch.Tensor = F.interpolate(
        channels[None], size=shape, mode="trilinear", align_corners=False
    )[0]
    return out


def resample(volume: torch.Tensor, grid: Grid, out: Grid) -> torch.Tensor:
    """Return a volume (I, J, K) of a box on another box's voxels, trilinear, edge outside."""
    matrices = {}
    for axis, (old, new) in enumerate(zip(grid.shape, out.shape, strict=True)):
        centres = out.low_mm[axis] + (np.arange(new) + 0.5) * out.spacing_mm[axis]
        at = (centres - grid.low_mm[axis]) / grid.spacing_mm[axis] - 0.5
        apart = np.abs(np.clip(at, 0, old - 1)[:, None] - np.arange(old))
        matrices[axis] = np.maximum(0.0, 1 - apart)
    return along_axes(volume, matrices)


def sample(channels: torch.Tensor, voxel: torch.Tensor) -> torch.Tensor:
    """Return channels (C, I, J, K) at voxel coordinates (3, ...), trilinear, edge outside."""
    shape = channels.shape[1:]
    # grid_sample wants -1..1 over voxel edges and the axes in reverse order.
    unit = [(2 * voxel[a] + 1) / shape[a] - 1 for a in (2, 1, 0)]
    points = torch.stack(unit, -1)
    flat = points.reshape(1, 1, 1, -1, 3) if points.ndim != 4 else points[None]
    out = F.grid_sample(channels[None], flat, padding_mode="border", align_corners=False)
    return out.reshape(channels.shape[0], *voxel.shape[1:])


def smooth_noise(
    grid: Grid, wavelength_mm: float, rng: np.random.Generator, device: str, channels: int = 1
) -> torch.Tensor:
    """Return Gaussian noise of unit SD, about one period per `wavelength_mm`.

    Args:
        grid: Where; the result has its shape.
        wavelength_mm: Scale of the fluctuation.
        rng: Randomness.
        device: Where the tensor lives.
        channels: Number of independent fields.

    Returns:
        Shape (channels, I, J, K).
    """
    return upsample(coarse_noise(grid, wavelength_mm, rng, device, channels), grid.shape)


def coarse_noise(
    grid: Grid, wavelength_mm: float, rng: np.random.Generator, device: str, channels: int = 1
) -> torch.Tensor:
    """Return `smooth_noise` on its own coarse grid over the box, to be upsampled.

    Args:
        grid: The box.
        wavelength_mm: Scale of the fluctuation.
        rng: Randomness.
        device: Where the tensor lives.
        channels: Number of independent fields.

    Returns:
        Shape (channels, ...), about four voxels per wavelength.
    """
    coarse = grid.with_spacing(max(wavelength_mm / 4, min(grid.spacing_mm)))
    white = torch.from_numpy(
        rng.standard_normal((channels, 1, *coarse.shape), dtype=np.float32)
    ).to(device)
    for axis in range(3):
        # Sigma of one coarse voxel: a quarter of a wavelength.
        kernel = torch.exp(-0.5 * torch.arange(-3.0, 4.0, device=device) ** 2)
        kernel = kernel / kernel.sum()
        view = [1, 1, 1, 1, 1]
        view[2 + axis] = 7
        pad = [0] * 3
        pad[axis] = 3
        white = F.conv3d(white, kernel.view(view), padding=(pad[0], pad[1], pad[2]))
    # The SD away from the zero-padded border, in closed form.
    gain = float((kernel**2).sum().sqrt() ** 3)
    return white[:, 0] / gain
