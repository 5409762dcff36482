"""One run of everything, from simulation to report, with the weights that ship."""

from pathlib import Path

import numpy as np
import pytest

from mmocnet.cli import main
from mmocnet.evaluate.matching import match, pairing
from mmocnet.io.dataset import DatasetScan, read_dataset, read_tsv
from mmocnet.io.nifti import read_nifti
from mmocnet.nets.checkpoint import load_cascade
from mmocnet.simulate.dataset import write_subjects
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.testset import plan_subjects


@pytest.fixture(scope="module")
def scans(tmp_path_factory: pytest.TempPathFactory) -> list[DatasetScan]:
    out = tmp_path_factory.mktemp("simulated") / "dataset"
    study = StudySettings("clinical", 0.0, (12, 12), slab_mm=40.0, images="swi")
    assert [r.state for r in write_subjects(out, plan_subjects(3, 99, study))] == ["written"] * 3
    return read_dataset(out)


def test_the_shipped_model_finds_at_least_half_of_simulated_lesions(
    scans: list[DatasetScan], tmp_path: Path
) -> None:
    """Over three slabs: in one, the 9 to 12 lesions that show say little."""
    words = ["segment", *(str(scan.image) for scan in scans), "-o", str(tmp_path)]
    assert main([*words, "--operating-point", "screening"]) == 0
    lesions = hits = false = 0
    for scan in scans:
        (labels,) = tmp_path.rglob(f"sub-{scan.subject}*_desc-cmb_dseg.nii.gz")
        found = read_nifti(labels)
        assert scan.labels is not None
        reference = read_nifti(scan.labels)
        np.testing.assert_allclose(found.affine, reference.affine, atol=1e-4)
        result = match(pairing(reference.array, found.array, reference.spacing_mm))
        lesions += len(np.unique(reference.array)) - 1
        hits, false = hits + len(result.pairs), false + len(result.false)
        rows = read_tsv(labels.with_name(labels.name.replace(".nii.gz", ".tsv")))
        assert [int(row["index"]) for row in rows] == [i for i in np.unique(found.array) if i]
        (page,) = tmp_path.rglob(f"sub-{scan.subject}*_report.html")
        report = page.read_text(encoding="utf-8")
        assert "not a medical device" in report
        assert report.count("data:image/png") >= len(rows)
    # On whole heads it finds five of six there; weights that are not the ones trained find none.
    assert hits >= 0.5 * lesions
    assert false <= 0.6 * lesions


def test_the_shipped_model_says_what_it_was_trained_and_tested_on() -> None:
    cascade = load_cascade("compact")
    card = cascade.card
    assert card["notice"] == "Research use only - not a medical device."
    assert card["train_subjects"] > 100
    assert 0 < card["operating_points"]["balanced"]["lesion_f1"] <= 1
    thresholds = cascade.settings.thresholds
    assert thresholds.screening <= thresholds.balanced <= thresholds.report
