import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from mmocnet.errors import InputError
from mmocnet.evaluate.cases import as_probability, read_case
from mmocnet.evaluate.files import pair_files
from mmocnet.evaluate.matching import Rule
from mmocnet.evaluate.score import ScoreSettings, evaluate_folder
from mmocnet.io.nifti import write_nifti
from mmocnet.volume import Volume

SHAPE = (40, 40, 8)
SETTINGS = ScoreSettings(draws=20)
LENIENT = ScoreSettings(draws=20, allow_missing=True)


def save(path, array, dtype=np.int16):
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, Volume(array, np.eye(4)), dtype)


def cube(*corner, size=3, value=1):
    array = np.zeros(SHAPE, np.int16)
    i, j, k = corner
    array[i : i + size, j : j + size, k : k + 2] = value
    return array


@pytest.fixture
def folders(tmp_path):
    """One scan of two lesions, both found, and a second of one, found too."""
    lesions = cube(5, 5, 2) + cube(20, 20, 3, value=2)
    for folder in ("p", "r"):
        save(tmp_path / folder / "sub-01_desc-cmb_dseg.nii.gz", lesions)
        save(tmp_path / folder / "sub-02_desc-cmb_dseg.nii.gz", cube(9, 9, 1))
    return tmp_path / "p", tmp_path / "r"


def table(folder, kind, *lines):
    (folder / f"sub-01_desc-{kind}_dseg.tsv").write_text("\n".join(lines) + "\n")


def counts(report):
    one = report.cases[0].lesions[Rule.OVERLAP]
    return one.references, one.found, one.false_positives


@pytest.mark.parametrize(
    ("side", "lesion", "expected"),
    [(0, False, (2, 0, 0)), (0, True, (2, 1, 0)), (1, False, (0, 0, 2)), (1, True, (1, 1, 1))],
)
def test_what_is_not_a_number_is_no_lesion(folders, side, lesion, expected):
    array = cube(5, 5, 2).astype(np.float32) * lesion
    array[:, :3] = np.nan
    save(folders[side] / "sub-01_desc-cmb_dseg.nii.gz", array, np.float32)
    assert counts(evaluate_folder(*folders, SETTINGS)) == expected


def test_what_is_not_a_number_is_not_ignored(folders, tmp_path):
    mask = cube(20, 20, 3).astype(np.float32)
    mask[:12] = np.nan
    save(tmp_path / "i" / "sub-01_desc-ignore_mask.nii.gz", mask, np.float32)
    assert counts(evaluate_folder(*folders, SETTINGS, tmp_path / "i")) == (1, 1, 0)


def test_whole_numbers_of_0_and_1_are_a_probability_as_they_are(folders):
    assert as_probability(np.array([0, 1], np.uint8)).tolist() == [0, 1]
    assert as_probability(np.array([0, 255], np.uint8)).tolist() == [0, 1]
    for path in folders[0].iterdir():
        path.unlink()
    save(folders[0] / "sub-01_probseg.nii.gz", cube(5, 5, 2), np.uint8)
    save(folders[0] / "sub-02_probseg.nii.gz", cube(9, 9, 1), np.uint8)
    assert counts(evaluate_folder(*folders, SETTINGS)) == (2, 1, 0)


@pytest.fixture
def maps(folders):
    """The same predictions as percent, in bytes."""
    for path in folders[0].iterdir():
        path.unlink()
    save(folders[0] / "sub-01_probseg.nii.gz", cube(5, 5, 2) * 90, np.uint8)
    save(folders[0] / "sub-02_probseg.nii.gz", cube(9, 9, 1), np.uint8)
    return folders


@pytest.mark.parametrize(
    ("value", "dtype"), [(90, np.uint8), (254, np.uint8), (255, np.int16), (900, np.int16)]
)
def test_whole_numbers_of_an_unknown_scale_are_no_probability(maps, value, dtype):
    save(maps[0] / "sub-01_probseg.nii.gz", cube(5, 5, 2) * value, dtype)
    text = f"expected probabilities between 0 and 1, got {value} in sub-01_probseg.nii.gz"
    with pytest.raises(InputError, match=text):
        evaluate_folder(*maps, SETTINGS)
    assert evaluate_folder(*maps, LENIENT).missing == (text,)


