"""What is done to findings goes to the one that is meant, and the page says of each what counts."""

import json

import numpy as np
import pytest

from mmocnet.review.finding import encode_voxels

SHAPE = (24, 28, 6)
"""Of the desk's scan; its voxels are 2 mm wide, and 3 mm along the third axis."""
DARK = [4, 20, 4]
"""Where a lesion is that the machine has not."""
EVEN = [18, 5, 1]
"""Where nothing dark is."""


def encoded(place):
    return encode_voxels(np.array([np.ravel_multi_index(place, SHAPE)]))


def places(finding):
    return np.stack(np.unravel_index(finding["voxels"], SHAPE), axis=-1).tolist()


def stroke(one, start, end=None):
    """Draw with the tool from one voxel of the axial plane to another."""
    one.page.evaluate("(voxel) => room.moveTo(voxel)", start)
    one.page.mouse.move(*one.place(start))
    one.page.mouse.down()
    if end is not None:
        one.page.mouse.move(*one.place(end), steps=6)
    one.page.mouse.up()


class Held:
    """The page's events, held back until they are let go."""

    def __init__(self, one):
        self.one, self.routes, self.open = one, [], False
        one.page.route("**/events", self.take)

    def take(self, route):
        if self.open:
            route.continue_()
        else:
            self.routes.append(route)

    def wait(self):
        self.one.until(lambda: self.routes)

    def let_go(self):
        self.open = True
        for route in self.routes:
            route.continue_()
        self.one.until(lambda: not self.one.state()["pending"])


@pytest.fixture
def one(sit_down, desk_room):
    return sit_down(desk_room).enter("edits").open()


def stored(one):
    return {finding["id"]: finding for finding in one.stored("edits")["findings"]}


def accepted(one):
    """Accept a finding, which stays selected."""
    one.key("a")
    one.find("finding-m1").click()
    one.saved()
    return one.finding("m1")


# The brush is 3 mm wide, a voxel 2 mm; m1 holds 8 and 9 of the first axis.
def test_a_spot_beside_the_selected_finding_is_a_finding_of_its_own(one):
    before = accepted(one)
    one.key("e")
    stroke(one, [12, 9, 2])
    one.until(lambda: one.saved()["revision"] == 2)
    assert one.finding("m1")["voxels"] == before["voxels"]
    assert places(one.finding("r1")) == [[12, 9, 2]]
    assert one.state()["selected"] == "r1"


@pytest.mark.parametrize(
    "way", [([10, 9, 2],), ([11, 9, 2],), ([9, 10, 3],), ([13, 9, 2], [10, 9, 2])]
)
def test_a_stroke_at_the_outline_of_the_selected_finding_or_into_it_extends_it(one, way):
    before = accepted(one)
    one.key("e")
    stroke(one, *way)
    one.until(lambda: one.saved()["revision"] == 2)
    assert "r1" not in stored(one)
    painted = places(one.finding("m1"))
    assert all(place in painted for place in [*places(before), *way])


def test_a_rejected_finding_is_not_extended(one):
    one.key("1")
    one.find("finding-m1").click()
    one.key("e")
    stroke(one, [10, 9, 2])
    one.until(lambda: one.saved()["revision"] == 2)
    found = stored(one)
    assert (found["m1"]["verdict"], found["m1"]["edited"]) == ("reject", False)
    assert found["r1"]["verdict"] == "accept"


def test_escape_leaves_the_tool_and_then_the_finding(one):
    one.key("e", "Escape")
    assert (one.state()["tool"], one.state()["selected"]) == ("navigate", "m1")
    one.key("Escape")
    assert one.state()["selected"] is None
    one.key("a")
    assert one.state()["revision"] == 0
    one.key("?")
    assert "else select nothing" in one.find("dialog-help").inner_text()


def test_an_accepted_finding_over_10_mm_is_said_not_to_count(one):
    accepted(one)
    row = one.find("finding-m1").locator('[data-test="finding-verdict"]')
    assert "over 10 mm" not in row.inner_text()
    one.key("e")
    one.find("brush-mm").fill("14")
    one.find("brush-mm").press("Enter")
    stroke(one, [9, 9, 2])
    one.until(lambda: one.saved()["revision"] == 2)
    assert row.inner_text() == "accepted, edited, over 10 mm, not counted"
    one.find("brush-mm").evaluate("(field) => field.blur()")
    one.key("1")
    assert row.inner_text() == "rejected, vein, edited"
    one.saved()


def test_a_verdict_before_a_lesion_is_added_is_on_that_lesion(one):
    held = Held(one)
    one.page.evaluate("(voxel) => room.moveTo(voxel)", DARK)
    one.key("m")
    held.wait()
    assert "being added" in one.find("verdict").inner_text()
    one.key("d")
    held.let_go()
    found = stored(one)
    assert (found["r1"]["verdict"], found["r1"]["certainty"]) == ("accept", "definite")
    assert found["m1"]["verdict"] is None
    assert one.state()["selected"] == "r1"
    # And the next goes on from what was said.
    assert one.finding("r1")["certainty"] == "definite"


