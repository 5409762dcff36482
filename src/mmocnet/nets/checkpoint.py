"""A trained cascade as a folder of safetensors and JSON; nothing is ever unpickled."""

import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from mmocnet.config import CascadeSettings
from mmocnet.errors import ModelError
from mmocnet.io.digest import file_sha256
from mmocnet.nets.card import shipped_folder
from mmocnet.nets.classifier import Classifier
from mmocnet.nets.detector import Detector
from mmocnet.nets.device import check_device
from mmocnet.nets.model_settings import model_card, model_settings
from mmocnet.nets.segmenter import Segmenter
from mmocnet.nets.settings_json import settings_to_json
from mmocnet.nets.tensor_file import save_tensors

MODEL_NAMES = ("standard", "compact", "paper")
NETWORKS = ("detector", "segmenter", "classifier")
"""A cascade's networks in the order of use; the last one is not in every model."""
DIGEST_FILE = "SHA256SUMS"


@dataclass
class Cascade:
    """Both networks and all that is needed to use them.

    Attributes:
        settings: Widths, preparation, ROI size, thresholds.
        detector: Stage 1, in eval mode when loaded.
        segmenter: Stage 2, in eval mode when loaded.
        classifier: Stage 2's second opinion, or None, in eval mode when loaded.
        card: Model card data: dataset, seed, version, scores, command, hardware, time.
        name: Name of the shipped model, or of the folder.
        sha256: Digest of each weight file by its name; empty before saving.
    """

    settings: CascadeSettings
    detector: Detector
    segmenter: Segmenter
    card: dict[str, Any]
    name: str = "unsaved"
    sha256: dict[str, str] = field(default_factory=dict)
    classifier: Classifier | None = None

    def networks(self) -> dict[str, nn.Module]:
        """Return the networks that there are, by name."""
        found = {name: getattr(self, name) for name in NETWORKS}
        return {name: network for name, network in found.items() if network is not None}


def model_folder(name_or_folder: str | Path) -> Path:
    """Return the folder of a shipped model's name, or of a path.

    Raises:
        ModelError: If the model has not been trained yet, or the folder does not exist.
    """
    name = str(name_or_folder)
    if name in MODEL_NAMES:
        folder = shipped_folder() / name
        if folder.is_dir():
            return folder
        shipped = [n for n in MODEL_NAMES if (shipped_folder() / n).is_dir()]
        use = f"use {' or '.join(shipped)}" if shipped else "give a folder of your own training"
        raise ModelError(f"the model {name!r} has not been trained yet: {use}")
    folder = Path(name_or_folder)
    if not folder.is_dir():
        raise ModelError(f"expected a model folder or one of {MODEL_NAMES}, got {folder.name!r}")
    return folder


