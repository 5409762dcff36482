"""GE tells magnitude from phase in a private element alone."""

import numpy as np
import pytest
from pydicom import dcmread

from mmocnet.io.dicom.find import choose_swi, find_series
from mmocnet.io.dicom.match import matching_phase
from mmocnet.io.dicom.volume import read_series

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
TAGS = {
    "Manufacturer": "GE MEDICAL SYSTEMS",
    "ImageType": ["ORIGINAL", "PRIMARY", "OTHER"],
    "SeriesDescription": "Ax SWAN",
    "ProtocolName": "brain",
    "SequenceName": "",
    "SeriesInstanceUID": "1.2.3",
}


def _tell(path, component, vr):
    dataset = dcmread(path)
    values = [component, 0, 0, 0]
    block = dataset.private_block(0x43, "GEMS_PARM_01", create=True)
    block.add_new(0x2F, vr, values if vr == "SS" else np.array(values, "<i2").tobytes())
    dataset.save_as(path)


@pytest.mark.parametrize("vr", ["SS", "UN"])
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT], ids=["implicit", "explicit"])
def test_components_of_one_series_are_told_apart(
    tmp_path, write_dicom_series, volume, phase, syntax, vr
):
    # Phase comes first.
    images = (phase.like(np.rint((phase.array + np.pi) * 500)), volume)
    for component, image in zip((1, 0), images, strict=True):
        for path in write_dicom_series(tmp_path / str(1 - component), image, **TAGS):
            _tell(path, component, vr)
            _convert(path, syntax)
    found = find_series(tmp_path)
    assert [(one.kind, len(one.slices)) for one in found] == [("phase", 9), ("swi", 9)]
    swi = choose_swi(found)
    read, _, warnings = read_series(swi)
    assert np.array_equal(read.array, volume.array)
    assert warnings == ()
    assert matching_phase(found, swi)[0].kind == "phase"


def _convert(path, syntax):
    dataset = dcmread(path)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, implicit_vr=syntax == IMPLICIT, little_endian=True)
