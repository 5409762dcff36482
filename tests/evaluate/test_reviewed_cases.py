import json

import numpy as np
import pytest

from mmocnet.errors import InputError
from mmocnet.evaluate.cases import read_case
from mmocnet.evaluate.files import pair_files
from mmocnet.evaluate.score import ScoreSettings, evaluate_folder
from mmocnet.io.nifti import write_nifti
from mmocnet.io.reviewed import Judged, Review, Verdict, write_review
from mmocnet.volume import Volume


@pytest.fixture
def dataset(tmp_path):
    """A dataset of one scan: two microbleeds in its reference, three places in its review."""
    labels = np.zeros((20, 20, 6), np.int16)
    labels[3:6, 3:6, 2] = 1
    labels[12:15, 12:15, 3] = 2
    reference = Volume(labels, np.eye(4))
    write_nifti(tmp_path / "reference" / "sub-01_desc-cmb_dseg.nii.gz", reference, np.int16)
    judged = labels.copy()
    judged[3:6, 14:17, 4] = 3
    verdicts = (Verdict.ACCEPT, Verdict.ADDED, Verdict.REJECT)
    rows = tuple(Judged(n, one, (0.0, 0.0, 0.0), "R1") for n, one in enumerate(verdicts, 1))
    review = Review(reference.like(judged), rows, complete=True)
    image = tmp_path / "sub-01" / "anat" / "sub-01_swi.nii.gz"
    return tmp_path, write_review(tmp_path, image, review)


def case_of(predictions, references):
    (files,), _ = pair_files(predictions, references)
    return read_case(files)


def test_what_a_reader_rejected_is_no_predicted_lesion(dataset):
    folder, review = dataset
    case = case_of(review.parent, folder / "reference")
    assert np.array_equal(case.predicted > 0, case.reference > 0)


def test_what_a_reader_rejected_is_no_reference_lesion(dataset):
    folder, review = dataset
    case = case_of(folder / "reference", review.parent)
    assert np.array_equal(case.reference > 0, case.predicted > 0)


def test_what_is_left_of_a_review_in_two_pieces_is_one_lesion(dataset):
    folder, _ = dataset
    labels = np.zeros((20, 20, 6), np.int16)
    labels[3:6, 3:6, 2] = labels[7:9, 3:6, 2] = 1
    labels[3:6, 14:17, 4] = 2
    verdicts = (Verdict.ACCEPT, Verdict.REJECT)
    rows = tuple(Judged(n, one, (0.0, 0.0, 0.0), "R1") for n, one in enumerate(verdicts, 1))
    image = folder / "sub-01" / "anat" / "sub-01_swi.nii.gz"
    review = write_review(folder, image, Review(Volume(labels, np.eye(4)), rows, complete=True))
    for sides in ((folder / "reference", review.parent), (review.parent, folder / "reference")):
        case = case_of(*sides)
        ours = case.reference if sides[1] == review.parent else case.predicted
        assert np.array_equal(ours, labels == 1)


def test_an_accepted_macrohaemorrhage_is_not_scored(dataset):
    folder, review = dataset
    table = review.with_name(review.name.replace(".nii.gz", ".tsv"))
    first, lesion, *others = table.read_text().splitlines()
    cells = dict(zip(first.split("\t"), lesion.split("\t"), strict=True))
    large = "\t".join((cells | {"certainty": "macrohaemorrhage"}).values())
    table.write_text("\n".join([first, large, *others]) + "\n")
    case = case_of(folder / "reference", review.parent)
    assert np.array_equal(case.reference > 0, case.predicted > 0)
    assert np.unique(case.reference).tolist() == [0, 2]
    assert not case.valid[3:6, 3:6, 2].any()


def unfinished(review):
    sidecar = review.with_name(review.name.replace(".nii.gz", ".json"))
    sidecar.write_text(json.dumps(json.loads(sidecar.read_text()) | {"Complete": False}))
    return sidecar


def test_an_unfinished_review_is_neither_a_reference_nor_a_prediction(dataset):
    folder, review = dataset
    unfinished(review)
    for sides in ((folder / "reference", review.parent), (review.parent, folder / "reference")):
        with pytest.raises(InputError, match=r"unfinished one in sub-01_desc-reviewed_dseg\.nii"):
            case_of(*sides)


def test_an_unfinished_review_is_listed_where_that_is_allowed(dataset):
    folder, review = dataset
    unfinished(review)
    labels = Volume(np.zeros((4, 4, 4), np.int16), np.eye(4))
    for side in (review.parent, folder / "reference"):
        write_nifti(side / "sub-02_desc-cmb_dseg.nii.gz", labels, np.int16)
    settings = ScoreSettings(allow_missing=True, draws=20)
    report = evaluate_folder(folder / "reference", review.parent, settings)
    assert [case.name for case in report.cases] == ["sub-02"]
    (missing,) = report.missing
    assert missing.endswith("got an unfinished one in sub-01_desc-reviewed_dseg.nii.gz")


def test_a_review_without_its_sidecar_is_refused(dataset):
    folder, review = dataset
    unfinished(review).unlink()
    with pytest.raises(InputError, match=r"reviewed_dseg\.json beside"):
        case_of(folder / "reference", review.parent)


def test_a_review_without_its_table_is_refused(dataset):
    folder, review = dataset
    review.with_name(review.name.replace(".nii.gz", ".tsv")).unlink()
    with pytest.raises(InputError, match=r"reviewed_dseg\.tsv beside"):
        case_of(review.parent, folder / "reference")
