"""DICOM Structured Report: number of microbleeds and each lesion's measures (TID 1500)."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmocnet.io.dicom.codes import (
    ARTIFICIAL_INTELLIGENCE,
    BRAIN,
    BRAIN_MRI,
    COMMENT,
    CUBIC_MM,
    HAEMORRHAGE,
    LONG_AXIS,
    MEASUREMENT_REPORT,
    MICROBLEED,
    MM,
    NO_UNITS,
    NUMBER_OF_LESIONS,
    PROBABILITY,
    SIDES,
    VOLUME,
    Term,
    site,
)
from mmocnet.io.dicom.objects import (
    MANUFACTURER,
    NOTICE,
    Findings,
    concept,
    device_number,
    long_string,
    making,
    nameless,
    save,
    series_arguments,
    tracking,
)
from mmocnet.io.dicom.uids import derived_uid
from mmocnet.lesion import Certainty, Lesion

if TYPE_CHECKING:
    from highdicom.sr import (
        AlgorithmIdentification,
        FindingSite,
        Measurement,
        MeasurementReport,
        ObservationContext,
        ObserverContext,
        ReferencedSegment,
        TextContentItem,
    )

SEG_CLASS = "1.2.840.10008.5.1.4.1.1.66.4"
LIMITS = "Found by a network; not read by a radiologist."
READ_LIMITS = "Found by a network and judged by the person named as observer; not verified."
OUTLINES = {
    "model": "found by the network, accepted by the reader",
    "edited": "found by the network, accepted by the reader, outline edited by the reader",
    "reader": "added by the reader, not found by the network",
}
"""What the report says of a lesion by who drew its outline."""


def write_sr(findings: Findings, path: Path) -> Path:
    """Write the measures as Comprehensive 3D SR: preliminary, partial, unverified.

    It says how many microbleeds there are, 0 too, with the limits of that number, and of each
    lesion its volume, largest diameter, probability, site and side, whether it is definite, and
    which segment of `write_seg` outlines it. A measure that is NaN is left out.

    Raises:
        InputError: If the source's headers do not allow it, or the folder cannot be written to.
    """
    instances = findings.images.instances
    with making("SR", findings):
        from highdicom.sr import Comprehensive3DSR

        evidence = nameless(instances)
        if findings.lesions:
            evidence.append(_segmentation_of(findings, evidence[0]))
        dataset = Comprehensive3DSR(
            evidence=evidence,
            content=_report(findings)[0],
            **series_arguments(findings, "SR"),
        )
        return save(dataset, findings, path)


def _segmentation_of(findings: Findings, image: Any) -> Any:
    """Return what identifies the Segmentation of the same findings, written or not yet."""
    from pydicom import Dataset

    segmentation = Dataset()
    segmentation.SOPClassUID = SEG_CLASS
    segmentation.SOPInstanceUID = findings.uid("seg")
    segmentation.SeriesInstanceUID = findings.uid("seg series")
    segmentation.StudyInstanceUID = image.StudyInstanceUID
    return segmentation


def _report(findings: Findings) -> "MeasurementReport":
    from highdicom.sr import MeasurementReport

    groups = [_total(findings), *(_lesion(findings, lesion) for lesion in findings.lesions)]
    report = MeasurementReport(
        observation_context=_observer(findings),
        procedure_reported=concept(BRAIN_MRI),
        imaging_measurements=groups,
        title=concept(MEASUREMENT_REPORT),
    )
    limits = LIMITS if findings.reading is None else READ_LIMITS
    report[0].ContentSequence.append(_comment(f"{NOTICE}. {limits}"))
    return report


def _observer(findings: Findings) -> "ObservationContext":
    from highdicom.sr import (
        DeviceObserverIdentifyingAttributes,
        ObservationContext,
        ObserverContext,
    )
    from pydicom.sr.codedict import codes

    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("", findings.weights_sha256, {"version": findings.version}, "device"),
        name="mmocnet",
        manufacturer_name=MANUFACTURER,
        model_name=long_string(findings.model),
        serial_number=device_number(findings),
    )
    context = ObserverContext(
        observer_type=codes.DCM.Device, observer_identifying_attributes=device
    )
    return ObservationContext(
        observer_person_context=_person(findings), observer_device_context=context
    )


def _person(findings: Findings) -> "ObserverContext | None":
    """Return who has read the findings; None where no one has."""
    from highdicom.sr import ObserverContext, PersonObserverIdentifyingAttributes
    from pydicom.sr.codedict import codes

    if findings.reading is None:
        return None
    person = PersonObserverIdentifyingAttributes(findings.reading.person_name)
    return ObserverContext(observer_type=codes.DCM.Person, observer_identifying_attributes=person)


def _comment(text: str) -> "TextContentItem":
    from highdicom.sr import RelationshipTypeValues, TextContentItem

    return TextContentItem(concept(COMMENT), text, RelationshipTypeValues.CONTAINS)


def _total(findings: Findings) -> Any:
    """Return the group of the whole brain: how many microbleeds, macrohaemorrhages apart."""
    from highdicom.sr import FindingSite, MeasurementsAndQualitativeEvaluations, TrackingIdentifier

    number = dict.fromkeys(Certainty, 0)
    for lesion in findings.lesions:
        number[lesion.certainty] += 1
    definite, possible = number[Certainty.DEFINITE], number[Certainty.POSSIBLE]
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(findings.uid("total"), "Microbleeds"),
        finding_type=concept(MICROBLEED),
        algorithm_id=_algorithm(findings),
        finding_sites=[FindingSite(concept(BRAIN))],
        measurements=_measured([(NUMBER_OF_LESIONS, definite + possible, NO_UNITS)]),
    )
    text = f"{definite} definite, {possible} possible"
    if findings.reading is not None and findings.reading.remark:
        text += f". {findings.reading.remark}"
    macro = number[Certainty.MACROHAEMORRHAGE]
    larger = [f"{macro} over 10 mm (macrohaemorrhage), not counted"] if macro else []
    group[0].ContentSequence.extend(_comment(one) for one in (text, *larger, *findings.limits))
    return group


def _lesion(findings: Findings, lesion: Lesion) -> Any:
    from highdicom.sr import TrackingIdentifier, VolumetricROIMeasurementsAndQualitativeEvaluations

    name, uid = tracking(findings, lesion)
    macro = lesion.certainty == Certainty.MACROHAEMORRHAGE
    group = VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid, name),
        referenced_segment=_reference(findings, lesion),
        finding_type=concept(HAEMORRHAGE if macro else MICROBLEED),
        algorithm_id=_algorithm(findings),
        finding_sites=[_site(lesion)],
        measurements=_measured(
            [
                (VOLUME, lesion.volume_mm3, CUBIC_MM),
                (LONG_AXIS, lesion.diameter_mm, MM),
                (PROBABILITY, lesion.confidence, NO_UNITS),
            ]
        ),
    )
    # MARS tells the basal ganglia from the rest of the brain, and DICOM's codes do not.
    place = f"region {lesion.region}, side {lesion.side} (MARS)"
    text = f"{lesion.certainty}; {place}"
    if findings.reading is not None:
        text += f"; {OUTLINES[findings.reading.outlines[lesion.index]]}"
    group[0].ContentSequence.append(_comment(text))
    return group


def _reference(findings: Findings, lesion: Lesion) -> "ReferencedSegment":
    from highdicom.sr import ReferencedSegment, SourceSeriesForSegmentation

    return ReferencedSegment(
        sop_class_uid=SEG_CLASS,
        sop_instance_uid=findings.uid("seg"),
        segment_number=lesion.index,
        source_series=SourceSeriesForSegmentation(findings.source.series_uid),
    )


def _algorithm(findings: Findings) -> "AlgorithmIdentification":
    from highdicom.sr import AlgorithmIdentification

    return AlgorithmIdentification(
        name="mmocnet",
        version=findings.version,
        parameters=[f"{name}: {value}" for name, value in findings.parameters.items()],
        family=concept(ARTIFICIAL_INTELLIGENCE),
    )


def _site(lesion: Lesion) -> "FindingSite":
    from highdicom.sr import FindingSite

    side = SIDES.get(lesion.side)
    return FindingSite(concept(site(lesion.region)), None if side is None else concept(side))


def _measured(measures: list[tuple[Term, float, Term]]) -> list["Measurement"]:
    """Return the measures that are known."""
    from highdicom.sr import Measurement

    return [
        Measurement(concept(name), _short(value), concept(unit))
        for name, value, unit in measures
        if math.isfinite(value)
    ]


def _short(value: float) -> float:
    """Return a value in six digits, which a DICOM decimal string can hold exactly."""
    return float(f"{value:.6g}")
