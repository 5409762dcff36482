"""Predictions on single planes from a folder: whatever a tool left for each picture."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mmocnet.errors import InputError
from mmocnet.evaluate.cases import as_probability, read_image
from mmocnet.evaluate.facts import table_beside
from mmocnet.evaluate.instances import (
    Instances,
    Prediction,
    ProbabilityMap,
    from_mask,
    read_candidates,
)
from mmocnet.evaluate.planes import ReferencePlane
from mmocnet.io.lesion_labels import are_numbers
from mmocnet.io.picture import picture_array

_ENDINGS = (".png", ".tif", ".tiff", ".nii.gz", ".nii")
_CANDIDATES, _PROBABILITY = "_desc-candidates_dseg", "_label-CMB_probseg"
_MASKS = ("_desc-cmb_dseg", "_mask", "")


def folder_predictions(folder: Path, planes: list[ReferencePlane]) -> list[Prediction]:
    """Read the prediction of each plane from a folder, searched to its depth.

    For the plane STEM the first of these that exists is taken: `STEM_desc-candidates_dseg` with
    its table, `STEM_label-CMB_probseg` or `STEM.npy` (a probability of each pixel), then
    `STEM_desc-cmb_dseg`, `STEM_mask` or `STEM` (a mask or numbered lesions). Pictures are rows
    by columns as shown; NIfTI slices are as `segment` writes them.

    Raises:
        InputError: If a plane has no prediction, or one of another shape.
    """
    if not folder.is_dir():
        raise InputError(f"expected a folder of predictions, got {folder.name!r}, which is none")
    files = {_name(path): path for path in sorted(folder.rglob("*")) if path.is_file()}
    missing = [plane.stem for plane in planes if _first(files, plane.stem) is None]
    if missing:
        raise InputError(
            f"no prediction for {len(missing)} of {len(planes)} planes in {folder.name}: "
            + ", ".join(missing[:10])
        )
    return [_read(files, plane) for plane in planes]


def _name(path: Path) -> str:
    """Return a file's name, its ending in small letters."""
    lower = path.name.lower()
    ending = next((one for one in (*_ENDINGS, ".npy") if lower.endswith(one)), "")
    return path.name[: len(lower) - len(ending)] + ending


def _first(files: dict[str, Path], stem: str) -> tuple[str, Path] | None:
    for part in (_CANDIDATES, _PROBABILITY, *_MASKS):
        endings = (*_ENDINGS, ".npy") if part in (_PROBABILITY, "") else _ENDINGS
        for ending in endings:
            path = files.get(f"{stem}{part}{ending}")
            if path is not None:
                return (_PROBABILITY if ending == ".npy" else part), path
    return None


def _read(files: dict[str, Path], plane: ReferencePlane) -> Prediction:
    found = _first(files, plane.stem)
    assert found is not None  # the caller has checked
    part, path = found
    array = _pixels(path, plane)
    prediction: Instances | ProbabilityMap
    if part == _CANDIDATES:
        prediction = read_candidates(array, path.with_name(f"{plane.stem}{part}.tsv"))
    elif part == _PROBABILITY:
        prediction = ProbabilityMap(as_probability(array))
    else:
        prediction = from_mask(array, are_numbers(array, table_beside(path)))
    return prediction


def _pixels(path: Path, plane: ReferencePlane) -> NDArray[np.generic]:
    if path.suffix.lower() == ".npy":
        array = np.load(path, allow_pickle=False)
    else:
        array = picture_array(read_image(path, plane.pixel_mm))
    if array.shape != plane.mask.shape:
        raise InputError(f"expected {plane.mask.shape} pixels, got {array.shape} in {path.name}")
    return np.asarray(array)
