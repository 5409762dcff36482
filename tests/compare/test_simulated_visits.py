import dataclasses
import json

import numpy as np
import pypdfium2
import pytest

from mmocnet.cli import main
from mmocnet.cli.compare import Compare
from mmocnet.compare.comparison import compare_visits
from mmocnet.compare.match import State
from mmocnet.compare.outputs import COLUMNS, CompareFiles, write_comparison
from mmocnet.compare.visit import Visit
from mmocnet.errors import InputError
from mmocnet.io.dataset import read_tsv, write_json
from mmocnet.io.nifti import write_nifti
from mmocnet.predict.labels import measured_lesions
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.visits import simulate_visits

pytest.importorskip("SimpleITK", reason="registration needs SimpleITK")


@pytest.fixture(scope="module")
def pair():
    settings = StudySettings(
        "aibl",
        lesion_free_share=0.0,
        lesion_count=(14, 14),
        mimics=False,
        images="phase",
        slab_mm=30.0,
    )
    return simulate_visits(settings, 3)


def _visit(study):
    labels = study.swi.like(np.asarray(study.apparent.array, np.int32))
    return Visit(study.swi, labels, measured_lesions(labels), study.brain.array)


@pytest.fixture(scope="module")
def comparison(pair):
    return compare_visits(_visit(pair.baseline), _visit(pair.follow_up))


def test_doubts_about_either_scan_are_told(pair):
    first, second = (
        dataclasses.replace(_visit(study), warnings=(f"{name} is doubtful",))
        for name, study in (("one", pair.baseline), ("two", pair.follow_up))
    )
    warnings = compare_visits(first, second).warnings
    assert {"baseline: one is doubtful", "follow-up: two is doubtful"} <= set(warnings)


def test_the_known_motion_is_found(pair, comparison):
    voxels = np.argwhere(pair.baseline.brain.array)[::997]
    places = pair.baseline.brain.world(voxels.astype(float))
    moved = places @ pair.motion[:3, :3].T + pair.motion[:3, 3]
    error = np.linalg.norm(comparison.alignment.to_first(moved) - places, axis=1)
    assert np.linalg.norm(moved - places, axis=1).mean() > 3
    assert error.mean() < 1
    assert comparison.alignment.detail > 0.9
    assert not [one for one in comparison.warnings if "of one person" in one]


def _covered(pair, index):
    """Whether the first scan reaches a lesion of the second, by the known motion."""
    (place,) = [one.centre_mm for one in _visit(pair.follow_up).lesions if one.index == index]
    at = np.linalg.inv(pair.motion) @ [*place, 1.0]
    voxel = pair.baseline.swi.voxel(at[:3])
    return bool((voxel >= 0).all() and (voxel <= np.array(pair.baseline.swi.shape) - 1).all())


def test_new_lesions_are_found_and_the_others_are_matched(pair, comparison):
    seen = [
        {one.index for one in _visit(study).lesions} for study in (pair.baseline, pair.follow_up)
    ]
    said = {one.follow_up.index: one for one in comparison.changes if one.follow_up is not None}
    kept = [one for one in pair.changes if one.baseline in seen[0] and one.follow_up in seen[1]]
    new = [
        one
        for one in pair.changes
        if one.baseline == 0 and one.follow_up in seen[1] and _covered(pair, one.follow_up)
    ]
    assert len(new) >= 3
    assert len(kept) >= 3
    assert np.mean([said[one.follow_up].state is State.NEW for one in new]) >= 0.9
    for one in kept:
        assert said[one.follow_up].baseline.index == one.baseline


def test_files_tell_the_same_and_are_the_same_again(comparison, tmp_path):
    files = [CompareFiles(tmp_path / name, "scan") for name in "ab"]
    for one in files:
        write_comparison(comparison, one)
    assert files[0].pdf.read_bytes() == files[1].pdf.read_bytes()
    assert files[0].summary.read_bytes() == files[1].summary.read_bytes()
    rows = read_tsv(files[0].table)
    assert list(rows[0]) == list(COLUMNS)
    summary = json.loads(files[0].summary.read_text())["Summary"]
    assert summary["New"] == sum(row["state"] == "new" for row in rows)
    assert summary["RadElement"]["RDES291"]["Baseline microhemorrhages (ARIA-H)"] == len(
        comparison.baseline.lesions
    )
    page = files[0].report.read_text()
    assert page.count("<figure") == len(rows)
    assert "Research use only - not a medical device" in page
    document = pypdfium2.PdfDocument(files[0].pdf)
    texts = [one.get_textpage().get_text_bounded() for one in document]
    document.close()
    assert all("Research use only - not a medical device" in text for text in texts)


