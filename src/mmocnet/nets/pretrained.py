"""Weights of an ImageNet ResNet-34 for the detector's encoder."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from mmocnet.errors import InputError, ModelError
from mmocnet.nets.checkpoint import check_finite
from mmocnet.nets.detector import Detector

ENTRANCE = "stages.0.0.first.0.weight"
"""The first convolution of the detector's stage 2, which a ResNet has for 64 channels."""


def load_pretrained_encoder(detector: Detector, path: str | Path) -> tuple[str, ...]:
    """Put ImageNet ResNet-34 weights into the detector's stages 2 to 5.

    Stage 2's first convolution and projection have no counterpart (ResNet-34 has 64 input
    channels there, the detector its 32 of the stem) and stay as they are, as do stem and decoder.

    Args:
        detector: With ResNet-34's widths (.., 64, 128, 256, 512) and blocks (3, 4, 6, 3).
        path: Safetensors with torchvision's names, as `layer1.0.conv1.weight`.

    Returns:
        Names of the detector's tensors that were filled.

    Raises:
        InputError: If the file cannot be read or nothing in it is a ResNet's.
        ModelError: If its weights are of other shapes, or not finite.
    """
    path = Path(path)
    try:
        weights = load_file(path)
    except (SafetensorError, OSError) as error:
        raise InputError(f"expected a safetensors file, got {path.name}") from error
    state = detector.state_dict()
    found = {name: weights[theirs] for name in state if (theirs := _resnet_name(name)) in weights}
    if not found:
        raise InputError(f"expected ResNet-34 weights (layer1.0.conv1.weight, ..), got {path.name}")
    for name, tensor in list(found.items()):
        if tensor.shape == state[name].shape:
            continue
        if name != ENTRANCE:
            raise ModelError(
                f"expected ResNet-34 weights, and stage 1 as of the paper preset, for {path.name}: "
                f"{_resnet_name(name)} is {tuple(tensor.shape)}, not {tuple(state[name].shape)}"
            )
        del found[name]
    check_finite(found, path.name)
    detector.load_state_dict(found, strict=False)
    return tuple(found)


def _resnet_name(name: str) -> str:
    """Return torchvision's name of a tensor of the detector's stages, "" for others."""
    kind, *words = name.split(".")
    if kind != "stages":
        return ""
    stage, block, part, layer, tensor = words
    prefix = f"layer{int(stage) + 1}.{block}"
    if part == "shortcut":
        return f"{prefix}.downsample.{layer}.{tensor}"
    number = "1" if part == "first" else "2"
    return f"{prefix}.{'conv' if layer == '0' else 'bn'}{number}.{tensor}"
