import dataclasses
import json
import math

import nibabel
import numpy as np
import pytest
from PIL import Image

from mmocnet.config import (
    BurdenSettings,
    CascadeSettings,
    ClassifierSettings,
    DetectorSettings,
    LocalConfidence,
    PreparationSettings,
    SegmenterSettings,
    SegmentSettings,
)
from mmocnet.errors import InputError
from mmocnet.io.dataset import read_tsv
from mmocnet.io.read import read_scan
from mmocnet.io.tables import CANDIDATE_COLUMNS, LESION_COLUMNS, read_lesions
from mmocnet.nets.checkpoint import Cascade, load_cascade, save_cascade
from mmocnet.nets.classifier import Classifier
from mmocnet.nets.detector import Detector
from mmocnet.nets.segmenter import Segmenter
from mmocnet.predict import outputs, pipeline
from mmocnet.predict.engine import make_engine
from mmocnet.predict.outputs import output_files
from mmocnet.predict.pipeline import segment_file
from mmocnet.predict.provenance import FileOptions
from mmocnet.volume import Volume

QUICK = SegmentSettings(location=False)
"""Without the search for a phantom's place in a template of brains."""
SHAPE = (96, 120, 42)
SPHERES = [((20.0, -30.0, 6.0), 6.0), ((-31.0, 12.0, -15.0), 7.0)]
ENDINGS = [
    "desc-candidates_dseg.json",
    "desc-candidates_dseg.nii.gz",
    "desc-candidates_dseg.tsv",
    "desc-cmb_dseg.json",
    "desc-cmb_dseg.nii.gz",
    "desc-cmb_dseg.tsv",
    "label-CMB_probseg.json",
    "label-CMB_probseg.nii.gz",
    "report.html",
    "report.pdf",
]


def _save(folder, name, volume):
    path = folder / name
    image = nibabel.Nifti1Image(volume.array.astype(np.int16), volume.affine)
    nibabel.save(image, path)
    return path


@pytest.fixture
def scan(tmp_path, phantom, head_affine):
    return _save(tmp_path, "scan.nii.gz", phantom(head_affine, SHAPE, SPHERES))


def test_a_scan_leaves_exactly_the_promised_files(scan, dark_spots, tmp_path):
    out = tmp_path / "out"
    segment_file(scan, out, cascade=dark_spots)
    assert sorted(path.name for path in out.iterdir()) == [f"scan_{one}" for one in ENDINGS]


def test_masks_on_disk_have_the_grid_of_the_scan(scan, dark_spots, tmp_path):
    segment_file(scan, tmp_path / "out", QUICK, cascade=dark_spots)
    source = nibabel.load(scan)
    for name in ("desc-cmb_dseg", "desc-candidates_dseg", "label-CMB_probseg"):
        image = nibabel.load(tmp_path / "out" / f"scan_{name}.nii.gz")
        assert image.shape == source.shape
        assert np.allclose(image.affine, source.affine)
        assert np.allclose(image.get_qform(), image.get_sform(), atol=1e-4)
        assert image.header["sform_code"] > 0
    labels = nibabel.load(tmp_path / "out" / "scan_desc-cmb_dseg.nii.gz")
    assert labels.get_data_dtype() == np.int16
    assert np.array_equal(labels.get_fdata() > 0, source.get_fdata() == 100)


def test_the_table_says_what_the_mask_holds(scan, dark_spots, tmp_path):
    done = segment_file(scan, tmp_path / "out", QUICK, cascade=dark_spots)
    lesions = read_lesions(done.files.table)
    labels = nibabel.load(done.files.labels)
    voxel = float(np.prod(labels.header.get_zooms()))
    assert [one.index for one in lesions] == [1, 2]
    for one in lesions:
        at = np.argwhere(labels.get_fdata() == one.index)
        assert one.volume_mm3 == pytest.approx(len(at) * voxel, rel=1e-4)
        centre = nibabel.affines.apply_affine(labels.affine, at.mean(axis=0))
        assert one.centre_mm == pytest.approx(centre, abs=1e-2)


def test_sidecars_describe_every_column_and_the_provenance(scan, dark_spots, tmp_path):
    done = segment_file(scan, tmp_path / "out", QUICK, cascade=dark_spots)
    summary = json.loads(done.files.summary.read_text())
    header = done.files.table.read_text().splitlines()[0].split("\t")
    assert header[:2] == ["index", "name"]
    assert header == list(LESION_COLUMNS)
    assert set(header) < set(summary)
    record = summary["Provenance"]
    for key in ("Version", "Model", "Input", "Settings", "Threshold", "Device", "Seed", "Started"):
        assert key in record
    assert len(record["Input"]["SHA256"]) == 64
    assert summary["Summary"]["Microbleeds"] == 2
    candidates = json.loads((tmp_path / "out" / "scan_desc-candidates_dseg.json").read_text())
    assert set(CANDIDATE_COLUMNS) < set(candidates)


