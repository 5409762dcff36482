"""What the report of one scan says, before it becomes a page: `report_html` and `report_pdf`."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from mmocnet.io.burden import (
    LEAST_BRAIN_ML,
    NOT_LOCATED,
    OF_MICROHAEMORRHAGES,
    RegionCount,
    baseline_burden,
    burden_class,
    class_text,
    microbleeds,
)
from mmocnet.lesion import Certainty, Lesion

NOTICE = "Research use only - not a medical device."
FOUND = "Found by a network"
SIMULATED = f"{FOUND} that was trained and measured on simulated scans only"
LIMITS = (
    f"{FOUND}; not read by a radiologist. Veins, calcium, iron and flow voids can "
    "look like microbleeds, and small or faint microbleeds can be missed. SWI shows more "
    "microbleeds than T2*-weighted GRE, on which published cut-offs were set."
)
REVIEWED_LIMITS = (
    f"{FOUND}, then accepted, rejected, edited or added to by the reader named in it; "
    "not verified. Both can take veins, calcium, iron and flow voids for microbleeds and miss "
    "small or faint ones. SWI shows more microbleeds than T2*-weighted GRE, on which published "
    "cut-offs were set."
)

WHOLE_BRAIN = 0.9
"""Share of the brain that a scan covers, by registration, below which classes say how much."""
WHOLE_BRAIN_ML = 800.0
"""Brain below which classes say how much, where its share is not known: grown-ups have more."""


@dataclass(frozen=True)
class LesionPictures:
    """Three PNG pictures of one lesion.

    Attributes:
        plain: Its slice, zoomed.
        outlined: The same with outlines.
        locator: The whole slice with the zoomed part marked.
        slice_index: Index of the slice, from 0.
        slice_count: Slices of the scan.
        centre_index: Index of the slice that the lesion's centre lies in.
        width_mm: What the zoomed pictures span.
        image: The slice in words, with the number that viewers show, "" where that is not known.
    """

    plain: bytes
    outlined: bytes
    locator: bytes
    slice_index: int
    slice_count: int
    centre_index: int
    width_mm: float
    image: str = ""

    @property
    def slice_text(self) -> str:
        """The slice in words, from 1."""
        text = self.image or f"slice {self.slice_index + 1} of {self.slice_count}"
        if self.centre_index == self.slice_index:
            return text
        centre = self.centre_index + 1
        return f"{text}, centre in slice {centre}" if self.image else f"{text} (centre in {centre})"


@dataclass(frozen=True)
class ReaderPart:
    """What a reader made of the findings.

    Attributes:
        sentence: Who read it, when, and how many findings got which verdict.
        verdicts: Of the lesions by their number, in words.
        others: Findings that do not count, each with why: rejected, or not judged.
        preliminary: Why counts may change yet; empty where all of the scan was looked through and
            every finding judged.
    """

    sentence: str
    verdicts: Mapping[int, str]
    others: Sequence[tuple[Lesion, str]] = ()
    preliminary: str = "the reading is not finished"


@dataclass(frozen=True)
class Report:
    """What a report says, in plain values.

    Attributes:
        title: The scan's name.
        lesions: Rows of the table.
        pictures: Of lesions by their number; some may have none.
        overview: PNG of the whole scan.
        is_slice: Whether the scan is one slice.
        display: How pictures are shown.
        axes: Which way the coordinates run.
        warnings: Sentences.
        technique: What the scan is: (name, value).
        provenance: How the result came about: (name, value).
        notes: Further sentences under the summary.
        regions: Microbleeds of each region; empty where none was located.
        pattern: "strictly lobar", "strictly deep", "mixed", "none" or "unknown".
        coverage: Share of the brain that the scan covers, 0 to 1, NaN where it is not known.
        brain_ml: Brain that the scan shows, NaN where that is not known.
        technique_line: Sequence, field strength, echo time and voxel in a line.
        series_uid: Series Instance UID of a DICOM scan.
        simulated: Whether the model was trained and measured on simulated scans only.
        definite_from: Confidence from which a microbleed of 2 mm is definite, NaN if not known.
        ranked: Whether confidence only ranks the findings.
        isotropic: Whether voxels are as thick as they are wide.
        reading: What a reader made of it; None where no one has read it.
    """

    title: str
    lesions: Sequence[Lesion]
    pictures: dict[int, LesionPictures]
    overview: bytes
    is_slice: bool
    display: str
    axes: str = "world coordinates, to the patient's right, front and head"
    warnings: Sequence[str] = ()
    technique: Sequence[tuple[str, str]] = ()
    provenance: Sequence[tuple[str, str]] = ()
    notes: Sequence[str] = field(default_factory=tuple)
    regions: Sequence[RegionCount] = ()
    pattern: str = "unknown"
    coverage: float = math.nan
    brain_ml: float = math.nan
    technique_line: str = ""
    series_uid: str = ""
    simulated: bool = False
    definite_from: float = math.nan
    ranked: bool = False
    isotropic: bool = True
    reading: ReaderPart | None = None


def counted(lesions: Iterable[Lesion]) -> dict[Certainty, int]:
    """Return how many lesions there are of each certainty."""
    kinds = [one.certainty for one in lesions]
    return {kind: kinds.count(kind) for kind in Certainty}


def count_sentence(lesions: Sequence[Lesion]) -> str:
    """Return the count in words.

    >>> count_sentence(())
    'No microbleed found.'
    """
    number = counted(lesions)
    total = number[Certainty.DEFINITE] + number[Certainty.POSSIBLE]
    larger = number[Certainty.MACROHAEMORRHAGE]
    text = f"{total} microbleed{'' if total == 1 else 's'}: " + (
        f"{number[Certainty.DEFINITE]} definite, {number[Certainty.POSSIBLE]} possible."
    )
    if total == 0:
        text = "No microbleed found."
    if larger:
        noun = "haemorrhage" if larger == 1 else "haemorrhages"
        text += f" {larger} {noun} over 10 mm, not counted."
    return text


def lead_sentence(report: Report) -> str:
    """Return the count in words; of a reading only what the reader has accepted or added."""
    if report.reading is not None and not report.lesions:
        return "No microbleed accepted or added."
    return count_sentence(report.lesions)


def facts(report: Report) -> list[tuple[str, str, str]]:
    """Return the numbers of the summary: (kind, value, what it is)."""
    number = counted(report.lesions)
    small = microbleeds(report.lesions)
    sizes = sorted(one.diameter_mm for one in small if math.isfinite(one.diameter_mm))
    ends = dict.fromkeys(f"{size:.1f}" for size in sizes[:1] + sizes[-1:])
    span = "\u2013".join(ends) + " mm" if sizes else "n/a"
    volume_mm3 = math.fsum(one.volume_mm3 for one in small)
    cards = [
        ("total", str(len(small)), "microbleed" if len(small) == 1 else "microbleeds"),
        ("definite", str(number[Certainty.DEFINITE]), "definite"),
        ("possible", str(number[Certainty.POSSIBLE]), "possible"),
        ("size", span, "largest diameter"),
        ("size", f"{number_text(volume_mm3, 0)} mm³", "total volume"),
    ]
    if number[Certainty.MACROHAEMORRHAGE]:
        text = str(number[Certainty.MACROHAEMORRHAGE])
        cards.insert(3, ("macrohaemorrhage", text, "over 10 mm, not counted"))
    return cards


def part_text(coverage: float, brain_ml: float, *, both: bool = False) -> str:
    """Return what follows a class of less than the whole brain, "" of the whole one.

    Args:
        coverage: Share of the brain that the scan covers, 0 to 1, NaN where it is not known.
        brain_ml: Brain that the scan shows, NaN where that is not known.
        both: Whether it is the part that two scans share.

    >>> part_text(0.17, 200.0), part_text(0.97, 1200.0)
    (', in the 17% of the brain that the scan covers', '')
    """
    if coverage < WHOLE_BRAIN:
        who = "both scans cover" if both else "the scan covers"
        return f", in the {coverage:.0%} of the brain that {who}"
    if math.isnan(coverage) and brain_ml < WHOLE_BRAIN_ML:
        who = "both scans show" if both else "the scan shows"
        return f", in the {brain_ml:.0f} ml of brain that {who}"
    return ""


def aria_limits(warnings: Sequence[str]) -> str:
    """Return what a class of ARIA does not say, with what the warnings tell of all the same."""
    siderosis = any("siderosis" in text for text in warnings)
    told = "; for what may be siderosis see the warnings" if siderosis else ""
    return f"{OF_MICROHAEMORRHAGES}{told}"


def conclusions(report: Report) -> list[tuple[str, str]]:
    """Return the classes that follow from the counts: (what, which)."""
    count = len(microbleeds(report.lesions))
    definite = counted(report.lesions)[Certainty.DEFINITE]
    meaning = {
        "strictly lobar": "strictly lobar (cerebellum not counted either way)",
        "strictly deep": "strictly deep or brainstem (cerebellum not counted either way)",
        "mixed": "mixed: lobar, and deep or brainstem",
        "none": "none: no microbleed outside the cerebellum",
        "unknown": "not known: not all microbleeds are located",
    }
    part = part_text(report.coverage, report.brain_ml)
    baseline = class_text(baseline_burden, count, definite)
    pairs = [
        ("Burden", class_text(_burden_text, count, definite) + part),
        (
            "ARIA-H baseline class",
            f"{baseline} (classes 0, 1-4, over 4){part}; {aria_limits(report.warnings)}",
        ),
    ]
    if report.is_slice:
        pairs = [("Burden, ARIA", "not known: a single slice")]
    elif report.brain_ml < LEAST_BRAIN_ML:
        pairs = [
            ("Burden, ARIA", f"not known: the scan shows {report.brain_ml:.0f} ml of brain alone")
        ]
    elif count:
        # Both places are found: what was not scanned changes nothing.
        within = "" if report.pattern in ("mixed", "unknown") else part
        pairs.append(("Pattern", meaning.get(report.pattern, report.pattern) + within))
    if report.reading is not None and report.reading.preliminary:
        pairs.insert(0, ("Preliminary", f"{report.reading.preliminary}: classes may change"))
    if report.technique_line:
        pairs.append(("Technique", report.technique_line))
    return pairs


def _burden_text(count: int) -> str:
    return f"{burden_class(count)} microbleeds" if count else "none"


def located_regions(report: Report) -> list[RegionCount]:
    """Return the rows of the table of regions; none where nothing could be located."""
    rows = list(report.regions)
    return rows if any(row.total for row in rows if row.region != NOT_LOCATED) else []


def overview_text(report: Report) -> str:
    """Return what the overview shows."""
    text = "The slice" if report.is_slice else "Slices through the scan, each with its number"
    if not report.lesions:
        return f"{text}."
    if report.is_slice:
        return f"{text}, lesions outlined and numbered as in the table."
    return (
        f"{text}; a lesion is ringed, and numbered as in the table, on the slice shown that is "
        "nearest to it."
    )


def number_text(value: float, digits: int = 1) -> str:
    """Return a number, n/a where it is undefined.

    >>> number_text(2.04), number_text(float("nan"))
    ('2.0', 'n/a')
    """
    return f"{value:.{digits}f}" if math.isfinite(value) else "n/a"


def confidence_text(value: float) -> str:
    """Return a confidence with two digits; what is not 1 is not said to be 1.

    >>> confidence_text(0.996), confidence_text(1.0), confidence_text(0.51)
    ('>0.99', '1.00', '0.51')
    """
    text = number_text(value, 2)
    return ">0.99" if text == "1.00" and value < 1 else text


def place_text(lesion: Lesion) -> str:
    """Return where a lesion lies in words: its side and region.

    >>> from mmocnet.lesion import Certainty, Lesion
    >>> one = Lesion(1, "CMB 1", (0.0,) * 3, (0,) * 3, 1.0, 1.0, 1.0, 1.0, Certainty.DEFINITE)
    >>> place_text(one)
    'n/a'
    """
    known = [text for text in (lesion.side, lesion.region) if text != "n/a"]
    return " ".join(known) if known else "n/a"


def limits_text(report: Report) -> str:
    """Return what a report cannot know."""
    text = LIMITS if report.reading is None else REVIEWED_LIMITS
    return SIMULATED + text.removeprefix(FOUND) if report.simulated else text


def finding_name(report: Report, lesion: Lesion) -> str:
    """Return a lesion's name for captions.

    A reader's findings keep the machine's names, but what counts is numbered anew in the mask.
    """
    return lesion.name if report.reading is None else f"{lesion.name} (label {lesion.index})"


def confidence_words(report: Report, lesion: Lesion) -> str:
    """Return how sure the machine is of a lesion, and what a reader said, for captions."""
    if report.reading is None:
        return f"confidence {confidence_text(lesion.confidence)}"
    verdict = report.reading.verdicts.get(lesion.index, "n/a")
    if not math.isfinite(lesion.confidence):
        return verdict
    return f"{verdict}, machine's confidence {confidence_text(lesion.confidence)}"


def caption_text(report: Report, lesion: Lesion, pictures: LesionPictures) -> str:
    """Return where a lesion lies, its size, and how sure it is, for captions."""
    place = place_text(lesion)
    parts = [
        "" if place == "n/a" else place,
        "" if report.is_slice else pictures.slice_text,
        f"{number_text(lesion.diameter_mm)} mm",
        confidence_words(report, lesion),
    ]
    return ", ".join(filter(None, parts))


def table_note(report: Report) -> str:
    """Return what the columns of the lesion table mean."""
    whose, voxel = ", the machine's; n/a where the reader added it", ""
    if report.reading is None:
        whose, voxel = "", "Voxel: from 0, but slices are numbered from 1. "
    return (
        f"{_certainty_text(report)}Confidence{whose}: {_confidence_text(report)}. "
        f"Diameter: largest Feret diameter{_thickness_text(report)}. Equivalent: diameter of the "
        f"{'disc' if report.is_slice else 'sphere'} of the same size. Centre: {report.axes}. "
        f"{voxel}Region: n/a, not located."
    )


def _certainty_text(report: Report) -> str:
    """Return what definite and possible mean."""
    limit = f"{report.definite_from:.4g}"
    if math.isnan(report.definite_from):
        return ""
    if report.reading is None:
        return (
            f"Definite: confidence {limit} or more and 2 mm or more; possible: below that. The "
            "program's words, not a reader's. "
        )
    return (
        "Definite and possible: the reader's words; where there are none, definite from 2 mm and, "
        f"of the machine's findings, confidence {limit}. "
    )


def _thickness_text(report: Report) -> str:
    """Return what diameters leave out."""
    if report.isotropic:
        return ""
    return ", without the thickness of slices: it can be smaller than Equivalent"


def _confidence_text(report: Report) -> str:
    """Return what the confidence of this kind of scan is."""
    if report.ranked:
        return "of the networks; on so few slices it ranks the findings and is no probability"
    return (
        "the probability of being a microbleed as the model gives it, learnt on the scans that "
        "made the model; on other scanners it can be off"
    )
