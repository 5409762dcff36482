import csv
import math

import numpy as np
import pytest
from PIL import Image

from mmocnet.errors import InputError
from mmocnet.evaluate.instances import Instances, from_mask
from mmocnet.evaluate.plane_files import folder_predictions
from mmocnet.evaluate.planes import read_planes, score_plane, score_planes

HEIGHT, WIDTH = 60, 50
COLUMNS = ("tag", "subject", "kind", "voxel_mm", "shape", "cm", "ax_window")


def blank():
    return np.zeros((HEIGHT, WIDTH), bool)


def disc(row, column, radius):
    rows, columns = np.ogrid[:HEIGHT, :WIDTH]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def write_folder(folder, planes):
    """Write planes given as (tag, kind, mask, ignore, (row, column) of the centre)."""
    for name in ("images", "masks", "ignore"):
        (folder / name).mkdir(parents=True)
    with (folder / "lesions.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        for tag, kind, mask, ignore, (row, column) in planes:
            image = np.where(mask, 30, 120).astype(np.uint8)
            image[:2], image[-2:], image[:, :2], image[:, -2:] = 0, 0, 0, 0
            Image.fromarray(image).save(folder / "images" / f"{tag}_ax.png")
            for name, array in (("masks", mask), ("ignore", ignore)):
                picture = Image.fromarray(array.astype(np.uint8) * 255)
                picture.save(folder / name / f"{tag}_ax.png")
            writer.writerow(
                {
                    "tag": tag,
                    "subject": tag[:2],
                    "kind": kind,
                    "voxel_mm": 0.5,
                    "shape": [WIDTH, HEIGHT, 70],
                    # Rows run against the second axis.
                    "cm": [column, HEIGHT - 1 - row, 35],
                    "ax_window": [5, 45, 10, 50],
                }
            )
    return folder


@pytest.fixture
def planes(tmp_path):
    one = disc(20, 20, 3) | disc(35, 30, 2)
    one[40, 12] = True  # one pixel: too small to count
    return list(
        read_planes(
            write_folder(
                tmp_path / "set",
                [
                    ("AA_CMB", "CMB", one, disc(28, 38, 3), (20, 20)),
                    ("AA_FP", "mimic", blank(), blank(), (30, 25)),
                    ("AA_NEAR", "near", one, blank(), (20, 20)),
                ],
            )
        )
    )


def test_planes_near_a_lesion_are_not_scored(planes):
    assert [plane.tag for plane in planes] == ["AA_CMB", "AA_FP"]


def test_window_and_centre_are_turned_from_voxels_to_rows_and_columns(planes):
    # Second-axis voxels 10 to 50 of 60 are rows 10 to 50 from the top.
    assert planes[0].window == (slice(10, 50), slice(5, 45))
    assert planes[0].centre_px == (20, 20)


def test_the_reference_itself_scores_perfectly(planes):
    result = score_plane(planes[0], from_mask(planes[0].mask).labels)
    assert (result.references, result.found, result.false_positives) == (2, 2, 0)
    assert result.dice == (1.0, 1.0)
    assert (result.counts.fp, result.counts.fn) == (0, 0)


def test_a_lesion_too_small_to_count_is_not_held_against(planes):
    missed = score_plane(planes[0], from_mask(disc(20, 20, 3)).labels)
    assert missed.counts.fn == disc(35, 30, 2).sum()
    called = score_plane(planes[0], from_mask(disc(20, 20, 3) | disc(40, 12, 2)).labels)
    assert called.false_positives == 0
    assert called.counts.fp == 0


@pytest.mark.parametrize(("offset", "found"), [(6, 1), (7, 0)])
def test_a_lesion_counts_as_found_up_to_3_mm_from_centre_to_centre(tmp_path, offset, found):
    folder = write_folder(tmp_path, [("AA_X", "CMB", disc(20, 20, 2), blank(), (20, 20))])
    (plane,) = read_planes(folder)
    # Pixels of 0.5 mm: six are 3 mm; the disc of radius 0 is one pixel without overlap.
    result = score_plane(plane, from_mask(disc(20, 20 + offset, 0)).labels)
    assert result.found == found
    assert result.false_positives == 1 - found
    assert result.dice == (0.0,) * found


def test_calls_outside_the_window_and_in_the_ignored_part_do_not_count(planes):
    called = disc(28, 38, 3) | disc(4, 20, 2) | disc(30, 47, 1)
    result = score_plane(planes[0], from_mask(called).labels)
    assert result.false_positives == 0
    assert result.counts.fp == 0


def test_the_rim_of_a_call_about_an_ignored_lesion_does_not_count(planes):
    result = score_plane(planes[0], from_mask(disc(28, 38, 4)).labels)
    assert (result.false_positives, result.counts.fp) == (0, 0)
    # Less than half of it is ignored.
    beside = disc(28, 34, 4)
    result = score_plane(planes[0], from_mask(beside).labels)
    assert result.false_positives == 1
    assert result.counts.fp == np.count_nonzero(beside & ~planes[0].ignore & ~planes[0].mask)


def test_the_rim_of_a_call_about_an_ignored_place_takes_no_mimic(tmp_path):
    folder = write_folder(tmp_path, [("AA_FP", "mimic", blank(), disc(30, 25, 3), (30, 25))])
    (plane,) = read_planes(folder)
    assert score_plane(plane, from_mask(disc(30, 25, 4)).labels).rejected


@pytest.mark.parametrize(("offset", "rejected"), [(4, False), (5, True)])
def test_a_mimic_is_rejected_without_a_call_centred_within_2_mm(planes, offset, rejected):
    called = from_mask(disc(30 + offset, 25, 1)).labels
    assert score_plane(planes[1], called).rejected is rejected


def test_one_threshold_is_used_for_all_planes_and_the_curve_is_pooled(planes):
    labels = np.where(disc(20, 20, 3), 1, np.where(disc(35, 30, 2), 2, 0))
    labels[disc(15, 38, 2)] = 3
    bleed = Instances(labels, np.array([0.9, 0.6, 0.4]))
    mimic = Instances(disc(30, 25, 2).astype(int), np.array([0.7]))
    low, middle, high, top = score_planes(planes, [bleed, mimic])
    assert [s.threshold for s in (low, middle, high, top)] == [0.4, 0.6, 0.7, 0.9]
    assert [s.lesion_sensitivity for s in (low, middle, high, top)] == [1.0, 1.0, 0.5, 0.5]
    assert [s.fp_per_plane for s in (low, middle, high, top)] == [1.0, 0.0, 0.0, 0.0]
    assert [s.mimics_rejected for s in (low, middle, high, top)] == [0, 0, 0, 1]
    assert low.lesions == 2
    area, false = int(planes[0].mask.sum()) - 1, int(disc(15, 38, 2).sum())
    assert low.pooled_dsc == pytest.approx(2 * area / (2 * area + false))
    assert low.pooled_f2 == pytest.approx(5 * area / (5 * area + false))


def test_matched_dice_without_a_found_lesion_is_nan(planes):
    empty = Instances(np.zeros(planes[0].mask.shape, int), np.zeros(0))
    (scores,) = score_planes(planes, [empty, empty], [0.5])
    assert scores.lesion_sensitivity == 0
    assert scores.mimics_rejected == 1
    assert math.isnan(scores.matched_dice)


def test_a_prediction_of_another_shape_is_named(planes):
    with pytest.raises(InputError, match="AA_CMB_ax"):
        score_plane(planes[0], np.zeros((3, 3), int))


def test_a_mask_picture_candidates_and_a_probability_are_read_in_the_pictures_orientation(
    planes, tmp_path
):
    corner = disc(15, 10, 2)
    folder = tmp_path / "predictions"
    folder.mkdir()
    Image.fromarray(corner.astype(np.uint8) * 255).save(folder / "AA_CMB_ax.png")
    np.save(folder / "AA_FP_ax.npy", np.where(corner, 0.75, 0.1))
    mask, probability = folder_predictions(folder, planes)
    assert np.array_equal(mask.at(0.5) > 0, corner)
    assert np.array_equal(probability.at(0.5) > 0, corner)
    Image.fromarray(corner.astype(np.uint8) * 3).save(folder / "AA_CMB_ax_desc-candidates_dseg.png")
    table = folder / "AA_CMB_ax_desc-candidates_dseg.tsv"
    table.write_text("index\tconfidence\n3\t0.6\n")
    candidates, _ = folder_predictions(folder, planes)
    assert np.array_equal(candidates.at(0.6) > 0, corner)
    assert not candidates.at(0.61).any()


def test_a_number_in_two_pieces_is_one_lesion_where_its_table_lists_its_place(planes, tmp_path):
    mask = planes[0].mask.astype(np.uint8) * 3
    Image.fromarray(mask).save(tmp_path / "AA_CMB_ax_desc-cmb_dseg.png")
    Image.fromarray(planes[1].mask).save(tmp_path / "AA_FP_ax.png")
    pieces, _ = folder_predictions(tmp_path, planes)
    assert pieces.at(0.5).max() == 3
    (tmp_path / "AA_CMB_ax_desc-cmb_dseg.tsv").write_text("index\tx_mm\n3\t9\n")
    number, _ = folder_predictions(tmp_path, planes)
    assert number.at(0.5).max() == 1


def test_planes_without_a_prediction_are_all_named(planes, tmp_path):
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"2 of 2 planes .*AA_CMB_ax, AA_FP_ax"):
        folder_predictions(tmp_path / "none", planes)


