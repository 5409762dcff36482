from pathlib import Path

from mmocnet.io.dataset import read_dataset
from mmocnet.io.references import loose_references, reference_doubts

REFERENCE = "derivatives/reference"


def touch(root: Path, *names: str) -> None:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def doubts(root: Path) -> tuple[str, ...]:
    return reference_doubts(root, read_dataset(root))


def test_a_misnamed_reference_and_its_scan_are_both_named(tmp_path: Path) -> None:
    root = tmp_path / "set"
    for name in ("01", "02"):
        touch(root, f"sub-{name}/anat/sub-{name}_acq-swi_T2starw.nii.gz")
    touch(root, f"{REFERENCE}/sub-01/anat/sub-01_acq-swi_desc-cmb_dseg.nii.gz")
    assert doubts(root / "." / "") == (
        "1 of 2 scans in set have no reference and are left out: sub-02_acq-swi_T2starw.nii.gz",
    )
    touch(root, f"{REFERENCE}/sub-02/anat/sub-02_acq-SWI_desc-cmb_dseg.nii.gz")
    assert doubts(root)[1] == (
        "1 of 2 references in set belong to no scan: "
        "sub-02/anat/sub-02_acq-SWI_desc-cmb_dseg.nii.gz"
    )


def test_what_is_whole_or_reviewed_raises_no_doubt(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "sub-01/ses-1/anat/sub-01_ses-1_swi.nii.gz",
        f"{REFERENCE}/sub-01/ses-1/anat/sub-01_ses-1_desc-cmb_dseg.nii.gz",
        f"{REFERENCE}/sub-01/ses-1/anat/sub-01_ses-1_desc-cmb_dseg.nii",
        f"{REFERENCE}/sub-01/ses-1/anat/sub-01_ses-1_desc-cmb_dseg.json",
        f"{REFERENCE}/sub-01/ses-1/anat/sub-01_ses-1_desc-source_dseg.nii.gz",
        "sub-02/anat/sub-02_swi.nii.gz",
    )
    scans = read_dataset(tmp_path)
    assert reference_doubts(tmp_path, scans, {scans[1].image}) == ()


def test_ten_names_are_enough(tmp_path: Path) -> None:
    touch(tmp_path, "sub-01/anat/sub-01_swi.nii.gz")
    touch(tmp_path, *(f"{REFERENCE}/sub-{n}_desc-cmb_dseg.nii.gz" for n in range(30, 42)))
    (told,) = loose_references(tmp_path, read_dataset(tmp_path))
    assert told.endswith("sub-39_desc-cmb_dseg.nii.gz and 2 more")
