"""The machine's marks lie on the right voxels, whatever the scan's orientation."""

import io

import nibabel as nib
import numpy as np
from PIL import Image


def voxels_of(finding, shape):
    flat = np.array(finding["voxels"])
    return np.stack(np.unravel_index(flat, shape), axis=-1)


def pixels(reader):
    shot = Image.open(io.BytesIO(reader.page.screenshot())).convert("RGB")
    return np.asarray(shot).astype(int)


def test_values_at_world_coordinates_are_those_of_the_scan(reader, scan, rng):
    image = nib.load(scan)
    array = image.get_fdata()
    lesion = voxels_of(reader.state()["findings"][0], array.shape)
    places = np.concatenate([lesion, rng.integers(0, array.shape, (60, 3))])
    world = nib.affines.apply_affine(image.affine, places)
    # NiiVue's own way from millimetres to a value, and the page's from a voxel.
    shown, own = reader.page.evaluate(
        """([world, places]) => {
          const volume = room.viewer.volumes[0];
          const values = world.map((mm) => volume.getValue(...volume.mm2vox(mm)));
          return [values, places.map(room.valueAt)];
        }""",
        [world.tolist(), places.tolist()],
    )
    assert shown == own
    # The display copy is the scan scaled and rounded to 16 bits.
    truth = array[tuple(places.T)]
    fit = np.polynomial.Polynomial.fit(truth, shown, 1)
    assert np.abs(fit(truth) - shown).max() < 1


def test_outlined_voxels_are_darker_than_their_neighbours_in_every_direction(reader, scan):
    array = nib.load(scan).get_fdata()
    for finding in reader.state()["findings"][:3]:
        inside = voxels_of(finding, array.shape)
        here = array[tuple(inside.T)].mean()
        for axis in (0, 1):
            for step in (-2, 2):
                moved = inside.copy()
                moved[:, axis] += step
                assert array[tuple(moved.T)].mean() > here


def test_a_lesion_is_dark_on_the_canvas_where_its_voxel_is(reader, scan):
    array = nib.load(scan).get_fdata()
    finding = reader.state()["findings"][0]
    inside = voxels_of(finding, array.shape)
    values = array[tuple(inside.T)]
    darkest = inside[np.argmin(values)].tolist()
    reader.page.evaluate("(voxel) => room.moveTo(voxel)", darkest)
    reader.key("c", "l", "h")
    reader.page.wait_for_timeout(500)
    for pane in range(3):
        x, y = reader.place(darkest, pane)
        shot = pixels(reader)
        dark = shot[round(y), round(x)].mean()
        around = shot[round(y) - 25 : round(y) + 25, round(x) - 25 : round(x) + 25].mean()
        assert dark < 0.7 * around, pane


def test_the_outline_is_drawn_around_the_voxels_of_the_finding(reader):
    finding = reader.finding(reader.state()["selected"])
    for _ in range(9):
        reader.key("z")
    reader.key("c")
    reader.page.evaluate("(voxel) => room.moveTo(voxel, true)", finding["centre_voxel"])
    reader.page.wait_for_timeout(500)
    shape = reader.page.evaluate("room.view.grid.shape")
    slice_ = [v for v in voxels_of(finding, shape) if v[2] == finding["centre_voxel"][2]]
    left = min(slice_, key=lambda v: (v[0], v[1]))
    x, y = reader.place([float(left[0]) - 0.5, *left[1:].tolist()])
    shot = pixels(reader)[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4]
    orange = (shot[..., 0] - shot[..., 2] > 60).any()
    assert orange
    x, y = reader.place([float(left[0]) - 3.5, *left[1:].tolist()])
    shot = pixels(reader)[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3]
    assert not (shot[..., 0] - shot[..., 2] > 60).any()


