"""What lies around the brain: skull, scalp, air and sinuses, and the field they cause inside."""

import numpy as np
import torch

from mmocnet.simulate.field import field_shift_ppm
from mmocnet.simulate.grid import Grid, sample
from mmocnet.simulate.subject import Warp
from mmocnet.simulate.templates import COARSE_MM, Templates

BONE_PPM, AIR_PPM = -2.1, 9.2
"""Susceptibility against tissue."""
SKULL_MM, SCALP_MM = (2.0, 7.0), 13.0
"""Depths outside the brain: CSF and dura, bone, scalp, then air."""
SINUSES_MM = (
    # Centre and half-axes of air in MNI mm; the right one of a pair.
    ((0.0, 54.0, -42.0), (14.0, 20.0, 14.0)),
    ((0.0, 70.0, -8.0), (14.0, 7.0, 12.0)),
    ((0.0, 14.0, -40.0), (11.0, 11.0, 9.0)),
    ((58.0, -34.0, -44.0), (8.0, 11.0, 12.0)),
    ((48.0, -20.0, -44.0), (12.0, 4.0, 4.0)),
)
FIELD_MM = 2.5


def _susceptibility(
    depth_mm: torch.Tensor, mni_mm: torch.Tensor, rng: np.random.Generator
) -> torch.Tensor:
    out = -depth_mm
    chi = torch.zeros_like(depth_mm)
    bone = (out > SKULL_MM[0]) & (out < SKULL_MM[1])
    chi[bone] = BONE_PPM
    x, y, z = mni_mm.unbind(0)
    # Below the skull base the neck goes on; elsewhere there is air beyond the scalp.
    neck = (z < -66) & (((x / 55) ** 2 + ((y + 20) / 62) ** 2) < 1)
    chi[(out > SCALP_MM) & ~neck] = AIR_PPM
    for centre, half_axes in SINUSES_MM:
        a, b, c = np.array(half_axes) * rng.uniform(0.7, 1.1, 3)
        u, v, w = np.array(centre) + rng.normal(0, 2.0, 3) * (centre[0] > 0, 1, 1)
        inside = (((x.abs() - u) / a) ** 2 + ((y - v) / b) ** 2 + ((z - w) / c) ** 2) < 1
        chi[inside & (out > 4.0)] = AIR_PPM
    return chi


def _shim(field: torch.Tensor, inside: torch.Tensor, grid: Grid, device: str) -> torch.Tensor:
    """Return the field without what a scanner's second-order shim takes out of the brain."""
    x, y, z = grid.centres_mm(device) / 50.0
    one = torch.ones_like(x)
    terms = torch.stack([one, x, y, z, x * y, y * z, x * z, x**2 - y**2, 2 * z**2 - x**2 - y**2])
    design = terms[:, inside].T.double()
    normal = design.T @ design + 1e-6 * torch.eye(9, dtype=torch.float64, device=device)
    weights = torch.linalg.solve(normal, design.T @ field[inside].double())
    return field - torch.einsum("c,cijk->ijk", weights.float(), terms)


def background_field_ppm(
    warp: Warp, templates: Templates, grid: Grid, rng: np.random.Generator, device: str
) -> torch.Tensor:
    """Return the field of bone and air on the warp's coarse grid, shimmed, in ppm.

    Args:
        warp: Subject to MNI, on the coarse grid of the box that is simulated.
        templates: The MNI152 maps.
        grid: The box; the whole head around it is built at FIELD_MM.
        rng: Size of the sinuses.
        device: Where the tensors live.

    Returns:
        Shape of `warp.grid`.
    """
    low = (-110.0, -150.0, -110.0)
    shape = tuple(int(s / FIELD_MM) for s in (220.0, 290.0, 230.0))
    head = Grid(low, (FIELD_MM,) * 3, (shape[0], shape[1], shape[2]))
    mni = warp.linear_mni(head.centres_mm(device))
    origin = torch.tensor(templates.origin_mm, dtype=torch.float32, device=device)
    voxel = (mni - origin[:, None, None, None]) / COARSE_MM
    # Outside the template's box the depth goes on falling with the distance from it.
    size = torch.tensor(templates.coarse.shape[1:], device=device)[:, None, None, None]
    beyond = (torch.maximum(-voxel, voxel - size + 1)).clamp_min(0).norm(dim=0) * COARSE_MM
    depth = sample(templates.coarse[:1], voxel)[0] - beyond
    chi = _susceptibility(depth, mni, rng)
    field = field_shift_ppm(chi, head.spacing_mm, pad=12, background_ppm=AIR_PPM)
    field = _shim(field, depth > 2, head, device)
    centres = warp.grid.centres_mm(device)
    at = [(centres[a] - low[a]) / FIELD_MM - 0.5 for a in range(3)]
    return sample(field[None], torch.stack(at))[0]
