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
    found = one.stored("left at once")["findings"]
    assert [f["id"] for f in found if f["verdict"] == "accept"] == marked


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