WRITTEN = """() => {
  const marks = document.querySelector("#marks").getContext("2d");
  const [names, path, white] = [[], [], []];
  marks.fillText = function (words, x, y) {
    const size = this.measureText(words);
    const [above, below] = [size.actualBoundingBoxAscent, size.actualBoundingBoxDescent];
    names.push([words, [x, y - above, x + size.width, y + below]]);
  };
  marks.beginPath = () => path.splice(0);
  for (const step of ["moveTo", "lineTo"]) marks[step] = (...point) => path.push(point);
  marks.stroke = function () {
    if (this.strokeStyle === "#ffffff") white.push(...path);
  };
  room.drawNow();
  for (const name of ["fillText", "beginPath", "moveTo", "lineTo", "stroke"]) delete marks[name];
  return [names, white];
}"""


def test_the_number_of_the_selected_is_clear_of_its_corners(reader):
    first = reader.state()["selected"]
    # At all sizes of the ring, not judged, accepted and rejected.
    for key in "zzzzzzazz1zzz":
        reader.page.evaluate("room.moveTo(room.view.cross, true)")
        names, white = reader.page.evaluate(WRITTEN)
        ((left, top, right, bottom),) = [box for words, box in names if words == "1"]
        assert white
        # Each line of a corner is a pair of points; it is 2 px wide, and has a dark rim.
        ends = np.array(white).reshape(-1, 2, 2)
        low, high = ends.min(axis=1) - 1, ends.max(axis=1) + 1
        across = (low[:, 0] < right) & (high[:, 0] > left)
        assert not (across & (low[:, 1] < bottom) & (high[:, 1] > top)).any(), key
        reader.key(key)
        reader.find(f"finding-{first}").click()


def test_our_pixels_are_niivues(reader):
    cross = reader.state()["cross"]
    reader.page.evaluate("room.drawNow()")
    for pane in range(3):
        ours, theirs = reader.page.evaluate(
            """([pane, voxel]) => {
              const { viewer, view } = room;
              const pixel = viewer.panes[pane].pixel(view.grid, voxel);
              const found = viewer.screenXY2TextureFrac(pixel[0], pixel[1], pane, false);
              return [view.grid.fractions(voxel), Array.from(found)];
            }""",
            [pane, cross],
        )
        np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_patients_right_is_on_the_left_of_the_screen(reader, scan):
    affine = nib.load(scan).affine
    middle = np.array(reader.state()["cross"])
    centre = nib.affines.apply_affine(affine, middle)
    # In NIfTI's world x grows towards the patient's right (RAS+).
    to_the_right = nib.affines.apply_affine(np.linalg.inv(affine), centre + np.array([20, 0, 0]))
    for pane in (0, 1):
        here, _ = reader.place(middle.tolist(), pane)
        right, _ = reader.place(to_the_right.tolist(), pane)
        assert right < here


def orange(part):
    """Return how many pixels have the colour of marks that are not judged."""
    return int(((part[..., 0] - part[..., 2] > 90) & (part[..., 1] < 190)).sum())


def test_minip_hides_marks_and_shows_the_minimum(reader, scan):
    array = nib.load(scan).get_fdata()
    assert "no marks" not in reader.page.evaluate("document.body.innerText")
    reader.key("c")
    reader.page.wait_for_timeout(200)
    before = pixels(reader)
    reader.key("s")
    reader.until(lambda: reader.page.evaluate("room.view.slab.shownMm") == 10)
    reader.page.wait_for_timeout(400)
    shot = pixels(reader)
    left, top, wide, high = reader.page.evaluate("room.viewer.panes[0].rect")
    x, y = reader.page.evaluate(
        "(({ left, top }) => [left, top])(document.querySelector('#panes').getBoundingClientRect())"
    )
    inside = np.s_[int(y) + top + 50 : int(y) + top + high, int(x) + left : int(x) + left + wide]
    assert orange(before[inside]) > 50
    assert orange(shot[inside]) == 0
    # The other planes stay what they are, with their marks.
    beside = np.s_[int(y) + top + 50 : int(y) + top + high, int(x) + left + wide + 4 : 950]
    np.testing.assert_array_equal(shot[beside], before[beside])
    assert orange(before[beside]) > 50
    # The worker's minimum against NumPy's, over the slab's slices around each.
    sampled = """async (slices) => {
      const values = await room.view.slab.minimum(slices);
      return Array.from(values.filter((_, n) => n % 4999 === 0));
    }"""
    with reader.server.client as client:
        view = client.get(f"/api/studies/{reader.server.study}/image.nii").content
    plain = np.frombuffer(view, "<i2", offset=352).reshape(array.shape, order="F")
    for slices in (1, 2, 5, 40):
        before, after = (slices - 1) // 2, slices // 2
        expected = np.stack(
            [
                plain[..., max(0, k - before) : k + after + 1].min(axis=2)
                for k in range(plain.shape[2])
            ],
            axis=2,
        )
        got = reader.page.evaluate(sampled, slices)
        assert got == expected.ravel(order="F")[::4999].tolist()


