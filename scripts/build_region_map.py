"""Draw the region map and the registration target in MNI152 space, and write them as NIfTI.

    python scripts/build_region_map.py src/mmocnet/locate

Sources: the ICBM 152 (2009a symmetric) maps in the nilearn wheel, the nuclei of the simulator,
and the landmarks below, read off the template by eye in MNI mm. No atlas goes in.
"""

import gzip
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.segmentation import watershed

from mmocnet.locate.regions import REGION_BY_NAME
from mmocnet.simulate.nuclei import NUCLEI, signed_distance_mm
from mmocnet.simulate.templates import template_folder

FILE = "mni_icbm152_{}_tal_nlin_sym_09a_converted.nii.gz"
LOW_MM = (-72, -108, -70)
"""First voxel of the written map; the last is as far on the other side, or at HIGH_MM."""
HIGH_MM = (72, 74, 84)
TARGET_STEP_MM = 2
TARGET_LEVELS = 48
"""Grey levels of the registration target: what does not help registration is not stored."""

Floats = NDArray[np.float32]
Mask = NDArray[np.bool_]

# Sagittal course of sulci and bodies: points (y, z) or (z, y), mm.
SYLVIAN = ((-90, 4), (-72, 8), (-56, 14), (-42, 16), (-30, 13), (-20, 8), (-10, 1), (0, -7),
           (10, -14), (20, -18), (30, -24))  # fmt: skip
"""Height of the lateral fissure, and behind its end of the temporal lobe, at y."""
TENTORIUM = ((-105, -24), (-85, -18), (-70, -9), (-60, -2), (-45, 1), (-36, -2), (-10, -2))
"""Height of the tentorium at y, in the midline."""
STEM_BACK = ((-70, -54), (-60, -52), (-45, -46), (-32, -39), (-10, -38), (0, -37))
"""Back of the brainstem at z."""
STEM_SIDE = ((-70, 9), (-50, 11), (-42, 15), (-34, 17), (-25, 15), (-18, 14), (0, 13))
"""Half width of the brainstem at z."""
CALLOSUM = ((14, -7), (24, -4), (30, 4), (29, 13), (20, 20), (8, 24), (-8, 26), (-20, 25),
            (-31, 19), (-38, 11), (-36, 5))  # fmt: skip
"""Midline course of the corpus callosum: (y, z)."""


def _interp(at: Floats, points: tuple[tuple[int, int], ...]) -> Floats:
    xs, ys = zip(*points, strict=True)
    return np.asarray(np.interp(at, xs, ys), np.float32)


class Template:
    """The template's maps and the coordinates of their voxels.

    Attributes:
        t1: T1-weighted, 0 to 1, shape (I, J, K) at 1 mm, like the rest.
        grey: Grey-matter probability.
        white: White-matter probability.
        ax: Distance from the midline, mm, shape (I, 1, 1).
        y: MNI mm, shape (1, J, 1).
        z: MNI mm, shape (1, 1, K).
        affine: Voxel to MNI mm.
        brain: Brain, ventricles and sulci included.
    """

    def __init__(self) -> None:
        images = [
            nib.Nifti1Image.from_filename(template_folder() / FILE.format(kind))
            for kind in ("t1", "gm", "wm")
        ]
        self.t1, self.grey, self.white = (
            np.asarray(image.dataobj, np.float32) / 255 for image in images
        )
        self.affine = np.asarray(images[0].affine)
        i, j, k = (np.arange(n, dtype=np.float32) for n in self.t1.shape)
        first = self.affine[:3, 3]
        self.ax = np.abs(i + first[0])[:, None, None]
        self.y = (j + first[1])[None, :, None]
        self.z = (k + first[2])[None, None, :]
        solid = ndimage.binary_opening(self.grey + self.white > 0.3)
        closed = ndimage.binary_closing(np.pad(solid, 8), iterations=4)[8:-8, 8:-8, 8:-8]
        self.brain = np.asarray(ndimage.binary_fill_holes(closed))

    def ellipsoid(self, centre: tuple[float, ...], radii: tuple[float, ...]) -> Mask:
        """Return a pair of mirrored ellipsoids."""
        x, y, z = (
            (at - c) / r for at, c, r in zip((self.ax, self.y, self.z), centre, radii, strict=True)
        )
        return np.asarray(x**2 + y**2 + z**2 < 1)

    def nuclei(self, group: str) -> Floats:
        """Return the signed distance to the simulator's nuclei of a location class, mm."""
        i, j, k = np.broadcast_arrays(self.ax, self.y, self.z)
        mni = torch.from_numpy(np.stack([i, j, k]))
        bodies = [signed_distance_mm(one, mni) for one in NUCLEI if one.group == group]
        return np.asarray(torch.stack(bodies).amin(0).numpy())


