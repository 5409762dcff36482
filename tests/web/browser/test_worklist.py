"""From a file to a study: drop it, run it, see what became of it; failures say why."""

import json

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from mmocnet.web.studies import NewStudy, add_study


@pytest.fixture
def picture(tmp_path, scan, own_room):
    """The slice of the scan with its surest lesion, as PNG."""
    with own_room.client as client:
        ident = client.post("/api/readers", json={"name": "any"}).json()["id"]
    reading = own_room.get(f"/studies/{own_room.study}/reading", reader=ident)
    k = reading["findings"][0]["centre_voxel"][2]
    array = np.clip(nib.load(scan).get_fdata()[..., k], 0, None)
    grey = np.uint8(np.clip(255 * array / np.percentile(array, 99.5), 0, 255))
    path = tmp_path / "slice.png"
    Image.fromarray(grey.T).save(path)
    return path


def drop(page, path):
    """Drop a file on the page, as from the desktop."""
    data = page.evaluate_handle(
        """([bytes, name]) => {
          const data = new DataTransfer();
          data.items.add(new File([new Uint8Array(bytes)], name));
          return data;
        }""",
        [list(path.read_bytes()), path.name],
    )
    for kind in ("dragover", "drop"):
        page.dispatch_event("#worklist", kind, {"dataTransfer": data})


def row_of(one, name):
    row = one.page.locator("tr", has_text=name).first
    row.wait_for()
    return row


def test_a_dropped_picture_asks_its_pixel_size_and_is_segmented(sit_down, own_room, picture):
    one = sit_down(own_room).enter("picture")
    drop(one.page, picture)
    # Nothing is known of it, and nothing is made up.
    assert one.find("spacing").input_value() == ""
    one.find("spacing").press("Enter")
    assert "0.02 to 20" in one.find("dialog-spacing").inner_text()
    one.find("spacing").fill("0")
    one.find("spacing").press("Enter")
    assert "0.02 to 20" in one.find("dialog-spacing").inner_text()
    one.find("spacing").fill("0.5")
    one.find("spacing").press("Enter")
    row = row_of(one, "slice.png")
    one.until(lambda: "ready" in row.inner_text(), 60)
    row.get_by_role("button", name="Read").first.click()
    one.until(lambda: one.page.evaluate("room.ready"))
    state = one.state()
    # No dialog came back from the same key, and a picture has no thickness.
    assert one.find("dialog-spacing").count() == 0
    assert "mm²" in one.find("findings").inner_text()
    assert one.page.evaluate("room.view.grid.shape")[2] == 1
    assert one.page.evaluate("room.viewer.panes.length") == 1
    assert state["findings"]
    one.key("a")
    one.saved()


def test_what_cannot_be_read_fails_with_its_reason(sit_down, own_room, tmp_path):
    one = sit_down(own_room).enter("failed")
    broken = tmp_path / "broken.nii.gz"
    broken.write_bytes(b"\x1f\x8b\x08\x00 this is no scan")
    one.find("pick-files").set_input_files(broken)
    row = row_of(one, "broken.nii.gz")
    one.until(lambda: "failed" in row.inner_text(), 60)
    reason = row.locator("[data-test^=reason-]").inner_text()
    assert len(reason) > 20
    assert "\n" not in reason
    assert row.get_by_role("button", name="broken.nii.gz", exact=True).is_disabled()
    # A study goes only after a question.
    row.get_by_role("button", name="Delete").click()
    one.find("confirm-no").click()
    assert row.is_visible()
    row.get_by_role("button", name="Delete").click()
    one.find("confirm-yes").click()
    row.wait_for(state="detached")


def test_a_run_can_be_cancelled_and_another_study_read_meanwhile(sit_down, own_room, scan):
    one = sit_down(own_room).enter("busy")
    one.find("pick-files").set_input_files(scan)
    row = one.page.locator("tr", has_text="slab.nii.gz").filter(has_text="running").first
    row.wait_for()
    test = row.get_attribute("data-test")
    row = one.find(test)
    one.open()
    one.key("a")
    one.saved()
    one.find("back").click()
    row.get_by_role("button", name="Cancel").click()
    one.until(lambda: "cancelled" in row.inner_text())
    row.get_by_role("button", name="Run").click()
    one.find("run-point").select_option("report")
    assert one.find("run-meaning").inner_text()
    one.find("run-ok").click()
    one.until(lambda: "running" in row.inner_text() or "waiting" in row.inner_text())