def test_bytes_up_to_255_are_a_probability(maps):
    half = cube(5, 5, 2) * 255 + cube(20, 20, 3) * 140 + cube(30, 5, 2) * 110
    save(maps[0] / "sub-01_probseg.nii.gz", half, np.uint8)
    assert counts(evaluate_folder(*maps, SETTINGS)) == (2, 2, 0)


def test_a_picture_s_bytes_are_a_probability_whatever_the_highest(tmp_path):
    truth = cube(5, 5, 0)[..., 0]
    for folder, name, scale in (("r", "mask", 255), ("p", "probseg", 200)):
        (tmp_path / folder).mkdir()
        array = (truth * scale).astype(np.uint8)
        Image.fromarray(array).save(tmp_path / folder / f"sub-01_{name}.png")
    settings = ScoreSettings(draws=20, spacing_mm=0.5)
    assert counts(evaluate_folder(tmp_path / "p", tmp_path / "r", settings)) == (1, 1, 0)


def test_numbers_that_look_like_classes_are_warned_of(folders):
    save(
        folders[1] / "sub-01_desc-cmb_dseg.nii.gz",
        cube(5, 5, 2) + cube(30, 5, 2) + cube(20, 20, 3, value=2) + cube(25, 20, 3, value=2),
    )
    classes = [text for text in evaluate_folder(*folders, SETTINGS).warnings if "classes" in text]
    assert classes == [
        "expected one lesion a number, got pieces of one over 10 mm apart in "
        "sub-01_desc-cmb_dseg.nii.gz: if its numbers are classes, give a mask of 0 and 1"
    ]


@pytest.mark.parametrize(
    ("name", "array", "text"),
    [
        ("cmb_dseg", cube(5, 5, 2) * 1.5 + cube(9, 9, 2), "sub-01: expected whole lesion numbers"),
        ("x_probseg", cube(5, 5, 2) * 1.5, "sub-01: expected probabilities between 0 and 1"),
    ],
)
def test_every_error_names_its_scan(folders, name, array, text):
    path = folders[0] / f"sub-01_desc-{name}.nii.gz"
    save(path.with_name(path.name.replace("_desc-x_", "_")), array, np.float32)
    with pytest.raises(InputError, match=text):
        evaluate_folder(*folders, SETTINGS)
    (missing,) = evaluate_folder(*folders, LENIENT).missing
    assert missing.startswith(text)


def test_a_short_name_is_not_taken_for_a_number_in_the_error(tmp_path):
    for folder in ("p", "r"):
        save(tmp_path / folder / "1_mask.nii.gz", cube(5, 5, 2))
    save(tmp_path / "p" / "1_probseg.nii.gz", cube(5, 5, 2) * 1.5, np.float32)
    with pytest.raises(InputError, match="scored: 1: expected probabilities"):
        evaluate_folder(tmp_path / "p", tmp_path / "r")


def test_a_confidence_above_1_is_named_and_leaves_the_other_scans(folders):
    for number in ("1", "2"):
        path = folders[0] / f"sub-0{number}_desc-candidates_dseg.nii.gz"
        save(path, cube(5, 5, 2))
        path.with_name(path.name.replace(".nii.gz", ".tsv")).write_text("index\tconfidence\n1\t0.9")
    table(folders[0], "candidates", "index\tconfidence", "1\t1.2")
    (missing,) = evaluate_folder(*folders, LENIENT).missing
    assert missing == (
        "expected a confidence from 0 to 1 for label 1, got 1.2 in sub-01_desc-candidates_dseg.tsv"
    )


