"""Tensors as a file, written whole or not at all; never pickled."""

from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from mmocnet.errors import MmocnetError
from mmocnet.io.atomic import replacing


def save_tensors(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None
) -> None:
    """Write tensors as safetensors; the file is replaced whole or stays as it was.

    Args:
        path: Its folder is made where it is missing.
        tensors: By name, on any device.
        metadata: Texts to keep beside them.

    Raises:
        MmocnetError: If they cannot be written, as on a full disk.
    """
    plain = {key: value.detach().cpu().contiguous() for key, value in tensors.items()}
    try:
        with replacing(path) as partial:
            save_file(plain, partial, metadata=metadata)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise MmocnetError(f"cannot write {path.parent.name}/{path.name}: {reason}") from error
