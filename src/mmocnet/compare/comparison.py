"""Two visits compared: start reading here."""

from dataclasses import dataclass

import numpy as np

from mmocnet.compare.match import Change, State, count_new, list_changes
from mmocnet.compare.protocol import protocol_warnings
from mmocnet.compare.visit import CompareSettings, Visit
from mmocnet.errors import InputError
from mmocnet.io.burden import LEAST_BRAIN_ML, aria_h_grade, aria_h_text, burden_class
from mmocnet.lesion import Certainty
from mmocnet.locate.rigid import SURE_CORRELATION, SURE_DETAIL, RigidAlignment, align
from mmocnet.types import FloatArray

EMPTY_SHARE = 0.2
"""Of a brain that the other scan does not cover: more is told."""
BRAIN_SAMPLES = 20_000
"""Voxels of a brain that are looked up in the other scan."""


@dataclass(frozen=True)
class Comparison:
    """What became of the lesions between two visits.

    Attributes:
        baseline: The first visit.
        follow_up: The second.
        alignment: Of the second to the first.
        changes: Every lesion of both, new ones first.
        warnings: One sentence for each doubt.
        settings: What they were compared with.
        made: When, ISO 8601; empty where it is not to be told.
    """

    baseline: Visit
    follow_up: Visit
    alignment: RigidAlignment
    changes: tuple[Change, ...]
    warnings: tuple[str, ...]
    settings: CompareSettings
    made: str = ""

    def count(self, state: State) -> int:
        """Return the number of microbleeds in a state; macrohaemorrhages are left out."""
        return len(self.microbleeds(state))

    def microbleeds(self, state: State) -> list[Change]:
        """Return the microbleeds in a state."""
        macro = Certainty.MACROHAEMORRHAGE
        found = [one for one in self.changes if one.state is state]
        return [one for one in found if one.certainty is not macro]

    @property
    def outgrown(self) -> int:
        """Number of microbleeds at baseline that are macrohaemorrhages at follow-up."""
        return sum(one.outgrew for one in self.changes)

    @property
    def new_class(self) -> str:
        """ARIA-H class of the new microbleeds: none, 1-4, 5-9, 10 or more."""
        return burden_class(self.count(State.NEW))

    @property
    def grade(self) -> str:
        """Radiographic grade of that class."""
        return aria_h_grade(self.count(State.NEW))

    @property
    def new_definite(self) -> int:
        """Number of new microbleeds that are definite."""
        return count_new(self.changes)[Certainty.DEFINITE]

    @property
    def is_fragment(self) -> bool:
        """Whether both scans show too little of one brain for a class."""
        return shared_brain(self)[1] < LEAST_BRAIN_ML

    @property
    def new_text(self) -> str:
        """Class and grade, and those by the definite ones alone where they are others."""
        if self.is_fragment:
            return f"not known: both scans show {shared_brain(self)[1]:.0f} ml of brain alone"
        return aria_h_text(self.count(State.NEW), self.new_definite)


def compare_visits(
    baseline: Visit, follow_up: Visit, settings: CompareSettings | None = None
) -> Comparison:
    """Register two visits of one person and tell what became of each lesion.

    Args:
        baseline: The first visit.
        follow_up: The second.
        settings: Tolerance and what counts as growth; None takes the defaults.

    Raises:
        InputError: If a scan is a single slice, a setting is out of range, or the scans cannot
            be registered.
        DependencyError: If SimpleITK is not installed.
    """
    settings = CompareSettings() if settings is None else settings
    _check(baseline, follow_up, settings)
    alignment = align(baseline.image, baseline.brain, follow_up.image, follow_up.brain)
    if not alignment.ok:
        raise InputError(
            f"expected two scans of one person, but the follow-up ({follow_up.image.name}) cannot "
            f"be registered to the baseline ({baseline.image.name}): {alignment.why}"
        )
    changes = list_changes(baseline, follow_up, alignment, settings)
    warnings = [
        *registration_warnings(baseline, follow_up, alignment),
        *protocol_warnings(baseline, follow_up),
        *method_warnings(baseline, follow_up),
        *coverage_warnings(baseline, follow_up, alignment),
        *_doubts(changes),
        *(f"baseline: {text}" for text in baseline.warnings),
        *(f"follow-up: {text}" for text in follow_up.warnings),
    ]
    return Comparison(baseline, follow_up, alignment, changes, tuple(warnings), settings)


def _check(baseline: Visit, follow_up: Visit, settings: CompareSettings) -> None:
    for visit in (baseline, follow_up):
        if 1 in visit.image.shape:
            raise InputError(
                f"expected a volume to compare, got a single slice in {visit.image.name}"
            )
        if not visit.brain.any():
            raise InputError(f"expected a brain, got none in {visit.image.name}")
    # What is not a number is neither less nor more, so it is asked for what is right.
    if not 0 <= settings.tolerance_mm < np.inf:
        raise InputError(f"tolerance_mm must be 0 or more, got {settings.tolerance_mm}")
    if not (settings.growth_ratio >= 1 and settings.growth_mm3 >= 0):
        raise InputError(
            "growth_ratio must be 1 or more and growth_mm3 0 or more, got "
            f"{settings.growth_ratio} and {settings.growth_mm3}"
        )