def test_a_projection_has_two_slices_at_least_and_names_its_thickness(sit_down, desk_room):
    one = sit_down(desk_room).enter("thin").open()
    spacing = one.page.evaluate("room.view.grid.spacing[2]")
    one.page.evaluate(
        """() => {
          globalThis.asked = [];
          const minimum = room.view.slab.minimum;
          room.view.slab.minimum = function (slices) {
            asked.push(slices);
            return minimum.call(this, slices);
          };
        }"""
    )
    # Thinner than two slices, in between, and thicker than the scan.
    for wish, slices in ((2, 2), (4, 2), (10, 3), (20, 6)):
        one.find("slab").fill(str(wish))
        one.until(lambda wish=wish: one.page.evaluate("room.view.slab.shownMm") == wish)
        thickness = f"{slices * spacing:g} mm"
        assert one.page.evaluate("asked.at(-1)") == slices
        assert one.find("slab-mm").inner_text() == thickness
        names, _ = one.page.evaluate(WRITTEN)
        assert f"minIP {thickness} - no marks" in [words for words, _ in names]


TURNED = """([turns, place]) => {
  const [clientX, clientY] = place;
  const marks = document.querySelector("#marks");
  return turns.map(([deltaY, deltaMode]) => {
    const before = room.view.cross[2];
    const turn = { deltaY, deltaMode, clientX, clientY, bubbles: true, cancelable: true };
    marks.dispatchEvent(new WheelEvent("wheel", turn));
    return room.view.cross[2] - before;
  });
}"""


def test_a_notch_of_the_wheel_is_one_slice(reader):
    middle = [n // 2 for n in reader.shape]
    place = reader.place(middle)

    def turned(*turns):
        reader.page.evaluate("(voxel) => room.moveTo(voxel)", middle)
        return [abs(step) for step in reader.page.evaluate(TURNED, [turns, place])]

    # Pixels, lines and pages, as browsers tell a notch.
    assert turned((100, 0), (120, 0), (-300, 0), (3, 1), (1, 2), (40, 0)) == [1] * 6
    # The small steps of a trackpad add up.
    assert turned(*[(10, 0)] * 8) == [0, 0, 0, 1] * 2
    assert turned((30, 0), (30, 0), (-30, 0), (100, 0)) == [0, 1, 0, 1]
    assert turned((0, 0), (39, 0), (1, 0)) == [0, 0, 1]


def test_the_slider_gives_the_keys_back_to_the_slices(reader):
    box = reader.find("confidence").bounding_box()
    reader.page.mouse.click(box["x"] + box["width"] / 2, box["y"] + 8)
    reader.until(lambda: reader.page.evaluate("document.activeElement.id") == "marks")
    before = reader.state()
    highest = before["cross"][2] == reader.shape[2] - 1
    reader.key("PageDown" if highest else "PageUp")
    assert reader.state()["threshold"] == before["threshold"]
    assert reader.state()["cross"] != before["cross"]


def test_the_slider_changes_what_is_shown_and_counted(reader):
    state = reader.state()
    reader.find("confidence").fill("0")
    assert len(reader.state()["shown"]) == len(state["findings"]) > len(state["shown"])
    assert (
        f"{len(state['findings'])} shown of {len(state['findings'])}"
        in reader.find("counts").inner_text()
    )
    reader.find("point-report").click()
    shown = reader.state()["shown"]
    report = reader.state()["threshold"]
    expected = [f["id"] for f in state["findings"] if f["confidence"] >= report]
    assert shown == expected