def save_cascade(folder: str | Path, cascade: Cascade) -> dict[str, str]:
    """Write a model folder: weights in float16, settings, card, digests.

    The folder appears whole or not at all.

    Returns:
        SHA-256 of each weight file.

    Raises:
        ModelError: If a weight is not finite in float16.
        MmocnetError: If the weights cannot be written.
    """
    folder = Path(folder)
    partial = folder.with_name(folder.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    digests = {}
    for name, network in cascade.networks().items():
        file = weight_file(name)
        save_tensors(partial / file, _half(network, file))
        # safetensors keeps its files to their owner; a model is for all to read.
        (partial / file).chmod(0o644)
        digests[file] = file_sha256(partial / file)
    _write_json(partial / "settings.json", settings_to_json(cascade.settings))
    _write_json(partial / "card.json", cascade.card)
    lines = "".join(f"{digest}  {file}\n" for file, digest in digests.items())
    (partial / DIGEST_FILE).write_text(lines, encoding="utf-8")
    move_cascade(partial, folder)
    return digests


def move_cascade(folder: Path, place: Path) -> None:
    """Move a model folder, whole, to where another may be; that one is deleted afterwards."""
    before = place.with_name(place.name + ".before")
    shutil.rmtree(before, ignore_errors=True)
    if place.exists():
        place.rename(before)
    folder.rename(place)
    shutil.rmtree(before, ignore_errors=True)


def load_cascade(name_or_folder: str | Path, device: str | torch.device = "cpu") -> Cascade:
    """Return a cascade ready to use, in eval mode and float32.

    Args:
        name_or_folder: compact, standard, paper, or a folder that training wrote.
        device: Where the networks go.

    Raises:
        ModelError: If the model was never trained, or its folder is incomplete or altered.
        InputError: If a GPU is asked for that is not there.
    """
    check_device(device)
    folder = model_folder(name_or_folder)
    _check_complete(folder, ("settings.json", "card.json", DIGEST_FILE))
    settings = model_settings(folder)
    cascade = Cascade(
        settings,
        Detector(settings.detector),
        Segmenter(settings.segmenter),
        model_card(folder),
        folder.name,
        classifier=None if settings.classifier is None else Classifier(settings.classifier),
    )
    networks = cascade.networks()
    cascade.sha256 = _checked_digests(folder, [weight_file(name) for name in networks])
    for name, network in networks.items():
        load_weights(network, folder / weight_file(name))
        network.eval().to(device)
    return cascade


def weight_file(network: str) -> str:
    """Return the name of a network's file in a model folder."""
    return f"{network}.safetensors"


def classifier_of(name_or_folder: str | Path | None) -> Path | None:
    """Return the weight file of a model's classifier; None where there is no model or none."""
    if name_or_folder is None:
        return None
    path = model_folder(name_or_folder) / weight_file("classifier")
    return path if path.is_file() else None


def load_weights(network: nn.Module, path: Path) -> None:
    """Put the weights of a safetensors file into a network, in float32.

    Raises:
        ModelError: If the file does not fit the network, or holds weights that are not finite.
    """
    told = f"{path.parent.name}/{path.name} does not fit its settings"
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise ModelError(told) from error
    _put(network, {key: value.float() for key, value in weights.items()}, told)
    check_finite(weights, f"{path.parent.name}/{path.name}")


def _put(network: nn.Module, weights: dict[str, Tensor], told: str) -> None:
    """Put weights into a network, or say what is told where they are not all that it has."""
    try:
        missing, extra = network.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise ModelError(told) from error
    if extra or any(not key.endswith("num_batches_tracked") for key in missing):
        raise ModelError(told)


def start_from(network: nn.Module, path: Path) -> None:
    """Put the weights of a like network, which may see less, into a network.

    Where the network sees more slices than the file's did, or its classifier more after what
    the file's saw, the new channels start without effect: at first it answers as the other did.

    Raises:
        ModelError: If the file does not fit the network, is not what the SHA256SUMS beside it
            says, or holds weights that are not finite.
    """
    _checked_digests(path.parent, [path.name])
    with torch.no_grad():
        wide = {key: value for key, value in network.state_dict().items() if value.ndim == 4}
        try:
            weights = {key: value.float() for key, value in load_file(path).items()}
        except (SafetensorError, OSError) as error:
            raise ModelError(f"expected weights to start from in {path.name}") from error
        check_finite(weights, f"{path.parent.name}/{path.name}")
        for key, value in weights.items():
            ours = wide.get(key)
            if ours is not None and _sees_less(value, ours):
                # One slice is the middle one; of several channels new ones are the last.
                first = ours.shape[1] // 2 if value.shape[1] == 1 else 0
                weights[key] = torch.zeros_like(ours, dtype=torch.float32)
                weights[key][:, first : first + value.shape[1]] = value
        _put(network, weights, f"{path.name} does not fit the networks that start from it")


def _sees_less(weights: Tensor, wide: Tensor) -> bool:
    """Return whether a convolution's weights are those of a like one with fewer input channels."""
    if weights.ndim != 4 or weights.shape[1] >= wide.shape[1]:
        return False
    return weights.shape[0] == wide.shape[0] and weights.shape[2:] == wide.shape[2:]


def _half(network: nn.Module, file: str) -> dict[str, Tensor]:
    halves = {
        key: value.to(torch.float16)
        for key, value in network.state_dict().items()
        if not key.endswith("num_batches_tracked")
    }
    check_finite(halves, file)
    return halves


def check_finite(weights: dict[str, Tensor], file: str) -> None:
    """Refuse weights of a file that are not finite.

    Raises:
        ModelError: If one is not; its tensor is named.
    """
    bad = [key for key, value in weights.items() if not bool(torch.isfinite(value).all())]
    if bad:
        raise ModelError(f"expected finite weights, got others in {bad[0]} of {file}")


def _check_complete(folder: Path, files: Iterable[str]) -> None:
    for file in files:
        if not (folder / file).is_file():
            raise ModelError(f"the model folder {folder.name!r} is incomplete: {file} is missing")


def _checked_digests(folder: Path, files: Sequence[str]) -> dict[str, str]:
    _check_complete(folder, (*files, DIGEST_FILE))
    # Bytes that are no UTF-8 are then in no digest.
    lines = (folder / DIGEST_FILE).read_text(encoding="utf-8", errors="replace").splitlines()
    recorded = {words[1]: words[0] for words in map(str.split, lines) if len(words) == 2}
    for file in files:
        if recorded.get(file) != file_sha256(folder / file):
            raise ModelError(
                f"{folder.name}/{file} was altered: its SHA-256 is not the one in {DIGEST_FILE}"
            )
    return {file: recorded[file] for file in files}


def _write_json(path: Path, data: Any) -> None:
    path.write_text(json.dumps(data, indent=2) + "\n", encoding="utf-8")