def test_the_rim_of_what_is_ignored_is_no_false_positive(folders, tmp_path):
    larger = cube(19, 19, 3, size=5, value=2) + cube(5, 5, 2)
    save(folders[0] / "sub-01_desc-cmb_dseg.nii.gz", larger)
    save(folders[0] / "sub-01_desc-candidates_dseg.nii.gz", larger)
    table(folders[0], "candidates", "index\tconfidence", "1\t0.9", "2\t0.9")
    save(tmp_path / "i" / "sub-01_desc-ignore_mask.nii.gz", cube(19, 20, 3, size=4))
    report = evaluate_folder(*folders, SETTINGS, tmp_path / "i")
    assert counts(report) == (1, 1, 0)
    assert report.cases[0].pixels.fp == 0
    assert report.cases[0].is_lesion.tolist() == [True]


def test_what_reaches_out_of_the_ignored_by_half_or_onto_a_lesion_counts(folders, tmp_path):
    save(
        folders[0] / "sub-01_desc-cmb_dseg.nii.gz", cube(5, 5, 2) + cube(30, 30, 3, size=4, value=2)
    )
    ignore = np.zeros(SHAPE, np.int16)
    ignore[30:32] = ignore[5:7] = 1
    save(tmp_path / "i" / "sub-01_desc-ignore_mask.nii.gz", ignore)
    assert counts(evaluate_folder(*folders, SETTINGS, tmp_path / "i")) == (2, 1, 1)


def test_both_folders_and_the_model_are_named(folders):
    made = {"Provenance": {"Version": "0.1.0", "Model": {"Name": "standard"}}}
    (folders[0] / "sub-01_desc-cmb_dseg.json").write_text(json.dumps(made))
    report = evaluate_folder(*folders, SETTINGS)
    names = [folder.name for folder in folders]
    model = "standard, mmocnet 0.1.0"
    assert list(report.inputs.values()) == [*names, model]
    assert not any("swap" in text for text in report.warnings)
    swapped = evaluate_folder(*folders[::-1], SETTINGS)
    assert f"the references were found by a network ({model})" in swapped.warnings[0]


def test_the_masks_that_were_given_are_recorded(folders, tmp_path):
    save(tmp_path / "i" / "sub-01_desc-ignore_mask.nii.gz", cube(20, 20, 3))
    report = evaluate_folder(*folders, SETTINGS, tmp_path / "i")
    assert report.masks == {"ignore": "i", "scans_with_ignore": 1}
    assert evaluate_folder(*folders, SETTINGS).masks == {}


def test_a_macrohaemorrhage_counts_only_where_it_is_a_reference_lesion(folders):
    called = cube(5, 5, 2) + cube(30, 30, 3, value=2)
    for kind in ("cmb", "candidates"):
        save(folders[0] / f"sub-01_desc-{kind}_dseg.nii.gz", called)
    table(folders[0], "candidates", "index\tconfidence\tstatus", "1\t0.9\tlesion", "2\t0.8\tlesion")
    table(folders[0], "cmb", "index\tcertainty", "1\tdefinite", "2\tdefinite")
    report = evaluate_folder(*folders, SETTINGS)
    assert counts(report) == (2, 1, 1)
    table(folders[0], "cmb", "index\tcertainty", "1\tmacrohaemorrhage", "2\tmacrohaemorrhage")
    report = evaluate_folder(*folders, SETTINGS)
    assert counts(report) == (2, 1, 0)
    assert report.cases[0].pixels.fp == 0
    assert report.cases[0].is_lesion.tolist() == [True]


