"""The phase that belongs to an SWI series."""

from collections.abc import Sequence

import numpy as np

from mmocnet.errors import InputError
from mmocnet.io.dicom.frames import Slice
from mmocnet.io.dicom.series import DicomSeries
from mmocnet.io.dicom.stack import stacked

SAME_ECHO_MS = 1.0
"""Echo times further apart are of different echoes."""


def matching_phase(
    series: Sequence[DicomSeries], swi: DicomSeries
) -> tuple[DicomSeries | None, tuple[str, ...]]:
    """Return the phase of an SWI: on its grid and of its echo, the nearest in number.

    Args:
        series: All that were found.
        swi: The one to be segmented.

    Returns:
        The series, None where there is none; a sentence where phase is left out for its echo.

    Raises:
        InputError: If the slices of the SWI cannot be stacked.
    """
    slices, _ = stacked(swi)
    same = [one for one in series if one.kind == "phase" and _fits(one, slices)]
    if not same:
        return None, ()
    here = swi.number or 0
    best = min(
        same,
        key=lambda one: (
            echo_distance_ms(one, swi.echo_ms),
            one.uid != swi.uid,
            abs((one.number or 0) - here),
        ),
    )
    if echo_distance_ms(best, swi.echo_ms) <= SAME_ECHO_MS:
        return best, ()
    return None, (
        f"the phase in {best.name} is not used: expected the echo time of {swi.name}, "
        f"{swi.echo_ms:g} ms, got {best.echo_ms:g} ms",
    )


def echo_distance_ms(series: DicomSeries, echo_ms: float) -> float:
    """Return how far a series' echo time is from another, to 0.1 ms.

    One that is not stated counts as just near enough: what is known to be nearer comes before it.
    """
    apart_ms = round(abs(series.echo_ms - echo_ms), 1)
    return SAME_ECHO_MS if np.isnan(apart_ms) else apart_ms


def _fits(phase: DicomSeries, swi: Sequence[Slice]) -> bool:
    try:
        slices, _ = stacked(phase)
    except InputError:
        return False
    one, other = slices[0], swi[0]
    return (
        len(slices) == len(swi)
        and (one.shape, one.study_uid, one.patient, one.reference_uid)
        == (other.shape, other.study_uid, other.patient, other.reference_uid)
        and np.allclose([a.position for a in slices], [b.position for b in swi], atol=0.05)
        and np.allclose(one.along_row, other.along_row, atol=1e-3)
        and np.allclose(one.along_column, other.along_column, atol=1e-3)
        and np.allclose(one.spacing_mm, other.spacing_mm, rtol=1e-3)
    )
