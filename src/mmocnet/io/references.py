"""What a dataset's scans and references lack of each other: to be said, not passed over."""

from collections.abc import Collection, Sequence
from pathlib import Path

from mmocnet.io.dataset import DatasetScan, nifti_ending

MAX_NAMED = 10
"""Most files that a sentence spells out."""
REFERENCE = "_desc-cmb_dseg"


def reference_doubts(
    folder: Path, scans: Sequence[DatasetScan], reviewed: Collection[Path] = ()
) -> tuple[str, ...]:
    """Return a sentence on scans without a reference, and one on references without a scan.

    Args:
        folder: Root of the dataset.
        scans: All that it holds, from `read_dataset`.
        reviewed: Images that have a reader's verdicts in place of a reference.
    """
    bare = [s.image.name for s in scans if s.labels is None and s.image not in reviewed]
    found = []
    if bare:
        found.append(
            f"{len(bare)} of {len(scans)} scans in {folder.name} have no reference and are left "
            f"out: {_named(bare)}"
        )
    return (*found, *loose_references(folder, scans))


def loose_references(folder: Path, scans: Sequence[DatasetScan]) -> tuple[str, ...]:
    """Return a sentence on references that belong to no scan; nothing where all do.

    Args:
        folder: Root of the dataset.
        scans: All that it holds, from `read_dataset`.
    """
    reference = folder / "derivatives" / "reference"
    # A reference that is there packed too is no other.
    taken = {_base(scan.labels) for scan in scans if scan.labels is not None}
    found = [
        path
        for path in sorted(reference.rglob("*"))
        if nifti_ending(path.name) and _base(path).name.lower().endswith(REFERENCE)
    ]
    loose = [p.relative_to(reference).as_posix() for p in found if _base(p) not in taken]
    if not loose:
        return ()
    return (
        f"{len(loose)} of {len(found)} references in {folder.name} belong to no scan: "
        f"{_named(loose)}",
    )


def _base(path: Path) -> Path:
    return path.with_name(path.name.removesuffix(nifti_ending(path.name)))


def _named(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else ""
    return ", ".join(names[:MAX_NAMED]) + more
