"""Print how often lesions of simulated heads get the region that the true warp gives them.

    python scripts/check_location.py DATASET

DATASET is a folder that `mmocnet simulate` wrote. The true region is that of the map at the
lesion's MNI coordinates through the true warp, so this measures the registration, not the map.
"""

import sys
from pathlib import Path

import numpy as np

from mmocnet.io.dataset import read_tsv
from mmocnet.io.read import read_scan
from mmocnet.locate.locate import Place, place
from mmocnet.locate.maps import region_map
from mmocnet.locate.regions import REGION_BY_LABEL
from mmocnet.locate.register import register_to_mni
from mmocnet.prepare.brain import brain_mask
from mmocnet.types import FloatArray


def points(rows: list[dict[str, str]], prefix: str) -> FloatArray:
    """Return coordinates of a reference table's rows, shape (N, 3), mm."""
    return np.array([[float(row[f"{prefix}{axis}_mm"]) for axis in "xyz"] for row in rows])


def at_centre(mni_mm: FloatArray) -> Place:
    """Return the map's own label at a point, without a vote; that of `place` where it has none."""
    regions = region_map()
    voxel = np.round(regions.voxel(mni_mm)).astype(int)
    if ((voxel < 0) | (voxel >= regions.shape)).any():
        return place(mni_mm)
    found = REGION_BY_LABEL.get(int(regions.array[tuple(voxel)]))
    side = "right" if mni_mm[0] > 0 else "left"
    return place(mni_mm) if found is None else Place(found.name, side, found.group)


def check(dataset: Path) -> tuple[list[tuple[str, Place, Place]], FloatArray, int]:
    """Return kind, true and found place of every lesion and mimic, errors in mm, failures."""
    pairs, errors, failures = [], [np.zeros(0)], 0
    for path in sorted(dataset.glob("sub-*/anat/*acq-swi_T2starw.nii.gz")):
        folder = dataset / "derivatives" / "reference" / path.parent.relative_to(dataset)
        rows = read_tsv(next(folder.glob("*acq-swi_desc-cmb_dseg.tsv")))
        volume = read_scan(path).volume
        found = register_to_mni(volume, brain_mask(volume))
        failures += not found.ok
        if not rows or not found.ok:
            continue
        true, mine = points(rows, "mni_"), found.to_mni(points(rows, ""))
        errors.append(np.linalg.norm(mine - true, axis=1))
        pairs += [
            (row["kind"], at_centre(a), place(b))
            for row, a, b in zip(rows, true, mine, strict=True)
        ]
        print(f"{path.name}: {errors[-1].mean():.2f} mm", file=sys.stderr, flush=True)
    return pairs, np.concatenate(errors), failures


def main() -> None:
    """Measure and print."""
    if len(sys.argv) != 2:
        raise SystemExit("usage: check_location.py DATASET")
    pairs, errors, failures = check(Path(sys.argv[1]))
    if not pairs:
        raise SystemExit("no lesion of a scan that could be registered")
    print(f"scans not registered: {failures}")
    print(f"error: mean {errors.mean():.2f} mm, 95th percentile {np.percentile(errors, 95):.2f} mm")
    for name, chosen in {
        "microbleeds": [pair for pair in pairs if pair[0] == "microbleed"],
        "microbleeds and mimics": pairs,
    }.items():
        shares = (
            f"{part} {np.mean([getattr(a, part) == getattr(b, part) for _, a, b in chosen]):.3f}"
            for part in ("group", "region", "side")
            if chosen
        )
        print(f"{name} ({len(chosen)}):", ", ".join(shares))


if __name__ == "__main__":
    main()
