import json
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pytest
from PIL import Image

from mmocnet import __version__
from mmocnet.cli import main
from mmocnet.io.nifti import write_nifti
from mmocnet.volume import Volume


def write_planes(folder):
    """Write one plane with a dark disc at row 30, column 24."""
    rows, columns = np.ogrid[:60, :50]
    disc = (rows - 30) ** 2 + (columns - 24) ** 2 <= 9
    pictures = {
        "images": np.where(disc, 20, 100).astype(np.uint8),
        "masks": disc.astype(np.uint8) * 255,
        "ignore": np.zeros((60, 50), np.uint8),
    }
    for name, pixels in pictures.items():
        (folder / name).mkdir(parents=True)
        Image.fromarray(pixels).save(folder / name / "AA_ax.png")
    (folder / "lesions.csv").write_text(
        "tag,subject,kind,voxel_mm,shape,cm,ax_window\n"
        'AA,A,CMB,0.5,"[50, 60, 70]","[24, 29, 35]","[0, 50, 0, 60]"\n'
    )
    return folder


def test_folders_are_scored_and_the_table_is_printed(tmp_path, capsys):
    labels = np.zeros((20, 20, 4), np.int16)
    labels[5:8, 5:8, 1] = 1
    write_nifti(tmp_path / "a.nii.gz", Volume(labels, np.eye(4)), np.int16)
    one = str(tmp_path / "a.nii.gz")
    assert main(["evaluate", one, one, "-o", str(tmp_path / "out")]) == 0
    assert "lesion sensitivity | 1.000" in capsys.readouterr().out
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["provenance"]["version"] == __version__
    assert datetime.fromisoformat(scores["provenance"]["finished"]) <= datetime.now(UTC)
    assert scores["pixel"]["pooled over all voxels"]["dsc"] == 1.0


def test_warnings_are_printed_and_the_ignored_masks_recorded(tmp_path, capsys):
    labels = np.zeros((20, 20, 4), np.int16)
    labels[5:8, 5:8, 1] = 1
    for folder in ("p", "r", "ignored"):
        (tmp_path / folder).mkdir()
        write_nifti(tmp_path / folder / "a.nii.gz", Volume(labels, np.eye(4)), np.int16)
    words = ["evaluate", str(tmp_path / "p"), str(tmp_path / "r"), "-o", str(tmp_path / "out")]
    assert main([*words, "--ignore", str(tmp_path / "ignored")]) == 0
    assert "warning: one subject has no intervals\n" in capsys.readouterr().err
    settings = json.loads((tmp_path / "out" / "scores.json").read_text())["settings"]
    assert (settings["ignore"], settings["scans_with_ignore"]) == ("ignored", 1)
    assert main([*words, "--ignore", str(tmp_path / "typo")]) == 2
    assert "'typo', which is none" in capsys.readouterr().err


def test_a_second_evaluation_leaves_no_file_of_the_first(tmp_path):
    labels = np.zeros((20, 20, 4), np.int16)
    labels[5:8, 5:8, 1] = 1
    write_nifti(tmp_path / "a.nii.gz", Volume(labels, np.eye(4)), np.int16)
    out = tmp_path / "out"
    out.mkdir()
    (out / "froc.csv").write_text("of candidates that are not there any more")
    one = str(tmp_path / "a.nii.gz")
    assert main(["evaluate", one, one, "-o", str(out)]) == 0
    assert not (out / "froc.csv").exists()


def test_a_file_as_folder_is_refused_before_anything_is_scored(tmp_path, capsys):
    (tmp_path / "out").touch()
    for place in ("out", "out/deep"):
        assert main(["evaluate", "a.nii", "b.nii", "-o", str(tmp_path / place)]) == 2
        assert "expected a folder for the results, got the file 'out'" in capsys.readouterr().err


def test_two_methods_are_compared_inside_a_window(tmp_path, capsys):
    labels = np.zeros((20, 20, 4), np.int16)
    labels[5:8, 5:8, 1] = 1
    everywhere = np.ones_like(labels)
    names = {"reference": labels, "first": labels * 0, "second": labels, "window": everywhere}
    for name, array in names.items():
        (tmp_path / name).mkdir()
        write_nifti(tmp_path / name / "a.nii.gz", Volume(array, np.eye(4)), np.int16)
    folders = [str(tmp_path / name) for name in ("first", "reference")]
    more = ["--compare-with", str(tmp_path / "second"), "--window", str(tmp_path / "window")]
    assert main(["evaluate", *folders, *more, "-o", str(tmp_path / "out")]) == 0
    assert "## Comparison" in capsys.readouterr().out
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    differences = scores["comparison"]["differences"]
    assert differences["overlap_lesion_sensitivity"]["value"] == 1.0
    assert (tmp_path / "out" / "scores.tex").is_file()


def write_map(folder):
    """Write a probability map with a lesion of 0.4, and its reference."""
    labels = np.zeros((20, 20, 4), np.int16)
    labels[5:8, 5:8, 1] = 1
    for name, array, kind in (("p", labels * 0.4, np.float32), ("r", labels, np.int16)):
        (folder / name).mkdir()
        write_nifti(folder / name / "a.nii.gz", Volume(array, np.eye(4)), kind)
    return ["evaluate", str(folder / "p"), str(folder / "r"), "-o", str(folder / "out")]