def test_a_folder_without_a_table_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"expected lesions\.csv"):
        list(read_planes(tmp_path))


def test_nothing_called_anywhere_gives_one_row_with_every_mimic_rejected(planes):
    empty = Instances(np.zeros(planes[0].mask.shape, int), np.zeros(0))
    (scores,) = score_planes(planes, [empty, empty])
    assert (scores.lesions, scores.lesion_sensitivity, scores.mimics_rejected) == (2, 0.0, 1)


def test_predictions_whose_endings_are_capitals_are_found(planes, tmp_path):
    (tmp_path / "found").mkdir()
    np.save(tmp_path / "found" / "AA_CMB_ax.npy", planes[0].mask.astype(float))
    (tmp_path / "found" / "AA_CMB_ax.npy").rename(tmp_path / "found" / "AA_CMB_ax.NPY")
    Image.fromarray(planes[1].mask).save(tmp_path / "found" / "AA_FP_ax.PNG")
    assert len(folder_predictions(tmp_path / "found", planes)) == 2


def test_a_table_saved_by_a_spreadsheet_is_read(planes, tmp_path):
    whole = disc(20, 20, 3)
    folder = write_folder(tmp_path / "sheet", [("AA_CMB", "CMB", whole, ~whole & False, (20, 20))])
    table = folder / "lesions.csv"
    table.write_text(table.read_text(), encoding="utf-8-sig")
    assert [plane.tag for plane in read_planes(folder)] == ["AA_CMB"]


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("kind", "sort", "got 'kind' for AA_CMB"),
        ("tag", "name", "got 'tag' for a row without a tag"),
        ("0.5", "half", "got could not convert string to float: 'half' for AA_CMB"),
    ],
)
def test_a_table_that_cannot_be_read_is_told(tmp_path, old, new, told):
    whole = disc(20, 20, 3)
    folder = write_folder(tmp_path / "sheet", [("AA_CMB", "CMB", whole, ~whole & False, (20, 20))])
    table = folder / "lesions.csv"
    table.write_text(table.read_text().replace(old, new, 1))
    with pytest.raises(InputError, match=rf"columns of a plane in lesions\.csv, {told}"):
        list(read_planes(folder))
