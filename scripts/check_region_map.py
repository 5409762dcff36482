"""Print how well the region map agrees with an atlas of the same scale in MNI152 space.

    python scripts/check_region_map.py FOLDER

The folder holds one label image (.nii.gz) and labels.txt, with lines as "3 Basal ganglia (deep)".
The atlas is read to be compared with, and nothing of it is kept.
"""

import re
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from mmocnet.errors import InputError
from mmocnet.locate.locate import REACH_MM
from mmocnet.locate.maps import region_map
from mmocnet.locate.regions import REGION_BY_NAME, REGIONS
from mmocnet.volume import Volume


def read_atlas(folder: Path) -> Volume:
    """Return the atlas with our labels, shape (I, J, K), uint8.

    Raises:
        InputError: If there is not one image, or a line of labels.txt cannot be read.
    """
    images = sorted(folder.glob("*.nii.gz"))
    if len(images) != 1:
        raise InputError(f"expected one .nii.gz, got {len(images)} in {folder.name}")
    lookup = np.zeros(256, np.uint8)
    for line in (folder / "labels.txt").read_text(encoding="utf-8").splitlines():
        match = re.match(r"(\d+)\s+([^(]+?)\s*\(", line)
        if match is None or match[2].lower() not in REGION_BY_NAME:
            raise InputError(f"expected a number and a region, got {line!r} in labels.txt")
        lookup[int(match[1])] = REGION_BY_NAME[match[2].lower()].label
    image = nib.Nifti1Image.from_filename(images[0])
    array = lookup[np.asarray(image.dataobj).astype(np.uint8)]
    return Volume(array, np.asarray(image.affine), images[0].name)


def ours_at(atlas: Volume, *, reach: bool) -> NDArray[np.uint8]:
    """Return our labels at the atlas's voxels.

    Args:
        atlas: The grid.
        reach: Whether a voxel without label takes the nearest within the reach of a lesion.
    """
    regions = region_map()
    labels = np.array(regions.array)
    if reach:
        distance, nearest = ndimage.distance_transform_edt(labels == 0, return_indices=True)
        labels = np.where(distance <= REACH_MM, labels[tuple(nearest)], 0)
    matrix = np.linalg.inv(regions.affine) @ atlas.affine
    return np.asarray(
        ndimage.affine_transform(
            labels.astype(np.uint8), matrix[:3, :3], matrix[:3, 3], atlas.shape, order=0
        )
    )


def share(theirs: NDArray[np.uint8], ours: NDArray[np.uint8], where: NDArray[np.bool_]) -> str:
    """Return the shares of voxels that agree by group and by region."""
    names = ["none", *sorted({one.group for one in REGIONS})]
    group = np.array([0, *(names.index(one.group) for one in REGIONS)])
    by_group = float((group[theirs] == group[ours])[where].mean())
    by_region = float((theirs == ours)[where].mean())
    return f"group {by_group:.3f}, region {by_region:.3f} ({int(where.sum())} voxels)"


def main() -> None:
    """Compare and print."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: check_region_map.py FOLDER")
    atlas = read_atlas(Path(sys.argv[1]))
    theirs, ours = atlas.array, ours_at(atlas, reach=False)
    near = ours_at(atlas, reach=True)
    print("where both have a label:", share(theirs, ours, (theirs > 0) & (ours > 0)))
    print("where the atlas has one:", share(theirs, near, theirs > 0))
    print(f"{'region':<40} {'Dice':>5} {'ours, ml':>9} {'atlas, ml':>9}")
    for one in REGIONS:
        a, b = theirs == one.label, near == one.label
        dice = 2 * int((a & b).sum()) / max(int(a.sum()) + int(b.sum()), 1)
        sizes = (float((m == one.label).sum()) * atlas.voxel_mm3 / 1000 for m in (ours, theirs))
        print(f"{one.name:<40} {dice:>5.2f}", *(f"{size:>9.1f}" for size in sizes))


if __name__ == "__main__":
    main()
