"""How options are shown: as what they take, their texts without the code's line ends."""

import ast
import inspect
from dataclasses import is_dataclass, replace
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import tyro
from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec, PrimitiveTypeInfo

REGISTRY = ConstructorRegistry()
"""What tyro is told of types."""


@REGISTRY.primitive_rule
def optional(info: PrimitiveTypeInfo) -> PrimitiveConstructorSpec[Any] | None:
    """Return how `X | None` is read: as X, and shown as X rather than as {None}|X."""
    members = get_args(info.type)
    given = [member for member in members if member is not NoneType]
    if get_origin(info.type) not in (Union, UnionType) or len(given) != 1 or len(members) != 2:
        return None
    inner = ConstructorRegistry.get_primitive_spec(PrimitiveTypeInfo.make(given[0], info.markers))
    if not isinstance(inner, PrimitiveConstructorSpec):
        return None
    return replace(
        inner,
        is_instance=lambda value: value is None or inner.is_instance(value),
        str_from_instance=lambda value: (
            ["none"] if value is None else inner.str_from_instance(value)
        ),
    )


def field_texts(kind: type) -> dict[str, str]:
    """Return the docstring under each field of a dataclass, each in one line."""
    body = ast.parse(inspect.cleandoc(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    texts = {}
    for field, after in zip(body.body, body.body[1:], strict=False):
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.target, ast.Name)
            and isinstance(after, ast.Expr)
            and isinstance(after.value, ast.Constant)
        ):
            texts[field.target.id] = " ".join(str(after.value.value).split())
    return texts


@cache
def join_texts(kind: type) -> None:
    """Give tyro the text of each option, and of those within them, in one line.

    It would break a line of help wherever the code breaks one of a docstring.
    """
    for name, text in field_texts(kind).items():
        hint = kind.__annotations__[name]
        kind.__annotations__[name] = Annotated[hint, tyro.conf.arg(help=text)]
    for hint in get_type_hints(kind).values():
        if isinstance(hint, type) and is_dataclass(hint):
            join_texts(hint)