def hindbrain(at: Template) -> tuple[Mask, Mask]:
    """Return brainstem and cerebellum: the tentorium follows the template's CSF."""
    tent = _interp(at.y, TENTORIUM) - 0.55 * np.clip(at.ax - 5, 0, 45)
    side, back = _interp(at.z, STEM_SIDE), _interp(at.z, STEM_BACK)
    front = np.where(at.z > -18, -11, -8)
    stem = (at.ax < side) & (at.y > back) & (at.y < front) & (at.z < -4 + 0.35 * (-30 - at.y))
    stem = stem & at.brain
    behind = (at.y < -34) | (at.z < -38) & (at.y < -14) & (at.ax < 50)
    markers = np.zeros(at.t1.shape, np.int8)
    markers[at.brain & behind & (at.z < tent - 6)] = 1
    markers[at.brain & ((at.z > tent + 5) | (at.y > -24) & (at.z > -45) | (at.y > -12))] = 2
    markers[stem] = 1
    gap = ndimage.gaussian_filter(1 - at.grey - at.white, 0.7)
    hind = watershed(gap, markers, mask=at.brain) == 1
    return stem, hind & ~stem


def deep_grey(at: Template) -> tuple[Mask, Mask]:
    """Return basal ganglia and thalamus: the simulator's bodies, grown to the grey around."""
    ganglia, thalamus = at.nuclei("basal ganglia"), at.nuclei("thalamus")
    # The simulator's bodies are cores: the template's nuclei reach further.
    wide = ndimage.gaussian_filter(at.grey, 0.7)
    ganglia_mask = (ganglia < 0) | (ganglia < 2.2) & (wide > 0.45)
    accumbens = at.ellipsoid((13, 9, -6), (7, 6, 5)) & (wide > 0.4)
    # The scale has no name for the ground below the thalamus; its nuclei count to the ganglia.
    below = (at.ax < 19) & (at.y > -24) & (at.y < 3) & (at.z > -13) & (at.z < 2)
    accumbens |= below & (at.grey + at.white > 0.4) & (at.white < 0.6)
    thalamus_mask = (thalamus < 0.5) | (thalamus < 4.5) & (wide > 0.35) & (at.z > -4)
    thalamus_mask &= at.ax > 1
    return (ganglia_mask | accumbens) & ~thalamus_mask, thalamus_mask


def callosum(at: Template) -> Mask:
    """Return the corpus callosum: white matter about a midline curve, out to the forceps."""
    points = np.array(CALLOSUM, np.float32)
    steps = np.linspace(0, len(points) - 1, 120)
    course = [np.interp(steps, np.arange(len(points)), points[:, a]) for a in (0, 1)]
    curve = np.zeros(at.t1.shape, bool)
    first = at.affine[:3, 3]
    for x in range(-20, 21):
        far = max(abs(x) - 6, 0)
        # Forceps: genu forwards, splenium backwards; the body rises a little.
        y = course[0] + np.where(course[0] > 18, 0.45, np.where(course[0] < -28, -0.55, 0)) * far
        z = course[1] + np.where(np.abs(course[0] + 5) < 26, 0.16, 0.0) * far
        curve[
            x - int(first[0]),
            np.round(y - first[1]).astype(int),
            np.round(z - first[2]).astype(int),
        ] = True
    near = ndimage.distance_transform_edt(~curve) < 4.3
    return near & (at.white > 0.5)


def capsules(at: Template, grey: Mask) -> tuple[Mask, Mask, Mask]:
    """Return internal capsule, external capsule (to the insula) and insula.

    Args:
        at: The template.
        grey: Basal ganglia and thalamus.
    """
    tilt = at.z - 3 - 0.1 * (at.y - 2)
    inside = at.ellipsoid((20, -5, 7), (14, 29, 16)) & (at.z > -6)
    internal = inside & (at.white > 0.4) & ~grey & (at.ax > 6)
    oval = ((at.y - 2) / 22) ** 2 + (tilt / 15) ** 2 < 1
    # The putamen's outer face bulges outwards in its middle.
    bulge = 32.5 - 0.014 * (at.y - 1) ** 2 - 0.012 * tilt**2
    external = oval & (at.ax > bulge - 3) & (at.ax < bulge + 3.5) & ~grey
    wide = ((at.y - 3) / 23) ** 2 + (tilt / 16) ** 2 < 1
    insula = wide & (at.ax >= bulge + 2.5) & (at.ax < 43) & (at.white < 0.5)
    external &= ~insula
    return internal & ~external, external, insula


