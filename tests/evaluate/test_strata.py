import json
import math

import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.evaluate.facts import read_field_t, read_regions
from mmocnet.evaluate.score import ScoreSettings, evaluate_folder
from mmocnet.evaluate.strata import (
    field_level,
    size_level,
    strata_counts,
    strata_scores,
    thickness_level,
)
from mmocnet.io.nifti import write_nifti
from mmocnet.volume import Volume

SHAPE = (24, 24, 6)
AFFINE = np.diag([1.0, 1.0, 2.0, 1.0])
FEW = ScoreSettings(draws=20)


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, Volume(array.astype(np.int16), AFFINE), np.int16)


@pytest.fixture
def dataset(tmp_path):
    """Two subjects: one at 3 T with a small and a large lesion, one at 1.5 T with none."""
    root = tmp_path / "data"
    labels = np.zeros(SHAPE, np.int16)
    labels[2, 2, 1] = 4
    labels[10:16, 10:16, 2:5] = 7
    for subject, array in (("01", labels), ("02", labels * 0)):
        anat = root / "derivatives" / "reference" / f"sub-{subject}" / "anat"
        save(anat / f"sub-{subject}_acq-swi_desc-cmb_dseg.nii.gz", array)
    table = root / "derivatives/reference/sub-01/anat/sub-01_acq-swi_desc-cmb_dseg.tsv"
    table.write_text("index\tname\tanatomy\n4\tCMB 1\tthalamus\n7\tCMB 2\tlobar\n0\tvein\tlobar\n")
    (root / "participants.tsv").write_text(
        "participant_id\tprotocol\tfield_t\nsub-01\ta\t3\nsub-02\tb\t1.5\n"
    )
    for subject, array in (("01", np.where(labels == 7, 1, 0)), ("02", labels == 4)):
        save(tmp_path / "found" / f"sub-{subject}_acq-swi_desc-cmb_dseg.nii.gz", array)
    return tmp_path / "found", root / "derivatives" / "reference"


def test_lesion_strata_hold_the_sensitivity_of_their_lesions(dataset):
    strata = strata_scores(evaluate_folder(*dataset, FEW).cases, FEW)
    # 2 mm3 are a sphere of 1.56 mm, 216 mm3 one of 7.44 mm.
    sizes = {name: one["lesion_sensitivity"].value for name, one in strata["size"].items()}
    assert sizes == {"under 2 mm": 0.0, "5-10 mm": 1.0}
    regions = {name: one["lesion_sensitivity"].value for name, one in strata["region"].items()}
    assert regions == {"lobar": 1.0, "thalamus": 0.0}


def test_scan_strata_hold_all_lesion_scores_of_their_scans(dataset):
    strata = strata_scores(evaluate_folder(*dataset, FEW).cases, FEW)
    assert list(strata["field strength"]) == ["1.5 T", "3 T"]
    assert strata["field strength"]["3 T"]["lesion_f1"].value == pytest.approx(2 / 3)
    assert strata["field strength"]["1.5 T"]["fp_per_scan"].value == 1.0
    assert list(strata["burden"]) == ["0", "1-4"]
    assert list(strata["slice thickness"]) == ["1-2 mm"]


def test_levels_are_counted(dataset):
    counts = strata_counts(evaluate_folder(*dataset, FEW).cases)
    assert counts["size"] == {"under 2 mm": 1, "5-10 mm": 1}
    assert counts["field strength"] == {"1.5 T": 1, "3 T": 1}


def test_a_scan_s_own_sidecar_goes_before_the_participants_table(dataset):
    root = dataset[1].parents[1]
    sidecar = root / "sub-01" / "anat" / "sub-01_acq-swi_T2starw.json"
    sidecar.parent.mkdir(parents=True)
    sidecar.write_text(json.dumps({"MagneticFieldStrength": 2.89}))
    strata = strata_scores(evaluate_folder(*dataset, FEW).cases, FEW)
    assert list(strata["field strength"]) == ["1.5 T", "3 T"]
    (path,) = (dataset[1] / "sub-01").rglob("*.nii.gz")
    assert read_field_t(path, "sub-01_acq-swi") == 2.89


def test_what_nothing_says_is_na(tmp_path):
    save(tmp_path / "a.nii.gz", np.eye(24)[:, :, None] * np.ones(6))
    strata = strata_scores(evaluate_folder(tmp_path / "a.nii.gz", tmp_path / "a.nii.gz").cases, FEW)
    assert list(strata["region"]) == ["n/a"]
    assert list(strata["field strength"]) == ["n/a"]
    assert math.isnan(read_field_t(tmp_path / "a.nii.gz", "a"))


def test_a_table_of_a_mask_s_pieces_names_no_region(dataset):
    (path,) = (dataset[1] / "sub-01").rglob("*.nii.gz")
    mask = np.zeros(SHAPE, np.int16)
    mask[2, 2, 1] = mask[10, 10, 2] = 4
    save(path, mask)
    cases = evaluate_folder(*dataset, FEW).cases
    assert cases[0].regions == ("n/a", "n/a")


def test_an_empty_line_costs_nothing(dataset):
    with (dataset[1].parents[1] / "participants.tsv").open("a") as table:
        table.write("\n")
    assert strata_counts(evaluate_folder(*dataset, FEW).cases)["field strength"] == {
        "1.5 T": 1,
        "3 T": 1,
    }


def test_what_cannot_be_read_costs_the_field_strength_alone(dataset):
    root = dataset[1].parents[1]
    (root / "participants.tsv").write_bytes("participant_id\nMüller\n".encode("latin-1"))
    (dataset[1] / "sub-01/anat/sub-01_acq-swi.json").write_text("{")
    assert strata_counts(evaluate_folder(*dataset, FEW).cases)["field strength"] == {"n/a": 2}


def test_a_region_table_that_is_no_utf_8_is_named(tmp_path):
    (tmp_path / "a.tsv").write_bytes("index\tregion\n1\tläsion\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"UTF-8, got other content in a\.tsv"):
        read_regions(tmp_path / "a.nii.gz")


def test_a_broken_region_table_is_named(tmp_path):
    (tmp_path / "a.tsv").write_text("index\tregion\nfirst\tlobar\n")
    with pytest.raises(InputError, match=r"whole numbers as index in a\.tsv"):
        read_regions(tmp_path / "a.nii.gz")


def test_bounds_of_levels():
    assert [size_level(mm) for mm in (4.99, 5.0, float("nan"))] == ["2-5 mm", "5-10 mm", "n/a"]
    assert [thickness_level(mm) for mm in (1.0, 1.1, 3.0, 5.0)] == [
        "up to 1 mm",
        "1-2 mm",
        "2-3 mm",
        "over 3 mm",
    ]
    assert field_level(float("nan")) == "n/a"
    assert field_level(7.0) == "7 T"
