import subprocess
import sys

import pytest

from mmocnet.errors import InputError
from mmocnet.io.together import hidden_folder

KILLED = """
import os, signal, sys
from pathlib import Path
from mmocnet.io.together import hidden_folder
with hidden_folder(Path(sys.argv[1]), "scan") as hidden:
    (hidden / "part.txt").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path):
    out = tmp_path / "out"
    killed = subprocess.run([sys.executable, "-c", KILLED, str(out)], check=False)
    assert killed.returncode == -9
    (left,) = out.iterdir()
    assert left.name.startswith(".scan-")
    with hidden_folder(out, "other"):
        assert left.is_dir()
    with hidden_folder(out, "scan"):
        assert not left.exists()


def test_what_another_process_still_writes_is_left_alone(tmp_path):
    with hidden_folder(tmp_path, "scan") as first, hidden_folder(tmp_path, "scan") as second:
        assert first != second
        assert first.is_dir()
        assert second.is_dir()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path):
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="cannot write to 'out': Not a directory"),
        hidden_folder(tmp_path / "file" / "out", "scan"),
    ):
        raise AssertionError
