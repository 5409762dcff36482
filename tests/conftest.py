import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pypdfium2
import pytest
from hypothesis import settings

from mmocnet.volume import Volume

if TYPE_CHECKING:
    from pydicom import Dataset

# A busy machine is no failure, and what fails once fails again.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

# Who runs the tests by nohup would have the commands that they start ignore it, too.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

_KINDS = {
    "swi": (["ORIGINAL", "PRIMARY", "M", "SWI"], "t2_swi3d_tra", 3),
    "magnitude": (["ORIGINAL", "PRIMARY", "M", "NORM"], "Mag_Images", 1),
    "phase": (["ORIGINAL", "PRIMARY", "P"], "Pha_Images", 2),
    "minip": (["DERIVED", "PRIMARY", "MNIP"], "mIP_Images(SW)", 4),
    "other": (["ORIGINAL", "PRIMARY", "M"], "t1_mprage_sag", 9),
}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--real-data", type=Path, help="folder of real scans, for measuring")


@pytest.fixture
def real_data(request: pytest.FixtureRequest) -> Path:
    folder: Path | None = request.config.getoption("--real-data")
    if folder is None:
        pytest.skip("real scans are read with --real-data DIR")
    return folder


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20221117)


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Untrained networks that call nothing a microbleed: what runs them is what is tested."""
    from mmocnet.config import (
        CascadeSettings,
        DetectorSettings,
        PreparationSettings,
        SegmenterSettings,
    )
    from mmocnet.nets.checkpoint import Cascade, save_cascade
    from mmocnet.nets.detector import Detector
    from mmocnet.nets.segmenter import Segmenter

    settings = CascadeSettings(
        detector=DetectorSettings(widths=(4, 4, 4, 4, 4), blocks=(1, 1, 1, 1), output_bias=-20.0),
        segmenter=SegmenterSettings(width=4, blocks=1),
        preparation=PreparationSettings(pixel_mm=2.0),
    )
    folder = tmp_path_factory.mktemp("models") / "tiny"
    save_cascade(
        folder, Cascade(settings, Detector(settings.detector), Segmenter(settings.segmenter), {})
    )
    return str(folder)


@pytest.fixture
def judged() -> Callable[[Path], list[str]]:
    """Return the Error lines of dciodvfy about a file."""
    program = shutil.which("dciodvfy")
    if program is None:
        assert os.environ.get("CI") != "true", "dciodvfy must be there (Debian's dicom3tools)"
        pytest.skip("dciodvfy is not installed (Debian's dicom3tools)")

    def judge(path: Path) -> list[str]:
        done = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
        said = (done.stdout + done.stderr).splitlines()
        assert any(one.strip() for one in said), "dciodvfy names the kind of object at least"
        return [one for one in said if one.startswith("Error")]

    return judge


@pytest.fixture
def words_of() -> Callable[[Path], str]:
    """Return what is written in a text or PDF file.

    Pictures within a page are left out: chance spells any four letters in some megabytes.
    """

    def read(path: Path) -> str:
        if path.suffix == ".pdf":
            document = pypdfium2.PdfDocument(path)
            text = "".join(page.get_textpage().get_text_range() for page in document)
            document.close()
            return text
        return re.sub(r"(?<=;base64,)[A-Za-z0-9+/=]+", "", path.read_text(encoding="utf-8"))

    return read


@pytest.fixture
def bids_errors() -> Callable[[Path], list[Any]]:
    """Return what the BIDS validator calls errors in a folder."""
    validator = Path(sys.executable).with_name("bids-validator-deno")
    if not validator.exists() and os.environ.get("CI") != "true":
        pytest.skip("bids-validator-deno is not installed")

    def judge(folder: Path) -> list[Any]:
        done = subprocess.run(
            [validator, folder, "--json"], capture_output=True, text=True, check=False,
            env={**os.environ, "NO_COLOR": "1"},
        )  # fmt: skip
        issues = json.loads(done.stdout)["issues"]["issues"]
        return [issue for issue in issues if issue["severity"] == "error"]

    return judge


@pytest.fixture
def write_dicom_series() -> Callable[..., list[Path]]:
    return _write_dicom_series


def _write_dicom_series(
    folder: Path,
    volume: Volume,
    *,
    kind: str = "swi",
    multiframe: bool = False,
    transfer_syntax: str = "1.2.840.10008.1.2.1",
    patient_name: str = "Fake^Patient",
    patient_id: str = "FAKE123",
    **tags: Any,
) -> list[Path]:
    """Write a volume as MR DICOM, a file a slice or one multi-frame file; the same bytes each time.

    Axes of the array are columns, rows, slices. Values are rounded to uint16; phase is taken in
    rad and stored as Siemens does, from 0 to 4095 with slope 2 and intercept -4096. `tags` are
    DICOM keywords that replace what would be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    stored = _stored(volume, kind)
    common = _common(volume, kind, patient_name, patient_id)
    if multiframe:
        dataset = _enhanced(volume, stored, common, kind)
        return [_save(dataset, folder / "enhanced.dcm", transfer_syntax, tags)]
    return [
        _save(
            _classic(volume, stored[:, :, k], common, kind, k),
            folder / f"{kind}-{k + 1:04d}.dcm",
            transfer_syntax,
            tags,
        )
        for k in range(volume.shape[2])
    ]


