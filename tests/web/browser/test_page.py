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