def test_the_report_tells_what_the_operating_point_was_measured_to_mean(scan, dark_spots, tmp_path):
    limits = dataclasses.asdict(dark_spots.settings.thresholds)
    scores = {"lesion_sensitivity": 0.9, "lesion_precision": 0.8, "fp_per_scan": 0.45}
    points = {name: {"threshold": value} | scores for name, value in limits.items()}
    dark_spots.card = {"operating_points": points | {"volumes": 80, "simulated": True}}
    done = segment_file(scan, tmp_path / "out", QUICK, cascade=dark_spots)
    text = done.files.report.read_text()
    expected = "80 simulated volumes: 90 % of lesions found, 80 % of calls right, 0.45 false calls"
    assert expected in text
    assert "the probability of being a microbleed" in text
    # Of a threshold that is none of the points nothing was measured.
    settings = SegmentSettings(location=False, threshold=0.123)
    done = segment_file(scan, tmp_path / "other", settings, cascade=dark_spots)
    assert "80 simulated volumes" not in done.files.report.read_text()


def test_a_confidence_that_knows_of_other_candidates_is_recorded_and_told(
    scan, dark_spots, tmp_path
):
    burden = BurdenSettings(offset=-1.0, weight=0.5)
    seen = ClassifierSettings(size=16, widths=(4, 4), blocks=1, slope=0.0, intercept=2.0)
    said = "depends on how many other microbleeds"
    given = []
    for name, one in (("alone", seen), ("burden", dataclasses.replace(seen, burden=burden))):
        dark_spots.settings = dataclasses.replace(dark_spots.settings, classifier=one)
        dark_spots.classifier = Classifier(one).eval()
        settings = SegmentSettings(location=False, threshold=0.9)
        done = segment_file(scan, tmp_path / name, settings, cascade=dark_spots)
        assert (said in done.files.report.read_text()) == (name == "burden")
        given.append([each.confidence for each in done.result.candidates])
    assert done.result.provenance["Burden"] == dataclasses.asdict(burden)
    alone = 1 / (1 + math.exp(-2.0))
    beside = 0.5 * (len(given[0]) - 1) * (alone - 0.05)
    assert len(given[0]) > 1
    assert given[0] == pytest.approx([alone] * len(given[0]))
    assert given[1] == pytest.approx([1 / (1 + math.exp(-(2.0 - 1.0 + beside)))] * len(given[0]))


@pytest.mark.parametrize("engine", ["openvino", "openvino-int8"])
def test_a_confidence_of_marks_in_8_bits_comes_with_a_warning(scan, dark_spots, engine):
    seen = ClassifierSettings(size=16, widths=(4, 4), blocks=1)
    for classified in (False, True):
        if classified:
            dark_spots.settings = dataclasses.replace(dark_spots.settings, classifier=seen)
            dark_spots.classifier = Classifier(seen).eval()
        # What runs it is torch: the warning is of the setting.
        model, settings = (
            (dark_spots, make_engine(dark_spots)),
            SegmentSettings(location=False, engine=engine),
        )
        staged = pipeline.run_stages(read_scan(scan), settings, model)
        result = pipeline.conclude(staged, settings, model)
        warned = pipeline.EIGHT_BITS in result.warnings
        assert warned == (classified and engine == "openvino-int8")


@pytest.mark.parametrize(("thickness_mm", "said"), [(3.0, True), (4.0, False)])
def test_a_confidence_fine_tuned_for_such_voxels_is_recorded_and_told(
    scan, dark_spots, tmp_path, thickness_mm, said
):
    local = LocalConfidence(((1.5, 1.5, thickness_mm),), 0.0, 4.0)
    seen = ClassifierSettings(size=16, widths=(4, 4), blocks=1, slope=0.0, local=(local,))
    dark_spots.settings = dataclasses.replace(dark_spots.settings, classifier=seen)
    dark_spots.classifier = Classifier(seen).eval()
    done = segment_file(
        scan, tmp_path / "out", SegmentSettings(location=False, threshold=0.9), cascade=dark_spots
    )
    assert (done.result.provenance["LocalConfidence"] is not None) == said
    assert ("fine-tuned for voxels of this size" in done.files.report.read_text()) == said
    probability = nibabel.load(tmp_path / "out" / "scan_label-CMB_probseg.nii.gz").get_fdata()
    candidates = np.asarray(done.result.candidate_labels.array)
    for one in done.result.candidates:
        highest = probability[candidates == one.index].max()
        assert highest == pytest.approx(one.confidence, abs=1e-5)
    # Whatever the network says, its slope of 0 leaves the line's intercept.
    confidence = 1 / (1 + math.exp(-4.0 if said else 0.0))
    assert len(done.result.candidates) > 0
    assert [one.confidence for one in done.result.candidates] == pytest.approx(
        [confidence] * len(done.result.candidates)
    )