def _stored(volume: Volume, kind: str) -> np.ndarray:
    array = np.asarray(volume.array, dtype=np.float64)
    if kind == "phase":
        array = (array + np.pi) / (2 * np.pi) * 4095
    return np.clip(np.rint(array), 0, 65535).astype(np.uint16)


def _uid(*parts: object) -> str:
    text = "/".join(map(str, parts)).encode()
    return f"2.25.{int.from_bytes(hashlib.sha256(text).digest()[:16], 'big')}"


def _common(volume: Volume, kind: str, patient_name: str, patient_id: str) -> "Dataset":
    from pydicom import Dataset

    image_type, description, number = _KINDS[kind]
    content = hashlib.sha256(np.ascontiguousarray(volume.array).tobytes()).hexdigest()
    one = Dataset()
    one.PatientName, one.PatientID = patient_name, patient_id
    one.PatientBirthDate, one.PatientSex = "19420203", "O"
    one.StudyInstanceUID = _uid("study", patient_id)
    one.StudyDate, one.StudyTime, one.StudyID = "20240102", "101112", "S1"
    one.StudyDescription, one.AccessionNumber = "Fake study", "ACC987"
    one.ReferringPhysicianName, one.InstitutionName = "Fake^Doctor", "Fake Hospital"
    one.Modality, one.BodyPartExamined, one.PatientPosition = "MR", "BRAIN", "HFS"
    one.SeriesInstanceUID = _uid("series", patient_id, kind, volume.affine.tolist(), content)
    one.SeriesNumber, one.SeriesDescription = number, description
    one.SeriesDate, one.SeriesTime = "20240102", "101500"
    one.ProtocolName = "t1_mprage" if kind == "other" else "t2_swi3d_tra"
    one.FrameOfReferenceUID = _uid("frame of reference", patient_id)
    one.PositionReferenceIndicator = ""
    one.Manufacturer, one.ManufacturerModelName = "SIEMENS", "Prisma"
    one.DeviceSerialNumber, one.SoftwareVersions = "12345", "syngo MR E11"
    one.ImageType, one.MagneticFieldStrength = image_type, 3.0
    one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
    one.Columns, one.Rows = volume.shape[:2]
    one.BitsAllocated = one.BitsStored = 16
    one.HighBit, one.PixelRepresentation = 15, 0
    return one


def _place(volume: Volume, k: int) -> tuple[list[float], list[float], list[float], float]:
    """Return position, orientation, pixel spacing [between rows, between columns], slice step."""
    flip = np.diag([-1.0, -1.0, 1.0])
    axes = flip @ volume.affine[:3, :3]
    position = flip @ (volume.affine[:3, :3] @ [0, 0, k] + volume.affine[:3, 3])
    column_mm, row_mm, slice_mm = (float(mm) for mm in np.linalg.norm(axes, axis=0))
    turned = [*(axes[:, 0] / column_mm), *(axes[:, 1] / row_mm)]
    return (
        [round(float(v), 8) for v in position],
        [round(float(v), 10) for v in turned],
        [round(row_mm, 8), round(column_mm, 8)],
        round(slice_mm, 8),
    )


def _classic(volume: Volume, pixels: np.ndarray, common: "Dataset", kind: str, k: int) -> "Dataset":
    # Its own elements: what tags replace in one slice stays in the next.
    one = deepcopy(common)
    one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4"
    one.SOPInstanceUID = _uid("instance", common.SeriesInstanceUID, k)
    one.InstanceNumber = one.AcquisitionNumber = k + 1
    position, turned, spacing, step = _place(volume, k)
    one.ImagePositionPatient, one.ImageOrientationPatient = position, turned
    one.PixelSpacing, one.SliceThickness, one.SpacingBetweenSlices = spacing, step, step
    one.ScanningSequence, one.SequenceVariant = "GR", "SP"
    one.ScanOptions, one.MRAcquisitionType, one.SequenceName = "PFP", "3D", "*swi3d1r"
    one.RepetitionTime, one.EchoTime, one.EchoTrainLength, one.FlipAngle = 27.0, 20.0, 1, 15.0
    if kind == "other":
        one.SequenceName, one.EchoTime = "*tfl3d1_16", 3.0
    if kind == "phase":
        one.RescaleSlope, one.RescaleIntercept, one.RescaleType = 2, -4096, "US"
    one.PixelData = np.ascontiguousarray(pixels.T).tobytes()
    return one


