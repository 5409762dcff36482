import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

import mmocnet
from mmocnet.cli import COMMANDS, main

DOCS = Path(__file__).parents[2] / "docs"


@pytest.fixture(scope="module")
def pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "generated_reference", DOCS / "_ext" / "generated_reference.py"
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def commands(pages: ModuleType) -> str:
    return str(pages.PAGES["commands"]())


@pytest.mark.parametrize("command", COMMANDS)
def test_the_page_of_commands_says_what_help_prints(
    command: str,
    commands: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    printed = capsys.readouterr().out
    section = commands.split(f"## mmocnet {command}\n")[1].split("\n## ", maxsplit=1)[0]
    for character in "─│╭╮╰╯-":
        printed, section = printed.replace(character, " "), section.replace(character, " ")
    # How lines are broken and boxes are drawn is all that may differ.
    assert section.replace("```text", "").replace("```", "").split() == printed.split()


def test_the_page_of_commands_fits_its_width(pages: ModuleType, commands: str) -> None:
    assert max(map(len, commands.splitlines())) <= pages.WIDTH


def test_every_public_name_is_on_the_page_of_the_api(pages: ModuleType) -> None:
    page = pages.PAGES["public"]()
    for name in mmocnet.__all__:
        assert f":: mmocnet.{name}\n" in page


@pytest.mark.parametrize("package", ["mmocnet", "mmocnet.config", "mmocnet.nets.blocks"])
def test_the_page_of_modules_names_packages_too(pages: ModuleType, package: str) -> None:
    assert f"\n## {package}\n" in pages.PAGES["api"]()


def test_the_page_of_settings_has_those_that_calls_take(pages: ModuleType) -> None:
    page = pages.PAGES["settings"]()
    for name in (
        "SegmentSettings",
        "FileOptions",
        "CompareSettings",
        "StudySettings",
        "WriteSettings",
        "TrainSettings",
        "FinetuneSettings",
        "ScoreSettings",
        "ExperimentSettings",
    ):
        assert f"\n## {name}\n" in page
    assert "| `growth_ratio` | `float` |" in page


def test_the_guides_name_no_option_that_no_command_has(commands: str) -> None:
    known = set(_options(commands))
    others = {
        "--nproc-per-node",  # torchrun
        "--logdir",  # tensorboard
        "--pairs",  # benchmarks/two_visits.py
    }
    for page in [
        *DOCS.glob("how-to/*.md"),
        *DOCS.glob("tutorials/*.md"),
        DOCS.parent / "README.md",
    ]:
        unknown = set(_options(page.read_text(encoding="utf-8"))) - known - others
        assert not unknown, page.name


def _options(text: str) -> list[str]:
    return [
        word
        for part in text.split()
        if (word := part.strip("`()[],.;:'*").split("=")[0]).startswith("--")
        and word[2:3].isalpha()
    ]
