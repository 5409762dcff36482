"""Take a series apart: images of one kind, echo and image type."""

from collections.abc import Iterator, Sequence

import numpy as np

from mmocnet.io.dicom.frames import Slice
from mmocnet.io.dicom.series import DicomSeries
from mmocnet.io.dicom.stack import main_orientation, places_of
from mmocnet.io.dicom.vendors import Kind, kinds_of
from mmocnet.types import Triple

SAME_ECHO = 0.02
"""Echo times within this share of each other may be one: a header rounds, and settings drift."""


def parts_of(slices: Sequence[Slice]) -> Iterator[DicomSeries]:
    """Yield the images of one series by kind and echo, and by image type where types share places.

    Args:
        slices: Of one Series Instance UID.
    """
    kinds = kinds_of(one.looks for one in slices)
    groups: dict[Kind, list[Slice]] = {}
    for one in slices:
        groups.setdefault(kinds[one.looks][0], []).append(one)
    for same in groups.values():
        for echo in _echoes(same):
            types = _types(echo)
            for group in types:
                looks = group[0].looks
                kind, why = kinds[looks]
                yield DicomSeries(
                    uid=group[0].series_uid,
                    number=group[0].series_number,
                    kind=kind,
                    why=f"{why}, {looks.said_type}" if len(types) > 1 else why,
                    slices=tuple(group),
                    echo_ms=looks.echo_ms,
                    repeats=min(len(place) for place in places_of(main_orientation(group))),
                    types=len(types),
                )


def _echoes(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Return slices by their echo. A time that jitters within a stack is one echo."""
    groups: dict[float, list[Slice]] = {}
    for one in slices:
        groups.setdefault(round(np.nan_to_num(one.looks.echo_ms), 2), []).append(one)
    echoes: list[list[Slice]] = []
    taken: set[Triple] = set()
    for echo_ms, group in sorted(groups.items()):
        places = {one.position for one in group}
        near = echoes and echo_ms <= (1 + SAME_ECHO) * echoes[-1][0].looks.echo_ms
        if near and taken.isdisjoint(places):
            echoes[-1] += group
            taken |= places
        else:
            echoes.append(group)
            taken = places
    return echoes


def _types(slices: list[Slice]) -> list[list[Slice]]:
    """Return slices by their image type where several share a place, else all as they are."""
    if all(
        len({one.looks.image_type for one in place}) == 1
        for place in places_of(main_orientation(slices))
    ):
        return [slices]
    types: dict[tuple[str, ...], list[Slice]] = {}
    for one in slices:
        types.setdefault(one.looks.image_type, []).append(one)
    return list(types.values())
