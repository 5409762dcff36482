import subprocess
import sys
from pathlib import Path

import pytest

from mmocnet.cli import COMMANDS, main


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_what_is_given(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    told = capsys.readouterr().out
    # What need not be given is shown as what it takes, and the word None means nothing here.
    assert "{None}" not in told
    assert "None" not in told
    assert "Research use only" in " ".join(told.split())


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("segment", "balanced: best lesion F1 with few false calls. report: precision first."),
        ("compare", "taken as the sphere of its volume. Registration is off by up to 1 mm"),
    ],
)
def test_a_text_breaks_where_the_line_is_full(
    command: str, text: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert text in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "usage"),
    [
        ("segment", "SCAN [SCAN ...]"),
        ("compare", "BASELINE FOLLOW-UP"),
        ("evaluate", "[PREDICTIONS] [REFERENCES]"),
        ("serve", "[FOLDER]"),
        ("train", "DATASET"),
    ],
)
def test_usage_names_the_arguments(
    command: str, usage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    assert capsys.readouterr().out.splitlines()[0].endswith(usage)


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["segment", "--help"], ["--version"]])
def test_a_reader_that_has_enough_is_no_error(words: list[str], unbuffered: str) -> None:
    code = "import sys; from mmocnet.cli import run; sys.argv[1:] = %r; run()"
    ran = subprocess.Popen(
        [sys.executable, "-c", code % (words,)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={"PYTHONUNBUFFERED": unbuffered, "PATH": ""},
    )
    assert ran.stdout is not None
    ran.stdout.close()
    assert ran.stderr is not None
    assert ran.stderr.read() == ""
    ran.stderr.close()
    assert ran.wait() == 141


@pytest.mark.parametrize(("words", "code"), [(["--version"], 0), (["segment", "a", "-o", "o"], 2)])
def test_a_closed_output_changes_no_exit_code(words: list[str], code: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mmocnet", *words]
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *command]
    ran = subprocess.run(closed, stderr=subprocess.PIPE, text=True, cwd=tmp_path, check=False)
    assert ran.returncode == code
    assert "Traceback" not in ran.stderr
