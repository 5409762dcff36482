import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx
import nibabel as nib
import numpy as np
import pytest

from mmocnet.lesion import Certainty, Lesion
from mmocnet.review.candidates import MachineResult, write_candidates
from mmocnet.review.finding import Finding, Grid
from mmocnet.volume import Volume
from mmocnet.web.app import create_app
from mmocnet.web.context import Context
from mmocnet.web.jobs import Supervisor
from mmocnet.web.models import find_models
from mmocnet.web.readings import Readings
from mmocnet.web.room import Room, open_room
from mmocnet.web.security import Access
from mmocnet.web.serving import hosts_of, http_server, listening
from mmocnet.web.store import Store, now
from mmocnet.web.studies import NewStudy, add_study
from mmocnet.web.views import view_of

DOUBT = "candidate 2 may be a vein"
SHAPE = (24, 28, 6)
AFFINE = np.array([[-2.0, 0, 0, 20], [0, -2.0, 0, 25], [0, 0, 3.0, -9], [0, 0, 0, 1]])


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory) -> Path:
    """Untrained networks that call nothing a microbleed: quick, and the files are what counts."""
    from mmocnet.config import (
        CascadeSettings,
        DetectorSettings,
        PreparationSettings,
        SegmenterSettings,
    )
    from mmocnet.nets.checkpoint import Cascade, save_cascade
    from mmocnet.nets.detector import Detector
    from mmocnet.nets.segmenter import Segmenter

    settings = CascadeSettings(
        detector=DetectorSettings(widths=(4, 4, 4, 4, 4), blocks=(1, 1, 1, 1), output_bias=-20.0),
        segmenter=SegmenterSettings(width=4, blocks=1),
        preparation=PreparationSettings(pixel_mm=2.0),
    )
    folder: Path = tmp_path_factory.mktemp("models") / "tiny"
    detector = Detector(settings.detector)
    save_cascade(folder, Cascade(settings, detector, Segmenter(settings.segmenter), {}))
    return folder


def _head(shape: tuple[int, int, int] = (72, 88, 32), seed: int = 3) -> nib.Nifti1Image:
    spacing = np.array([2.0, 2.0, 4.0])
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1)
    radius = ((grid - (np.array(shape) - 1) / 2) * spacing / [62.0, 75.0, 55.0]) ** 2
    noise = np.random.default_rng(seed).standard_normal(shape)
    image = (500 + 30 * noise) * (radius.sum(axis=-1) < 1)
    # Dark balls, for what is grown from a click.
    for centre in ((30, 40, 16), (45, 50, 12)):
        image[np.linalg.norm((grid - centre) * spacing, axis=-1) < 4] = 100
    return nib.Nifti1Image(image.astype(np.int16), np.diag([*spacing, 1.0]))


@pytest.fixture(scope="session")
def head(tmp_path_factory) -> Path:
    """A scan that the tiny model segments in a second."""
    path: Path = tmp_path_factory.mktemp("scans") / "Doe_John_19420203.nii.gz"
    nib.save(_head(), path)
    return path


