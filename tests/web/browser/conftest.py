"""A real server, a scan that the shipped model segmented, and Chromium to read it in."""

import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform

from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.study import simulate_study

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
]
SEED = 22


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """Chromium without a window, its graphics computed by the CPU."""
    missing = None
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing = "playwright is not installed"
    if not Path(CHROMIUM).exists():
        missing = f"{CHROMIUM} is not there"
    if missing and os.environ.get("CI") == "true":
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)
    with sync_playwright() as playwright:
        one = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield one
        one.close()


class Reached:
    """A server and how it is asked."""

    base: str
    token: str

    @property
    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.token}", "X-Mmocnet": "1"}
        return httpx.Client(base_url=self.base, headers=headers, timeout=60)

    def get(self, path: str, **query: str) -> Any:
        with self.client as client:
            return client.get(f"/api{path}", params=query).json()


@dataclass
class RoomServer(Reached):
    """`mmocnet serve` in a process of its own."""

    folder: Path
    process: "subprocess.Popen[str]" = field(init=False)
    port: int = 0

    def start(self) -> "RoomServer":
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "mmocnet", "serve", "--no-browser", "--threads", "1"]
        command += ["--state", str(self.folder / "room"), "--port", str(self.port)]
        with (self.folder / "stderr").open("a") as errors:
            self.process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=self.folder
            )
        assert self.process.stdout is not None
        found = re.search(r"(http://\S+:(\d+))/\?token=(\S+)", self.process.stdout.readline())
        assert found, (self.folder / "stderr").read_text()
        self.base, self.port, self.token = found[1], int(found[2]), found[3]
        return self

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.process.send_signal(number)
        self.process.wait(20)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def kill(self) -> None:
        """As when the power goes."""
        self.stop(signal.SIGKILL)

    def upload(self, path: Path, **fields: str) -> str:
        with self.client as client:
            files = [("files", (path.name, path.read_bytes()))]
            answer = client.post("/api/studies", files=files, data=fields)
        assert answer.status_code == 201, answer.text
        found: str = answer.json()["studies"][0]["id"]
        return found

    def wait(self, study: str, *states: str, seconds: float = 90) -> dict[str, Any]:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found: dict[str, Any] = self.get(f"/studies/{study}")
            if found["state"] in (states or ("ready", "failed")):
                return found
            time.sleep(0.1)
        raise AssertionError((found, (self.folder / "stderr").read_text()))


@pytest.fixture(scope="session")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated slab, stored from left to right, anterior to posterior, and oblique."""
    study = simulate_study(StudySettings("clinical", 0.0, (8, 8), slab_mm=20.0, images="swi"), SEED)
    swi = nib.Nifti1Image(np.asarray(study.swi.array, np.float32), study.swi.affine)
    turn = ornt_transform(io_orientation(swi.affine), axcodes2ornt("LPS"))
    turned = swi.as_reoriented(turn)
    angle = np.deg2rad(8)
    tilt = np.eye(4)
    tilt[1:3, 1:3] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    path: Path = tmp_path_factory.mktemp("scan") / "slab.nii.gz"
    nib.save(nib.Nifti1Image(turned.get_fdata(dtype=np.float32), tilt @ turned.affine), path)
    return path


@pytest.fixture(scope="session")
def read_room(tmp_path_factory: pytest.TempPathFactory, scan: Path) -> Iterator[RoomServer]:
    """A room with one study, segmented for screening; each test is another reader."""
    server = RoomServer(tmp_path_factory.mktemp("served")).start()
    server.study = server.upload(scan, point="screening")  # type: ignore[attr-defined]
    found = server.wait(server.study)  # type: ignore[attr-defined]
    assert found["state"] == "ready", found
    yield server
    server.stop()


@pytest.fixture
def own_room(tmp_path: Path, read_room: RoomServer) -> Iterator[RoomServer]:
    """A copy of that room, for tests that kill its server."""
    copy = tmp_path / "own"
    copy.mkdir()
    shutil.copytree(read_room.folder / "room", copy / "room", ignore=shutil.ignore_patterns("lock"))
    server = RoomServer(copy).start()
    server.study = read_room.study  # type: ignore[attr-defined]
    yield server
    if server.process.poll() is None:
        server.stop()


@dataclass
class DeskServer(Reached):
    """A room in this process, whose tables a test may change."""

    desk: Any

    def __post_init__(self) -> None:
        self.base = f"http://127.0.0.1:{self.desk.access.port}"
        self.token = self.desk.access.token
        self.study = self.desk.study

    def change(self, **values: Any) -> None:
        """Have something else in the study's row."""
        names = ", ".join(f"{name} = ?" for name in values)
        with self.desk.store.transaction() as base:
            base.execute(f"UPDATE studies SET {names}", tuple(values.values()))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in self.desk.store.rows(query)]


@pytest.fixture
def desk_room(desk: Any) -> DeskServer:
    return DeskServer(desk)


