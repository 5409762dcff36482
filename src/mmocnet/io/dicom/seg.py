"""DICOM Segmentation: a binary segment a lesion, on the slices of the source series."""

import colorsys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmocnet.io.dicom.codes import (
    ABNORMAL_STRUCTURE,
    ARTIFICIAL_INTELLIGENCE,
    HAEMORRHAGE,
    SIDES,
    SITES,
)
from mmocnet.io.dicom.objects import (
    NOTICE,
    Findings,
    concept,
    long_string,
    making,
    nameless,
    reference,
    save,
    series_arguments,
    tracking,
)
from mmocnet.io.dicom.source_images import SourceImages
from mmocnet.lesion import Lesion

if TYPE_CHECKING:
    from highdicom import AlgorithmIdentificationSequence
    from highdicom.color import CIELabColor
    from highdicom.seg import SegmentDescription

GOLDEN_TURN = 0.618034
"""Of the colour circle from one lesion to the next: neighbours in number look unlike."""


def write_seg(findings: Findings, path: Path) -> Path | None:
    """Write the lesions' outlines as DICOM Segmentation; frames without a lesion are left out.

    Returns:
        `path`; None where there is no lesion, as a Segmentation cannot be empty.

    Raises:
        InputError: If the source's headers do not allow it, or the folder cannot be written to.
    """
    if not findings.lesions:
        return None
    images = findings.images
    with making("SEG", findings):
        dataset = _segmentation(findings)
        if images.frames:
            _point_to_files(dataset, images)
        _fix_dimension_uid(dataset, findings)
        return save(dataset, findings, path)


def _segmentation(findings: Findings) -> Any:
    from highdicom.seg import Segmentation, SegmentationTypeValues

    number_type = np.uint8 if len(findings.lesions) < 256 else np.uint16
    frames = np.ascontiguousarray(findings.labels.array.transpose(2, 1, 0), dtype=number_type)
    return Segmentation(
        source_images=nameless(findings.images.slices),
        pixel_array=frames,
        segmentation_type=SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(findings, lesion) for lesion in findings.lesions],
        content_label="MICROBLEEDS",
        content_description=f"Microbleeds. {NOTICE}",
        content_creator_name="mmocnet^",
        **series_arguments(findings, "SEG"),
    )


def _algorithm(findings: Findings) -> "AlgorithmIdentificationSequence":
    """Return which software and model made the segments."""
    from highdicom import AlgorithmIdentificationSequence

    return AlgorithmIdentificationSequence(
        name="mmocnet",
        family=concept(ARTIFICIAL_INTELLIGENCE),
        version=findings.version,
        source="mmocnet",
        parameters=findings.parameters,
    )


def _segment(findings: Findings, lesion: Lesion) -> "SegmentDescription":
    from highdicom.seg import SegmentDescription

    kind = _algorithm_type(findings, lesion)
    name, uid = tracking(findings, lesion)
    site = SITES.get(lesion.region)
    segment = SegmentDescription(
        segment_number=lesion.index,
        segment_label=long_string(lesion.name),
        segmented_property_category=concept(ABNORMAL_STRUCTURE),
        segmented_property_type=concept(HAEMORRHAGE),
        algorithm_type=kind,
        algorithm_identification=None if kind == "MANUAL" else _algorithm(findings),
        tracking_uid=uid,
        tracking_id=name,
        anatomic_regions=None if site is None else [concept(site)],
        display_color=_colour(lesion.index),
    )
    if site is not None and lesion.side in SIDES:
        side = concept(SIDES[lesion.side])
        segment.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [side]
    return segment


def _algorithm_type(findings: Findings, lesion: Lesion) -> str:
    """Return whether the model, a reader or both drew a lesion's outline."""
    kinds = {"model": "AUTOMATIC", "edited": "SEMIAUTOMATIC", "reader": "MANUAL"}
    outlines = {} if findings.reading is None else findings.reading.outlines
    return kinds[outlines.get(lesion.index, "model")]


def _colour(number: int) -> "CIELabColor":
    from highdicom.color import CIELabColor

    hue = (number - 1) * GOLDEN_TURN % 1
    red, green, blue = (round(255 * part) for part in colorsys.hsv_to_rgb(hue, 0.85, 1.0))
    return CIELabColor.from_rgb(red, green, blue)


def _point_to_files(dataset: Any, images: SourceImages) -> None:
    """Let each frame refer to the frame of the source's file that it lies on.

    The header that highdicom saw has a frame a slice; the file may have others, in any order, and
    there may be several files.
    """
    named = [reference(one) for one in images.instances]
    dataset.SourceImageSequence = named
    dataset.ReferencedSeriesSequence[0].ReferencedInstanceSequence = named
    # Segments on one slice share the item that says where they come from.
    items = {
        id(image): image
        for group in dataset.PerFrameFunctionalGroupsSequence
        for derivation in group.get("DerivationImageSequence", [])
        for image in derivation.SourceImageSequence
    }
    for image in items.values():
        instance, frame = images.frames[int(image.ReferencedFrameNumber) - 1]
        image.update(reference(instance))
        if frame is None:
            del image.ReferencedFrameNumber
        else:
            image.ReferencedFrameNumber = frame


def _fix_dimension_uid(dataset: Any, findings: Findings) -> None:
    """Replace the UID that highdicom draws by lot."""
    uid = findings.uid("dimensions")
    for item in (*dataset.DimensionOrganizationSequence, *dataset.DimensionIndexSequence):
        item.DimensionOrganizationUID = uid