@pytest.mark.parametrize(("options", "found"), [([], 0.0), (["--threshold", "0.3"], 1.0)])
def test_a_probability_map_is_cut_at_the_threshold(tmp_path, options, found):
    assert main([*write_map(tmp_path), *options]) == 0
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["lesion"]["overlap"]["lesion_sensitivity"]["value"] == found
    assert scores["settings"]["threshold"] == (0.3 if options else None)


def test_a_threshold_that_nothing_is_cut_at_is_refused(tmp_path, capsys):
    words = write_map(tmp_path)
    masks = ["evaluate", words[2], words[2], *words[3:], "--threshold", "0.3"]
    assert main(masks) == 2
    assert "maps to cut at 0.3, got masks or numbered lesions only in r" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    # Of two methods one may have masks.
    assert main([*masks, "--compare-with", words[1]]) == 0


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["a", "b", "--baseline"], "no --baseline without --planes"),
        (["a", "b", "--model", "compact"], "no --model without --planes"),
        (["a", "b", "--plane", "cor"], "no --plane without --planes"),
        (["a", "b", "--threshold", "nan"], "above 0 and at most 1, got nan"),
        (["a", "--planes", "b", "--threshold", "0"], "above 0 and at most 1, got 0"),
        (["a", "--planes", "b", "--ignore", "c"], "no --ignore with --planes"),
        (["--realism", "a", "--threshold", "0.5"], "no --threshold with --realism"),
        (["a", "--realism", "b"], "no PREDICTIONS with --realism"),
        (["a", "b", "--seed", "-1"], "a seed of at least 0, got -1"),
    ],
)
def test_options_that_say_nothing_are_refused_before_anything_is_read(
    tmp_path, capsys, words, told
):
    assert main(["evaluate", *words, "-o", str(tmp_path / "out")]) == 2
    assert told in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_planes_are_scored_with_the_blob_filter(tmp_path, capsys):
    folder = write_planes(tmp_path / "planes")
    out = tmp_path / "out"
    assert main(["evaluate", "--planes", str(folder), "--baseline", "-o", str(out)]) == 0
    assert "1 reference lesions" in capsys.readouterr().out
    curve = json.loads((out / "planes.json").read_text())["curve"]
    assert curve[0]["lesion_sensitivity"] == 1.0


def test_planes_are_scored_with_a_folder_of_masks(tmp_path):
    folder = write_planes(tmp_path / "planes")
    words = ["evaluate", str(folder / "masks"), "--planes", str(folder), "--threshold", "0.5"]
    assert main([*words, "-o", str(tmp_path / "out")]) == 0
    scores = json.loads((tmp_path / "out" / "planes.json").read_text())["scores"]
    assert (scores["pooled_dsc"], scores["fp_per_plane"]) == (1.0, 0.0)


def test_each_threshold_is_one_row_with_the_limits_that_it_keeps_to(tmp_path, capsys):
    folder = write_planes(tmp_path / "planes")
    words = ["evaluate", str(folder / "masks"), "--planes", str(folder), "--threshold", "0.5"]
    assert main(words) == 0
    second = capsys.readouterr().out.split("Lowest thresholds with at most so many false")[1]
    title, *rows = second[second.index("|") :].strip().splitlines()
    assert title.startswith("| fp per plane, at most | threshold |")
    assert [row.split("|")[1].strip() for row in rows[1:]] == ["2, 1, 0.5, 0.25"]


def write_grain(folder, rng, deviation=12):
    folder.mkdir(parents=True)
    for name in "ab":
        pixels = rng.normal(120, deviation, (100, 90)).clip(1, 255).astype(np.uint8)
        pixels[:3], pixels[-3:], pixels[:, :3], pixels[:, -3:] = 0, 0, 0, 0
        Image.fromarray(pixels).save(folder / f"{name}.png")


def test_realism_of_two_folders_of_one_name_is_two_rows(tmp_path, rng, capsys):
    folders = [tmp_path / site / "images" for site in "AB"]
    for folder, deviation in zip(folders, (12, 24), strict=True):
        write_grain(folder, rng, deviation)
    assert main(["evaluate", "--realism", *map(str, folders), "-o", str(tmp_path / "out")]) == 0
    assert "A/images (2 slices)" in capsys.readouterr().out
    found = json.loads((tmp_path / "out" / "realism.json").read_text())
    levels = [found[f"{site}/images"]["local_variation"]["median"] for site in "AB"]
    assert levels == pytest.approx([0.1, 0.2], abs=0.02)


def test_realism_of_a_folder_of_planes_is_measured(tmp_path, rng):
    write_grain(tmp_path / "images", rng)
    words = ["evaluate", "--realism", str(tmp_path / "images"), "-o", str(tmp_path / "out")]
    assert main(words) == 0
    found = json.loads((tmp_path / "out" / "realism.json").read_text())["images"]
    assert abs(found["local_variation"]["median"] - 0.1) < 0.01


def test_missing_words_are_one_sentence_and_exit_code_2(tmp_path, capsys):
    assert main(["evaluate"]) == 2
    assert "expected PREDICTIONS and REFERENCES" in capsys.readouterr().err
    assert main(["evaluate", "--planes", str(write_planes(tmp_path / "planes"))]) == 2
    assert "expected one of PREDICTIONS, --model and --baseline" in capsys.readouterr().err


def test_the_command_module_imports_nothing_heavy():
    code = "import sys, mmocnet.cli.evaluate; print([m for m in sys.modules if m in " + (
        "('torch', 'scipy', 'nibabel', 'matplotlib', 'numpy')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