def scaled(path, array):
    """Save labels as nibabel does with a header of int16: a scale puts them off whole numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(array.astype(np.float32), np.eye(4))
    image.header.set_data_dtype(np.int16)
    nib.save(image, path)
    assert not np.array_equal(np.asarray(nib.load(path).dataobj), array)


def test_labels_that_a_scale_puts_off_whole_numbers_keep_their_own(tmp_path):
    corners = [(i, j, 2) for i in range(0, 40, 8) for j in range(0, 40, 8)]
    lesions = sum(cube(*corner, value=n) for n, corner in enumerate(corners, 1))
    count = len(corners)
    rows = [f"{n}\t0.9\tlesion\tdefinite\taccept\tinsula" for n in range(1, count + 1)]
    called = [*rows]
    called[6] = called[6].replace("definite", "macrohaemorrhage")
    head = "index\tconfidence\tstatus\tcertainty\tverdict\tregion"
    stem = "sub-01_desc-"
    files = (("p", "cmb", called), ("p", "candidates", called), ("r", "reviewed", rows))
    for folder, kind, lines in files:
        scaled(tmp_path / folder / f"{stem}{kind}_dseg.nii.gz", lesions)
        table = tmp_path / folder / f"{stem}{kind}_dseg.tsv"
        table.write_text("\n".join([head, *lines]) + "\n")
    (tmp_path / "r" / f"{stem}reviewed_dseg.json").write_text(json.dumps({"Complete": True}))
    ((files,), _) = pair_files(tmp_path / "p", tmp_path / "r")
    case = read_case(files)
    for labels in (case.reference, case.predicted, case.candidates.labels):
        assert len(np.unique(labels)) == count + 1
        assert np.array_equal(labels > 0, lesions > 0)
    assert set(case.regions.values()) == {"insula"}
    assert len(case.regions) == count


def lesion_counts(folders):
    one = evaluate_folder(*folders, SETTINGS).cases[0]
    return one.reference_count, one.predicted_count


@pytest.mark.parametrize(
    ("lines", "lesions"),
    [
        # What `segment` or a review writes, and what `simulate` does of one visible of two.
        (("index\tx_mm", "1\t5"), 1),
        (("index\tkind\tx_mm", "1\tmicrobleed\t5", "2\tmicrobleed\t9", "0\tvein\t7"), 1),
        # A look-up table of classes, as BIDS has them, and mimics beside a mask.
        (("index\tname", "1\tmicrobleed"), 2),
        (("index\tkind\tx_mm", "1\tvein\t5"), 2),
        (("kind\tx_mm", "vein\t5"), 2),
        (("index\tx_mm", "2\t5"), 2),
    ],
)
def test_a_single_number_is_one_lesion_where_its_table_lists_it_and_its_place(
    folders, lines, lesions
):
    for folder in folders:
        save(folder / "sub-01_desc-cmb_dseg.nii.gz", cube(5, 5, 2) + cube(9, 5, 2))
    assert lesion_counts(folders) == (2, 2)
    for folder in folders:
        table(folder, "cmb", *lines)
    assert lesion_counts(folders) == (lesions, lesions)


def test_a_number_that_is_left_alone_stays_one_lesion(folders):
    called = cube(5, 5, 2) + cube(9, 5, 2) + cube(30, 30, 3, value=2)
    save(folders[0] / "sub-01_desc-cmb_dseg.nii.gz", called)
    table(folders[0], "cmb", "index\tcertainty", "1\tdefinite", "2\tmacrohaemorrhage")
    assert lesion_counts(folders) == (2, 1)


def test_a_macrohaemorrhage_among_the_references_is_neither_found_nor_missed(folders):
    for kind in ("cmb", "candidates"):
        save(
            folders[0] / f"sub-01_desc-{kind}_dseg.nii.gz",
            cube(4, 4, 2, size=8) + cube(20, 20, 3, value=2),
        )
    table(folders[0], "candidates", "index\tconfidence", "1\t0.9", "2\t0.8")
    assert counts(evaluate_folder(*folders, SETTINGS)) == (2, 2, 0)
    table(folders[1], "cmb", "index\tcertainty", "1\tmacrohaemorrhage", "2\tdefinite")
    report = evaluate_folder(*folders, SETTINGS)
    assert counts(report) == (1, 1, 0)
    assert report.cases[0].pixels.fp == 0
    assert report.cases[0].is_lesion.tolist() == [True]
    save(folders[0] / "sub-01_desc-cmb_dseg.nii.gz", cube(20, 20, 3))
    report = evaluate_folder(*folders, SETTINGS)
    assert counts(report) == (1, 1, 0)
    assert report.cases[0].pixels.fn == 0