def test_no_lesion_gives_all_files_with_no_rows(phantom, head_affine, dark_spots, tmp_path):
    path = _save(tmp_path, "empty.nii.gz", phantom(head_affine, SHAPE))
    done = segment_file(path, tmp_path / "out", QUICK, cascade=dark_spots)
    names = sorted(one.name for one in (tmp_path / "out").iterdir())
    assert names == [f"empty_{one}" for one in ENDINGS]
    assert read_tsv(done.files.table) == []
    assert not nibabel.load(done.files.labels).get_fdata().any()
    assert "No microbleed found" in done.files.report.read_text()


def test_a_bids_name_gives_a_bids_derivative(phantom, head_affine, dark_spots, tmp_path, words_of):
    volume = phantom(head_affine, SHAPE, SPHERES)
    folder = tmp_path / "raw" / "sub-01" / "ses-2" / "anat"
    folder.mkdir(parents=True)
    path = _save(folder, "sub-01_ses-2_acq-swi_T2starw.nii.gz", volume)
    path.with_name("sub-01_ses-2_acq-swi_T2starw.json").write_text(
        '{"MagneticFieldStrength": 3, "EchoTime": 0.02, "PatientName": "Doe^Jane"}'
    )
    out = tmp_path / "out"
    done = segment_file(path, out, QUICK, cascade=dark_spots)
    anat = out / "sub-01" / "ses-2" / "anat"
    names = sorted(one.name for one in anat.iterdir())
    assert names == [f"sub-01_ses-2_acq-swi_{one}" for one in ENDINGS]
    description = json.loads((out / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    assert len(description["Authors"]) >= 2
    assert (out / description["DatasetLinks"]["raw"]).resolve() == (tmp_path / "raw").resolve()
    ignored = (out / ".bidsignore").read_text().splitlines()
    assert ignored == ["*_report.html", "*_report.pdf", "*.dcm", "/cohort_*", "/logs/"]
    assert (out / "README.md").is_file()
    summary = json.loads(done.files.summary.read_text())
    assert summary["Sources"] == ["bids:raw:sub-01/ses-2/anat/sub-01_ses-2_acq-swi_T2starw.nii.gz"]
    assert summary["Provenance"]["Input"]["Acquisition"]["MagneticFieldStrength"] == 3
    assert "20 ms" in done.files.report.read_text()
    assert not any("Jane" in words_of(one) for one in anat.glob("*.[jht]*"))


def test_two_datasets_have_two_names_in_one_derivative(phantom, head_affine, dark_spots, tmp_path):
    sources = []
    for site, subject in (("a", "01"), ("b", "02"), ("b", "03"), ("a", "04")):
        folder = tmp_path / site / f"sub-{subject}" / "anat"
        folder.mkdir(parents=True)
        path = _save(folder, f"sub-{subject}_T2starw.nii.gz", phantom(head_affine, SHAPE))
        done = segment_file(path, tmp_path / "out", QUICK, cascade=dark_spots)
        sources += json.loads(done.files.summary.read_text())["Sources"]
    assert [one.split(":")[1] for one in sources] == ["raw", "raw2", "raw2", "raw"]
    description = json.loads((tmp_path / "out" / "dataset_description.json").read_text())
    assert description["DatasetLinks"] == {"raw": "../a", "raw2": "../b"}
    assert description["SourceDatasets"] == [{"URL": "../a"}, {"URL": "../b"}]


def test_a_desc_of_the_input_does_not_meet_that_of_the_output(tmp_path):
    files = output_files(tmp_path / "sub-1_desc-preproc_T2starw.nii", tmp_path)
    assert files.table.name == "sub-1_desc-cmb_dseg.tsv"


def test_an_ending_in_capitals_is_one(tmp_path):
    files = output_files(tmp_path / "sub-01_acq-swi_T2starw.NII.GZ", tmp_path)
    assert files.table == tmp_path / "sub-01/anat/sub-01_acq-swi_desc-cmb_dseg.tsv"
    assert output_files(tmp_path / "brain.NII", tmp_path).table.name == "brain_desc-cmb_dseg.tsv"


@pytest.mark.parametrize(("slices", "whole"), [(42, True), (3, False)])
def test_a_fragment_of_a_head_has_no_field_of_a_whole_brain(
    phantom, head_affine, dark_spots, tmp_path, slices, whole
):
    scan = phantom(head_affine, SHAPE, SPHERES)
    first = 21 - slices // 2
    part = Volume(scan.array[:, :, first : first + slices], scan.affine)
    path = _save(tmp_path, "part.nii.gz", part)
    files = segment_file(path, tmp_path / "out", QUICK, cascade=dark_spots).files
    record = json.loads(files.summary.read_text())
    assert ("RadElement" in record["Summary"]) == whole
    assert (record["Provenance"]["BrainMl"] > 800) == whole


def test_a_picture_gives_pictures_of_its_own_size(phantom, head_affine, dark_spots, tmp_path):
    plane = phantom(head_affine, SHAPE, [((20.0, -30.0, -1.5), 6.0)]).array[:, :, 20]
    pixels = (plane.T[::-1] * 0.4).astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "slice.png")
    done = segment_file(
        tmp_path / "slice.png",
        tmp_path / "out",
        cascade=dark_spots,
        options=FileOptions(spacing_mm=1.5),
    )
    labels = np.asarray(Image.open(done.files.labels))
    mask = np.asarray(Image.open(tmp_path / "out" / "slice_desc-cmb_mask.png"))
    assert np.array_equal(labels == 1, pixels == 40)
    assert np.array_equal(mask == 255, pixels == 40)
    names = {one.name for one in (tmp_path / "out").iterdir()}
    assert "slice_overlay.png" in names
    assert not any(name.endswith(".nii.gz") for name in names)
    assert "not known (n/a)" in done.files.report.read_text()


def test_a_failure_while_writing_leaves_nothing(scan, dark_spots, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outputs, "_write_sidecars", full)
    with pytest.raises(InputError, match="No space left"):
        segment_file(scan, tmp_path / "deep" / "out", QUICK, cascade=dark_spots)
    assert sorted(one.name for one in tmp_path.iterdir()) == ["scan.nii.gz"]


def test_a_failure_keeps_what_was_in_the_folder(scan, dark_spots, tmp_path, monkeypatch):
    out = tmp_path / "out"
    segment_file(scan, out, QUICK, cascade=dark_spots)
    before = {one.name: one.read_bytes() for one in out.iterdir()}

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(outputs, "_write_sidecars", interrupted)
    with pytest.raises(KeyboardInterrupt):
        segment_file(scan, out, QUICK, cascade=dark_spots, options=FileOptions(overwrite=True))
    assert {one.name: one.read_bytes() for one in out.iterdir()} == before


@pytest.mark.parametrize("other", ["another", "the same"])
def test_what_another_process_wrote_meanwhile_stays(
    scan, phantom, head_affine, dark_spots, monkeypatch, other
):
    out, elsewhere, taken = scan.parent / "out", scan.parent / "else", []
    elsewhere.mkdir()
    spheres = SPHERES if other == "the same" else SPHERES[:1]
    rival = _save(elsewhere, "scan.nii.gz", phantom(head_affine, SHAPE, spheres))
    segmented = pipeline._segmented

    def while_the_other_writes(*args, **options):
        if not taken:
            taken.append(rival)
            segment_file(rival, out, QUICK, cascade=dark_spots)
            taken.append({one.name: one.read_bytes() for one in out.iterdir()})
        return segmented(*args, **options)

    monkeypatch.setattr(pipeline, "_segmented", while_the_other_writes)
    if other == "the same":
        assert segment_file(scan, out, QUICK, cascade=dark_spots).result is None
    else:
        with pytest.raises(InputError, match="already holds results named scan with another input"):
            segment_file(scan, out, QUICK, cascade=dark_spots)
    assert {one.name: one.read_bytes() for one in out.iterdir()} == taken[1]


def test_what_is_refused_leaves_nothing(tmp_path, dark_spots):
    (tmp_path / "bad.nii.gz").write_bytes(b"no image")
    with pytest.raises(InputError):
        segment_file(tmp_path / "bad.nii.gz", tmp_path / "out", QUICK, cascade=dark_spots)
    assert not (tmp_path / "out").exists()


def test_what_is_done_is_not_done_again(scan, dark_spots, tmp_path):
    first = segment_file(scan, tmp_path / "out", QUICK, cascade=dark_spots)
    written = first.files.summary.read_bytes()
    again = segment_file(scan, tmp_path / "out", QUICK, cascade=dark_spots)
    assert again.result is None
    assert again.files.summary.read_bytes() == written


def test_a_half_done_scan_is_done_again(scan, dark_spots, tmp_path):
    first = segment_file(scan, tmp_path / "out", QUICK, cascade=dark_spots)
    first.files.summary.unlink()
    assert segment_file(scan, tmp_path / "out", QUICK, cascade=dark_spots).result is not None


@pytest.mark.parametrize("name", ["report", "pdf", "labels", "table"])
def test_a_scan_that_lost_a_file_is_done_again(scan, dark_spots, tmp_path, name):
    files = segment_file(scan, tmp_path / "out", QUICK, cascade=dark_spots).files
    getattr(files, name).unlink()
    assert segment_file(scan, tmp_path / "out", QUICK, cascade=dark_spots).result is not None
    assert getattr(files, name).is_file()


def test_the_summary_lists_every_other_file(scan, dark_spots, tmp_path):
    files = segment_file(scan, tmp_path / "out", QUICK, cascade=dark_spots).files
    listed = json.loads(files.summary.read_text())["Summary"]["Files"]
    there = {path.name for path in files.folder.iterdir()} - {files.summary.name}
    assert listed == sorted(there)


def test_results_of_another_scan_are_not_overwritten(
    scan, phantom, head_affine, dark_spots, tmp_path
):
    segment_file(scan, tmp_path / "out", QUICK, cascade=dark_spots)
    _save(tmp_path, "scan.nii.gz", phantom(head_affine, SHAPE))
    with pytest.raises(InputError, match="another input"):
        segment_file(tmp_path / "scan.nii.gz", tmp_path / "out", QUICK, cascade=dark_spots)
    options = FileOptions(overwrite=True)
    done = segment_file(scan, tmp_path / "out", QUICK, cascade=dark_spots, options=options)
    assert done.result is not None
    assert done.result.lesions == ()


def test_a_given_mask_limits_where_lesions_are(scan, phantom, head_affine, dark_spots, tmp_path):
    right = phantom(head_affine, SHAPE)
    array = (right.array > 0).astype(np.int16)
    array[:20] = 0
    array[:, :10] = 0
    array[:, :, 24:] = 0
    mask = _save(tmp_path, "mask.nii.gz", right.like(array))
    array[60:] = 0
    limited = _save(tmp_path, "limited.nii.gz", right.like(array))
    both = segment_file(
        scan, tmp_path / "a", QUICK, cascade=dark_spots, options=FileOptions(mask=mask)
    )
    assert both.result is not None
    inside = nibabel.load(limited).get_fdata() > 0
    assert inside.any()
    assert all(nibabel.load(mask).get_fdata()[one.centre_voxel] for one in both.result.lesions)


def test_a_mask_on_another_grid_is_refused(scan, phantom, head_affine, dark_spots, tmp_path):
    other = head_affine + np.eye(4) * [1, 0, 0, 0]
    mask = _save(tmp_path, "mask.nii.gz", phantom(other, SHAPE))
    with pytest.raises(InputError, match="grid"):
        segment_file(
            scan, tmp_path / "a", QUICK, cascade=dark_spots, options=FileOptions(mask=mask)
        )


def test_a_saved_cascade_of_real_networks_goes_from_file_to_report(scan, tmp_path):
    settings = CascadeSettings(
        detector=DetectorSettings(widths=(4, 4, 8, 8, 8), blocks=(1, 1, 1, 1)),
        segmenter=SegmenterSettings(width=4, blocks=1),
        preparation=PreparationSettings(pixel_mm=3.0),
    )
    made = Cascade(settings, Detector(settings.detector), Segmenter(settings.segmenter), {})
    digests = save_cascade(tmp_path / "tiny", made)
    done = segment_file(scan, tmp_path / "out", QUICK, cascade=load_cascade(tmp_path / "tiny"))
    record = json.loads(done.files.summary.read_text())["Provenance"]
    assert record["Model"] == {"Name": "tiny", "SHA256": digests, "Card": {}}
    probability = nibabel.load(tmp_path / "out" / "scan_label-CMB_probseg.nii.gz").get_fdata()
    assert 0 <= probability.min() <= probability.max() <= 1


def test_undefined_numbers_are_n_a_in_tables_and_null_in_json(
    scan, dark_spots, tmp_path, monkeypatch
):
    dark_spots.card = {"score": math.nan}
    done = segment_file(scan, tmp_path / "out", QUICK, cascade=dark_spots)
    record = json.loads(done.files.summary.read_text())["Provenance"]
    assert record["Model"]["Card"] == {"score": None}
    again = segment_file(scan, tmp_path / "out", QUICK, cascade=dark_spots)
    assert again.result is None
