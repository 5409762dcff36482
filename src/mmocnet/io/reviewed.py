"""What a reader made of a scan's candidates: one BIDS derivative, written and read here alone.

`derivatives/reviewed/sub-*/[ses-*/]anat/STEM_desc-reviewed_dseg.nii.gz` holds the outline of
everything that was judged, the table beside it the verdicts, the sidecar whether the reader has
looked through the whole scan. The documentation's page on files has each column.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import numpy as np

from mmocnet.errors import InputError
from mmocnet.io.dataset import DatasetScan, nifti_ending, read_tsv, stem, write_json, write_tsv
from mmocnet.io.nifti import read_nifti, write_nifti
from mmocnet.lesion import Certainty
from mmocnet.types import Triple
from mmocnet.volume import Volume

FOLDER = "reviewed"
SUFFIX = "_desc-reviewed_dseg"
COLUMNS = {
    "index": "value in the label image; 0 for a rejected candidate without an outline",
    "name": "what reports call it, as CMB 1",
    "verdict": "accept: a microbleed. reject: none. added: a microbleed that the model missed",
    "reason": "why it was rejected: vessel, calcification, iron, cavernoma, artefact, siderosis, "
    "other; or n/a",
    "reader": "pseudonym of who decided",
    "source": "who drew the outline. model. edited: model, then reader. reader",
    "x_mm": "centre, world RAS+ mm",
    "y_mm": "centre, world RAS+ mm",
    "z_mm": "centre, world RAS+ mm",
    "confidence": "the model's, 0 to 1; n/a where added",
    "certainty": "definite, possible, or macrohaemorrhage, which is over 10 mm and not counted; "
    "n/a where rejected",
    "certainty_by": "who says so. reader. model. size: its diameter alone",
    "id": "what the log of the reader's edits calls it; n/a without a log",
}
NEEDED = ("index", "verdict", "reader", "source", "x_mm", "y_mm", "z_mm")


class Verdict(StrEnum):
    """What a reader says of a finding."""

    ACCEPT = "accept"
    REJECT = "reject"
    ADDED = "added"


class Source(StrEnum):
    """Who drew an outline."""

    MODEL = "model"
    EDITED = "edited"
    READER = "reader"


@dataclass(frozen=True)
class Judged:
    """One row of a review.

    Attributes:
        index: Value in the label image, from 1; 0 for a rejected candidate without an outline.
        verdict: Accept, reject or added.
        centre_mm: World RAS+ mm.
        reader: Pseudonym of who decided.
        source: Who drew the outline.
        reason: Why it was rejected, "n/a" otherwise.
        confidence: The model's; NaN where added.
        name: What reports call it.
        certainty: "definite", "possible" or "macrohaemorrhage"; "n/a" where rejected.
        certainty_by: "reader", "model" or "size"; "n/a" where rejected.
        id: What the log of the reader's edits calls it.
    """

    index: int
    verdict: Verdict
    centre_mm: Triple
    reader: str
    source: Source = Source.MODEL
    reason: str = "n/a"
    confidence: float = float("nan")
    name: str = "n/a"
    certainty: str = "n/a"
    certainty_by: str = "n/a"
    id: str = "n/a"

    @property
    def microbleed(self) -> bool:
        """Whether the reader says that it is one."""
        return self.verdict is not Verdict.REJECT


@dataclass(frozen=True)
class Review:
    """The review of one scan.

    Attributes:
        labels: Outlines by number, shape (I, J, K), on the scan's grid.
        rows: The verdicts.
        complete: Whether the reader has looked through the whole scan, so that what has no
            outline is no microbleed.
    """

    labels: Volume
    rows: tuple[Judged, ...]
    complete: bool

    def microbleeds(self) -> Volume:
        """Return the label image of the accepted and added ones that count.

        A macrohaemorrhage does not, and is none of the rejected either.
        """
        kept = [
            row.index
            for row in self.rows
            if row.microbleed and row.certainty != Certainty.MACROHAEMORRHAGE
        ]
        array = self.labels.array
        return self.labels.like(np.where(np.isin(array, kept), array, 0).astype(np.int16))

    def rejected(self) -> tuple[Judged, ...]:
        """Return the rows that the reader rejected."""
        return tuple(row for row in self.rows if not row.microbleed)


def review_path(dataset: Path, image: Path) -> Path:
    """Return where the label image of a scan's review lies, there or not.

    Args:
        dataset: BIDS folder that the scan belongs to.
        image: The scan, inside it.
    """
    visit = image.parent.relative_to(dataset)
    return dataset / "derivatives" / FOLDER / visit / f"{stem(image.name)}{SUFFIX}.nii.gz"


def write_review(
    dataset: Path, image: Path, review: Review, about: Mapping[str, Any] | None = None
) -> Path:
    """Write label image, table and sidecar of a scan's review; return the label image's path.

    Args:
        dataset: BIDS folder that the scan belongs to.
        image: The scan, inside it.
        review: What the reader made of it.
        about: What else the sidecar says, as where the scan is and how it was read.

    Raises:
        InputError: If rows and outlines do not belong together, or nothing can be written there.
    """
    path = review_path(dataset, image)
    _check(review, path.name)
    base = path.name.removesuffix(".nii.gz")
    root = dataset / "derivatives" / FOLDER / "dataset_description.json"
    if not root.exists():
        write_json(
            root,
            {
                "Name": "Reviewed microbleeds",
                "BIDSVersion": "1.10.0",
                "DatasetType": "derivative",
                "GeneratedBy": [{"Name": "mmocnet"}],
            },
        )
    rows = [_cells(row) for row in review.rows]
    write_tsv(path.with_name(f"{base}.tsv"), list(COLUMNS), rows)
    columns = {name: {"Description": text} for name, text in COLUMNS.items()}
    said = {"Complete": review.complete, **(about or {}), **columns}
    write_json(path.with_name(f"{base}.json"), said)
    # Last, for it says that the review is there.
    write_nifti(path, review.labels, np.int16)
    return path


def read_review(path: Path) -> Review:
    """Read a review by its label image.

    Raises:
        InputError: If table or sidecar are missing, or rows and outlines do not belong together.
    """
    base = path.name.removesuffix(nifti_ending(path.name))
    table, sidecar = path.with_name(f"{base}.tsv"), path.with_name(f"{base}.json")
    for needed in (table, sidecar):
        if not needed.is_file():
            raise InputError(f"expected {needed.name} beside {path.name}")
    volume = read_nifti(path)
    labels = volume.like(np.rint(volume.array).astype(np.int16))
    review = Review(labels, _rows(read_tsv(table), table.name), read_complete(sidecar))
    _check(review, path.name)
    return review


def read_complete(sidecar: Path) -> bool:
    """Return whether a review's sidecar says that the reader has looked through the whole scan.

    Raises:
        InputError: If it is missing or holds no JSON object.
    """
    try:
        return json.loads(sidecar.read_text(encoding="utf-8")).get("Complete") is True
    except FileNotFoundError as error:
        raise InputError(f"expected {sidecar.name} beside the review's label image") from error
    except (ValueError, AttributeError) as error:
        raise InputError(f"expected a JSON object in {sidecar.name}") from error


def find_review(dataset: Path, scan: DatasetScan) -> Review | None:
    """Return the review of a dataset's scan, None where there is none."""
    path = review_path(dataset, scan.image)
    for there in (path, path.with_name(path.name.removesuffix(".gz"))):
        if there.is_file():
            return read_review(there)
    return None


