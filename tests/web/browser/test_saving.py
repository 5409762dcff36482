"""What the page shows as saved is on the disk, whatever happens to the server."""

import pytest


def test_what_is_saved_survives_a_killed_server(sit_down, own_room):
    one = sit_down(own_room).enter("killed").open()
    first = one.state()["selected"]
    one.key("a")
    one.saved()
    own_room.kill()
    own_room.start()
    found = {f["id"]: f["verdict"] for f in one.stored("killed")["findings"]}
    assert found[first] == "accept"
    # The page asks the new server for the work list, with the old key.
    one.allow("401")


def test_marks_made_while_the_server_is_away_are_sent_when_it_is_back(sit_down, own_room):
    one = sit_down(own_room).enter("away").open()
    first, second = one.state()["shown"][:2]
    own_room.kill()
    one.key("a", "1")
    one.until(lambda: one.find("saved").inner_text() == "NOT SAVED - retrying")
    one.find("banner").wait_for()
    assert "does not answer" in one.find("banner").inner_text()
    own_room.start()
    one.until(lambda: "started anew" in one.find("banner").inner_text())
    # Its new address, in the same browser, lets this page in again.
    one.page.context.new_page().goto(f"{own_room.base}/?token={own_room.token}")
    one.saved()
    one.until(lambda: not one.find("banner").is_visible())
    found = {f["id"]: f for f in one.stored("away")["findings"]}
    assert found[first]["verdict"] == "accept"
    assert found[second]["reason"] == "vein"
    one.allow("401")


def test_marks_made_just_before_the_study_is_left_are_saved(sit_down, read_room):
    one = sit_down(read_room).enter("left at once").open()
    marked = one.state()["shown"][:3]
    one.key(*"a" * len(marked), "Shift+W")
    one.until(lambda: not one.state()["pending"])
    assert one.find("saved").inner_text() == ""
    assert _accepted(one.stored("left at once")) == marked


def test_an_answer_that_is_lost_costs_no_mark_of_a_study_that_was_left(sit_down, read_room):
    one = sit_down(read_room).enter("answer lost").open()
    marked = one.state()["shown"][:2]
    lost = []

    def lose(route):
        answer = route.fetch()
        if lost:
            route.fulfill(response=answer)
        else:
            lost.append(answer.status)
            route.abort("connectionfailed")

    one.page.route("**/events", lose)
    one.key("a", "a", "Shift+W")
    one.until(lambda: lost and not one.state()["pending"])
    assert lost == [200]
    stored = one.stored("answer lost")
    assert (_accepted(stored), stored["revision"]) == (marked, 2)


def test_a_lesion_whose_answer_was_lost_is_added_once_and_selected(sit_down, desk_room):
    one = sit_down(desk_room).enter("added once").open()
    names = []

    def lose(route):
        names.append(route.request.post_data_json["id"])
        answer = route.fetch()
        if len(names) > 1:
            route.fulfill(response=answer)
        else:
            route.abort("connectionfailed")

    one.page.route("**/events", lose)
    one.page.evaluate("room.moveTo([4, 20, 4])")
    one.key("m")
    one.until(lambda: one.state()["selected"] == "r1")
    assert one.saved()["revision"] == 1
    assert [row["kind"] for row in desk_room.desk.store.rows("SELECT * FROM events")] == ["add"]
    assert len(names) == 2
    assert names[0] == names[1]
    assert len(bytes.fromhex(names[0])) == 16


def test_a_mark_is_not_taken_for_another_windows(sit_down, desk_room):
    one = sit_down(desk_room).enter("two tabs").open()
    other = one.beside().open()
    for each in (one, other):
        each.page.route("**/events", lambda route: route.abort("connectionfailed"))
    one.key("p")
    other.find("finding-m2").click()
    other.key("1")
    for each in (one, other):
        each.until(lambda each=each: each.state()["saved"] == "failed")
    one.page.unroute("**/events")
    one.saved()
    # Both events were tried more than once, and the reading has one event more than both saw.
    other.page.unroute("**/events")
    other.until(lambda: other.state()["saved"] == "refused")
    assert "repeat your last mark" in other.find("toast").inner_text()
    assert other.finding("m1")["certainty"] == "possible"
    assert other.finding("m2")["verdict"] is None
    other.find("finding-m2").click()
    other.key("1")
    other.saved()
    found = {f["id"]: f["verdict"] for f in other.stored("two tabs")["findings"]}
    assert found == {"m1": "accept", "m2": "reject"}
    one.allow("409")


