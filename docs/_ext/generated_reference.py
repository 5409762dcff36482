"""Sphinx extension: write the pages of commands, settings and the API from the code."""

import ast
import contextlib
import dataclasses
import importlib
import inspect
import io
import os
import pkgutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mmocnet
from mmocnet.cli import COMMANDS, NOTICE, main
from mmocnet.cli.shown import field_texts

if TYPE_CHECKING:
    from sphinx.application import Sphinx

WIDTH = 80
"""Columns of a command's help, as many as the page shows without scrolling."""

SETTINGS_MODULES = (
    "mmocnet.config.cascade",
    "mmocnet.config.training",
    "mmocnet.simulate.settings",
    "mmocnet.simulate.dataset",
    "mmocnet.train.finetune_settings",
    "mmocnet.train.experiment_settings",
    "mmocnet.evaluate.score",
    "mmocnet.compare.visit",
    "mmocnet.predict.provenance",
    "mmocnet.cohort.settings",
)
NO_SETTINGS = ("Visit", "CaseScore", "Report", "SubjectResult", "Beside")
"""Other dataclasses of these modules."""

PRIVATE = ("mmocnet.__main__", "mmocnet.cli")


def field_types(kind: type) -> dict[str, str]:
    """Return the type of each field as it is written."""
    body = ast.parse(inspect.cleandoc(inspect.getsource(kind))).body[0]
    assert isinstance(body, ast.ClassDef)
    return {
        node.target.id: ast.unparse(node.annotation)
        for node in body.body
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)
    }


def _default(field: dataclasses.Field[Any]) -> str:
    if field.default is not dataclasses.MISSING:
        return f"`{field.default!r}`"
    if field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
        return "see there" if dataclasses.is_dataclass(value) else f"`{value!r}`"
    return "required"


def _table(kind: type) -> list[str]:
    texts, types = field_texts(kind), field_types(kind)
    lines = ["| name | type | default | meaning |", "|---|---|---|---|"]
    for field in dataclasses.fields(kind):
        written = types.get(field.name, "").replace("|", r"\|")
        default = _default(field).replace("|", r"\|")
        meaning = texts.get(field.name, "").replace("|", r"\|")
        lines.append(f"| `{field.name}` | `{written}` | {default} | {meaning} |")
    return lines


def help_of(name: str) -> str:
    """Return what `mmocnet NAME --help` prints where a line has `WIDTH` columns."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(WIDTH)
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            main([name, "--help"])
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
    # A terminal breaks the long lines above the boxes; a page does not.
    lines = [textwrap.wrap(line, WIDTH) or [""] for line in printed.getvalue().splitlines()]
    return "\n".join(part.rstrip() for line in lines for part in line).strip()


def _commands() -> str:
    lines = ["# Commands", "", NOTICE, "", "What `mmocnet COMMAND --help` prints."]
    for name in COMMANDS:
        lines += ["", f"## mmocnet {name}", "", "```text", help_of(name), "```"]
    return "\n".join(lines) + "\n"


def _settings() -> str:
    lines = ["# Settings", "", NOTICE, ""]
    lines += ["Generated from the code; every setting is a frozen dataclass."]
    for module_name in SETTINGS_MODULES:
        module = importlib.import_module(module_name)
        for kind in vars(module).values():
            if not (dataclasses.is_dataclass(kind) and kind.__module__ == module_name):
                continue
            assert isinstance(kind, type)
            if kind.__name__ in NO_SETTINGS:
                continue
            text = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
            lines += ["", f"## {kind.__name__}", "", f"`{module_name}.{kind.__name__}`. {text}", ""]
            lines += _table(kind)
    return "\n".join(lines) + "\n"


def _directive(name: str) -> list[str]:
    """Return what documents a public name."""
    thing = getattr(mmocnet, name)
    if not isinstance(thing, type):
        return [f".. autofunction:: mmocnet.{name}"]
    kind = "autoexception" if issubclass(thing, BaseException) else "autoclass"
    return [f".. {kind}:: mmocnet.{name}", "   :members:"]


def _public() -> str:
    lines = [
        "# Public API",
        "",
        NOTICE,
        "",
        "What `from mmocnet import NAME` gives. {doc}`../../how-to/python` shows it at work.",
    ]
    calls = [name for name in mmocnet.__all__ if not isinstance(getattr(mmocnet, name), type)]
    for name in [*calls, *(name for name in mmocnet.__all__ if name not in calls)]:
        lines += ["", f"## {name}", "", "```{eval-rst}", *_directive(name), "```"]
    return "\n".join(lines) + "\n"


def _modules() -> str:
    lines = [
        "# Modules",
        "",
        NOTICE,
        "",
        "Every module, in the order of its name. What `from mmocnet import NAME` gives is on the",
        "page of the {doc}`public API <public>` alone.",
        "",
    ]
    names = [
        "mmocnet",
        *(found.name for found in pkgutil.walk_packages(mmocnet.__path__, "mmocnet.")),
    ]
    for name in names:
        if name.startswith(PRIVATE):
            continue
        module = importlib.import_module(name)
        lines += [f"## {name}", "", "```{eval-rst}", f".. automodule:: {name}"]
        if hasattr(module, "__path__"):
            given = getattr(module, "__all__", ())
            lines += ["", f"   Gives {', '.join(f'``{one}``' for one in given)}."] if given else []
        else:
            lines += ["   :members:", "   :undoc-members:"]
            elsewhere = [one for one in mmocnet.__all__ if getattr(mmocnet, one).__module__ == name]
            lines += [f"   :exclude-members: {', '.join(elsewhere)}"] if elsewhere else []
        lines += ["```", ""]
    return "\n".join(lines)


PAGES = {"commands": _commands, "settings": _settings, "public": _public, "api": _modules}


def _write(path: Path, text: str) -> None:
    # An unchanged page keeps its time, so that Sphinx does not read it again.
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def generate(app: "Sphinx") -> None:
    """Write the generated pages below reference/generated."""
    folder = Path(app.srcdir) / "reference" / "generated"
    folder.mkdir(parents=True, exist_ok=True)
    for name, page in PAGES.items():
        _write(folder / f"{name}.md", page())


def setup(app: "Sphinx") -> dict[str, bool]:
    """Connect to Sphinx."""
    app.connect("builder-inited", generate)
    return {"parallel_read_safe": True}
