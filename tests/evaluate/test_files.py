import pytest

from mmocnet.errors import InputError
from mmocnet.evaluate.files import pair_files


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def paired(tmp_path, references, predictions):
    """Return the predicted file of each reference, by name; "" where there is none."""
    truth = touch(tmp_path / "r", *(f"{name}_desc-cmb_dseg.nii.gz" for name in references))
    found = touch(tmp_path / "p", *(f"{name}_mask.nii.gz" for name in predictions))
    cases, _ = pair_files(found, truth)
    return {
        case.name: "" if case.lesions is None else case.lesions.name.removesuffix("_mask.nii.gz")
        for case in cases
    }


@pytest.mark.parametrize(
    ("references", "predictions"),
    [
        (("sub-01_run-1", "sub-01_run-2"), ("sub-01_run-1",)),
        (("sub-01_acq-swi", "sub-01_acq-gre"), ("sub-01_acq-swi",)),
    ],
)
def test_the_prediction_of_one_run_or_acquisition_is_not_that_of_another(
    tmp_path, references, predictions
):
    present, missing = references
    assert paired(tmp_path, references, predictions) == {present: present, missing: ""}


@pytest.mark.parametrize(
    ("reference", "prediction", "found"),
    [
        ("sub-01_ses-1_acq-swi", "sub-01_ses-1", True),
        ("sub-01_acq-swi", "sub-01_acq-swi_run-1", True),
        ("sub-01_desc-expert", "sub-01_desc-tool", True),
        ("sub-01_acq-swi", "sub-01_acq-gre", False),
        ("sub-01_run-1", "sub-01_run-2", False),
        ("sub-01_ses-1", "sub-01", False),
    ],
)
def test_an_only_prediction_may_say_more_or_less_of_its_scan_but_nothing_else(
    tmp_path, reference, prediction, found
):
    assert paired(tmp_path, [reference], [prediction]) == {reference: prediction if found else ""}


def test_a_prediction_that_says_too_little_is_that_of_no_run(tmp_path):
    runs = ("sub-01_run-1", "sub-01_run-2")
    assert paired(tmp_path, runs, ["sub-01"]) == dict.fromkeys(runs, "")


def test_a_scan_among_the_references_is_no_reference(tmp_path):
    names = [f"sub-01_{suffix}.nii.gz" for suffix in ("T1w", "FLAIR", "dwi", "phase", "minIP")]
    references = touch(tmp_path / "r", "sub-01_desc-cmb_dseg.nii.gz", "sub-02_T1w.nii.gz", *names)
    cases, _ = pair_files(references, references)
    assert [case.reference.name for case in cases] == ["sub-01_desc-cmb_dseg.nii.gz"]


def test_a_mask_named_as_one_to_ignore_is_taken_before_others_of_the_scan(tmp_path):
    references = touch(
        tmp_path / "r",
        "sub-01_desc-cmb_dseg.nii.gz",
        "sub-01_desc-ignore_mask.nii.gz",
        "sub-01_desc-source_dseg.nii.gz",
        "sub-01_desc-window_mask.nii.gz",
        "sub-02_desc-cmb_dseg.nii.gz",
        "sub-02_desc-window_mask.nii.gz",
    )
    (first, second), _ = pair_files(references, references, references, references)
    assert first.ignore.name == "sub-01_desc-ignore_mask.nii.gz"
    assert first.window.name == "sub-01_desc-window_mask.nii.gz"
    assert second.ignore is None


def test_two_masks_to_ignore_of_one_scan_are_refused(tmp_path):
    references = touch(tmp_path / "r", "sub-01_desc-cmb_dseg.nii.gz")
    masks = touch(tmp_path / "i", "sub-01_mask.nii.gz", "sub-01_desc-source_dseg.nii.gz")
    text = "one ignore mask for sub-01, got sub-01_desc-source_dseg.nii.gz and sub-01_mask.nii.gz"
    with pytest.raises(InputError, match=text):
        pair_files(references, references, masks)


def test_masks_to_ignore_that_are_not_there_are_an_error(tmp_path):
    references = touch(tmp_path / "r", "sub-01_desc-cmb_dseg.nii.gz")
    with pytest.raises(InputError, match="expected a file or folder, got 'typo', which is none"):
        pair_files(references, references, tmp_path / "typo")
    other = touch(tmp_path / "other", "sub-02_desc-ignore_mask.nii.gz")
    with pytest.raises(InputError, match="ignore masks named as the references, got none in other"):
        pair_files(references, references, other)
