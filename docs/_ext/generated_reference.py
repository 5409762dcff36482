"""Sphinx extension: write the pages of options, settings and modules from the code."""

import ast
import dataclasses
import importlib
import inspect
import pkgutil
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

import mmocnet
from mmocnet.cli import COMMANDS

SETTINGS_MODULES = (
    "mmocnet.config.cascade",
    "mmocnet.config.training",
    "mmocnet.simulate.settings",
)
PRIVATE = ("mmocnet.__main__", "mmocnet.cli")


def field_texts(kind: type) -> dict[str, str]:
    """Return the docstring under each field of a dataclass."""
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


def field_types(kind: type) -> dict[str, str]:
    """Return the type of each field as it is written, without what is only for tyro."""
    body = ast.parse(inspect.cleandoc(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    types = {}
    for node in body.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            written = node.annotation
            if isinstance(written, ast.Subscript) and ast.unparse(written.value) == "Annotated":
                assert isinstance(written.slice, ast.Tuple)
                written = written.slice.elts[0]
            types[node.target.id] = ast.unparse(written)
    return types


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
        return "see there" if dataclasses.is_dataclass(value) else f"`{value!r}`"
    return "required"


def _table(kind: type, as_option: bool) -> list[str]:
    texts, types = field_texts(kind), field_types(kind)
    lines = ["| name | type | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(kind):
        name = f"--{field.name.replace('_', '-')}" if as_option else field.name
        written = types.get(field.name, "").replace("|", r"\|")
        default = _default(field).replace("|", r"\|")
        meaning = texts.get(field.name, "").replace("|", r"\|")
        lines.append(f"| `{name}` | `{written}` | {default} | {meaning} |")
    return lines


def _commands() -> str:
    lines = ["# Commands", "", "Generated from the code. `mmocnet COMMAND --help` prints the same."]
    for name, (kind, text) in COMMANDS.items():
        if importlib.util.find_spec(f"mmocnet.cli.{name}") is None:
            continue
        command = getattr(importlib.import_module(f"mmocnet.cli.{name}"), kind)
        lines += ["", f"## mmocnet {name}", "", f"{text[0].upper()}{text[1:]}.", ""]
        lines += _table(command, as_option=True)
    return "\n".join(lines) + "\n"


def _settings() -> str:
    lines = ["# Settings", "", "Generated from the code; every setting is a frozen dataclass."]
    for module_name in SETTINGS_MODULES:
        module = importlib.import_module(module_name)
        for kind in vars(module).values():
            if not (dataclasses.is_dataclass(kind) and kind.__module__ == module_name):
                continue
            assert isinstance(kind, type)
            text = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
            lines += ["", f"## {kind.__name__}", "", text, "", *_table(kind, as_option=False)]
    return "\n".join(lines) + "\n"


def _api() -> str:
    lines = ["# Python API", "", "Every module, in the order of its name.", ""]
    for found in pkgutil.walk_packages(mmocnet.__path__, "mmocnet."):
        if found.name.startswith(PRIVATE) or found.ispkg:
            continue
        lines += [f"## {found.name}", "", "```{eval-rst}", f".. automodule:: {found.name}"]
        lines += ["   :members:", "   :undoc-members:", "```", ""]
    return "\n".join(lines)


def _write(path: Path, text: str) -> None:
    # An unchanged page keeps its time, so that Sphinx does not read it again.
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def generate(app: Sphinx) -> None:
    """Write the generated pages below reference/generated."""
    folder = Path(app.srcdir) / "reference" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("commands", _commands()), ("settings", _settings()), ("api", _api())):
        _write(folder / f"{name}.md", text)


def setup(app: Sphinx) -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("builder-inited", generate)
    return {"parallel_read_safe": True}