@pytest.mark.parametrize(
    ("keys", "verdict"),
    [("r3", ("reject", "iron", None)), ("dpu", ("accept", None, "definite")), (["Delete"], None)],
)
def test_reasons_undo_and_removal_before_a_lesion_is_added_are_of_it_too(one, keys, verdict):
    held = Held(one)
    one.page.evaluate("(voxel) => room.moveTo(voxel)", DARK)
    one.key("m")
    held.wait()
    one.key(*keys)
    held.let_go()
    found = stored(one)
    assert found["m1"]["verdict"] is None
    said = found.get("r1")
    assert (said and (said["verdict"], said["reason"], said["certainty"])) == verdict


def test_what_follows_a_lesion_that_is_refused_changes_nothing(one):
    one.key("p")
    one.saved()
    one.find("finding-m1").click()
    held = Held(one)
    one.page.evaluate("(voxel) => room.moveTo(voxel)", EVEN)
    one.key("m")
    held.wait()
    one.key("d", "u", "u", "r")
    held.let_go()
    assert "dark" in one.find("toast").inner_text()
    state = one.state()
    assert (state["saved"], state["revision"], state["selected"]) == ("saved", 1, None)
    one.key("1")
    assert one.finding("m1")["certainty"] == "possible"
    assert stored(one)["m1"]["certainty"] == "possible"
    one.allow("400")


def test_marks_on_a_lesion_that_is_being_added_are_saved_though_the_study_is_left(one):
    held = Held(one)
    one.page.evaluate("(voxel) => room.moveTo(voxel)", DARK)
    one.key("m")
    held.wait()
    one.key("p", "Shift+W")
    held.let_go()
    assert stored(one)["r1"]["certainty"] == "possible"
    assert stored(one)["m1"]["certainty"] is None


def test_a_finding_chosen_before_a_lesion_is_added_stays_selected(one):
    held = Held(one)
    one.page.evaluate("(voxel) => room.moveTo(voxel)", DARK)
    one.key("m")
    held.wait()
    one.find("finding-m2").click()
    one.key("p")
    one.find("finding-m2").click()
    held.let_go()
    found = stored(one)
    assert (found["m2"]["certainty"], found["r1"]["certainty"]) == ("possible", None)
    assert one.state()["selected"] == "m2"


def test_strokes_of_one_lesion_are_one_finding_however_slow_the_server_is(one):
    held = Held(one)
    one.key("e")
    stroke(one, [18, 5, 1])
    held.wait()
    stroke(one, [19, 5, 1])
    stroke(one, [20, 5, 1])
    # What is drawn is shown.
    assert len(one.page.evaluate("[...room.view.fresh.indices]")) == 3
    held.let_go()
    found = stored(one)
    assert set(found) == {"m1", "m2", "r1"}
    drawn = [[18, 5, 1], [19, 5, 1], [20, 5, 1]]
    assert places(one.finding("r1")) == drawn
    assert one.page.evaluate("[...room.view.fresh.indices]") == []


def test_a_stroke_apart_from_a_lesion_that_is_being_added_is_another(one):
    held = Held(one)
    one.key("e")
    stroke(one, [18, 5, 1])
    held.wait()
    stroke(one, [8, 20, 1])
    held.let_go()
    assert places(one.finding("r1")) == [[18, 5, 1]]
    assert places(one.finding("r2")) == [[8, 20, 1]]
    assert one.state()["selected"] == "r2"


def test_a_lesion_drawn_over_another_is_selected_itself(one):
    one.key("e")
    stroke(one, [18, 5, 1], [20, 5, 1])
    one.until(lambda: one.state()["selected"] == "r1")
    one.saved()
    one.key("Escape", "Escape", "e")
    stroke(one, [20, 5, 1], [20, 6, 1])
    one.until(lambda: one.saved()["revision"] == 2)
    assert one.state()["selected"] == "r2"


def test_a_finding_of_ones_own_that_is_rejected_is_said_to_be(one):
    one.elsewhere("edits", "add", voxels=encoded(EVEN))
    one.find("back").click()
    one.open()
    one.find("finding-r1").click()
    assert "0 accepted, 0 rejected, 1 added" in one.find("counts").inner_text()
    one.key("1")
    row = one.find("finding-r1")
    assert row.locator('[data-test="finding-verdict"]').inner_text() == "rejected, vein"
    assert row.locator(".glyph-reject").count() == 1
    words = one.find("counts").inner_text()
    assert "0 accepted, 1 rejected, 2 to judge" in words
    one.saved()


