import builtins
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time

import pytest

from mmocnet.cli import main


def _serve(tmp_path, *words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "mmocnet", "serve", "--no-browser", *words]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )


def _sentence(capsys) -> str:
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.strip().splitlines()
    assert line.startswith("mmocnet serve: ")
    return line


def _room(tmp_path) -> list[str]:
    return ["--state", str(tmp_path / "room"), "--no-browser"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_closes_the_room_well(tmp_path, number):
    process = _serve(tmp_path, "--port", "0", "--state", str(tmp_path / "room"))
    assert process.stdout is not None
    assert re.search(r"http://127\.0\.0\.1:\d+/\?token=\S{20}", process.stdout.readline())
    assert "Research use only" in process.stdout.readline()
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "", "")


def test_a_room_is_open_once(tmp_path, capsys):
    process = _serve(tmp_path, "--port", "0", "--state", str(tmp_path / "room"))
    assert process.stdout is not None
    process.stdout.readline()
    assert main(["serve", "--port", "0", *_room(tmp_path)]) == 2
    assert "another mmocnet serve has this room open" in _sentence(capsys)
    process.terminate()
    process.communicate(timeout=20)


def test_a_port_that_was_asked_for_and_is_taken_is_said(tmp_path, capsys):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["serve", "--port", str(port), *_room(tmp_path)]) == 2
    assert f"port {port}" in _sentence(capsys)


def test_the_usual_port_gives_way_to_a_free_one():
    from mmocnet.web.serving import USUAL_PORT, listening

    with socket.socket() as taken:
        # Where somebody has it already it is taken all the same.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            taken.bind(("127.0.0.1", USUAL_PORT))
            taken.listen()
        except OSError:
            pass
        with listening("127.0.0.1", None) as found:
            assert found.getsockname()[1] not in (0, USUAL_PORT)


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["nowhere"], "expected a folder, got 'nowhere'"),
        (["--port", "70000"], "0 to 65535"),
        (["--host", "0.0.0.0"], "one address"),
        (["--host", "192.0.2.1", "--port", "0"], "cannot listen"),
        (["--model", "nowhere"], "expected a model folder"),
        (["--threads", "0"], "--threads"),
        (["--upload-mb", "nan"], "--upload-mb"),
    ],
)
def test_what_cannot_be_served_is_one_sentence(tmp_path, capsys, words, part):
    assert main(["serve", *words, *_room(tmp_path)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert part in lines[-1]
    assert len(lines) == 1 + ("--host" in words)


def test_a_folder_that_others_can_read_is_no_room(tmp_path, capsys):
    (tmp_path / "room").mkdir(mode=0o755)
    assert main(["serve", "--port", "0", *_room(tmp_path)]) == 2
    assert "mode 0700" in _sentence(capsys)


@pytest.mark.parametrize(("content", "part"), [(b"no database", "cannot open"), (None, "version")])
def test_a_database_that_is_not_ours_is_left_alone(tmp_path, capsys, content, part):
    (tmp_path / "room").mkdir(mode=0o700)
    path = tmp_path / "room" / "room.sqlite"
    if content is None:
        base = sqlite3.connect(path)
        base.execute("PRAGMA user_version = 99")
        base.close()
    else:
        path.write_bytes(content * 100)
    before = path.read_bytes()
    assert main(["serve", "--port", "0", *_room(tmp_path)]) == 2
    assert part in _sentence(capsys)
    assert path.read_bytes() == before


@pytest.mark.parametrize("given", ["--state", "environment"])
def test_a_room_at_a_relative_path_is_the_same_for_its_jobs(tmp_path, monkeypatch, given):
    roots = []
    monkeypatch.setattr(
        "mmocnet.web.serving.serve", lambda settings, *_, **__: roots.append(settings.root)
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    words = ["--state", "room"] if given == "--state" else []
    assert main(["serve", "--no-browser", *words]) == 0
    (root,) = roots
    assert root.is_relative_to(tmp_path.resolve())


def test_an_address_that_others_reach_is_warned_of(tmp_path, capsys, monkeypatch):
    def taken(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("mmocnet.web.serving.serve", taken)
    assert main(["serve", "--host", "192.0.2.1", *_room(tmp_path)]) == 130
    assert "plain http" in capsys.readouterr().err


def test_without_the_extra_its_name_is_told(tmp_path, capsys, monkeypatch):
    for name in [one for one in sys.modules if one.split(".")[0] == "uvicorn" or "web." in one]:
        monkeypatch.delitem(sys.modules, name)
    usual = builtins.__import__

    def without(name, *rest, **more):
        if name.split(".")[0] == "uvicorn":
            raise ModuleNotFoundError("No module named 'uvicorn'", name="uvicorn")
        return usual(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert main(["serve", *_room(tmp_path)]) == 2
    assert "pip install 'mmocnet[web]'" in _sentence(capsys)


def test_the_web_process_brings_in_no_networks():
    code = "import sys, mmocnet.web.serving; print('torch' in sys.modules)"
    start = time.monotonic()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
    assert time.monotonic() - start < 30
