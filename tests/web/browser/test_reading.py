"""Verdicts by key, edits with the brush, undo, readers, blind reading: shown and stored."""

import re

import nibabel as nib
import numpy as np
from scipy import ndimage


def test_one_key_accepts_and_goes_to_the_next(reader, request):
    name = request.node.name[-40:]
    first, second = reader.state()["shown"][:2]
    assert reader.state()["selected"] == first
    reader.key("a")
    assert reader.state()["selected"] == second
    assert reader.state()["cross"] == reader.finding(second)["centre_voxel"]
    reader.saved()
    stored = {f["id"]: f["verdict"] for f in reader.stored(name)["findings"]}
    assert stored[first] == "accept"
    assert stored[second] is None


def test_reject_with_a_reason_and_certainties(reader, request):
    one, two, three, four = reader.state()["shown"][:4]
    reader.key("r")
    assert "Why not a microbleed?" in reader.find("keybar").inner_text()
    reader.key("1", "d", "p", "r", "Enter")
    reader.saved()
    stored = {f["id"]: f for f in reader.stored(request.node.name[-40:])["findings"]}
    found = [(stored[n]["verdict"], stored[n]["reason"], stored[n]["certainty"])
             for n in (one, two, three, four)]  # fmt: skip
    assert found == [
        ("reject", "vein", None),
        ("accept", None, "definite"),
        ("accept", None, "possible"),
        ("reject", None, None),
    ]
    assert "1 rejected" not in reader.find("counts").inner_text()
    assert "2 rejected" in reader.find("counts").inner_text()


def test_leaving_the_question_for_a_reason_rejects_nothing(reader):
    first = reader.state()["selected"]
    reader.key("r", "Escape")
    assert reader.state()["selected"] == first
    assert reader.finding(first)["verdict"] is None
    assert reader.state()["revision"] == 0


def test_undo_and_redo_take_many_steps(reader):
    one, two = reader.state()["shown"][:2]
    reader.key("a", "2")
    reader.saved()
    reader.key("u", "u")
    reader.until(lambda: reader.saved()["revision"] == 4)
    assert reader.finding(one)["verdict"] is None
    assert reader.finding(two)["verdict"] is None
    reader.key("Shift+U", "Control+y")
    reader.until(lambda: reader.saved()["revision"] == 6)
    assert reader.finding(one)["verdict"] == "accept"
    assert reader.finding(two)["reason"] == "calcium"


def zoomed(reader):
    for _ in range(8):
        reader.key("z")
    reader.page.evaluate("(v) => room.moveTo(v, true)", reader.state()["cross"])
    reader.page.wait_for_timeout(200)


def drag(reader, start, end):
    reader.page.mouse.move(*start)
    reader.page.mouse.down()
    reader.page.mouse.move(*end, steps=6)
    reader.page.mouse.up()


def test_the_brush_paints_a_disc_in_millimetres_and_the_eraser_takes_it_away(reader, request):
    zoomed(reader)
    name = reader.state()["selected"]
    before = set(reader.finding(name)["voxels"])
    centre = reader.finding(name)["centre_voxel"]
    at = reader.place([centre[0] + 5, centre[1], centre[2]])
    reader.key("e")
    drag(reader, at, at)
    reader.until(lambda: reader.saved()["revision"] == 1)
    after = set(reader.finding(name)["voxels"])
    assert before < after
    shape = reader.page.evaluate("room.view.grid.shape")
    spacing = reader.page.evaluate("room.view.grid.spacing")
    added = np.stack(np.unravel_index(sorted(after - before), shape), axis=-1)
    off = (added - [centre[0] + 5, centre[1], centre[2]]) * spacing
    # 3 mm across: no voxel's centre is farther from the middle than half of that.
    assert np.hypot(off[:, 0], off[:, 1]).max() <= 1.5 + 0.2
    assert set(added[:, 2]) == {centre[2]}
    area = len(added) * spacing[0] * spacing[1]
    assert 0.6 * np.pi * 1.5**2 < area < 1.25 * np.pi * 1.5**2
    reader.key("x")
    drag(reader, at, (at[0] + 3, at[1]))
    reader.until(lambda: reader.saved()["revision"] == 2)
    erased = set(reader.finding(name)["voxels"])
    assert not (erased & (after - before)) or len(erased & (after - before)) < 4
    reader.key("Escape", "u", "u")
    reader.until(lambda: reader.saved()["revision"] == 4)
    assert set(reader.finding(name)["voxels"]) == before
    stored = reader.stored(request.node.name[-40:])
    assert stored["revision"] == 4


