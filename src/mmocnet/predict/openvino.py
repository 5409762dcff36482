"""Run networks with OpenVINO on a CPU: exactly, or stage 1 in 8 bits.

A network is converted once and kept in the user's cache folder under a hash of its weights.
"""

import contextlib
import hashlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from mmocnet.errors import InputError
from mmocnet.predict.engine import Runner
from mmocnet.prepare.neighbours import stack
from mmocnet.types import FloatArray

STREAMS = 2
"""Slices at work at a time, one each: faster than one slice on all threads (measured)."""
EXAMPLE_SIDE = 64
"""Side of the image that a network is traced on, where it takes any."""
CACHE_VERSION = 1
"""Raised whenever conversion or quantisation changes."""


def openvino_runner(network: nn.Module, calibration: FloatArray | None = None) -> Runner:
    """Return a network run by OpenVINO, with as many threads as torch has.

    Args:
        network: In eval mode; its first convolution tells its input channels.
        calibration: Inputs (N, C, H, W) that tell the range of each activation: the network is
            then run in 8 bits. None runs it exactly.

    Raises:
        InputError: If a package is missing.
    """
    model = _cached_model(network, calibration)
    threads = torch.get_num_threads()
    streams = min(STREAMS, threads)
    options = {
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": threads,
        # Else processors that have it compute in bfloat16.
        "INFERENCE_PRECISION_HINT": "f32",
    }
    compiled = _package("openvino").Core().compile_model(model, "CPU", options)

    def run(batches: Iterable[FloatArray]) -> Iterator[FloatArray]:
        free = [compiled.create_infer_request() for _ in range(streams)]
        busy: deque[Any] = deque()
        try:
            for batch in batches:
                if not free:
                    free.append(busy.popleft())
                    yield _logits(free[-1])
                request = free.pop()
                request.start_async({0: np.ascontiguousarray(batch, dtype=np.float32)})
                busy.append(request)
            while busy:
                yield _logits(busy.popleft())
        finally:
            for request in busy:
                request.wait()

    return run


def _logits(request: Any) -> FloatArray:
    request.wait()
    return np.array(request.get_output_tensor(0).data, dtype=np.float32)


@cache
def calibration_slices(channels: int) -> Float[np.ndarray, "n c h w"]:
    """Return simulated slices with their neighbours, to calibrate stage 1 with.

    They ship with the package, so that the same weights always give the same network.
    """
    with (files("mmocnet.predict") / "calibration.npz").open("rb") as file:
        blocks = np.load(file)["slices"].astype(np.float32) / 255
    return np.concatenate([stack(block, range(len(block)), 1, channels) for block in blocks])


def cache_folder() -> Path:
    """Return the user's folder of converted networks."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "mmocnet" / "openvino"


def _cached_model(network: nn.Module, calibration: FloatArray | None) -> Any:
    """Return a converted network from the cache folder, where it is put if it is not there."""
    openvino = _package("openvino")
    path = cache_folder() / f"{_key(network, calibration)}.xml"
    if path.is_file():
        # What another program did to the file is mended by converting again.
        with contextlib.suppress(RuntimeError):
            return openvino.Core().read_model(path)
    model = _converted(network)
    if calibration is not None:
        model = _quantised(model, calibration)
    # A folder that cannot be written costs time at the next start, nothing else.
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            made = Path(folder) / path.name
            openvino.save_model(model, made, compress_to_fp16=False)
            made.with_suffix(".bin").replace(path.with_suffix(".bin"))
            made.replace(path)
    return model


def _key(network: nn.Module, calibration: FloatArray | None) -> str:
    """Return a hash of all that the converted network depends on."""
    version = _package("openvino").__version__
    digest = hashlib.sha256(f"{CACHE_VERSION} {version} {network}".encode())
    for name, value in network.state_dict().items():
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    if calibration is not None:
        digest.update(_package("nncf").__version__.encode() + calibration.tobytes())
    return digest.hexdigest()[:32]


def _converted(network: nn.Module) -> Any:
    openvino = _package("openvino")
    first = next(module for module in network.modules() if isinstance(module, nn.Conv2d))
    side = getattr(getattr(network, "settings", None), "size", EXAMPLE_SIDE)
    shape = openvino.PartialShape([-1, first.in_channels, -1, -1])
    example = torch.zeros(1, first.in_channels, side, side)
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        # The networks' checks of shape are no part of the graph, which tracing warns of.
        warnings.simplefilter("ignore")
        return openvino.convert_model(network, example_input=example, input=[shape])


def _quantised(model: Any, calibration: FloatArray) -> Any:
    nncf = _package("nncf")
    nncf.set_log_level(logging.ERROR)
    data = nncf.Dataset([one[None] for one in calibration])
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        return nncf.quantize(
            model,
            data,
            preset=nncf.QuantizationPreset.MIXED,
            target_device=nncf.TargetDevice.CPU,
            subset_size=len(calibration),
        )


def _package(name: str) -> Any:
    """Return an optional package.

    Raises:
        InputError: If it is missing.
    """
    # Both packages report their use to their maker if they find this module; scans of patients
    # are read here, so nothing is reported.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        if name == "nncf":
            import nncf

            return nncf
        import openvino

        return openvino
    except ImportError as error:
        raise InputError(
            f"expected the package {name} for engine openvino or openvino-int8, got none: "
            "pip install 'mmocnet[openvino]'"
        ) from error
