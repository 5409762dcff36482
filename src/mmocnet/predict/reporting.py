"""What the report of one scan says."""

from typing import Any

from mmocnet.io.burden import region_counts
from mmocnet.io.covered import covered
from mmocnet.io.dicom.vendors import SWI
from mmocnet.io.report import Report
from mmocnet.locate.pattern import pattern
from mmocnet.locate.regions import REGIONS
from mmocnet.nets.card import (
    point_sentence,
    simulated_only,
    slice_point_sentence,
    training_text,
)
from mmocnet.predict.context import MIN_SLICES
from mmocnet.predict.pictures import lesion_pictures, make_display, overview, png
from mmocnet.predict.segmentation import Segmentation
from mmocnet.prepare.geometry import world_axes

PICTURED = 60
"""Lesions with pictures of their own, so that a report stays under about 10 MB."""
PLANES = ("sagittal", "coronal", "axial")


def make_report(result: Segmentation, stem: str = "") -> Report:
    """Return the contents of a scan's report, pictures included.

    Args:
        result: What was found.
        stem: What a DICOM series lies in; its own name is but a number.
    """
    record = result.provenance
    coverage, brain_ml = covered(record)
    display = make_display(result)
    pictured = result.lesions[:PICTURED]
    return Report(
        title=f"{stem}, {result.image.name}" if stem and result.dicom else result.image.name,
        lesions=result.lesions,
        pictures={one.index: lesion_pictures(display, one) for one in pictured},
        overview=png(overview(display, result.lesions)),
        is_slice=result.is_slice,
        display=_display_text(result),
        axes=_axes_text(result),
        warnings=result.warnings,
        technique=_technique(result),
        provenance=_provenance(record, is_slice=result.is_slice),
        notes=_notes(result),
        regions=region_counts(result.lesions, [(one.name, one.group) for one in REGIONS]),
        pattern=pattern(result.lesions),
        coverage=coverage,
        brain_ml=brain_ml,
        technique_line=technique_line(result),
        series_uid="" if result.dicom is None else result.dicom.series_uid,
        simulated=simulated_only(record["Model"]["Card"]),
        definite_from=float(record["Thresholds"]["report"]),
        ranked=_ranked(result),
        isotropic=_isotropic(result),
    )


def _ranked(result: Segmentation) -> bool:
    """Return whether confidence is that of stage 2, as on few slices without a classifier."""
    slices = result.image.shape[result.slice_axis]
    return result.provenance["Settings"].get("classifier") is None and slices < MIN_SLICES


def _isotropic(result: Segmentation) -> bool:
    """Return whether voxels are as long along each axis that is measured."""
    image = result.image
    sides = [mm for count, mm in zip(image.shape, image.spacing_mm, strict=True) if count > 1]
    return max(sides) <= 1.01 * min(sides)


def _plane(result: Segmentation) -> str:
    return PLANES[world_axes(result.image.affine)[0][result.slice_axis]]


def _display_text(result: Segmentation) -> str:
    if result.source == "picture":
        return "Shown as in the file; which side is the patient's left is not known (n/a)."
    if _plane(result) == "sagittal":
        return "The patient's front is on the viewer's left."
    return "The patient's right is on the viewer's left."


def _axes_text(result: Segmentation) -> str:
    if result.source == "picture":
        return "mm from the file's lower left pixel, to the right and up"
    return "world coordinates, to the patient's right, front and head"


def _technique(result: Segmentation) -> list[tuple[str, str]]:
    shape = " x ".join(map(str, result.image.shape))
    spacing = " x ".join(f"{side:.3g}" for side in result.image.spacing_mm)
    pairs = [
        ("Image", f"{shape} voxels of {spacing} mm"),
        ("Slices", f"{result.image.shape[result.slice_axis]}, {_plane(result)}"),
        *_acquisition(acquisition(result)),
        *_given(result.provenance),
        *_registration(result.provenance.get("Location", {})),
    ]
    if result.source == "picture":
        pairs[1] = ("Slices", "1, taken as axial")
        pairs.insert(2, ("Thickness", "not known: volumes are areas times 1 mm"))
    return pairs