def test_a_lesion_that_is_not_there_costs_one_sentence(one):
    one.page.evaluate("(voxel) => room.moveTo(voxel)", EVEN)
    one.key("m")
    one.until(lambda: "dark" in one.find("toast").inner_text())
    one.until(lambda: not one.state()["pending"])
    assert one.find("saved").inner_text() == ""
    one.find("finding-m1").click()
    one.key("a")
    one.saved()
    said = one.find("saved").inner_text()
    one.page.evaluate("(voxel) => room.moveTo(voxel)", EVEN)
    one.key("m")
    one.until(lambda: not one.state()["pending"])
    assert one.find("saved").inner_text() == said
    one.allow("400")


def test_lost_work_is_said_until_something_is_saved_and_hides_no_other_sentence(one):
    one.page.route(
        "**/events", lambda route: route.fulfill(status=400, json={"error": "that is lost"})
    )
    one.key("a")
    one.until(lambda: one.state()["saved"] == "refused" and not one.state()["pending"])
    assert one.find("toast").inner_text() == "that is lost"
    one.key("u")
    assert "nothing to undo" in one.find("toast").inner_text()
    # The page looks for news twice: what came of the first is drawn by then.
    for _ in range(2):
        with one.page.expect_response("**/api/studies?*"):
            pass
    assert "nothing to undo" in one.find("toast").text_content()
    assert one.find("saved").inner_text() == "NOT SAVED - refused"
    assert one.find("saved").get_attribute("title") == "that is lost"
    one.page.unroute("**/events")
    one.find("finding-m1").click()
    one.key("a")
    one.saved()
    assert one.find("saved").get_attribute("title") == ""
    one.allow("400")


def test_the_page_names_the_keys_that_the_reader_has_chosen(one):
    button = one.find("accept").locator("kbd")
    assert button.inner_text() == "A"
    one.key("?")
    one.find("bind-reject").click()
    one.key("a")
    one.find("bind-next").click()
    one.key("9")
    one.find("bind-brush").click()
    one.key("8")
    one.key("Escape")
    assert one.find("reject").inner_text().split() == ["A", "Reject"]
    assert one.find("accept").inner_text().split() == ["Accept"]
    assert one.find("tool-brush").get_attribute("title") == "Paint voxels (8)"
    one.key("Escape")
    assert "9 goes to the next one" in one.find("verdict").inner_text()
    one.find("finding-m1").click()
    one.key("?")
    one.find("keys-reset").click()
    one.key("Escape")
    assert button.inner_text() == "A"
    assert one.find("tool-brush").get_attribute("title") == "Paint voxels (E)"


@pytest.fixture
def other(desk):
    """Another reader, who has drawn a finding that the page's reader has not."""
    name = desk.reader("other")
    answer = desk.send(name, 0, "add", voxels=encoded(DARK))
    assert answer.status_code == 200, answer.text
    return name


def figures(one):
    return json.loads(
        one.find("agreement-figures").evaluate(
            "(list) => JSON.stringify([...list.querySelectorAll('dd')].map((e) => e.textContent))"
        )
    )


def test_a_disagreement_of_the_other_readers_leads_to_its_place(sit_down, desk_room, other):
    one = sit_down(desk_room).enter("edits")
    one.elsewhere("edits", "add", voxels=encoded(EVEN))
    one.open()
    one.key("q")
    one.find("agreement-second").select_option(other)
    found = one.find("disagreements").locator("button")
    found.filter(has_text="other: microbleed").wait_for()
    assert "finding +1" in found.nth(0).inner_text()
    assert "finding" not in found.nth(1).inner_text()
    found.nth(1).click()
    assert one.state()["cross"] == DARK
    assert one.state()["selected"] is None
    found.nth(0).click()
    assert (one.state()["cross"], one.state()["selected"]) == ([18, 5, 1], "r1")


def test_the_agreement_is_that_of_the_reading_as_it_is_now(one):
    one.key("q")
    one.find("agreement-figures").wait_for()
    assert figures(one)[:3] == ["0", "2", "0"]
    one.key("a")
    one.until(lambda: figures(one)[:3] == ["1", "2", "1"])
    one.key("u")
    one.until(lambda: figures(one)[:3] == ["0", "2", "0"])
    one.find("agreement-close").click()
    one.key("a")
    one.saved()
    assert one.find("counts").is_visible()


def test_another_reader_begins_with_the_findings(one, other):
    one.key("q")
    one.find("agreement-figures").wait_for()
    one.find("reader").click()
    one.find(f"reader-{other}").click()
    one.until(lambda: one.state()["reader"] == "other" and one.state()["findings"])
    one.find("counts").wait_for()
    assert one.find("agreement-panel").count() == 0
    assert one.state()["selected"] == "m1"