def test_marks_after_one_at_which_the_server_fails_are_saved(sit_down, desk_room):
    one = sit_down(desk_room).enter("failing").open()
    tries = []

    def fail(route):
        if route.request.post_data_json["payload"]["finding"] != "m1":
            route.continue_()
            return
        tries.append(route.request.post_data_json)
        route.fulfill(status=500, json={"error": "unexpected KeyError: see the server for where"})

    one.page.route("**/events", fail)
    said = []

    def hear(words):
        said.append(words)

    one.page.expose_function("said", hear)
    one.page.evaluate(
        "new MutationObserver(() => said(document.getElementById('toast').textContent))"
        ".observe(document.getElementById('toast'), { childList: true })"
    )
    one.key("a", "1")
    one.saved()
    assert len(tries) == 3
    assert any("failed at this mark 3 times" in words and "KeyError" in words for words in said)
    # What is shown is what is stored.
    for findings in (one.stored("failing")["findings"], one.state()["findings"]):
        assert {f["id"]: f["verdict"] for f in findings} == {"m1": None, "m2": "reject"}
    one.allow("500")


@pytest.mark.parametrize("status", [503, 507])
def test_a_server_that_cannot_write_now_is_asked_until_it_can(sit_down, desk_room, status):
    one = sit_down(desk_room).enter("full").open()
    tries = []
    full = True

    def fail(route):
        tries.append(status)
        if full:
            route.fulfill(status=status, json={"error": "the disk is full: nothing was saved"})
        else:
            route.continue_()

    one.page.route("**/events", fail)
    one.key("a")
    # More often than a mark at which the server itself fails.
    one.until(lambda: len(tries) > 4, 60)
    one.until(lambda: one.find("saved").inner_text() == "NOT SAVED - retrying")
    full = False
    one.saved()
    assert _accepted(one.stored("full")) == ["m1"]
    one.allow(str(status))


def test_an_undo_of_a_refused_mark_takes_back_no_other(sit_down, desk_room):
    one = sit_down(desk_room).enter("undo").open()
    one.key("a")
    one.saved()
    held = []

    def hold(route):
        held.append(route)
        if len(held) > 1:
            route.continue_()

    one.page.route("**/events", hold)
    one.key("2", "u")
    one.until(lambda: held)
    held[0].fulfill(status=400, json={"error": "no"})
    one.until(lambda: not one.state()["pending"])
    stored = one.stored("undo")
    assert (_accepted(stored), stored["revision"]) == (["m1"], 1)
    one.allow("400")


def test_a_mark_that_comes_too_late_takes_none_of_another_study_along(sit_down, own_room, scan):
    other = _second_study(own_room, scan)
    one = sit_down(own_room).enter("two studies").open()
    held = []

    def hold(route):
        held.append(route)

    one.page.route(f"**/studies/{own_room.study}/events", hold)
    one.key("a")
    one.until(lambda: held)
    # In another window the same reader marks the same study.
    one.elsewhere("two studies", "add", seed=[n // 2 for n in one.shape])
    one.key("Shift+W")
    marked = one.open(other).state()["selected"]
    one.key("a")
    held[0].continue_()
    one.until(lambda: not one.state()["pending"])
    assert _accepted(one.stored("two studies", other)) == [marked]
    # Only what the other window added.
    assert _accepted(one.stored("two studies")) == ["r1"]
    one.allow("409")


def test_marks_of_a_study_that_is_deleted_hold_no_others_back(sit_down, own_room, scan):
    other = _second_study(own_room, scan)
    one = sit_down(own_room).enter("deleted").open()
    with own_room.client as client:
        assert client.delete(f"/api/studies/{own_room.study}").status_code == 204
    one.key("a")
    one.until(lambda: not one.state()["pending"])
    assert one.state()["saved"] == "refused"
    one.key("Shift+W")
    marked = one.open(other).state()["selected"]
    one.key("a")
    one.saved()
    assert _accepted(one.stored("deleted", other)) == [marked]
    one.allow("404")


def _second_study(room, scan):
    study = room.upload(scan, point="screening")
    assert room.wait(study)["state"] == "ready"
    return study


def _accepted(reading):
    return [one["id"] for one in reading["findings"] if one["verdict"] == "accept"]


def test_a_job_survives_a_killed_server(sit_down, own_room, scan):
    one = sit_down(own_room).enter("job")
    study = own_room.upload(scan)
    own_room.wait(study, "running")
    own_room.kill()
    own_room.start()
    assert own_room.wait(study)["state"] == "ready"
    one.enter_again()
    one.find(f"read-{study}").click()
    one.until(lambda: one.page.evaluate("room.ready"))
    assert one.state()["shown"]
    one.allow("401")