def _given(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what else the scan is known by, and what was given beside it."""
    source, phase = record["Input"], _phase_text(record)
    pairs = [("Phase", phase)] if phase else []
    if "Mask" in source:
        pairs.append(("Brain mask, given", str(source["Mask"]["Name"])))
    if "SeriesInstanceUID" in source:
        pairs.append(("Series Instance UID", str(source["SeriesInstanceUID"])))
    return pairs


def reads_phase(record: dict[str, Any]) -> bool:
    """Return whether a result's model makes use of phase."""
    # A baseline's settings know of none.
    classifier = record["Settings"].get("classifier")
    return classifier is not None and bool(classifier["phase_offsets_mm"])


def phase_was_read(record: dict[str, Any]) -> bool:
    """Return whether a result rests on phase; older records say only whether there was one."""
    return bool(record.get("PhaseRead", "Phase" in record["Input"]))


def _phase_text(record: dict[str, Any]) -> str:
    """Return what became of phase, "" for a model that reads none where none was given."""
    given = record["Input"].get("Phase")
    if phase_was_read(record):
        return "read" if given is None else f"read: {given['Name']}"
    if given is not None:
        why = "see warnings" if reads_phase(record) else "the model reads none"
        return f"given, not used ({why})"
    return "none was read" if reads_phase(record) else ""


def _registration(place: dict[str, Any]) -> list[tuple[str, str]]:
    """Return how the scan was registered to the template; nothing where it was not tried."""
    if not place.get("Ok"):
        return [("Regions", str(place["Why"]))] if "Why" in place else []
    text = (
        f"{place['Why']}: brains overlap by {place['Quality']:.2f} (Dice), the scan covers "
        f"{place['Coverage']:.0%} of the brain"
    )
    return [("Regions", text)]


def acquisition(result: Segmentation) -> dict[str, Any]:
    """Return what the scan's sidecar says of its acquisition."""
    return dict(result.provenance["Input"].get("Acquisition", {}))


def technique_line(result: Segmentation) -> str:
    """Return field strength, echo time and voxel in a line; what is not stated is said to be so."""
    stated = dict(_acquisition(acquisition(result)))
    spacing = " x ".join(f"{side:.3g}" for side in result.image.spacing_mm)
    field = stated["Field strength"]
    field = "field strength not stated" if field == "not stated" else field
    kind = acquisition(result).get("ImageKind", "")
    taken = kind if kind == SWI else f"{kind}, taken as SWI" if kind else "taken as SWI"
    line = f"{taken}, {field}, echo time {stated['Echo time']}, voxels {spacing} mm"
    if not reads_phase(result.provenance):
        return line
    return f"{line}, {'with' if phase_was_read(result.provenance) else 'without'} phase"


def _acquisition(sidecar: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what the scan's sidecar says; times in ms."""
    pairs = []
    for key, name, scale, unit in (
        ("MagneticFieldStrength", "Field strength", 1, "T"),
        ("EchoTime", "Echo time", 1000, "ms"),
        ("RepetitionTime", "Repetition time", 1000, "ms"),
        ("FlipAngle", "Flip angle", 1, "degrees"),
    ):
        value = sidecar.get(key)
        stated = f"{value * scale:.4g} {unit}" if value is not None else "not stated"
        pairs.append((name, stated))
    return pairs


def _provenance(record: dict[str, Any], *, is_slice: bool) -> list[tuple[str, str]]:
    """Return the provenance in reading order."""
    model, source = record["Model"], record["Input"]
    limits = ", ".join(f"{name} {value:g}" for name, value in record["Thresholds"].items())
    pairs = [
        ("Software", f"mmocnet {record['Version']}"),
        ("Model", model["Name"]),
        *((f"SHA-256 of {name}", digest) for name, digest in model["SHA256"].items()),
        ("Trained on", training_text(model["Card"])),
        ("SHA-256 of the scan", source["SHA256"]),
        ("Called from confidence", f"{record['Threshold']:g} ({record['OperatingPoint']})"),
        *_burden(record),
        *_measured(record, is_slice=is_slice),
        ("The model's thresholds", limits),
        ("Device", record["Device"]),
    ]
    if "Started" in record:
        pairs.append(("Made", f"{record['Started']}, in {record['Seconds']:.1f} s"))
    return pairs


def _burden(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what confidence depends on; nothing where each candidate's is its own."""
    if record.get("Burden") is None:
        return []
    depends = "depends on how many other microbleeds the scan seems to hold"
    return [("Each candidate's confidence", depends)]


def _measured(record: dict[str, Any], *, is_slice: bool) -> list[tuple[str, str]]:
    """Return what the threshold in use was measured to mean; nothing where that is not known."""
    if record.get("LocalConfidence") is not None:
        return [("Confidence", "fine-tuned for voxels of this size")]
    meaning = _meaning(record, is_slice=is_slice)
    return [] if meaning is None else [("Measured at that threshold on", meaning)]


def _meaning(record: dict[str, Any], *, is_slice: bool) -> str | None:
    card, threshold = record["Model"]["Card"], record["Threshold"]
    if is_slice:
        return slice_point_sentence(card, threshold)
    volume = record["Thresholds"] == record["Settings"]["thresholds"]
    return point_sentence(card, threshold) if volume else None


def _notes(result: Segmentation) -> list[str]:
    notes, record = [], result.provenance
    meaning = _meaning(record, is_slice=True) if result.is_slice else None
    if meaning is not None:
        notes.append(f"Measured at this threshold on {meaning}.")
    floor, threshold = record["Thresholds"]["screening"], record["Threshold"]
    # All candidates are below a threshold that is the screening one itself.
    floor = floor if floor < threshold else record["CandidateFloor"]
    below = sum(floor <= one.confidence < threshold for one in result.candidates)
    if below:
        noun, verb = ("candidate", "was") if below == 1 else ("candidates", "were")
        notes.append(
            f"{below} further {noun} of confidence {floor:g} or more {verb} not called; see the "
            "candidate table."
        )
    return notes
