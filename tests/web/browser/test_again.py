"""A study that changes while it is open: no mark reaches another result than it was made on."""

import shutil
from dataclasses import replace

import pytest

from mmocnet.review.candidates import MachineResult, read_candidates, write_candidates

SAID = "This scan was analysed again"


def analyse_again(room):
    """Make a result whose candidates have changed places, as another run may."""
    desk = room.desk
    first, second = (desk.room.result(desk.study, name) for name in ("r0", "r1"))
    shutil.copytree(first, second)
    old = read_candidates(first)
    one, other = old.findings
    swapped = (
        replace(other, id="m1", machine=replace(other.machine, index=1)),
        replace(one, id="m2", machine=replace(one.machine, index=2)),
    )
    write_candidates(second, MachineResult(old.grid, swapped, old.provenance))
    room.change(result="r1")


def events(room):
    return room.rows("SELECT result, kind, payload FROM events ORDER BY rowid")


def now_on(one, result):
    one.until(lambda: one.page.evaluate("room.ready") and one.state()["result"] == result)


def test_a_mark_is_refused_and_the_new_result_is_shown(sit_down, desk_room):
    one = sit_down(desk_room).enter("again").open()
    centre = one.finding("m1")["centre_voxel"]
    analyse_again(desk_room)
    one.key("1")
    now_on(one, "r1")
    assert SAID in one.find("toast").inner_text()
    assert events(desk_room) == []
    assert one.finding("m2")["centre_voxel"] == centre
    assert {f["verdict"] for f in one.state()["findings"]} == {None}
    one.find("finding-m2").click()
    one.key("1")
    one.saved()
    ((result, kind, payload),) = events(desk_room)
    assert (result, kind) == ("r1", "verdict")
    assert '"m2"' in payload
    one.allow("409")


def test_marks_that_wait_are_not_sent_to_the_new_result(sit_down, desk_room):
    one, cut = sit_down(desk_room).enter("waiting"), []

    def pass_on(route):
        if cut:
            route.abort("connectionfailed")
        else:
            route.continue_()

    # Before the page is there: a request may slip by a route that has just been made.
    one.page.route("**/events", pass_on)
    one.open()
    one.key("p")
    one.saved()
    cut.append("off")
    one.key("1")
    one.until(lambda: one.state()["saved"] == "failed")
    analyse_again(desk_room)
    # The list of studies tells of it.
    now_on(one, "r1")
    one.find("finding-m2").click()
    one.key("d")
    assert one.state()["pending"]
    cut.clear()
    one.until(lambda: not one.state()["pending"])
    found = [(result, "m2" in payload) for result, _, payload in events(desk_room)]
    assert found == [("r0", False), ("r1", True)]
    assert one.finding("m2")["certainty"] == "definite"
    assert one.state()["revision"] == 1
    one.allow("409")


@pytest.mark.parametrize("key", ["o", "q"])
def test_export_and_agreement_tell_of_the_new_result(sit_down, desk_room, key):
    one = sit_down(desk_room).enter("export").open()
    one.key("a")
    one.saved()
    if key == "o":
        one.key("o")
        one.find("export-csv").wait_for()
    analyse_again(desk_room)
    if key == "o":
        one.find("export-csv").click()
        one.find("export-state-csv").get_by_text(SAID).wait_for()
    else:
        one.key("q")
    now_on(one, "r1")
    one.until(lambda: SAID in one.find("toast").inner_text())
    assert desk_room.rows("SELECT * FROM jobs") == []
    one.allow("409")


def test_a_reading_of_a_newer_result_is_not_shown_on_the_older_one(sit_down, desk_room):
    one = sit_down(desk_room).enter("while opening")
    asked = []

    def between(route):
        if not asked:
            analyse_again(desk_room)
        asked.append(route.request.url)
        route.continue_()

    one.page.route("**/reading?*", between)
    one.find(f"read-{desk_room.study}").click()
    now_on(one, "r1")
    assert len(asked) == 2
    one.key("a")
    one.saved()
    assert [result for result, *_ in events(desk_room)] == ["r1"]


def test_a_study_whose_images_are_not_ready_says_so(sit_down, desk_room):
    one = sit_down(desk_room).enter("no images")

    def without(route):
        found = route.fetch().json() | {"about": None}
        route.fulfill(json=found)

    one.page.route(f"**/api/studies/{desk_room.study}?*", without)
    one.find(f"read-{desk_room.study}").click()
    one.find("toast").wait_for()
    assert "images of this study are not ready" in one.find("toast").inner_text()
    assert one.find("search").is_visible()


def test_leaving_while_the_scan_is_loaded_leaves_nothing_behind(sit_down, desk_room):
    one = sit_down(desk_room).enter("left early")
    held = []

    def hold(route):
        held.append(route)
        if len(held) > 1:
            route.continue_()

    one.page.route("**/image.nii", hold)
    one.find(f"read-{desk_room.study}").click()
    one.until(lambda: held)
    one.find("back").click()
    with one.page.expect_response("**/image.nii"):
        held[0].continue_()
    one.page.wait_for_timeout(700)
    assert not one.find("toast").is_visible()
    assert one.find("search").is_visible()
    assert one.page.evaluate("room.viewer.volumes.length") == 0
    one.open()
    assert one.state()["shown"] == ["m1", "m2"]


def test_warnings_and_numbers_come_back_when_blind_reading_is_turned_off(sit_down, desk_room):
    one = sit_down(desk_room).enter("not blind").open()
    doubt = "candidate 2 may be a vein"
    assert doubt in one.find("notes").text_content()
    one.find("blind-on").click()
    one.until(lambda: one.saved()["hidden"])
    one.find("back").click()
    one.open()
    assert doubt not in one.find("notes").text_content()
    one.find("blind-off").click()
    one.until(lambda: one.saved()["hidden"] is False)
    one.until(lambda: doubt in one.find("notes").text_content())
    assert one.find("notes").is_visible()
    label = one.find("finding-m2").locator("b")
    assert label.inner_text() == "2"
