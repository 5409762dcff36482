"""The page fits, speaks, and works without a mouse."""

from pathlib import Path

import pytest

CHECKS = (Path(__file__).parent / "checks.js").read_text()


def check(reader, name):
    return reader.page.evaluate(f"({CHECKS}).{name}()")


@pytest.mark.parametrize("size", [(1280, 720), (1920, 1080)])
def test_nothing_is_cut_off(sit_down, read_room, size):
    one = sit_down(read_room, *size).enter(f"size {size[0]}")
    assert check(one, "outside") == []
    one.open()
    assert check(one, "outside") == []
    one.key("e")
    assert check(one, "outside") == []


@pytest.mark.parametrize("size", [(1152, 700), (1024, 640), (853, 480)])
def test_a_small_window_leaves_all_usable(sit_down, desk_room, size):
    name = "sub-01_ses-01_acq-swi_run-01_T2starw.nii.gz"
    desk_room.change(name=name, state="failed", reason="expected a mask on the scan's grid")
    one = sit_down(desk_room, *size).enter("small")
    cell = one.find(f"study-{desk_room.study}").locator("td.name").bounding_box()
    assert cell["width"] >= 150
    assert cell["height"] < 120
    assert one.page.locator(".studies").bounding_box()["height"] >= 240
    assert check(one, "beside") == []
    one.find("read-" + desk_room.study).scroll_into_view_if_needed()
    one.open()
    one.page.evaluate("room.view.hasPhase = true")
    one.key("e")
    one.find("phase-on").wait_for()
    assert check(one, "beside") == []
    assert one.find("findings").bounding_box()["height"] >= 150
    assert one.page.locator("#marks").bounding_box()["height"] >= 250
    one.key("Escape")
    # What lies below the edge of the panel is scrolled to.
    one.find("accept").click()
    one.saved()
    one.find("back").click()
    one.find("search").wait_for()


def test_the_notice_is_always_there(sit_down, read_room):
    one = sit_down(read_room).enter("notice")
    words = "Research use only - not a medical device"
    assert one.find("notice").inner_text() == words
    one.open()
    assert one.find("notice").is_visible()


def test_reading_from_start_to_export_needs_no_mouse(sit_down, read_room):
    one = sit_down(read_room)
    one.page.goto(f"{read_room.base}/?token={read_room.token}")
    one.find("reader-name").wait_for()
    one.page.keyboard.type("keyboard")
    one.key("Enter")
    one.find(f"read-{read_room.study}").wait_for()
    for _ in range(40):
        one.key("Tab")
        if one.page.evaluate("document.activeElement.dataset.test") == f"read-{read_room.study}":
            break
    one.key("Enter")
    one.until(lambda: one.page.evaluate("room.ready"))
    cross = one.state()["cross"]
    one.key("ArrowLeft")
    assert one.state()["cross"] != cross
    one.key("n", "b", "a", "r", "Enter", "PageDown", "g")
    one.find("confirm-no").focus()
    one.key("Enter")
    one.saved()
    one.key("o")
    one.find("dialog-export").wait_for()
    # The focus stays inside the dialog, or goes to the browser's own controls.
    for _ in range(20):
        one.key("Tab")
        assert one.page.evaluate("document.activeElement.closest('dialog, body').tagName") in (
            "DIALOG",
            "BODY",
        )
        assert one.page.evaluate("document.activeElement.closest('main')") is None
    one.key("Escape")
    one.find("dialog-export").wait_for(state="detached")
    one.key("Shift+W")
    one.find("search").wait_for()


def test_long_names_and_all_live_keys_leave_what_matters_in_sight(sit_down, read_room):
    one = sit_down(read_room).enter("Dr Unusually Long-Name of the Far North").open()
    one.key("a", "a", "u")
    one.until(lambda: one.saved()["revision"] == 3)
    bar = one.page.locator("#keybar .keys").bounding_box()

    def in_sight(*kinds):
        boxes = [one.find(f"key-{kind}").bounding_box() for kind in kinds]
        return all(box["y"] + box["height"] <= bar["y"] + bar["height"] + 1 for box in boxes)

    assert in_sight("accept", "undo", "add", "eraser", "complete")
    one.key("e")
    assert in_sight("accept", "undo", "add", "eraser", "smaller", "larger", "leave")
    one.key("Escape", "g")
    one.find("confirm-yes").click()
    one.until(lambda: one.saved()["complete"])
    assert check(one, "outside") == []
    one.key("q")
    one.find("agreement-figures").wait_for()
    side = one.page.locator("#side").bounding_box()
    box = one.find("agreement-first").bounding_box()
    assert box["x"] + box["width"] <= side["x"] + side["width"]
    one.find("back").click()
    one.find(f"study-{read_room.study}").get_by_text("Dr Unusually").wait_for()
    assert check(one, "outside") == []


