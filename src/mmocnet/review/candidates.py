"""The machine's findings for a reading: two small files, read without networks and volumes."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmocnet.config import Thresholds
from mmocnet.errors import InputError
from mmocnet.io.atomic import replacing
from mmocnet.io.dataset import plain, write_json
from mmocnet.io.tables import candidate_rows
from mmocnet.lesion import Certainty, Lesion
from mmocnet.predict.segmentation import Segmentation
from mmocnet.review.finding import Finding, Grid, Voxels

TABLE, OUTLINES = "findings.json", "findings.npz"


@dataclass(frozen=True)
class MachineResult:
    """What a reading begins with.

    Attributes:
        grid: Of the scan.
        findings: The candidates in the order of their table, none with a verdict.
        provenance: How they came about, as `segment_file` wrote it; plain JSON values.
        warnings: Sentences about the scan or the result.
    """

    grid: Grid
    findings: tuple[Finding, ...]
    provenance: dict[str, Any]
    warnings: tuple[str, ...] = ()

    @property
    def threshold(self) -> float:
        """Confidence from which a candidate is a lesion."""
        return float(self.provenance["Threshold"])

    @property
    def thresholds(self) -> Thresholds:
        """The model's operating points for this scan."""
        return Thresholds(**self.provenance["Thresholds"])


def candidates_of(result: Segmentation) -> MachineResult:
    """Return the candidates of a segmentation."""
    labels, record = result.candidate_labels, result.provenance
    rows = candidate_rows(
        result.candidates,
        [one.index for one in result.lesions],
        result.siderosis,
        result.vessels,
    )
    outlines = voxels_of(labels.array)
    findings = tuple(
        Finding(
            f"m{one.index}",
            "machine",
            outlines[one.index],
            one.confidence,
            one,
            str(row["status"]),
        )
        for one, row in zip(result.candidates, rows, strict=True)
    )
    grid = Grid(labels.shape, labels.affine, result.slice_axis, _to_mni(record))
    return MachineResult(grid, findings, plain(record), tuple(result.warnings))


def _to_mni(record: dict[str, Any]) -> NDArray[np.float64] | None:
    location = record.get("Location") or {}
    matrix = location.get("WorldToMni") if location.get("Ok") else None
    return None if matrix is None else np.asarray(matrix, np.float64)


def voxels_of(labels: NDArray[np.integer[Any]]) -> dict[int, Voxels]:
    """Return the flat voxel indices of each label above 0.

    Args:
        labels: Shape (I, J, K).
    """
    flat = labels.ravel()
    at = np.flatnonzero(flat > 0)
    numbers = flat[at].astype(np.int64)
    order = np.argsort(numbers, kind="stable")
    found, starts = np.unique(numbers[order], return_index=True)
    parts = np.split(at[order].astype(np.uint32), starts[1:])
    return dict(zip(found.tolist(), parts, strict=False))


def write_candidates(folder: Path, result: MachineResult) -> None:
    """Write `findings.json` and `findings.npz`; the first is written last.

    Raises:
        InputError: If the folder cannot be written to.
    """
    grid = result.grid
    sizes = [one.voxels.size for one in result.findings]
    held = [one.voxels for one in result.findings] or [np.zeros(0, np.uint32)]
    with replacing(folder / OUTLINES) as partial:
        np.savez(partial, voxels=np.concatenate(held), sizes=np.array(sizes, np.int64))
    content = {
        "Shape": list(grid.shape),
        "Affine": np.asarray(grid.affine, np.float64).tolist(),
        "SliceAxis": grid.slice_axis,
        "Findings": [_row(one) for one in result.findings],
        "Warnings": list(result.warnings),
        "Provenance": result.provenance,
    }
    write_json(folder / TABLE, content)


def _row(one: Finding) -> dict[str, Any]:
    lesion = one.machine
    assert lesion is not None
    fields = {key: getattr(lesion, key) for key in lesion.__dataclass_fields__}
    return fields | {"certainty": lesion.certainty.value, "status": one.status}


def read_candidates(folder: Path) -> MachineResult:
    """Read what `write_candidates` wrote.

    Raises:
        InputError: If it is missing or damaged.
    """
    try:
        content = json.loads((folder / TABLE).read_text(encoding="utf-8"))
        # Opened here: NumPy leaves a damaged file open.
        with (folder / OUTLINES).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            voxels, sizes = arrays["voxels"].astype(np.uint32), arrays["sizes"]
        parts = np.split(voxels, np.cumsum(sizes)[:-1]) if len(sizes) else []
        findings = tuple(
            _finding(row, outline) for row, outline in zip(content["Findings"], parts, strict=True)
        )
        i, j, k = content["Shape"]
        affine = np.asarray(content["Affine"], np.float64)
        record = content["Provenance"]
        grid = Grid((i, j, k), affine, content["SliceAxis"], _to_mni(record))
        return MachineResult(grid, findings, record, tuple(content["Warnings"]))
    except FileNotFoundError as error:
        raise InputError(f"expected {TABLE} and {OUTLINES} of a result") from error
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise InputError(f"{TABLE} or {OUTLINES} of a result is damaged") from error


def _finding(row: dict[str, Any], outline: Voxels) -> Finding:
    values = {
        key: float("nan") if row[key] is None else row[key]
        for key in ("volume_mm3", "diameter_mm", "diameter_eq_mm", "confidence")
    }
    x, y, z = row["centre_mm"]
    i, j, k = row["centre_voxel"]
    lesion = Lesion(
        index=row["index"],
        name=row["name"],
        centre_mm=(x, y, z),
        centre_voxel=(i, j, k),
        certainty=Certainty(row["certainty"]),
        region=row["region"],
        side=row["side"],
        group=row["group"],
        **values,
    )
    name = f"m{lesion.index}"
    return Finding(name, "machine", outline, lesion.confidence, lesion, row["status"])