def test_another_head_is_refused(pair):
    study = pair.follow_up
    other = np.random.default_rng(0).normal(1, 0.2, study.swi.shape).astype(np.float32)
    stranger = dataclasses.replace(_visit(study), image=study.swi.like(other))
    with pytest.raises(InputError, match="cannot be registered"):
        compare_visits(_visit(pair.baseline), stranger)


@pytest.fixture(scope="module")
def mirrored(pair):
    """Makes the second visit with a header that exchanges the ends of a world axis."""

    def make(axis):
        affine = np.diag([-1.0 if one == axis else 1.0 for one in (0, 1, 2, 3)])
        visit = _visit(pair.follow_up)
        affine = affine @ visit.image.affine
        image, labels = (
            dataclasses.replace(one, affine=affine) for one in (visit.image, visit.labels)
        )
        return Visit(image, labels, measured_lesions(labels), visit.brain)

    return make


def test_a_header_that_exchanges_left_and_right_is_told(pair, mirrored):
    found = compare_visits(_visit(pair.baseline), mirrored(0))
    assert found.alignment.exchanged == "left and right"
    assert [one for one in found.warnings if "exchange left and right" in one]
    assert not [one for one in found.warnings if "of one person" in one]


def test_a_header_that_exchanges_front_and_back_is_told_where_it_is_refused(pair, mirrored):
    with pytest.raises(InputError, match=r"cannot be registered.*exchange front and back"):
        compare_visits(_visit(pair.baseline), mirrored(1))


def _write_visits(pair, tmp_path, scan="swi.nii.gz"):
    paths = {}
    for name, study in (("first", pair.baseline), ("second", pair.follow_up)):
        folder = tmp_path / name
        folder.mkdir()
        write_nifti(folder / scan, study.swi, np.float32)
        write_nifti(folder / "cmb.nii.gz", study.apparent, np.int16)
        paths[name] = folder
    return paths


def _words(paths, out, scan="swi.nii.gz"):
    first, second = paths.values()
    words = ["compare", str(first / scan), str(second / scan), "-o", str(out), "--no-location"]
    words += ["--baseline-mask", str(first / "cmb.nii.gz")]
    return [*words, "--follow-up-mask", str(second / "cmb.nii.gz")]


def test_the_command_does_not_replace_the_comparison_of_other_scans(pair, tmp_path, capsys):
    other = {"Provenance": {name: {"Input": {"SHA256": "1"}} for name in ("Baseline", "FollowUp")}}
    summary = tmp_path / "out" / "swi_compare.json"
    write_json(summary, other)
    assert main(_words(_write_visits(pair, tmp_path), tmp_path / "out")) == 2
    assert "comparison of other inputs named swi" in capsys.readouterr().err
    assert json.loads(summary.read_text()) == other


def test_what_segment_refuses_is_refused_with_given_lesions_too(pair, tmp_path, capsys):
    paths = _write_visits(pair, tmp_path, "part-phase.nii.gz")
    assert main(_words(paths, tmp_path / "out", "part-phase.nii.gz")) == 2
    assert "baseline: expected SWI or magnitude, got phase" in capsys.readouterr().err


def test_a_file_as_folder_is_refused_before_the_scans_are_read(tmp_path, capsys):
    (tmp_path / "out").touch()
    assert main(["compare", "a.nii", "b.nii", "-o", str(tmp_path / "out" / "deep")]) == 2
    assert "expected a folder for the results, got the file 'out'" in capsys.readouterr().err


