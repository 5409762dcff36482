"""Settings that refuse values of another kind than their fields say."""

from numbers import Integral, Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from mmocnet.errors import InputError

WORDS: dict[Any, tuple[type, str]] = {
    float: (Real, "a number"),
    int: (Integral, "a whole number"),
    bool: (bool, "True or False"),
    str: (str, "a text"),
    tuple: (tuple, "a tuple"),
    Path: (Path, "a path"),
    NoneType: (NoneType, "None"),
}
"""What values of a kind are, and what they are called."""


class Checked:
    """Base of settings: a dataclass whose choices, numbers, texts and switches are what they say.

    A wrong word would else be taken for another choice, or fail far from here. What is in tuples
    is not looked at. A text becomes a path where one is expected, a path or a whole number a
    text, a list a tuple, and a number of NumPy's one of Python's, which JSON can hold.
    """

    def __post_init__(self) -> None:
        """Check each field.

        Raises:
            InputError: If one is of another kind, with its name and what it may be.
        """
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            as_said = _converted(value, _choices(kind))
            check_choice(name, as_said, kind)
            object.__setattr__(self, name, as_said)


def _converted(value: Any, choices: tuple[Any, ...]) -> object:
    # NumPy itself is not imported here: a command's help needs none.
    if type(value).__module__ == "numpy" and getattr(value, "ndim", None) == 0:
        return value.item()
    if isinstance(value, list) and any(get_origin(choice) is tuple for choice in choices):
        return tuple(value)
    if isinstance(value, str) and Path in choices:
        return Path(value)
    number = isinstance(value, int) and not isinstance(value, bool) and int not in choices
    if str in choices and (number or isinstance(value, Path)):
        return str(value)
    return value


def check_choice(name: str, value: object, kind: Any) -> None:
    """Refuse an argument that is not what its annotation says.

    Raises:
        InputError: With its name and what it may be.
    """
    if not _fits(value, kind):
        raise InputError(f"{name} must be {_said(kind)}, got {value!r}")


def _choices(kind: Any) -> tuple[Any, ...]:
    """Return the kinds of a union, else the kind itself."""
    return get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)


def _fits(value: object, kind: Any) -> bool:
    return any(_is_one(value, choice) for choice in _choices(kind))


def _is_one(value: object, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if kind in (float, int) and isinstance(value, bool):
        return False
    kind = get_origin(kind) or kind
    return kind not in WORDS or isinstance(value, WORDS[kind][0])


def _said(kind: Any) -> str:
    """Return what a field may be, in words.

    >>> _said(Literal["a", "b", "c"] | None)
    'a, b, c or None'
    >>> _said(float | None)
    'a number or None'
    """
    words: list[str] = []
    for choice in _choices(kind):
        if get_origin(choice) is Literal:
            words += map(str, get_args(choice))
        else:
            words.append(WORDS[get_origin(choice) or choice][1])
    *first, last = words
    return f"{', '.join(first)} or {last}" if first else last