def _cells(row: Judged) -> dict[str, object]:
    x, y, z = row.centre_mm
    return {
        **{key: getattr(row, key) for key in COLUMNS if hasattr(row, key)},
        "verdict": row.verdict.value,
        "source": row.source.value,
        **{"x_mm": float(x), "y_mm": float(y), "z_mm": float(z)},
    }


def _rows(table: Sequence[dict[str, str]], name: str) -> tuple[Judged, ...]:
    rows = []
    for number, row in enumerate(table, 2):
        missing = [key for key in NEEDED if key not in row]
        if missing:
            raise InputError(f"expected the column {missing[0]} in {name}")
        try:
            rows.append(_row(row))
        except ValueError as error:
            raise InputError(
                f"expected numbers, a verdict of {', '.join(Verdict)} and a source of "
                f"{', '.join(Source)} in line {number} of {name}, got {error}"
            ) from error
    return tuple(rows)


def _row(row: dict[str, str]) -> Judged:
    confidence = row.get("confidence", "n/a")
    return Judged(
        index=int(row["index"]),
        verdict=Verdict(row["verdict"]),
        centre_mm=(float(row["x_mm"]), float(row["y_mm"]), float(row["z_mm"])),
        reader=row["reader"],
        source=Source(row["source"]),
        reason=row.get("reason", "n/a"),
        confidence=float("nan") if confidence == "n/a" else float(confidence),
        **{key: row.get(key, "n/a") for key in ("name", "certainty", "certainty_by", "id")},
    )


def _check(review: Review, name: str) -> None:
    """Refuse outlines without a verdict, verdicts without an outline, and a number twice."""
    listed = [row.index for row in review.rows if row.index != 0]
    if len(set(listed)) != len(listed):
        raise InputError(f"expected each index once in the table of {name}")
    drawn = set(np.unique(review.labels.array).tolist()) - {0}
    if drawn != set(listed):
        odd = sorted(drawn ^ set(listed))[0]
        raise InputError(f"expected one row for each outline of {name}, got {odd} on one side only")
    if any(row.microbleed and row.index == 0 for row in review.rows):
        raise InputError(f"expected an outline of each microbleed in {name}, got index 0")
