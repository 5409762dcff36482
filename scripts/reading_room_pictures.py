"""Make the pictures of docs/how-to/read.md: a simulated head in the reading room, in Chromium.

Usage: python scripts/reading_room_pictures.py [docs/images]

Takes two minutes. All is simulated from one seed, so the same model gives the same pictures, but
for the time of day and how far the run is. The seed is of a head where a calcification is among the
first candidates: with another model look at the pictures, and take another seed where it is not.
"""

import io
import math
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
from PIL import Image
from playwright.sync_api import Locator, Page, ViewportSize, sync_playwright

from mmocnet.errors import MmocnetError
from mmocnet.simulate.bids import save_image
from mmocnet.simulate.record import SimulatedStudy
from mmocnet.simulate.settings import StudySettings
from mmocnet.simulate.study import simulate_study
from mmocnet.volume import Volume

SEED = 3
STUDY = StudySettings("clinical", lesion_free_share=0.0, lesion_count=(10, 10), images="phase")
NEAR_MM = 4.0
"""A finding this near a simulated lesion is that lesion."""
ZOOM_STEPS = 6
SLIDER_STEPS = 200
ROWS = 5
"""Findings that the list shows at a time."""

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = ["--no-sandbox", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
SIZE = ViewportSize(width=1280, height=720)

Finding = dict[str, Any]


def write_files(folder: Path, study: SimulatedStudy) -> None:
    """Write a head and its phase, half of it as a slab, a slice as PNG, and a damaged file."""
    swi, phase = study.swi, study.phase_rad
    assert phase is not None
    save_image(folder / "sub-01_swi.nii.gz", swi, np.int16)
    save_image(folder / "sub-01_phase.nii.gz", phase, np.int16)
    lower = swi.array[..., : swi.shape[2] // 2]
    save_image(folder / "slab.nii.gz", Volume(lower, swi.affine), np.int16)
    whole = (folder / "slab.nii.gz").read_bytes()
    (folder / "broken.nii.gz").write_bytes(whole[: len(whole) // 2])
    level = round(float(swi.voxel(np.array(study.lesions[0].centre_mm))[2]))
    # As on the screen: anterior is up, the patient's right on the left.
    axial = np.flip(swi.array[..., level]).T
    grey = np.clip(255 * axial / np.percentile(axial, 99.5), 0, 255).astype(np.uint8)
    Image.fromarray(grey).save(folder / "slice.png")


@contextmanager
def served(state: Path) -> Iterator[str]:
    """Run `mmocnet serve`; give the address that it prints."""
    command = [sys.executable, "-m", "mmocnet", "serve", "--no-browser", "--threads", "1"]
    command += ["--port", "0", "--state", str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            address = re.search(r"http://\S+", process.stdout.readline())
            if address is None:
                raise MmocnetError("the reading room did not open")
            yield address[0]
        finally:
            process.terminate()


def part(page: Page, test: str) -> Locator:
    """Return the part of the page that tests know by a name."""
    return page.locator(f'[data-test="{test}"]')


def until(page: Page, expression: str, seconds: float = 60) -> None:
    """Wait until JavaScript is true; the page's policy forbids waiting inside it."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        if time.monotonic() > end:
            raise MmocnetError(f"expected {expression} within {seconds:g} s")
        time.sleep(0.05)


def row(page: Page, name: str, state: str = "") -> Locator:
    """Return a study's row of the work list, once the study is in a state."""
    found = page.locator("tr", has_text=name).filter(has_text=state)
    found.wait_for(timeout=600_000)
    return found


def picture(page: Page, path: Path) -> None:
    """Take a picture without message, focus or pointer in it, in the colours of a palette."""
    part(page, "toast").wait_for(state="hidden", timeout=20_000)
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement.blur()")
    page.wait_for_timeout(300)
    taken = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    palette = taken.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE)
    palette.save(path, optimize=True)
    print(path)


def enter(page: Page, address: str, folder: Path) -> None:
    """Enter as R1, add head, damaged file and PNG, and wait until none is left to be done."""
    page.goto(address)
    part(page, "reader-name").fill("R1")
    part(page, "reader-ok").click()
    part(page, "reader").wait_for()
    part(page, "new-phase").set_input_files(folder / "sub-01_phase.nii.gz")
    for name in ("sub-01_swi.nii.gz", "broken.nii.gz", "slice.png"):
        part(page, "pick-files").set_input_files(folder / name)
        if name == "slice.png":
            part(page, "spacing").fill("0.5")
            part(page, "spacing").press("Enter")
        row(page, name)
    for name, state in (("broken", "failed"), ("sub-01", "ready"), ("slice", "ready")):
        row(page, name, state)


def findings(page: Page, study: SimulatedStudy) -> list[Finding]:
    """Return all findings by confidence, each with the kind of lesion that was simulated there."""
    state = page.evaluate("room.state()")
    for one in state["findings"]:
        centre_mm = study.swi.world(np.array(one["centre_voxel"], float))
        distance, kind = min((math.dist(centre_mm, at.centre_mm), at.kind) for at in study.lesions)
        one["kind"] = kind if distance < NEAR_MM else "none"
        one["shown"] = one["id"] in state["shown"]
    return list(state["findings"])


def select(page: Page, finding: Finding, key: str = "") -> None:
    """Select a finding; where a key that judges is given, press it and wait until it is saved."""
    part(page, f"finding-{finding['id']}").click()
    if key:
        page.keyboard.press(key)
        until(page, "room.state().saved === 'saved' && !room.state().pending")


def diameter_mm(finding: Finding) -> float:
    """Return how large a finding is."""
    return float(finding["diameter_mm"])


def open_head(page: Page, study: SimulatedStudy, out: Path) -> None:
    """Open the head; picture of its largest finding."""
    row(page, "sub-01", "ready").get_by_role("button", name="Read").click()
    until(page, "room.ready && room.view.phase")
    select(page, max((one for one in findings(page, study) if one["shown"]), key=diameter_mm))
    picture(page, out / "reading-room-read.png")


def judge(page: Page, study: SimulatedStudy, out: Path) -> None:
    """Judge down to the first calcification; picture of a question for a reason.

    Raises:
        MmocnetError: If no calcification, no two microbleeds or nothing else is there to judge.
    """
    page.keyboard.press("f")
    for _ in range(ZOOM_STEPS):
        page.keyboard.press("z")
    found = findings(page, study)
    kinds = [one["kind"] for one in found]
    shown = found[: kinds.index("calcification") + 1] if "calcification" in kinds else []
    bleeds = [one for one in shown if one["kind"] == "microbleed"][-2:]
    others = [one for one in shown[-ROWS:] if one["kind"] == "none"]
    if len(bleeds) < 2 or not others:
        raise MmocnetError(f"expected microbleeds before a calcification, got {kinds[:20]}")
    # The slider's places are the roots of the confidences.
    place = math.floor(SLIDER_STEPS * math.sqrt(shown[-1]["confidence"])) / SLIDER_STEPS
    part(page, "confidence").fill(f"{place:g}")
    for finding, key in zip((*bleeds, shown[-1]), "da2", strict=True):
        select(page, finding, key)
    select(page, max(others, key=diameter_mm))
    page.keyboard.press("r")
    part(page, "findings").evaluate("list => list.scrollTo(0, list.scrollHeight)")
    picture(page, out / "reading-room-judge.png")
    for finding in findings(page, study):
        if finding["shown"] and finding["verdict"] is None:
            select(page, finding, "a" if finding["kind"] == "microbleed" else "6")


def export(page: Page, out: Path) -> None:
    """Mark the reading complete, make a report and a mask; picture of the menu."""
    page.keyboard.press("g")
    until(page, "room.state().complete")
    page.keyboard.press("o")
    for kind in ("html", "nifti"):
        part(page, f"export-{kind}").click()
        part(page, f"export-link-{kind}").wait_for(timeout=120_000)
    picture(page, out / "reading-room-export.png")


def list_studies(page: Page, folder: Path, out: Path) -> None:
    """Add the slab; picture of the work list while it runs."""
    page.go_back()
    part(page, "pick-files").set_input_files(folder / "slab.nii.gz")
    until(page, "document.querySelector('tr progress')?.position > 0.2")
    picture(page, out / "reading-room-list.png")


def main(out: Path) -> None:
    """Write the four pictures."""
    study = simulate_study(STUDY, SEED)
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        write_files(folder, study)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        page = browser.new_page(viewport=SIZE)
        with served(folder / "room") as address:
            enter(page, address, folder)
            open_head(page, study, out)
            judge(page, study, out)
            export(page, out)
            list_studies(page, folder, out)
        browser.close()


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