def test_painting_away_from_the_selected_starts_a_finding_of_the_readers(reader):
    count = len(reader.state()["findings"])
    cross = reader.state()["cross"]
    reader.key("e")
    far = reader.place([cross[0] + (60 if cross[0] < 170 else -60), cross[1], cross[2]])
    drag(reader, far, (far[0] + 10, far[1]))
    state = reader.until(lambda: (s := reader.saved())["revision"] == 1 and s)
    assert len(state["findings"]) == count + 1
    added = state["findings"][-1]
    assert (added["origin"], added["verdict"]) == ("reader", "accept")
    assert state["selected"] == added["id"]


def test_a_missed_lesion_is_added_at_the_crosshair(reader):
    # A finding whose voxels were taken away is a missed lesion.
    first = reader.finding(reader.state()["selected"])
    seed = first["centre_voxel"]
    zoomed(reader)
    reader.find("tool-eraser").click()
    reader.find("brush-mm").fill("20")
    reader.find("brush-mm").press("Enter")
    for k in sorted({int(v) for v in np.array(first["voxels"]) % reader.shape[2]}):
        reader.page.evaluate("(voxel) => room.moveTo(voxel, true)", [*seed[:2], k])
        reader.page.wait_for_timeout(50)
        at = reader.place([*seed[:2], k])
        drag(reader, at, at)
    reader.saved()
    assert reader.finding(first["id"])["verdict"] == "reject"
    assert reader.finding(first["id"])["voxels"] == []
    reader.page.evaluate("(voxel) => room.moveTo(voxel)", seed)
    reader.key("Escape", "m")
    reader.until(lambda: any(f["origin"] == "reader" for f in reader.state()["findings"]))
    added = reader.saved()["findings"][-1]
    assert reader.state()["selected"] == added["id"]
    assert set(added["voxels"]) & set(first["voxels"])


def test_a_missed_lesion_that_the_slider_hid_is_the_machines_and_accepted(reader):
    state = reader.state()
    hidden = next(f for f in state["findings"] if f["id"] not in state["shown"])
    reader.page.evaluate("(voxel) => room.moveTo(voxel)", hidden["centre_voxel"])
    reader.key("m")
    reader.until(lambda: reader.saved()["revision"] == 1)
    state = reader.state()
    assert state["selected"] == hidden["id"]
    assert hidden["id"] in state["shown"]
    assert reader.finding(hidden["id"])["verdict"] == "accept"
    assert all(f["origin"] == "machine" for f in state["findings"])
    words = reader.find("toast").inner_text()
    assert words == f"The machine had it, at confidence {hidden['confidence']:.2f}: accepted."
    # What has a verdict keeps it.
    reader.key("m")
    reader.until(lambda: "is there already, accepted" in reader.find("toast").inner_text())
    assert reader.saved()["revision"] == 1