def _enhanced(volume: Volume, stored: np.ndarray, common: "Dataset", kind: str) -> "Dataset":
    from pydicom import Dataset

    one = Dataset()
    one.update(common)
    one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.4.1"
    one.SOPInstanceUID = _uid("instance", common.SeriesInstanceUID, "all")
    one.ImageType = ["ORIGINAL", "PRIMARY", "SUSC_WEIGHTED" if kind == "swi" else "VOLUME", "NONE"]
    one.InstanceNumber, one.ContentDate, one.ContentTime = 1, "20240102", "101600"
    one.AcquisitionDateTime, one.AcquisitionDuration = "20240102101500", 300.0
    one.PulseSequenceName, one.MRAcquisitionType, one.ResonantNucleus = "swi3d", "3D", "1H"
    one.AcquisitionContrast = "T2_STAR" if kind == "swi" else "UNKNOWN"
    one.ComplexImageComponent = "PHASE" if kind == "phase" else "MAGNITUDE"
    one.PixelPresentation, one.VolumetricProperties = "MONOCHROME", "VOLUME"
    one.VolumeBasedCalculationTechnique = "NONE" if kind != "minip" else "MIN_IP"
    one.BurnedInAnnotation, one.LossyImageCompression = "NO", "00"
    one.PresentationLUTShape, one.ContentQualification = "IDENTITY", "RESEARCH"
    one.AcquisitionContextSequence, one.NumberOfFrames = [], volume.shape[2]
    one.DimensionOrganizationSequence, one.DimensionIndexSequence = _dimensions(common)
    one.SharedFunctionalGroupsSequence = [_shared(volume, kind)]
    one.PerFrameFunctionalGroupsSequence = [_frame(volume, k) for k in range(volume.shape[2])]
    one.PixelData = np.ascontiguousarray(stored.transpose(2, 1, 0)).tobytes()
    return one


def _dimensions(common: "Dataset") -> tuple[list["Dataset"], list["Dataset"]]:
    organisation = _item(DimensionOrganizationUID=_uid("dimension", common.SeriesInstanceUID))
    index = _item(
        DimensionOrganizationUID=organisation.DimensionOrganizationUID,
        DimensionIndexPointer=0x00209057,
        FunctionalGroupPointer=0x00209111,
    )
    return [organisation], [index]


def _shared(volume: Volume, kind: str) -> "Dataset":
    _, turned, spacing, step = _place(volume, 0)
    measures = _item(PixelSpacing=spacing, SliceThickness=step, SpacingBetweenSlices=step)
    slope, intercept = (2, -4096) if kind == "phase" else (1, 0)
    component = "PHASE" if kind == "phase" else "MAGNITUDE"
    contrast = "T2_STAR" if kind == "swi" else "UNKNOWN"
    return _item(
        PixelMeasuresSequence=[measures],
        PlaneOrientationSequence=[_item(ImageOrientationPatient=turned)],
        PixelValueTransformationSequence=[
            _item(RescaleSlope=slope, RescaleIntercept=intercept, RescaleType="US")
        ],
        MREchoSequence=[_item(EffectiveEchoTime=20.0)],
        MRTimingAndRelatedParametersSequence=[
            _item(RepetitionTime=27.0, FlipAngle=15.0, EchoTrainLength=1, RFEchoTrainLength=0)
        ],
        MRImageFrameTypeSequence=[
            _item(
                FrameType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"],
                ComplexImageComponent=component,
                AcquisitionContrast=contrast,
                PixelPresentation="MONOCHROME",
                VolumetricProperties="VOLUME",
                VolumeBasedCalculationTechnique="NONE",
            )
        ],
    )


def _frame(volume: Volume, k: int) -> "Dataset":
    position = _place(volume, k)[0]
    content = _item(
        StackID="1",
        InStackPositionNumber=k + 1,
        DimensionIndexValues=[k + 1],
        FrameAcquisitionNumber=1,
    )
    return _item(
        FrameContentSequence=[content],
        PlanePositionSequence=[_item(ImagePositionPatient=position)],
    )


def _item(**values: Any) -> "Dataset":
    from pydicom import Dataset

    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _save(dataset: "Dataset", path: Path, transfer_syntax: str, tags: dict[str, Any]) -> Path:
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian

    for keyword, value in tags.items():
        setattr(dataset, keyword, value)
    syntax = UID(transfer_syntax)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset["PixelData"].VR = "OW"
    if syntax.is_compressed and not syntax.is_deflated:
        dataset.compress(syntax, generate_instance_uid=False)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return path
