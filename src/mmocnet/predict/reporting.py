"""What the report of one scan says."""

import math
from typing import Any

from mmocnet.io.burden import region_counts
from mmocnet.io.dicom.vendors import SWI
from mmocnet.io.report import Report
from mmocnet.locate.pattern import pattern
from mmocnet.locate.regions import REGIONS
from mmocnet.nets.card import point_sentence
from mmocnet.predict.pictures import lesion_pictures, make_display, overview, png
from mmocnet.predict.segmentation import Segmentation
from mmocnet.prepare.geometry import world_axes

PICTURED = 60
"""Lesions with pictures of their own, so that a report stays under about 10 MB."""
PLANES = ("sagittal", "coronal", "axial")


def make_report(result: Segmentation) -> Report:
    """Return the contents of a scan's report, pictures included."""
    display = make_display(result)
    pictured = result.lesions[:PICTURED]
    return Report(
        title=result.image.name,
        lesions=result.lesions,
        pictures={one.index: lesion_pictures(display, one) for one in pictured},
        overview=png(overview(display, result.lesions)),
        is_slice=result.is_slice,
        display=_display_text(result),
        axes=_axes_text(result),
        warnings=result.warnings,
        technique=_technique(result),
        provenance=_provenance(result.provenance),
        notes=_notes(result),
        regions=region_counts(result.lesions, [(one.name, one.group) for one in REGIONS]),
        pattern=pattern(result.lesions),
        coverage=_coverage(result.provenance.get("Location", {})),
        brain_ml=_brain_ml(result.provenance),
        technique_line=technique_line(result),
    )


def _coverage(place: dict[str, Any]) -> float:
    return float(place["Coverage"]) if place.get("Ok") else math.nan


def _brain_ml(record: dict[str, Any]) -> float:
    """Return how much brain a scan shows, NaN where its record does not say."""
    found = record.get("BrainMl")
    return math.nan if found is None else float(found)


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
        *_given(result.provenance["Input"]),
        *_registration(result.provenance.get("Location", {})),
    ]
    if result.source == "picture":
        pairs[1] = ("Slices", "1, taken as axial")
        pairs.insert(2, ("Thickness", "not known: volumes are areas times 1 mm"))
    return pairs


def _given(source: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what else the scan is known by, and what was given beside it."""
    parts = (("Phase", "Phase, beside it"), ("Mask", "Brain mask, given"))
    pairs = [(name, str(source[key]["Name"])) for key, name in parts if key in source]
    if "SeriesInstanceUID" in source:
        pairs.append(("Series Instance UID", str(source["SeriesInstanceUID"])))
    return pairs


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
    return f"{taken}, {field}, echo time {stated['Echo time']}, voxels {spacing} mm"


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


def _provenance(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the provenance in reading order."""
    model, source = record["Model"], record["Input"]
    limits = ", ".join(f"{name} {value:g}" for name, value in record["Thresholds"].items())
    pairs = [
        ("Software", f"mmocnet {record['Version']}"),
        ("Model", model["Name"]),
        *((f"SHA-256 of {name}", digest) for name, digest in model["SHA256"].items()),
        ("Trained on", str(model["Card"].get("dataset", "see the model's card"))),
        ("SHA-256 of the scan", source["SHA256"]),
        ("Confidence to be a lesion", f"{record['Threshold']:g} ({record['OperatingPoint']})"),
        *_burden(record),
        *_measured(record),
        ("The model's thresholds", limits),
        ("Device", record["Device"]),
        ("Random numbers", "none are drawn"),
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


def _measured(record: dict[str, Any]) -> list[tuple[str, str]]:
    """Return what the threshold in use was measured to mean; nothing where that is not known."""
    if record.get("LocalConfidence") is not None:
        return [("Confidence", "fine-tuned for voxels of this size")]
    limits = record["Thresholds"]
    volume = limits == record["Settings"]["thresholds"]
    meaning = point_sentence(record["Model"]["Card"], record["Threshold"]) if volume else None
    return [] if meaning is None else [("Measured at that threshold on", meaning)]


def _notes(result: Segmentation) -> list[str]:
    below = len(result.candidates) - len(result.lesions)
    below -= len(result.siderosis) + len(result.vessels)
    if not below:
        return []
    noun = "candidate lies" if below == 1 else "candidates lie"
    return [f"{below} further {noun} below the operating threshold; see the candidate table."]
