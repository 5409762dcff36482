/** Mouse, pen and wheel over the panes. */

import { add, select } from "./actions.js";
import { Stroke } from "./brush.js";
import { byId } from "./dom.js";
import { PLANES, RENDER } from "./geometry.js";
import { isSlab } from "./overlay.js";
import { emit, state } from "./state.js";
import { moveTo, pan, redraw, redrawMarks, scroll, view, windowBy, zoom } from "./viewer.js";
import { flat } from "./voxels.js";

/** A notch of a mouse's wheel turns it at least so far; a trackpad's small steps add up to as much. */
const NOTCH_PIXELS = 40;
let drag = null;
let wheel = 0;

function pixelOf(event) {
  const box = byId("marks").getBoundingClientRect();
  return [(event.clientX - box.left) * view.scale, (event.clientY - box.top) * view.scale];
}

const paneAt = (pixel) => view.nv?.panes.find((pane) => pane.holds(pixel)) ?? null;

/** Listen on the canvas of marks, which lies over the slices. */
export function listen() {
  const canvas = byId("marks");
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerdown", down);
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("lostpointercapture", up);
  canvas.addEventListener("pointerleave", () => {
    if (view.sketch && view.sketch.kind !== "measure") view.sketch = null;
    redrawMarks();
  });
  canvas.addEventListener("wheel", turn, { passive: false });
}

function turn(event) {
  event.preventDefault();
  const pixel = pixelOf(event);
  const pane = paneAt(pixel);
  if (!pane || !view.grid) return;
  activate(pane);
  if (event.ctrlKey || event.metaKey || pane.plane === RENDER) {
    zoom(pane, Math.exp(-event.deltaY / 400), pixel);
    return;
  }
  // Down the wheel goes down the body, as in most viewers.
  const step = wheelStep(event);
  if (step) scroll(pane, -step);
}

/** One slice at a time, however far the wheel turns: a lesion may be on that slice alone. */
function wheelStep({ deltaMode, deltaY }) {
  if (deltaMode !== 0 || Math.abs(deltaY) >= NOTCH_PIXELS) {
    wheel = 0;
    return Math.sign(deltaY);
  }
  wheel += deltaY;
  const step = Math.trunc(wheel / NOTCH_PIXELS);
  wheel -= step * NOTCH_PIXELS;
  return step;
}

function activate(pane) {
  if (view.active === pane) return;
  view.active = pane;
  emit("active");
}

function down(event) {
  const pixel = pixelOf(event);
  const pane = paneAt(pixel);
  if (!pane || !view.grid || drag) return;
  event.preventDefault();
  byId("marks").focus({ preventScroll: true });
  byId("marks").setPointerCapture(event.pointerId);
  activate(pane);
  const voxel = pane.plane === RENDER ? null : pane.voxelAt(view.grid, pixel, view.cross);
  drag = { pane, from: pixel, last: pixel, moved: false, start: voxel, act: actionFor(event, pane) };
  if (drag.act === "paint") drag.stroke = new Stroke(pane, voxel, state.tool === "eraser");
  if (drag.act === "cross" && view.sketch?.kind === "measure") view.sketch = null;
}

function actionFor(event, pane) {
  if (event.button === 1 || pane.plane === RENDER) return "pan";
  if (event.button === 2) return "window";
  if (event.shiftKey) return "measure";
  if ((state.tool === "brush" || state.tool === "eraser") && state.reading && pane.source === "image" && !isSlab(view, pane)) {
    return "paint";
  }
  return state.tool === "add" ? "add" : "cross";
}

function move(event) {
  const pixel = pixelOf(event);
  if (!drag) {
    hover(pixel);
    return;
  }
  const [dx, dy] = [pixel[0] - drag.last[0], pixel[1] - drag.last[1]];
  drag.last = pixel;
  drag.moved ||= Math.hypot(pixel[0] - drag.from[0], pixel[1] - drag.from[1]) > 3 * view.scale;
  const acts = {
    pan: () => pan(drag.pane, dx, dy),
    window: () => windowBy(drag.pane.source, dy / (400 * view.scale), Math.exp(dx / (250 * view.scale))),
    measure: () => measure(pixel),
    paint: () => {
      drag.stroke.move(drag.pane.voxelAt(view.grid, pixel, view.cross));
      hover(pixel);
    },
    cross: () => drag.moved && moveTo(drag.pane.voxelAt(view.grid, pixel, view.cross)),
  };
  acts[drag.act]?.();
}

function measure(pixel) {
  const to = drag.pane.voxelAt(view.grid, pixel, view.cross);
  const mm = Math.hypot(...to.map((value, n) => (value - drag.start[n]) * view.grid.spacing[n]));
  view.sketch = { kind: "measure", pane: drag.pane, from: drag.start, to, mm };
  redrawMarks();
}

function hover(pixel) {
  const pane = paneAt(pixel);
  if (pane) activate(pane);
  const painting = state.tool === "brush" || state.tool === "eraser";
  if (!painting || !pane || pane.plane === RENDER) return;
  view.sketch = { kind: state.tool, pane, at: pixel, mm: state.brushMm };
  redrawMarks();
}

function up() {
  if (!drag) return;
  const { act, moved, start, stroke, pane } = drag;
  drag = null;
  if (act === "paint") stroke.end();
  else if (act === "add") add(view.grid.inside(start));
  else if (act === "cross" && !moved) click(pane, start);
  redraw();
}

/** A click puts the crosshair there, and selects the finding whose outline or ring it hits. */
function click(pane, place) {
  const voxel = view.grid.inside(place);
  moveTo(voxel);
  if (!state.reading || isSlab(view, pane)) return;
  const hit = state.reading.at(flat(voxel, view.grid.shape), state.threshold) ?? ringAt(pane, place);
  if (hit) select(hit.id, false);
}

function ringAt(pane, place) {
  const axis = view.grid.axis[PLANES[pane.plane].depth];
  const reach = 13 * view.scale * pane.mmPerPixel(view.grid);
  const near = (finding) => {
    if (!finding.set.bySlice(axis).has(view.cross[axis])) return Infinity;
    return Math.hypot(
      ...finding.centre_voxel.map((n, a) => (a === axis ? 0 : (n - place[a]) * view.grid.spacing[a])),
    );
  };
  const shown = state.reading.visible(state.threshold);
  const best = shown.reduce((a, b) => (a && near(a) <= near(b) ? a : b), null);
  return best && near(best) <= reach ? best : null;
}