def test_phase_is_read_at_both_visits_where_it_is_given(pair, tmp_path, capsys):
    for name, study in (("first", pair.baseline), ("second", pair.follow_up)):
        write_nifti(tmp_path / f"{name}_swi.nii.gz", study.swi, np.float32)
        write_nifti(tmp_path / f"{name}_phase.nii.gz", study.phase_rad, np.float32)
    out = tmp_path / "out"
    words = ["compare", *(str(tmp_path / f"{name}_swi.nii.gz") for name in ("first", "second"))]
    words += ["-o", str(out), "--no-location"]
    words += ["--baseline-phase", str(tmp_path / "first_phase.nii.gz")]
    words += ["--follow-up-phase", str(tmp_path / "second_phase.nii.gz")]
    assert main(words) == 0
    provenance = json.loads((out / "second_swi_compare.json").read_text())["Provenance"]
    for name, visit in (("first", "Baseline"), ("second", "FollowUp")):
        found = provenance[visit]["Segmentation"]
        assert found["Input"]["Phase"]["Name"] == f"{name}_phase.nii.gz"
        assert found["PhaseRead"]
    assert (out / "second_swi_compare_report.html").read_text().count("with phase") == 2
    # Without them those results are others.
    assert main(words[:6]) == 2
    assert "already holds results named first_swi with another input" in capsys.readouterr().err


def test_a_phase_beside_given_lesions_is_refused(tmp_path, capsys):
    words = ["compare", "a.nii", "b.nii", "-o", str(tmp_path / "out")]
    words += ["--baseline-mask", "m.nii", "--baseline-phase", "p.nii"]
    assert main(words) == 2
    assert "got p.nii beside the lesions in m.nii" in capsys.readouterr().err


def test_a_picture_is_refused_as_a_single_slice(tmp_path, capsys):
    picture = tmp_path / "a.png"
    picture.write_bytes(b"any")
    assert main(["compare", str(picture), str(picture), "-o", str(tmp_path / "out")]) == 2
    assert "baseline: expected a volume to compare, got a single slice in a.png" in (
        capsys.readouterr().err
    )


def test_the_command_takes_given_lesions(pair, tmp_path, capsys):
    paths = _write_visits(pair, tmp_path)
    Compare(
        paths["first"] / "swi.nii.gz",
        paths["second"] / "swi.nii.gz",
        tmp_path / "out",
        baseline_mask=paths["first"] / "cmb.nii.gz",
        follow_up_mask=paths["second"] / "cmb.nii.gz",
        location=False,
    ).run()
    assert "ARIA-H class of new microbleeds" in capsys.readouterr().out
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == [
        "swi_compare.json",
        "swi_compare.tsv",
        "swi_compare_report.html",
        "swi_compare_report.pdf",
    ]


def test_a_series_of_several_is_asked_for_by_its_visit_s_option(
    pair, tmp_path, write_dicom_series, words_of, capsys
):
    study = pair.baseline
    scale = 4000 / float(study.swi.array.max())
    image = study.swi.like(np.asarray(study.swi.array) * scale)
    write_dicom_series(tmp_path / "study", image)
    write_dicom_series(tmp_path / "study" / "more", image.like(image.array + 1), SeriesNumber=8)
    write_nifti(tmp_path / "cmb.nii.gz", study.apparent, np.int16)
    words = ["compare", *[str(tmp_path / "study")] * 2, "-o", str(tmp_path / "out")]
    for visit in ("baseline", "follow-up"):
        words += [f"--{visit}-mask", str(tmp_path / "cmb.nii.gz")]
    assert main([*words, "--no-location"]) == 2
    said = capsys.readouterr().err
    assert "baseline: found 2 series that could be the SWI" in said
    assert "--baseline-series" in said
    words += ["--baseline-series", "3", "--follow-up-series", "8"]
    assert main([*words, "--no-location"]) == 0
    summary = json.loads((tmp_path / "out" / "study_compare.json").read_text())
    assert summary["Sources"] == ["study, series 3", "study, series 8"]
    assert summary["Summary"]["New"] == summary["Summary"]["NotSeen"] == 0
    page = (tmp_path / "out" / "study_compare_report.html").read_text()
    assert "counted from the" in page
    assert page.count("Series Instance UID 2.25.") == 2
    # The fake patient of the headers is nowhere.
    texts = [words_of(path) for path in (tmp_path / "out").iterdir()]
    assert len(texts) == 4
    texts += capsys.readouterr()
    assert not [word for word in ("Fake", "FAKE123", "ACC987") for one in texts if word in one]
