from types import SimpleNamespace

import pydicom
import pytest

from mmocnet.config import CascadeSettings, SegmentSettings
from mmocnet.errors import InputError
from mmocnet.pacs import results


def test_a_series_of_which_no_objects_can_be_made_fails(monkeypatch, write_small, tmp_path):
    left = SimpleNamespace(files=SimpleNamespace(dicom=tmp_path / "nothing"))
    monkeypatch.setattr(results, "segment_file", lambda *_, **__: left)
    uid = str(pydicom.dcmread(write_small(tmp_path / "in")[0]).SeriesInstanceUID)
    cascade = SimpleNamespace(settings=CascadeSettings(), sha256={"detector": "ab"})
    maker = results.ResultMaker(cascade, SegmentSettings())
    with pytest.raises(InputError, match="headers of the series do not allow DICOM objects"):
        maker.make(uid, tmp_path / "in", tmp_path / "out", named=False)
