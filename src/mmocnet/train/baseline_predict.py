"""A trained baseline on whole scans: tiles, then lesions outlined as the cascade's are."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from mmocnet import __version__
from mmocnet.errors import ModelError
from mmocnet.io.dataset import write_json
from mmocnet.io.digest import file_sha256
from mmocnet.io.read import Scan, read_scan
from mmocnet.nets.checkpoint import load_weights
from mmocnet.nets.settings_json import settings_from_json, settings_to_json
from mmocnet.nets.tensor_file import save_tensors
from mmocnet.predict.findings import list_findings
from mmocnet.predict.fuse import CANDIDATE_FLOOR, outline_candidates, place_on_input
from mmocnet.predict.outputs import OutputFiles, output_files, write_outputs
from mmocnet.predict.provenance import FileOptions, given_record, is_done, read_mask
from mmocnet.predict.segmentation import Segmentation
from mmocnet.prepare.brain import brain_mask
from mmocnet.prepare.geometry import slice_axis
from mmocnet.prepare.refuse import check_scan, check_values
from mmocnet.prepare.slices import prepare_slices
from mmocnet.train.baseline_net import BaselineSettings, build
from mmocnet.types import FloatArray, Mask3D

WEIGHTS, SETTINGS = "baseline.safetensors", "baseline.json"
OVERLAP = 0.25
"""Of neighbouring tiles, whose middles count more."""
TILES_AT_ONCE = 2
MARGIN_PX = 16
"""Pixels of background kept around the brain, as for the cascade."""


@dataclass
class Baseline:
    """A trained network and all that is needed to use it.

    Attributes:
        settings: How it was built and trained, and its thresholds.
        network: In eval mode.
        card: On what it was trained and how it scored.
        name: Of the folder.
        sha256: Digest of the weights; empty before saving.
    """

    settings: BaselineSettings
    network: nn.Module
    card: dict[str, Any]
    name: str = "unsaved"
    sha256: str = ""


def save_baseline(folder: Path, baseline: Baseline) -> None:
    """Write weights, settings and card into a folder, made if missing."""
    folder.mkdir(parents=True, exist_ok=True)
    save_tensors(folder / WEIGHTS, baseline.network.state_dict())
    write_json(
        folder / SETTINGS,
        {"settings": settings_to_json(baseline.settings), "card": baseline.card},
    )


def load_baseline(folder: Path, device: str = "cpu") -> Baseline:
    """Return what `save_baseline` wrote.

    Raises:
        ModelError: If the folder holds no baseline, or a broken one.
        InputError: If MONAI is not installed.
    """
    try:
        data = json.loads((folder / SETTINGS).read_text(encoding="utf-8"))
        given, card = data["settings"], dict(data["card"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"expected a baseline's folder with {SETTINGS}, got {folder}") from error
    settings = settings_from_json(BaselineSettings, given, SETTINGS)
    network = build(settings)
    load_weights(network, folder / WEIGHTS)
    digest = file_sha256(folder / WEIGHTS)
    return Baseline(settings, network.to(device).eval(), card, folder.name, digest)


def predict_probability(
    baseline: Baseline, slices: NDArray[np.float32], brain: NDArray[np.bool_]
) -> FloatArray:
    """Return the probability of a microbleed on the working grid, 0 outside the brain.

    The network sees tiles as large as its training patches; where a scan is smaller than a tile
    its outermost slices, rows and columns are repeated.

    Args:
        baseline: The network.
        slices: Prepared slices, shape (S, R, C), 0..1.
        brain: Same shape.
    """
    probability = np.zeros(slices.shape, np.float32)
    if not brain.any():
        return probability
    box = _box(brain)
    device = next(baseline.network.parameters()).device
    block = torch.from_numpy(np.ascontiguousarray(slices[box]))
    with torch.inference_mode():
        if baseline.settings.network == "unet3d":
            logits = _tiled(baseline, block[None, None].to(device))[0, 0]
        else:
            planes = (plane[None, None].to(device) for plane in block)
            logits = torch.cat([_tiled(baseline, plane)[0] for plane in planes])
    probability[box] = torch.sigmoid(logits.float()).cpu().numpy()
    probability[~brain] = 0.0
    return probability


def _tiled(baseline: Baseline, images: Tensor) -> Tensor:
    from monai.inferers.utils import sliding_window_inference

    patch = baseline.settings.patch
    logits = sliding_window_inference(
        images,
        patch if images.ndim == 5 else patch[1:],
        TILES_AT_ONCE,
        baseline.network,
        overlap=OVERLAP,
        mode="gaussian",
        padding_mode="replicate",
    )
    assert isinstance(logits, Tensor)  # one output, as the network has
    return logits


def _box(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """Return the box of the brain; rows and columns with a margin, inside the scan."""
    spans = []
    for axis, margin in enumerate((0, MARGIN_PX, MARGIN_PX)):
        others = tuple(other for other in range(3) if other != axis)
        at = np.flatnonzero(mask.any(axis=others))
        end = min(int(at[-1]) + 1 + margin, mask.shape[axis])
        spans.append(slice(max(int(at[0]) - margin, 0), end))
    return spans[0], spans[1], spans[2]


def segment_scan(
    scan: Scan, baseline: Baseline, threshold: float | None = None, brain: Mask3D | None = None
) -> Segmentation:
    """Find and outline the microbleeds of one scan, and list them as the cascade's are.

    Args:
        scan: The SWI.
        baseline: The network.
        threshold: Confidence from which a candidate is a lesion; None takes the one with the
            best lesion F1 with few false calls on validation scans.
        brain: Brain mask, shape (I, J, K); None takes it from the scan.

    Raises:
        InputError: If the scan cannot be processed.
    """
    volume = scan.volume
    limits = baseline.settings.thresholds
    level = limits.balanced if threshold is None else threshold
    check_values(volume)
    brain = brain_mask(volume) if brain is None else brain
    slices = prepare_slices(volume, baseline.settings.preparation, brain)
    probability = predict_probability(baseline, slices.array, slices.brain)
    outlines = outline_candidates(probability)
    labels, placed = place_on_input(outlines, probability, slices.grid)
    findings = list_findings(volume.like(labels), outlines.confidence, brain, limits, level)
    lesions = np.where(findings.labels <= len(findings.lesions), findings.labels, 0)
    return Segmentation(
        image=volume,
        labels=volume.like(lesions),
        probability=volume.like(placed),
        candidate_labels=volume.like(findings.labels),
        lesions=findings.lesions,
        candidates=findings.candidates,
        siderosis=findings.siderosis,
        vessels=findings.vessels,
        warnings=(*scan.warnings, *check_scan(scan, brain)),
        slice_axis=slice_axis(volume),
        source=scan.source,
        provenance=_provenance(scan, baseline, level),
    )


def segment_baseline_file(
    path: Path,
    out: Path,
    baseline: Baseline,
    threshold: float | None = None,
    options: FileOptions | None = None,
) -> tuple[OutputFiles, Segmentation | None]:
    """Segment one file and write what `mmocnet segment` writes.

    Returns:
        The files, and what was found; None where it was there already.

    Raises:
        InputError: If the scan cannot be processed, or `out` holds other results of its name.
    """
    options = options or FileOptions()
    files = output_files(path, out)
    scan = read_scan(path, options.spacing_mm)
    brain = None if options.mask is None else read_mask(options.mask, scan.volume)
    level = baseline.settings.thresholds.balanced if threshold is None else threshold
    expected = _provenance(scan, baseline, level)
    expected["Input"] |= given_record(path, options)

    def done() -> bool:
        return not options.overwrite and is_done(files, expected)

    if done():
        return files, None
    result = segment_scan(scan, baseline, threshold, brain)
    return files, write_outputs(replace(result, provenance=expected), files, done)


def _provenance(scan: Scan, baseline: Baseline, threshold: float) -> dict[str, Any]:
    settings = baseline.settings
    return {
        "Version": __version__,
        "Model": {
            "Name": f"{baseline.name} ({settings.network}, a baseline)",
            "SHA256": {WEIGHTS: baseline.sha256},
            "Card": baseline.card,
        },
        "Input": {"Name": scan.volume.name, "SHA256": scan.sha256},
        "Settings": asdict(settings),
        "OperatingPoint": "balanced" if threshold == settings.thresholds.balanced else "given",
        "Threshold": threshold,
        "Thresholds": asdict(settings.thresholds),
        "CandidateFloor": CANDIDATE_FLOOR,
        "Device": next(baseline.network.parameters()).device.type,
        "Engine": "torch",
        "Seed": None,
    }