def lobes(at: Template) -> NDArray[np.uint8]:
    """Return the lobe of every voxel of the cerebrum as its label, by planes and curves."""
    central = np.minimum(-31 + 0.1 * at.ax + 0.42 * (70 - at.z), -5)
    central = np.where(at.ax < 20, np.minimum(central, -18), central)
    occipital = np.where(at.z > 10, -60 - 0.62 * (at.z - 10), -60) - 0.12 * at.ax
    sylvian = _interp(at.y, SYLVIAN)
    label = {name: REGION_BY_NAME[name].label for name in
             ("frontal", "parietal", "temporal", "occipital")}  # fmt: skip
    out = np.full(at.t1.shape, label["frontal"], np.uint8)
    out[(at.y < central) & ((at.z > 2) | (at.y < -36))] = label["parietal"]
    # Medially the temporal lobe ends below the callosum's splenium.
    height = np.where(at.ax < 26, np.minimum(sylvian, -3), sylvian)
    below = (at.z < height) & ((at.ax > 21) | (at.y < -6) & (at.ax > 8))
    out[below | (at.z < -20) & (at.y < 20) & (at.ax > 12)] = label["temporal"]
    out[np.broadcast_to(at.y < occipital, out.shape)] = label["occipital"]
    return out


def deep_white(at: Template, central: Mask) -> Mask:
    """Return white matter away from the cortex: what the gyri hold belongs to their lobe.

    Args:
        at: The template.
        central: Nuclei, capsules and callosum.
    """
    cortex = at.brain & (at.white < 0.5) & (at.grey > 0.4)
    cortex &= ~ndimage.binary_dilation(central, iterations=3)
    depth = ndimage.distance_transform_edt(~cortex & at.brain)
    core = (depth > 3.2) & (at.white > 0.5)
    near = ndimage.distance_transform_edt(~ventricles(at)) < 7
    return np.asarray((ndimage.binary_dilation(core, iterations=2) | near) & (at.white > 0.5))


def ventricles(at: Template) -> Mask:
    """Return the lateral and third ventricles."""
    box = (at.ax < 36) & (at.y > -55) & (at.y < 36) & (at.z > -12) & (at.z < 34)
    fissure = (at.ax < 4) & ((at.y > 16) | (at.y < -42))
    dark = (at.grey + at.white < 0.4) & box & ~fissure & at.brain
    labels, count = ndimage.label(ndimage.binary_opening(dark))
    sizes = ndimage.sum_labels(np.ones_like(labels), labels, np.arange(1, count + 1))
    return np.isin(labels, 1 + np.flatnonzero(sizes > 800))


def draw(at: Template) -> NDArray[np.uint8]:
    """Return the labels on the template's grid; 0 outside the brain and in the ventricles."""
    stem, cerebellum = hindbrain(at)
    ganglia, thalamus = deep_grey(at)
    grey = ganglia | thalamus
    internal, external, insula = capsules(at, grey)
    arch = callosum(at)
    white = deep_white(at, grey | internal | external | arch)
    out = np.where(at.brain, lobes(at), 0).astype(np.uint8)
    parts = {
        "deep and periventricular white matter": white,
        "insula": insula,
        "external capsule": external,
        "internal capsule": internal,
        "corpus callosum": arch,
        "basal ganglia": ganglia,
        "thalamus": thalamus,
    }
    for name, mask in parts.items():
        out[mask & at.brain] = REGION_BY_NAME[name].label
    out[ventricles(at)] = 0
    out[cerebellum] = REGION_BY_NAME["cerebellum"].label
    out[stem] = REGION_BY_NAME["brainstem"].label
    return out


def target(at: Template) -> NDArray[np.uint8]:
    """Return what scans are registered to: the T1-weighted brain in few grey levels, 2 mm apart.

    Mutual information asks for no contrast of its own, so T1-weighting serves a scan of any.
    """
    smooth = ndimage.gaussian_filter(at.t1, 0.8) / np.percentile(at.t1[at.brain], 99)
    levels = 1 + np.clip(smooth * (TARGET_LEVELS - 1), 0, TARGET_LEVELS - 1).round()
    return np.where(at.brain, levels, 0).astype(np.uint8)


def write(path: Path, array: NDArray[np.uint8], at: Template, step_mm: int = 1) -> None:
    """Write an array of the template's grid, cropped, as NIfTI in MNI mm; same bytes each time."""
    first = at.affine[:3, 3].astype(int)
    box = tuple(
        slice(low - origin, high - origin + 1, step_mm)
        for low, high, origin in zip(LOW_MM, HIGH_MM, first, strict=True)
    )
    affine = np.diag([step_mm, step_mm, step_mm, 1.0])
    affine[:3, 3] = LOW_MM
    image = nib.Nifti1Image(array[box], affine)
    image.header.set_xyzt_units("mm")
    image.set_sform(affine, code=4)
    image.set_qform(affine, code=4)
    path.write_bytes(gzip.compress(image.to_bytes(), 9, mtime=0))
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, shape {image.shape}")


def main() -> None:
    """Draw and write both files."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: build_region_map.py FOLDER")
    folder, at = Path(sys.argv[1]), Template()
    write(folder / "mars.nii.gz", draw(at), at)
    write(folder / "target.nii.gz", target(at), at, TARGET_STEP_MM)


if __name__ == "__main__":
    main()