@dataclass
class Server:
    """`mmocnet serve` in a process of its own."""

    words: tuple[str, ...]
    state: Path
    folder: Path
    process: "subprocess.Popen[str]" = field(init=False)
    client: httpx.Client = field(init=False)

    def start(self) -> "Server":
        command = [sys.executable, "-m", "mmocnet", "serve", *self.words]
        command += ["--no-browser", "--state", str(self.state), "--port", "0", "--threads", "1"]
        self.errors = (self.folder / "stderr").open("a+")
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=self.errors, text=True, cwd=self.folder
        )
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        found = re.search(r"(http://\S+)/\?token=(\S+)", line)
        assert found, (line, self.log())
        self.base, self.token = found.groups()
        self.client = httpx.Client(
            base_url=self.base,
            headers={"Authorization": f"Bearer {self.token}", "X-Mmocnet": "1"},
            timeout=60,
        )
        return self

    def log(self) -> str:
        return (self.folder / "stderr").read_text()

    def kill(self) -> None:
        """As when the power goes: nothing of the server's runs any more."""
        self.process.send_signal(signal.SIGKILL)
        self._closed()

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self._closed()

    def _closed(self) -> int:
        self.client.close()
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.errors.close()
        return code

    def memory_mb(self, key: str = "VmHWM") -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.findall(rf"{key}:\s+(\d+)", status)[0]) / 1024

    def upload(self, *files: Path | tuple[str, bytes], **fields: str) -> list[dict[str, Any]]:
        named = [one if isinstance(one, tuple) else (one.name, one.read_bytes()) for one in files]
        answer = self.client.post(
            "/api/studies", files=[("files", one) for one in named], data=fields
        )
        assert answer.status_code == 201, answer.text
        studies: list[dict[str, Any]] = answer.json()["studies"]
        return studies

    def study(self, study: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client.get(f"/api/studies/{study}").json()
        return found

    def wait(self, study: str, *states: str, seconds: float = 120) -> dict[str, Any]:
        """Wait until a study is in one of the states, or has a question."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            found = self.study(study)
            if found["state"] in (states or ("ready", "failed", "cancelled")) or found["needs"]:
                return found
            time.sleep(0.05)
        raise AssertionError((found, self.log()))

    def listed(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait until so many studies are listed; return them."""
        end = time.monotonic() + 30
        while time.monotonic() < end:
            studies: list[dict[str, Any]] = self.client.get("/api/studies").json()["studies"]
            if len(studies) == count:
                return studies
            time.sleep(0.05)
        raise AssertionError((studies, self.log()))

    def reader(self, name: str = "Reader One") -> str:
        found: str = self.client.post("/api/readers", json={"name": name}).json()["id"]
        return found

    def send(self, study: str, reader: str, revision: int, kind: str, **payload: Any) -> Any:
        """Send an event as a page that has opened the study now; return the answer."""
        content = {"id": secrets.token_hex(16), "reader": reader, "revision": revision}
        content |= {"result": self.study(study)["result"], "kind": kind, "payload": payload}
        return self.client.post(f"/api/studies/{study}/events", json=content)

    def export(self, study: str, reader: str, kind: str) -> tuple[str, dict[str, Any]]:
        """Make an export of the study's result; return its job, and what became of it."""
        body = {"reader": reader, "kind": kind, "result": self.study(study)["result"]}
        answer = self.client.post(f"/api/studies/{study}/export", json=body)
        assert answer.status_code == 200, answer.text
        job = answer.json()["job"]
        end = time.monotonic() + 60
        while time.monotonic() < end:
            state = self.client.get(f"/api/exports/{job}").json()
            if state["state"] not in ("waiting", "running"):
                break
            time.sleep(0.05)
        return job, state

    def children(self) -> list[int]:
        """Process ids of the server's children."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                parent = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            except OSError:
                continue
            if parent == self.process.pid:
                found.append(int(folder.name))
        return found


@pytest.fixture
def serve(tmp_path, tiny_model) -> Iterator[Callable[..., Server]]:
    """Start servers of the tiny model; they end with the test."""
    started: list[Server] = []

    def start(*words: str, state: Path | None = None) -> Server:
        folder = tmp_path / "server"
        folder.mkdir(exist_ok=True)
        words = (*words, "--model", str(tiny_model))
        one = Server(words, state or tmp_path / "room", folder)
        started.append(one)
        return one.start()

    yield start
    for one in started:
        if one.process.poll() is None:
            one.stop()


def _lesion(index: int, confidence: float, grid: Grid, voxels: np.ndarray) -> Finding:
    size = grid.measure(voxels)
    lesion = Lesion(
        index=index,
        name=f"CMB {index}",
        centre_mm=size.centre_mm,
        centre_voxel=size.centre_voxel,
        volume_mm3=size.volume_mm3,
        diameter_mm=size.diameter_mm,
        diameter_eq_mm=size.diameter_eq_mm,
        confidence=confidence,
        certainty=Certainty.POSSIBLE,
    )
    status = "lesion" if confidence >= 0.5 else "below threshold"
    return Finding(f"m{index}", "machine", voxels, confidence, lesion, status)


@dataclass
class Desk:
    """An open room with one study that was segmented, served inside this process."""

    room: Room
    store: Store
    context: Context
    access: Access
    clients: list[httpx.Client] = field(default_factory=list)
    study: str = "00000000000000aa"
    result: str = "r0"

    @cached_property
    def client(self) -> httpx.Client:
        headers = {"Authorization": f"Bearer {self.access.token}", "X-Mmocnet": "1"}
        return self.fresh_client(**headers)

    def reader(self, name: str = "Reader One") -> str:
        found: str = self.client.post("/api/readers", json={"name": name}).json()["id"]
        return found

    def send(self, reader: str, revision: int, kind: str, **payload: Any) -> httpx.Response:
        return self.send_again(self.event(reader, revision, kind, **payload))

    def event(self, reader: str, revision: int, kind: str, **payload: Any) -> dict[str, Any]:
        """Return an event as the page sends it."""
        content = {"id": secrets.token_hex(16), "reader": reader, "result": self.result}
        return content | {"revision": revision, "kind": kind, "payload": payload}

    def send_again(self, event: dict[str, Any]) -> httpx.Response:
        return self.client.post(f"/api/studies/{self.study}/events", json=event)

    def agreement(self, first: str, second: str) -> httpx.Response:
        ask = {"result": self.result, "first": first, "second": second}
        return self.client.get(f"/api/studies/{self.study}/agreement", params=ask)

    def reading(self, reader: str) -> dict[str, Any]:
        answer = self.client.get(f"/api/studies/{self.study}/reading", params={"reader": reader})
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def fresh_client(self, **headers: str) -> httpx.Client:
        """Return a client with no headers but these; it ends with the test."""
        one = httpx.Client(
            base_url=f"http://127.0.0.1:{self.access.port}", headers=headers, timeout=60
        )
        self.clients.append(one)
        return one


def _write_study(desk: Desk) -> None:
    grid = Grid(SHAPE, AFFINE, 2)
    image = np.full(SHAPE, 500, np.float32)
    image[..., 0] += np.arange(SHAPE[1]) * 20
    findings, probability = [], np.zeros(SHAPE, np.float16)
    for index, (confidence, at) in enumerate(((0.9, (8, 9, 2)), (0.6, (15, 20, 3))), 1):
        box = np.argwhere(np.ones((2, 2, 1))) + at
        image[tuple(box.T)] = 100
        probability[tuple(box.T)] = confidence
        findings.append(_lesion(index, confidence, grid, grid.flat(box)))
    # Dark, and no candidate.
    image[4:6, 20:22, 4] = 100
    view = desk.room.view(desk.study)
    view.mkdir(parents=True)
    window = view_of(Volume(image, AFFINE), view / "image.nii")
    about = {
        "shape": list(SHAPE),
        "affine": AFFINE.tolist(),
        "spacing_mm": [2, 2, 3],
        "slice_axis": 2,
        "source": "nifti",
        "has_phase": False,
        "warnings": [],
        "technique": [],
        "window": list(window),
    }
    (view / "about.json").write_text(json.dumps(about))
    record = {
        "Version": "0.1.0",
        "Model": {"Name": "tiny", "SHA256": {}},
        "Input": {"Name": "scan.nii", "SHA256": "0" * 64},
        "OperatingPoint": "balanced",
        "Threshold": 0.5,
        "Thresholds": {"screening": 0.3, "balanced": 0.5, "report": 0.7},
        "Engine": "torch",
        "Device": "cpu",
    }
    folder = desk.room.result(desk.study, desk.result)
    folder.mkdir(parents=True)
    np.save(folder / "probability.npy", probability)
    write_candidates(folder, MachineResult(grid, tuple(findings), record, (DOUBT,)))
    used = '{"model":"tiny","point":"balanced","threshold":null,"phase":false,"mask":false}'
    with desk.store.transaction() as base:
        add_study(base, NewStudy(desk.study, "brain.nii", "nifti", "upload"), "ready")
        base.execute(
            "UPDATE studies SET imported = 1, result = ?, size = ? WHERE id = ?",
            (desk.result, json.dumps(SHAPE), desk.study),
        )
        values = (desk.result, desk.study, now(), used, 2, 2)
        base.execute("INSERT INTO results VALUES (?,?,?,?,?,?)", values)


@pytest.fixture
def desk(tmp_path) -> Iterator[Desk]:
    """A room whose jobs nobody works on."""
    with open_room(tmp_path / "room") as room:
        store = Store(room.database)
        context = Context(
            room=room,
            store=store,
            supervisor=Supervisor(room, store),
            models=find_models(()),
            readings=Readings(room, store),
            upload_mb=1.0,
        )
        sock = listening("127.0.0.1", 0)
        port = sock.getsockname()[1]
        one = Desk(room, store, context, Access(hosts_of("127.0.0.1", port), port))
        _write_study(one)
        server = http_server(create_app(context, one.access))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [sock]})
        thread.start()
        yield one
        for client in one.clients:
            client.close()
        server.should_exit = True
        thread.join()
        store.close()


@pytest.fixture(autouse=True)
def _quick_children(monkeypatch) -> None:
    """No pool of threads in the children: tests share few cores."""
    monkeypatch.setitem(os.environ, "OMP_NUM_THREADS", "1")