def registration_warnings(
    baseline: Visit, follow_up: Visit, alignment: RigidAlignment
) -> list[str]:
    """Return what makes it doubtful that both scans are visits of one person, well registered."""
    first, second = (visit.provenance.get("Input", {}) for visit in (baseline, follow_up))
    if first and first.get("SHA256") == second.get("SHA256"):
        return ["both visits are the same images"]
    warnings = []
    if baseline.date and follow_up.date and follow_up.date < baseline.date:
        warnings.append("the study of the follow-up is dated before that of the baseline: swapped?")
    if alignment.exchanged:
        warnings.append(
            f"the header of one scan seems to exchange {alignment.exchanged}, as the scans fit "
            "clearly better in a mirror: lesions are matched wrongly then, and new ones may be none"
        )
    elif alignment.detail < SURE_DETAIL:
        warnings.append(
            f"fine structures of the registered scans correlate by {alignment.detail:.2f} only: "
            "check that both are of one person, and with protocols that can be compared"
        )
    if alignment.correlation < SURE_CORRELATION:
        warnings.append(
            f"the registered scans correlate by {alignment.correlation:.2f} only: look at the "
            "pictures, lesions can be matched wrongly"
        )
    return warnings


def method_warnings(baseline: Visit, follow_up: Visit) -> list[str]:
    """Return how the lesions of the second visit were found otherwise than those of the first."""
    phases = baseline.phase_read, follow_up.phase_read
    if (phases[0] is None) != (phases[1] is None):
        which = "first" if phases[0] is None else "second"
        return [
            f"lesions of the {which} visit were given, those of the other segmented: what differs "
            "between reader and model can seem new or not seen"
        ]
    if phases[0] == phases[1]:
        return []
    which = "first" if phases[0] else "second"
    return [
        f"phase was read at the {which} visit alone: confidences differ for that reason too, and "
        "lesions can seem new or not seen"
    ]


def coverage_warnings(baseline: Visit, follow_up: Visit, alignment: RigidAlignment) -> list[str]:
    """Return whether a large part of a brain lies outside the other scan."""
    first, second = _held(baseline, follow_up, alignment)
    return [
        f"{1 - share:.0%} of the brain seen at {name} lies outside the other scan, "
        "or where that holds only zeros: lesions there are not covered"
        for name, share in (("follow-up", second), ("baseline", first))
        if share < 1 - EMPTY_SHARE
    ]


def shared_brain(comparison: Comparison) -> tuple[float, float]:
    """Return the share of the brain that both scans cover, NaN where not known, and its ml."""
    visits = comparison.baseline, comparison.follow_up
    held = _held(*visits, comparison.alignment)
    parts = np.array([visit.covered for visit in visits]) * np.array(held)[:, None]
    share, seen_ml = np.fmin(*parts)
    return float(share), float(seen_ml)


def _held(baseline: Visit, follow_up: Visit, alignment: RigidAlignment) -> tuple[float, float]:
    """Return the share of each visit's brain, 0 to 1, that lies where the other was scanned."""
    back = np.linalg.inv(alignment.matrix)
    first = _held_share(baseline, follow_up, back)
    return first, _held_share(follow_up, baseline, alignment.matrix)


def _held_share(own: Visit, other: Visit, matrix: FloatArray) -> float:
    voxels = np.argwhere(own.brain & own.coverage.scanned)
    places = own.image.world(voxels[:: max(1, len(voxels) // BRAIN_SAMPLES)].astype(float))
    held = other.coverage.holds(places @ matrix[:3, :3].T + matrix[:3, 3])
    return float(held.mean()) if held.size else 1.0


def _doubts(changes: tuple[Change, ...]) -> list[str]:
    """Return what makes single findings doubtful."""
    before = [
        str(one.index)
        for one in changes
        if one.state is State.NEW and np.isfinite(one.below_threshold)
    ]
    if not before:
        return []
    text, they = ("lesion has", "it") if len(before) == 1 else ("lesions have", "they")
    lesions = "lesion" if len(before) == 1 else "lesions"
    return [
        f"{len(before)} new {text} a candidate below the threshold at the first visit: {they} may "
        f"have been there ({lesions} {', '.join(before)}; confidence in brackets)"
    ]


def summary_sentence(comparison: Comparison) -> str:
    """Return the result in a sentence."""
    new = comparison.count(State.NEW)
    kinds = count_new(comparison.changes)
    text = f"{new} new microbleed{'' if new == 1 else 's'}"
    if new:
        text += f" ({kinds[Certainty.DEFINITE]} definite, {kinds[Certainty.POSSIBLE]} possible)"
    rest = [
        f"{comparison.count(state)} {state}"
        for state in (State.GROWN, State.STABLE, State.NOT_SEEN, State.NOT_COVERED)
        if comparison.count(state) or state in (State.STABLE, State.GROWN)
    ]
    text = f"{text}; {', '.join(rest)}."
    larger = kinds[Certainty.MACROHAEMORRHAGE]
    if larger:
        noun = "haemorrhage" if larger == 1 else "haemorrhages"
        text += f" {larger} new {noun} over 10 mm, not counted."
    outgrown = comparison.outgrown
    if outgrown:
        grew = "microbleed has" if outgrown == 1 else "microbleeds have"
        text += f" {outgrown} {grew} grown over 10 mm into a haemorrhage, not counted."
    return text
