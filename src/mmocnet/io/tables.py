"""The lesion table: its columns, what they mean, and its rows."""

from collections.abc import Iterable
from pathlib import Path

from mmocnet.errors import InputError
from mmocnet.io.dataset import read_tsv
from mmocnet.lesion import Certainty, Lesion

SIDE_LEVELS = {"left": "The patient's left", "right": "The patient's right"}
GROUP_LEVELS = {
    "lobar": "Cortex and the white matter below it, and the insula",
    "deep": "Deep nuclei, capsules, corpus callosum, deep and periventricular white matter",
    "infratentorial": "Brainstem and cerebellum",
}

LESION_COLUMNS = {
    "index": {"Description": "Value of the lesion in the label image"},
    "name": {"Description": "Name of the lesion"},
    "x_mm": {
        "Description": "Centroid, world axis to the patient's right; of a picture to its right, "
        "whichever side of the patient that is",
        "Units": "mm",
    },
    "y_mm": {"Description": "Centroid, world axis to the patient's front", "Units": "mm"},
    "z_mm": {"Description": "Centroid, world axis to the patient's head", "Units": "mm"},
    "i": {"Description": "Voxel nearest the centroid, first axis of the image, from 0"},
    "j": {"Description": "Voxel nearest the centroid, second axis of the image, from 0"},
    "k": {"Description": "Voxel nearest the centroid, third axis of the image, from 0"},
    "volume_mm3": {"Description": "Volume of the outline", "Units": "mm3"},
    "diameter_mm": {"Description": "Largest Feret diameter", "Units": "mm"},
    "diameter_eq_mm": {
        "Description": "Diameter of the sphere of the same volume; on a slice, of the disc "
        "of the same area",
        "Units": "mm",
    },
    "confidence": {
        "Description": "Probability of being a microbleed as the model gives it, 0 to 1; of models "
        "without calibration, and, of models without a classifier, on fewer than 8 slices, a score "
        "that ranks the findings"
    },
    "certainty": {
        "Description": "How sure the finding is",
        "Levels": {
            "definite": "Confidence at or above the report threshold",
            "possible": "Confidence below the report threshold, or under 2 mm",
            "macrohaemorrhage": "Over 10 mm; not counted as a microbleed",
        },
    },
    "region": {"Description": "Region of the Microbleed Anatomical Rating Scale, where known"},
    "side": {"Description": "Side of the brain, where known", "Levels": SIDE_LEVELS},
    "group": {"Description": "Group of the region, where known", "Levels": GROUP_LEVELS},
}

SET_ASIDE = ("siderosis", "vessel")
"""Status of candidates at or above the threshold that are not counted, for their shape."""
CANDIDATE_COLUMNS = {key: LESION_COLUMNS[key] for key in LESION_COLUMNS if key != "certainty"} | {
    "status": {
        "Description": "What became of the candidate",
        "Levels": {
            "lesion": "In the lesion table, with the same index",
            "below threshold": "Confidence below the operating threshold",
            "siderosis": "Long, thin and superficial: not counted",
            "vessel": "Long, thin, over 10 mm, deep, below the report threshold: not counted",
        },
    },
}


def lesion_row(lesion: Lesion) -> dict[str, object]:
    """Return a lesion as the cells of its row."""
    x, y, z = (round(value, 3) for value in lesion.centre_mm)
    i, j, k = lesion.centre_voxel
    return {
        "index": lesion.index,
        "name": lesion.name,
        "x_mm": x,
        "y_mm": y,
        "z_mm": z,
        "i": i,
        "j": j,
        "k": k,
        "volume_mm3": lesion.volume_mm3,
        "diameter_mm": lesion.diameter_mm,
        "diameter_eq_mm": lesion.diameter_eq_mm,
        "confidence": round(lesion.confidence, 5),
        "certainty": str(lesion.certainty),
        "region": lesion.region,
        "side": lesion.side,
        "group": lesion.group,
    }


def candidate_rows(
    candidates: Iterable[Lesion],
    lesions: Iterable[int],
    siderosis: Iterable[int],
    vessels: Iterable[int],
) -> list[dict[str, object]]:
    """Return the candidates' rows with what became of each.

    Args:
        candidates: All of them.
        lesions: Indices of those that are lesions.
        siderosis: Indices of those that look like superficial siderosis.
        vessels: Indices of those that look like vessels.
    """
    status = dict.fromkeys(lesions, "lesion") | dict.fromkeys(siderosis, "siderosis")
    status |= dict.fromkeys(vessels, "vessel")
    return [
        lesion_row(one) | {"status": status.get(one.index, "below threshold")} for one in candidates
    ]


def _number(cell: str) -> float:
    return float("nan") if cell == "n/a" else float(cell)


def read_lesions(path: Path) -> tuple[Lesion, ...]:
    """Return the lesions of a table that this module's rows were written to.

    Raises:
        InputError: If a column is missing or a cell cannot be read.
    """
    try:
        return tuple(_lesion(row) for row in read_tsv(path))
    except (KeyError, ValueError) as error:
        raise InputError(f"expected a lesion table, got {error} in {path.name}") from error


def _lesion(row: dict[str, str]) -> Lesion:
    return Lesion(
        index=int(row["index"]),
        name=row["name"],
        centre_mm=(_number(row["x_mm"]), _number(row["y_mm"]), _number(row["z_mm"])),
        centre_voxel=(int(row["i"]), int(row["j"]), int(row["k"])),
        volume_mm3=_number(row["volume_mm3"]),
        diameter_mm=_number(row["diameter_mm"]),
        diameter_eq_mm=_number(row["diameter_eq_mm"]),
        confidence=_number(row["confidence"]),
        certainty=Certainty(row.get("certainty", "possible")),
        region=row["region"],
        # Tables of version 0.1 have no side and group.
        side=row.get("side", "n/a"),
        group=row.get("group", "n/a"),
    )