def test_where_nothing_is_dark_nothing_is_added_and_the_reason_is_said(reader, scan):
    array = nib.load(scan).get_fdata()
    even = ndimage.minimum_filter(array, (19, 19, 3))
    middle = tuple(slice(n // 3, 2 * n // 3) for n in array.shape)
    best = np.unravel_index(np.argmax(even[middle]), even[middle].shape)
    seed = [int(n) + part.start for n, part in zip(best, middle, strict=True)]
    reader.page.evaluate("(voxel) => room.moveTo(voxel)", seed)
    reader.key("m")
    reader.until(lambda: "dark" in reader.find("toast").inner_text())
    reader.until(lambda: not reader.state()["pending"])
    # Nothing is lost: what was saved before is what is said.
    assert reader.state()["saved"] == "idle"
    assert reader.state()["revision"] == 0
    reader.allow("400")


def test_reload_keeps_everything(reader, request):
    reader.key("a", "3", "d")
    reader.saved()
    before = reader.state()["findings"]
    reader.page.reload()
    reader.until(lambda: reader.page.evaluate("globalThis.room?.ready"))
    assert reader.state()["findings"] == before
    assert reader.state()["reader"] == request.node.name[-40:]


def test_two_readers_are_apart(sit_down, read_room):
    one = sit_down(read_room).enter("apart A").open()
    one.key("a", "a")
    one.saved()
    two = sit_down(read_room).enter("apart B").open()
    assert {f["verdict"] for f in two.state()["findings"]} == {None}
    two.key("1")
    two.saved()
    assert [f["verdict"] for f in one.stored("apart A")["findings"]][:2] == ["accept"] * 2
    # The same page, handed to the other reader.
    one.find("reader").click()
    ident = next(r["id"] for r in read_room.get("/room")["readers"] if r["name"] == "apart B")
    one.find(f"reader-{ident}").click()
    one.until(lambda: one.state()["reader"] == "apart B" and one.state()["findings"])
    assert one.state()["findings"][0]["verdict"] == "reject"


def test_agreement_counts_and_jumps(sit_down, read_room):
    one = sit_down(read_room).enter("agree A").open()
    one.key("a", "a", "1")
    one.saved()
    one.key("q")
    figures = one.find("agreement-figures")
    figures.wait_for()
    assert "Kappa" in figures.inner_text()
    first = one.find("disagreements").locator("button").first
    first.click()
    one.find("agreement-close").click()
    assert one.find("counts").is_visible()


def test_blind_reading_hides_the_machines_marks_until_revealed(sit_down, read_room):
    one = sit_down(read_room).enter("blind").open()
    machine = len(one.state()["findings"])
    place = one.finding(one.state()["shown"][0])["centre_voxel"]
    one.find("blind-on").click()
    one.until(lambda: one.saved()["hidden"])
    assert one.state()["findings"] == []
    assert one.stored("blind")["findings"] == []
    middle = [n // 2 for n in one.page.evaluate("room.view.grid.shape")]
    assert place != middle
    assert one.until(lambda: one.state()["cross"] == middle)
    assert not one.find("confidence").is_visible()
    one.page.evaluate("(voxel) => room.moveTo(voxel)", place)
    one.key("m")
    one.until(lambda: one.state()["findings"])
    one.saved()
    one.find("reveal").click()
    state = one.until(lambda: (s := one.saved())["hidden"] is False and s)
    assert len(state["findings"]) >= machine
    assert "the machine has 1 of your 1 blind mark too" in one.find("revealed").inner_text()


def test_a_reader_can_begin_every_study_blind(sit_down, read_room):
    one = sit_down(read_room).enter("always blind").open()
    one.find("blind-always").check()
    one.find("back").click()
    one.open()
    assert one.state()["hidden"]
    assert one.state()["findings"] == []
    assert one.find("blind-always").is_checked()
    # The list tells this reader no counts, of this study or of one not opened yet.
    one.find("back").click()
    row = one.find(f"study-{read_room.study}")
    counts = re.compile(r"\d of \d")
    one.until(lambda: not counts.search(row.inner_text()))
    one.open()
    one.find("blind-off").click()
    one.until(lambda: one.saved()["hidden"] is False)
    one.find("back").click()
    one.until(lambda: counts.search(row.inner_text()))


def test_completing_marks_the_study_as_read(sit_down, read_room):
    one = sit_down(read_room).enter("complete").open()
    one.key("g")
    one.find("confirm-yes").click()
    one.until(lambda: one.saved()["complete"])
    one.find("back").click()
    row = one.find(f"study-{read_room.study}")
    one.until(lambda: "complete" in row.inner_text())


def test_completing_with_findings_not_judged_asks_first(sit_down, read_room):
    one = sit_down(read_room).enter("open findings").open()
    one.key("g")
    left = len([f for f in one.state()["findings"] if f["status"] == "lesion"])
    one.find("dialog-confirm").get_by_text(f"{left} findings are not judged").wait_for()
    one.find("confirm-no").click()
    one.key("a")
    assert one.saved()["complete"] is False


def test_a_reading_that_went_on_elsewhere_is_loaded_again(sit_down, read_room):
    one = sit_down(read_room).enter("two windows").open()
    other = one.state()["shown"][1]
    one.elsewhere("two windows", "verdict", finding=other, verdict="accept")
    one.key("a")
    one.until(lambda: one.state()["saved"] == "refused")
    assert "was loaded again; repeat your last mark" in one.find("toast").inner_text()
    assert one.finding(other)["verdict"] == "accept"
    assert one.finding(one.state()["shown"][0])["verdict"] is None
    one.allow("409")


def test_holding_the_key_peeks_and_a_tap_switches(reader):
    visible = "[...document.querySelectorAll('[data-test=marks-on]')][0].ariaPressed"
    reader.key("h")
    assert reader.page.evaluate(visible) == "false"
    reader.key("h")
    reader.page.keyboard.down("h")
    reader.page.wait_for_timeout(500)
    reader.page.keyboard.up("h")
    assert reader.page.evaluate(visible) == "true"


def test_keys_can_be_changed_and_are_kept(reader):
    reader.key("?")
    reader.find("bind-accept").click()
    reader.key("y")
    reader.key("Escape")
    first = reader.state()["selected"]
    reader.key("a")
    assert reader.finding(first)["verdict"] is None
    reader.key("y")
    assert reader.finding(first)["verdict"] == "accept"
    assert "Y\nAccept" in reader.find("keybar").inner_text()
    reader.saved()