def told(one, study, **change):
    """Have the page told other things of a study than its server says."""

    def answer(route):
        found = route.fetch().json()
        next(each for each in found["studies"] if each["id"] == study).update(change)
        route.fulfill(json=found)

    one.page.route("**/api/studies?*", answer)


def test_all_that_is_said_of_a_study_can_be_read(sit_down, read_room):
    one = sit_down(read_room)
    study = read_room.study
    settings = {"model": "standard", "point": "balanced", "phase": True}
    told(one, study, settings=settings, size=[273, 335, 77])
    one.enter("all said")
    cell = one.find(f"study-{study}").locator("td.name")
    said = cell.locator(".reason")
    said.wait_for()
    assert said.inner_text().endswith("standard, balanced, with phase")
    cut = "(e) => e.scrollWidth > e.clientWidth || getComputedStyle(e).whiteSpace === 'nowrap'"
    assert not said.evaluate(cut)
    inner, outer = said.bounding_box(), cell.bounding_box()
    assert inner["y"] + inner["height"] <= outer["y"] + outer["height"]


def test_what_runs_after_the_last_slice_is_said(sit_down, read_room):
    one = sit_down(read_room)
    study = read_room.study
    progress = {"done": 13, "total": 13, "seconds_left": None}
    told(one, study, state="running", progress=progress)
    one.enter("last slice")
    one.find(f"study-{study}").get_by_text("writing the findings").wait_for()
    told(one, study, state="running", progress=progress | {"done": 6, "seconds_left": 4.0})
    one.find(f"study-{study}").get_by_text("4 s left").wait_for()


def test_a_result_can_be_read_after_a_later_run_failed(sit_down, desk_room):
    desk_room.change(state="failed", reason="expected a mask on the grid", mask=b"mask.nii.gz")
    one = sit_down(desk_room).enter("locked")
    row = one.find(f"study-{desk_room.study}")
    row.get_by_text("expected a mask on the grid").wait_for()
    assert one.find(f"open-{desk_room.study}").is_enabled()
    one.open()
    one.key("a")
    one.saved()
    one.find("back").click()
    # The mask at which the run failed can be taken off.
    one.find(f"run-{desk_room.study}").click()
    assert one.find("run-remove-phase").count() == 0
    one.find("run-remove-mask").check()
    one.find("run-ok").click()
    one.until(lambda: "waiting" in row.inner_text())
    assert desk_room.rows("SELECT mask, state FROM studies") == [(None, "waiting")]


def test_a_phase_is_taken_off(sit_down, desk_room):
    desk_room.change(phase=b"phase.nii.gz")
    one = sit_down(desk_room).enter("phase off")
    one.find(f"run-{desk_room.study}").click()
    one.find("run-remove-phase").check()
    one.find("run-ok").click()
    one.until(lambda: desk_room.rows("SELECT phase, state FROM studies") == [(None, "waiting")])


@pytest.mark.parametrize("point", ["balanced", None])
def test_the_threshold_that_was_given_is_shown_and_chosen_again(sit_down, desk_room, point):
    path = desk_room.desk.room.result(desk_room.study, "r0") / "findings.json"
    found = json.loads(path.read_text())
    assert found["Provenance"]["Threshold"] == 0.5
    found["Provenance"] |= {"Threshold": 0.8, "OperatingPoint": point}
    path.write_text(json.dumps(found))
    settings = {"model": "compact", "point": point, "threshold": 0.8, "phase": False, "mask": False}
    with desk_room.desk.store.transaction() as base:
        base.execute("UPDATE results SET settings = ?", (json.dumps(settings),))
    one = sit_down(desk_room).enter("own threshold")
    row = one.find(f"study-{desk_room.study}")
    row.get_by_text("compact, threshold 0.80").wait_for()
    one.find(f"run-{desk_room.study}").click()
    assert one.find("run-point").input_value() == "own"
    assert one.find("run-threshold").input_value() == "0.8"
    one.key("Escape")
    one.open()
    assert "tiny, threshold 0.80;" in one.page.locator(".technique").inner_text()


def asked(room):
    """Return what waits to be done, with the pixel size and the series that it is asked for."""
    jobs = room.rows("SELECT kind, settings FROM jobs WHERE state = 'waiting'")
    given = [(kind, json.loads(settings)) for kind, settings in jobs]
    return [(kind, one["spacing_mm"], one["series"]) for kind, one in given]


