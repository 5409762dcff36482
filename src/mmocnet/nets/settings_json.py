"""Settings dataclasses to and from plain JSON values."""

import math
from dataclasses import asdict, fields, is_dataclass
from types import UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from mmocnet.errors import ModelError

S = TypeVar("S")


def settings_to_json(settings: Any) -> dict[str, Any]:
    """Return a settings dataclass as plain dictionaries, lists and numbers."""
    return asdict(settings)


def settings_from_json(kind: type[S], data: Any, where: str) -> S:
    """Return a settings dataclass from plain values.

    A key that is missing keeps its default, so that older files stay readable.

    Args:
        kind: The dataclass.
        data: What `settings_to_json` returned, perhaps through a file.
        where: What errors call the source.

    Raises:
        ModelError: If a key is unknown, or a value is not of its field's type or not finite.
    """
    if not isinstance(data, dict):
        raise ModelError(f"expected a table of settings, got {type(data).__name__} in {where}")
    hints = get_type_hints(kind)
    names = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(names))
    if unknown:
        raise ModelError(f"unknown settings {unknown} in {where}, expected among {names}")
    values = {key: _value(hints[key], value, f"{where}: {key}") for key, value in data.items()}
    return kind(**values)


def _value(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if is_dataclass(hint):
        return settings_from_json(hint, value, where)  # type: ignore[arg-type]
    if origin in (Union, UnionType):
        inner = [a for a in get_args(hint) if a is not type(None)]
        return None if value is None else _value(inner[0], value, where)
    if origin is tuple:
        return _tuple(get_args(hint), value, where)
    if origin is Literal:
        if value in get_args(hint):
            return value
        raise ModelError(f"expected one of {get_args(hint)}, got {value!r} in {where}")
    return _scalar(hint, value, where)


def _tuple(kinds: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if not isinstance(value, list | tuple):
        raise ModelError(f"expected a list, got {value!r} in {where}")
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(value)
    if len(kinds) != len(value):
        raise ModelError(f"expected {len(kinds)} values, got {len(value)} in {where}")
    return tuple(_value(k, v, where) for k, v in zip(kinds, value, strict=True))


def _scalar(kind: type, value: Any, where: str) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        raise ModelError(f"expected a finite number, got {value} in {where}")
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    # bool is an int to Python, but true is no width.
    if isinstance(value, kind) and not (kind is int and isinstance(value, bool)):
        return value
    raise ModelError(f"expected {kind.__name__}, got {value!r} in {where}")