def test_the_address_names_the_open_study_and_nothing_else(sit_down, desk_room):
    one = sit_down(desk_room).enter("address").open()
    page, here = one.page, f"{desk_room.base}/#{desk_room.study}"
    assert page.url == here
    page.reload()
    one.until(lambda: page.evaluate("globalThis.room?.ready"))
    page.go_back()
    one.find("search").wait_for()
    assert page.url == f"{desk_room.base}/"
    assert one.state()["study"] is None
    page.go_forward()
    one.until(lambda: page.evaluate("room.ready"))
    # The link past the head of the page leaves the address as it is.
    page.locator(".skip").focus()
    one.key("Enter")
    assert page.evaluate("document.activeElement.id") == "marks"
    assert page.url == here
    one.find("back").click()
    assert page.url == f"{desk_room.base}/"
    session = page.context.new_cdp_session(page)
    visited = [each["url"] for each in session.send("Page.getNavigationHistory")["entries"]]
    assert here in visited
    assert not any(desk_room.token in url or "?" in url for url in visited)


def test_going_back_closes_what_asks_of_the_study_that_is_left(sit_down, desk_room):
    one = sit_down(desk_room).enter("back and forth").open()
    one.key("g")
    one.find("dialog-confirm").wait_for()
    one.page.go_back()
    one.find("dialog-confirm").wait_for(state="detached")
    one.find("search").wait_for()
    assert desk_room.rows("SELECT * FROM events") == []


def test_an_address_of_no_study_leads_to_the_list(sit_down, desk_room):
    one = sit_down(desk_room).enter("no study")
    one.page.goto(f"{desk_room.base}/#ffffffffffffffff")
    one.find("toast").get_by_text("there is no such study").wait_for()
    assert one.page.url == f"{desk_room.base}/"
    assert one.find("search").is_visible()
    one.allow("404")


def test_nothing_is_said_to_be_saved_in_a_study_where_nothing_was(sit_down, read_room):
    one = sit_down(read_room).enter("saved nothing").open()
    one.key("a")
    one.saved()
    one.find("back").click()
    assert one.find("saved").inner_text() == ""
    one.open()
    assert one.find("saved").inner_text() == ""


def test_controls_have_names_and_text_is_not_small(reader):
    assert check(reader, "nameless") == []
    assert check(reader, "small") == []


def test_text_stands_out_from_its_ground(reader):
    assert check(reader, "poor") == []


def test_the_focus_stays_on_a_button_that_is_pressed(sit_down, desk_room):
    one = sit_down(desk_room).enter("focus").open()
    for name in ("crosshair-on", "tool-brush", "brush-mm", "window-reset", "fit", "point-report"):
        one.find(name).focus()
        one.key("ArrowUp" if name == "brush-mm" else "Enter")
        assert one.focused() == name
    one.find("point-screening").click()
    one.find("finding-m1").click()
    one.find("accept").focus()
    one.key("Enter")
    one.saved()
    assert one.focused() == "accept"
    assert one.state()["selected"] == "m2"
    one.find("complete").focus()
    one.key("Enter")
    one.find("confirm-yes").click()
    one.until(lambda: one.saved()["complete"])
    assert one.focused() == "complete"
    # The page looks for news, and draws its head again.
    one.find("back").focus()
    with one.page.expect_response("**/api/studies?*"):
        pass
    one.page.wait_for_timeout(100)
    assert one.focused() == "back"


def test_the_focus_is_never_lost_where_buttons_go(sit_down, desk_room):
    one = sit_down(desk_room).enter("focus kept").open()
    one.find("reject").focus()
    one.key("Enter")
    one.find("reason-vein").wait_for()
    assert one.focused() == "findings"
    # As the question says: no reason.
    one.key("Enter")
    assert one.finding("m1")["verdict"] == "reject"
    assert one.finding("m1")["reason"] is None
    one.saved()
    one.find("agreement").focus()
    one.key("Enter")
    one.find("agreement-figures").wait_for()
    assert one.focused() == "agreement-close"
    one.find("agreement-close").focus()
    one.key("Enter")
    assert one.focused() == "findings"