def test_the_pixel_size_of_a_picture_can_be_put_right(sit_down, desk_room):
    desk_room.change(source="picture", spacing_mm=2.0)
    one = sit_down(desk_room).enter("pixel size")
    one.find(f"run-{desk_room.study}").click()
    assert one.find("run-spacing").input_value() == "2"
    one.find("run-spacing").fill("0")
    one.find("run-ok").click()
    one.find("dialog-run").get_by_text("0.02 to 20").wait_for()
    one.find("run-spacing").fill("0.4")
    one.find("run-ok").click()
    one.until(lambda: asked(desk_room) == [("import", 0.4, None)])


def test_a_pixel_size_that_is_left_as_it_was_is_not_sent(sit_down, desk_room):
    desk_room.change(source="picture", spacing_mm=2.0)
    one = sit_down(desk_room).enter("same size")
    one.find(f"run-{desk_room.study}").click()
    with one.page.expect_request("**/studies/run") as sent:
        one.find("run-ok").click()
    assert "spacing_mm" not in sent.value.post_data_json


def test_a_pixel_size_that_was_cancelled_is_neither_shown_nor_run(sit_down, desk_room):
    desk_room.change(source="picture", spacing_mm=0.58)
    one = sit_down(desk_room).enter("cancelled size")
    row = one.find(f"study-{desk_room.study}")
    one.find(f"run-{desk_room.study}").click()
    assert one.find("run-spacing").input_value() == "0.58"
    one.find("run-spacing").fill("0.7")
    one.find("run-ok").click()
    one.until(lambda: asked(desk_room) == [("import", 0.7, None)])
    row.get_by_role("button", name="Cancel").click()
    one.until(lambda: "cancelled" in row.inner_text())
    one.find(f"run-{desk_room.study}").click()
    assert one.find("run-spacing").input_value() == "0.58"
    one.find("run-ok").click()
    one.until(lambda: asked(desk_room) == [("segment", None, None)])


def test_a_picture_is_not_run_without_its_pixel_size(sit_down, desk_room):
    desk_room.change(source="picture", state="cancelled", result=None, imported=0)
    one = sit_down(desk_room).enter("no size")
    one.find(f"run-{desk_room.study}").click()
    assert one.find("run-spacing").input_value() == ""
    one.find("run-ok").click()
    one.find("dialog-run").get_by_text("0.02 to 20").wait_for()
    assert asked(desk_room) == []


def test_another_series_can_be_chosen(sit_down, desk_room):
    series = [
        {"number": "3", "description": "SWI", "kind": "swi", "chosen": True},
        {"number": "4", "description": None, "kind": "magnitude", "chosen": False},
    ]
    desk_room.change(source="dicom", series=json.dumps(series))
    one = sit_down(desk_room).enter("series")
    one.find(f"run-{desk_room.study}").click()
    assert one.find("run-series").input_value() == "3"
    assert one.find("run-series").inner_text().split("\n") == ["SWI", "series 4"]
    one.find("run-series").select_option("4")
    one.find("run-ok").click()
    one.until(lambda: asked(desk_room) == [("import", None, "4")])
    # It is the study's own only when it is segmented.
    row = one.find(f"study-{desk_room.study}")
    row.get_by_role("button", name="Cancel").click()
    one.until(lambda: "cancelled" in row.inner_text())
    one.find(f"run-{desk_room.study}").click()
    assert one.find("run-series").input_value() == "3"
    one.find("run-ok").click()
    one.until(lambda: asked(desk_room) == [("segment", None, None)])


@pytest.mark.parametrize("role", ["phase", "mask"])
def test_a_phase_or_mask_with_two_scans_is_not_lost_in_silence(sit_down, desk_room, tmp_path, role):
    one = sit_down(desk_room).enter("two scans")
    paths = [tmp_path / name for name in ("one.nii", "two.nii", "beside.nii")]
    for path in paths:
        path.write_bytes(b"content")
    one.page.get_by_text("Phase or mask for the next scan").click()
    one.find(f"new-{role}").set_input_files(paths[2])
    one.find("pick-files").set_input_files(paths[:2])
    one.find("toast").get_by_text("belong to one study, got 2 studies").wait_for()
    # It still stands there for one of them.
    assert one.find(f"new-{role}").evaluate("(input) => input.files.length") == 1
    assert desk_room.rows("SELECT id FROM studies") == [(desk_room.study,)]
    one.allow("400")


