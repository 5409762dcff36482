"""What the page shows as saved is on the disk, whatever happens to the server."""


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
    assert _accepted(one.stored("answer lost")) == marked
    one.allow("409")


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
    event = {"kind": "add", "payload": {"seed": [n // 2 for n in one.shape]}}
    event |= {"reader": one.reader_id("two studies"), "revision": one.state()["revision"]}
    with own_room.client as client:
        assert client.post(f"/api/studies/{own_room.study}/events", json=event).status_code == 200
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