@dataclass
class Reader:
    """A reader at the page."""

    page: Any
    server: RoomServer | DeskServer
    errors: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def find(self, test: str) -> Any:
        return self.page.locator(f'[data-test="{test}"]')

    def key(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def state(self) -> dict[str, Any]:
        found: dict[str, Any] = self.page.evaluate("room.state()")
        return found

    def finding(self, name: str) -> dict[str, Any]:
        return next(one for one in self.state()["findings"] if one["id"] == name)

    def until(self, test: Callable[[], Any], seconds: float = 15) -> Any:
        """Wait until a test is true; the page's policy forbids waiting inside it."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = test()
            if found:
                return found
            # Not a sleep: what waits on the page's requests runs meanwhile.
            self.page.wait_for_timeout(30)
        raise AssertionError(f"not within {seconds} s: {self.state()}")

    def enter(self, name: str) -> "Reader":
        self.page.goto(f"{self.server.base}/?token={self.server.token}")
        self.find("reader-name").fill(name)
        self.find("reader-ok").click()
        self.find("reader").wait_for()
        return self

    def enter_again(self) -> "Reader":
        """Open the page as its server's new address says, as the reader of last time."""
        self.page.goto(f"{self.server.base}/?token={self.server.token}")
        self.find("reader").wait_for()
        return self

    def beside(self) -> "Reader":
        """Return the same reader's page in another window of the browser."""
        return Reader(self.page.context.new_page(), self.server).enter_again()

    def open(self, study: str | None = None) -> "Reader":
        name = study or self.server.study  # type: ignore[attr-defined]
        self.find(f"read-{name}").click()
        self.until(lambda: self.page.evaluate("room.ready"))
        return self

    @property
    def shape(self) -> list[int]:
        found: list[int] = self.page.evaluate("room.view.grid.shape")
        return found

    def saved(self) -> dict[str, Any]:
        """Wait until all is saved, and return the state."""
        self.until(lambda: self.state()["saved"] == "saved" and not self.state()["pending"])
        return self.state()

    def place(self, voxel: list[int], pane: int = 0) -> tuple[float, float]:
        x, y = self.page.evaluate("([voxel, pane]) => room.place(voxel, pane)", [voxel, pane])
        return x, y

    def reader_id(self, name: str) -> str:
        readers = self.server.get("/room")["readers"]
        found: str = next(one["id"] for one in readers if one["name"] == name)
        return found

    def stored(self, name: str, study: str | None = None) -> dict[str, Any]:
        """Return a reader's reading as the server has it."""
        path = f"/studies/{study or self.server.study}/reading"  # type: ignore[attr-defined]
        found: dict[str, Any] = self.server.get(path, reader=self.reader_id(name))
        return found

    def elsewhere(self, name: str, kind: str, **payload: Any) -> None:
        """Send an event as the same reader's page in another window would."""
        now = self.stored(name)
        event = {"id": secrets.token_hex(16), "reader": self.reader_id(name), "kind": kind}
        event |= {"result": now["result"], "revision": now["revision"], "payload": payload}
        with self.server.client as client:
            path = f"/api/studies/{self.server.study}/events"  # type: ignore[union-attr]
            answer = client.post(path, json=event)
        assert answer.status_code == 200, answer.text

    def focused(self) -> str:
        """Return what has the focus: its test name, else its kind."""
        found: str = self.page.evaluate(
            "document.activeElement.dataset.test ?? document.activeElement.tagName"
        )
        return found

    def heard(self, kind: str, text: str) -> None:
        """Keep what the console calls an error; a server that was ended is not the page's."""
        if kind == "error" and "net::ERR_" not in text:
            self.errors.append(text)

    def allow(self, words: str) -> None:
        """Take errors with these words as expected."""
        self.allowed.append(words)

    def unexpected(self) -> list[str]:
        return [said for said in self.errors if not any(words in said for words in self.allowed)]


@pytest.fixture
def sit_down(browser: Any) -> Iterator[Callable[..., Reader]]:
    """Open the page for readers; what the browser's console calls an error fails the test."""
    contexts, readers = [], []

    def begin(server: RoomServer | DeskServer, width: int = 1280, height: int = 720) -> Reader:
        context = browser.new_context(
            viewport={"width": width, "height": height}, accept_downloads=True
        )
        contexts.append(context)
        # Requests are stopped from the first on: one may slip by a page's first route.
        context.route("**/events", lambda route: route.continue_())
        page = context.new_page()
        one = Reader(page, server)
        page.on("console", lambda said: one.heard(said.type, said.text))
        page.on("pageerror", lambda error: one.errors.append(str(error)))
        readers.append(one)
        return one

    yield begin
    for context in contexts:
        context.close()
    assert [said for one in readers for said in one.unexpected()] == []


@pytest.fixture
def reader(sit_down: Callable[..., Reader], read_room: RoomServer, request: Any) -> Reader:
    """A reader with the study open, named as the test."""
    return sit_down(read_room).enter(request.node.name[-40:]).open()