def test_phase_and_mask_count_for_the_size_of_an_upload(sit_down, desk_room, tmp_path):
    one = sit_down(desk_room).enter("too large")
    path = tmp_path / "scan.nii"
    path.write_bytes(bytes(600_000))
    sent = []
    one.page.on("request", lambda request: sent.append(request.method))
    one.page.get_by_text("Phase or mask for the next scan").click()
    one.find("new-phase").set_input_files(path)
    one.find("pick-files").set_input_files(path)
    one.find("toast").wait_for()
    assert one.find("toast").inner_text() == "That is 2 MB; at most 1 MB are taken at a time."
    assert "POST" not in sent


def test_the_list_says_how_the_look_through_the_folder_goes(sit_down, desk_room):
    def look(state, reason=None):
        with desk_room.desk.store.transaction() as base:
            base.execute("DELETE FROM jobs")
            base.execute(
                "INSERT INTO jobs (id, kind, state, reason, settings, created) "
                "VALUES ('x', 'list', ?, ?, '{}', 0)",
                (state, reason),
            )

    look("running")
    one = sit_down(desk_room).enter("folder")
    one.find("folder").get_by_text("Looking through the folder").wait_for()
    look("failed", "it took more than 30 minutes and was ended")
    one.find("folder").get_by_text("took more than 30 minutes and was ended").wait_for()
    look("done")
    one.find("folder").wait_for(state="detached")


def test_the_form_says_what_was_measured_on_single_slices(sit_down, read_room):
    one = sit_down(read_room).enter("slices")
    one.find("new-model").select_option("standard")
    one.find("new-point").select_option("report")
    assert "simulated volumes" in one.find("new-meaning").inner_text()
    points = read_room.get("/room")["models"][0]["points"]
    said = next(point["slices"] for point in points if point["name"] == "report")
    assert one.find("new-slices").inner_text() == said.replace(" %", "\N{NO-BREAK SPACE}%")
    assert said.startswith("Single slices: ")
    one.find("new-point").select_option("own")
    assert not one.find("new-slices").is_visible()


def test_the_list_is_searched_and_filtered(sit_down, read_room):
    one = sit_down(read_room).enter("search")
    row = one.find(f"study-{read_room.study}")
    row.wait_for()
    one.find("search").fill("no such scan")
    assert not row.is_visible()
    one.find("search").fill("SLAB")
    assert row.is_visible()
    one.find("filter").select_option("failed")
    assert not row.is_visible()
    one.find("filter").select_option("unread")
    assert row.is_visible()


def test_what_is_shown_is_run_and_all_that_waits_is_cancelled(sit_down, desk_room):
    one = sit_down(desk_room).enter("run shown")
    states = ["new", "failed", "cancelled", "new", "waiting"]
    with desk_room.desk.store.transaction() as base:
        for number, state in enumerate(states):
            add_study(base, NewStudy(f"s{number}", f"sub-{number}.nii", "nifti", "upload"), state)
        base.execute("UPDATE studies SET needs = 'series' WHERE id = 's3'")
    button = one.find("run-shown")

    def found():
        return desk_room.rows("SELECT id, state FROM studies WHERE id LIKE 's%' ORDER BY id")

    # One that is read, one that has a question, and one that waits cannot be run.
    one.until(lambda: button.inner_text() == "Run 3 shown")
    one.find("search").fill("sub-1")
    assert button.inner_text() == "Run 1 shown"
    button.click()
    one.until(lambda: found()[1] == ("s1", "waiting"))
    assert [state for _, state in found()] == ["new", "waiting", "cancelled", "new", "waiting"]
    one.until(button.is_disabled)
    assert button.inner_text() == "Run 0 shown"
    one.find("search").fill("")
    one.find("filter").select_option("cancelled")
    assert button.inner_text() == "Run 1 shown"
    one.find("cancel-waiting").get_by_text("Cancel all 2 waiting").click()
    one.find("cancel-waiting").wait_for(state="hidden")
    assert [state for _, state in found()] == ["new", "cancelled", "cancelled", "new", "cancelled"]
    assert desk_room.rows("SELECT state FROM jobs") == [("cancelled",)]


def test_without_the_token_there_is_nothing(sit_down, read_room):
    one = sit_down(read_room)
    answer = one.page.goto(read_room.base + "/")
    assert answer.status in (401, 403)
    one.allow("401")
