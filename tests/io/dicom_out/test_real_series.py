import numpy as np
import pydicom
import pytest

from mmocnet.io.dicom.seg import write_seg
from mmocnet.io.dicom.sr import write_sr
from mmocnet.io.read import read_scan


def test_a_real_series_with_a_planted_mask_goes_through(
    real_data, findings_in, labels_from, judged, tmp_path
):
    folders = sorted({path.parent for path in real_data.rglob("*.dcm")})
    if not folders:
        pytest.skip("no DICOM file below the folder of --real-data")
    scan = read_scan(folders[0])
    assert scan.dicom is not None
    i, j, k = (side // 2 for side in scan.volume.shape)
    labels = np.zeros(scan.volume.shape, dtype=np.int32)
    labels[i : i + 6, j : j + 5, k : k + 3] = 1
    labels[i + 6 : i + 9, j : j + 5, k + 1 : k + 4] = 2
    labels[i // 2, j // 2, 0] = 3
    findings = findings_in(scan.dicom, scan.volume.like(labels))

    seg = write_seg(findings, tmp_path / "seg.dcm")
    assert np.array_equal(labels_from(seg, findings.labels), labels)
    dataset = pydicom.dcmread(seg)
    slices = [pydicom.dcmread(one, stop_before_pixels=True) for one in scan.dicom.files]
    for mask, group in zip(
        dataset.pixel_array, dataset.PerFrameFunctionalGroupsSequence, strict=True
    ):
        # The file that the frame refers to, and not the affine that was read from all of them.
        origin = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        (at,) = [n for n, one in enumerate(slices) if one.SOPInstanceUID == origin]
        position = group.PlanePositionSequence[0].ImagePositionPatient
        assert position == slices[at].ImagePositionPatient
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert np.array_equal(mask.T, labels[:, :, at] == number)
    assert judged(seg) == []
    assert judged(write_sr(findings, tmp_path / "sr.dcm")) == []
