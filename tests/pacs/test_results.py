from types import SimpleNamespace

import numpy as np
import pydicom
import pytest

from mmocnet.config import CascadeSettings, SegmentSettings
from mmocnet.errors import InputError
from mmocnet.pacs import results
from mmocnet.pacs.dicomweb import FoundSeries
from mmocnet.pacs.errors import ServerError
from mmocnet.volume import Volume


def _series(files):
    header = pydicom.dcmread(files[0])
    return FoundSeries(str(header.StudyInstanceUID), str(header.SeriesInstanceUID), "SWI", 8)


def test_a_series_of_which_no_objects_can_be_made_fails(monkeypatch, write_small, tmp_path):
    result = SimpleNamespace(dicom=SimpleNamespace(unfit="expected this, got that"))
    left = SimpleNamespace(files=SimpleNamespace(dicom=tmp_path / "nothing"), result=result)
    monkeypatch.setattr(results, "segment_file", lambda *_, **__: left)
    files = write_small(tmp_path / "in")
    cascade = SimpleNamespace(settings=CascadeSettings(), sha256={"detector": "ab"})
    maker = results.ResultMaker(cascade, SegmentSettings())
    with pytest.raises(
        InputError, match="headers of the series do not allow DICOM objects"
    ) as caught:
        maker.make(_series(files), tmp_path / "in", tmp_path / "out", named=False)
    assert str(caught.value).endswith("made from it: expected this, got that")


def test_a_series_that_nothing_can_refer_to_is_told_before_it_is_segmented(
    monkeypatch, write_small, tmp_path
):
    monkeypatch.setattr(results, "segment_file", None)
    files = write_small(tmp_path / "in", SOPInstanceUID="1.2.3")
    cascade = SimpleNamespace(settings=CascadeSettings(), sha256={"detector": "ab"})
    maker = results.ResultMaker(cascade, SegmentSettings())
    told = "made from it: several slices with the same SOP Instance UID"
    with pytest.raises(InputError, match=told):
        maker.make(_series(files), tmp_path / "in", tmp_path / "out", named=False)


def test_what_is_said_of_a_series_names_no_uid(write_small, write_dicom_series, rng, tmp_path):
    files = write_small(tmp_path / "in" / "a")
    uid = str(pydicom.dcmread(files[0]).SeriesInstanceUID)
    # Of two sizes, and with a phase that has the same series number.
    other = Volume(rng.integers(1, 500, (20, 20, 8)).astype(np.float32), np.diag([2.0, 2, 3, 1]))
    write_dicom_series(tmp_path / "in" / "b", other, SeriesInstanceUID=uid)
    phase = write_small(tmp_path / "in" / "c", kind="phase", SeriesNumber=3)
    cascade = SimpleNamespace(settings=CascadeSettings(), sha256={"detector": "ab"})
    maker = results.ResultMaker(cascade, SegmentSettings())
    for asked, said in ((files, "got 8 of 16 alike in series 3"), (phase, "got phase only")):
        with pytest.raises(InputError, match=said) as caught:
            maker.make(_series(asked), tmp_path / "in", tmp_path / "out", named=True)
        assert "UID" not in str(caught.value)
        assert _series(asked).uid not in str(caught.value)


@pytest.mark.parametrize("kind", ["swi", "phase"])
def test_images_of_another_study_are_not_used(monkeypatch, write_small, tmp_path, kind):
    monkeypatch.setattr(results, "segment_file", None)
    files = write_small(tmp_path / "in" / "a")
    # One image among those of its own series, or all of a phase.
    other = write_small(
        tmp_path / "in" / "b",
        kind=kind,
        StudyInstanceUID="1.2.3",
        SeriesInstanceUID=_series(files).uid if kind == "swi" else "1.2.4",
    )
    for one in other[1:] if kind == "swi" else []:
        one.unlink()
    cascade = SimpleNamespace(settings=CascadeSettings(), sha256={"detector": "ab"})
    maker = results.ResultMaker(cascade, SegmentSettings())
    with pytest.raises(ServerError, match="images of the study asked for") as caught:
        maker.make(_series(files), tmp_path / "in", tmp_path / "out", named=False)
    assert _series(files).study_uid not in str(caught.value)
