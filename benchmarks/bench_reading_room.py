"""The reading room with a large study: first picture, slices, window, minIP, memory.

Chromium without a window computes its graphics on the CPU (SwiftShader): a computer with a
graphics card is faster. Also run by itself: python benchmarks/bench_reading_room.py
"""

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from mmocnet.errors import DependencyError
from mmocnet.io.nifti import write_nifti
from mmocnet.volume import Volume

SHAPE = (512, 512, 150)
SPACING_MM = (0.45, 0.45, 1.0)
CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
OPEN = """async () => {
  const start = performance.now();
  document.querySelector("[data-test^=open-]").click();
  while (!room.ready) await new Promise((go) => setTimeout(go, 5));
  room.drawNow();
  const { gl } = room.viewer;
  gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
  return performance.now() - start;
}"""
REPEAT = """async ([what, times]) => {
  const { gl } = room.viewer;
  const shape = room.view.grid.shape;
  const took = [];
  for (let n = 0; n < times; n++) {
    const start = performance.now();
    if (what === "slice") room.moveTo([220, 220, (7 * n) % shape[2]]);
    else if (what === "jump") room.moveTo([200 + n, 250 - n, (7 * n) % shape[2]]);
    else room.windowBy("image", 0.01, 0.98);
    room.drawNow();
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    took.push(performance.now() - start);
    await new Promise((go) => setTimeout(go, 0));
  }
  return took.sort((a, b) => a - b);
}"""
SLAB = """async (mm) => {
  const start = performance.now();
  await room.setSlab(mm);
  room.drawNow();
  const { gl } = room.viewer;
  gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
  return performance.now() - start;
}"""


def synthetic_scan() -> Volume:
    """Return a textured ellipsoid with the size of a large study."""
    rng = np.random.default_rng(0)
    centre = (np.array(SHAPE) - 1) / 2
    grid = np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij", sparse=True)
    inside = sum(((x - c) / (0.42 * n)) ** 2 for x, c, n in zip(grid, centre, SHAPE, strict=True))
    image = np.where(np.asarray(inside) < 1, 500, 0).astype(np.int16)
    image += rng.integers(0, 60, SHAPE, dtype=np.int16)
    return Volume(image, np.diag([*SPACING_MM, 1.0]), "large.nii")


@contextmanager
def _served(folder: Path) -> Iterator[tuple[str, int]]:
    command = [sys.executable, "-m", "mmocnet", "serve", "--no-browser", "--port", "0"]
    command += ["--state", str(folder / "room")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        try:
            yield found[0], process.pid
        finally:
            process.terminate()


def _add(page: Any, scan: Path) -> None:
    """Upload a scan and wait until it can be opened; its segmentation is not what is timed."""
    page.locator("[data-test=reader-name]").fill("bench")
    page.locator("[data-test=reader-ok]").click()
    page.locator("[data-test=pick-files]").set_input_files(scan)
    opened = page.locator("[data-test^=open-]")
    opened.wait_for(timeout=120_000)
    while opened.is_disabled():
        time.sleep(0.2)
    page.locator("[data-test^=cancel-]").click()
    page.locator("[data-test^=run-]").first.wait_for(timeout=30_000)


def _figures(page: Any) -> list[tuple[str, float, str]]:
    rows = [("open 512 x 512 x 150, click to picture", page.evaluate(OPEN) / 1000, "s")]
    names = {"slice": "next slice", "jump": "jump, all three planes", "window": "window and level"}
    for what, name in names.items():
        took = page.evaluate(REPEAT, [what, 60])
        rows += [(f"{name}, median", took[30], "ms"), (f"{name}, slowest", took[-1], "ms")]
    rows.append(("minIP of 10 mm, computed and shown", page.evaluate(SLAB, 10) / 1000, "s"))
    return rows


def measure() -> list[tuple[str, float, str]]:
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise DependencyError(
            "the reading room is timed with playwright: install mmocnet[dev]"
        ) from error
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        write_nifti(folder / "large.nii", synthetic_scan(), np.int16)
        with _served(folder) as (address, pid):
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
            page = browser.new_page(viewport={"width": 1280, "height": 720})
            page.goto(address)
            _add(page, folder / "large.nii")
            rows = _figures(page)
            browser.close()
            status = Path(f"/proc/{pid}/status").read_text()
            peak = int(re.findall(r"VmHWM:\s+(\d+)", status)[0]) / 1024
    return [*rows, ("web process, peak memory", peak, "MB")]


if __name__ == "__main__":
    for what, figure, unit in measure():
        print(f"{what}: {figure:.2f} {unit}")
