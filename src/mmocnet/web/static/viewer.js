/** The reading view: a WebGL canvas of slices with a canvas of marks over it. */

import * as api from "./api.js";
import { byId } from "./dom.js";
import { Grid, PLANES, RENDER, layout } from "./geometry.js";
import { drawMarks } from "./overlay.js";
import { RoomViewer, parse } from "./room-viewer.js";
import { Slab } from "./slab.js";
import { emit, keep, on, recall, state } from "./state.js";

const MOST_PIXELS_PER_POINT = 2;

/** What is shown and how; the view's own state. */
export const view = {
  nv: null,
  grid: null,
  /** voxel under the crosshair */ cross: [0, 0, 0],
  /** the pane that keys act on */ active: null,
  windows: { image: [0, 1], phase: [0, 1] },
  hasPhase: false,
  phase: false,
  render: false,
  crosshair: recall("crosshair", true),
  ruler: recall("ruler", true),
  linear: recall("linear", true),
  /** lines of measurement and brush outline, for the overlay */ sketch: null,
  /** voxels drawn and not yet a finding */ fresh: null,
  slab: new Slab(),
  timings: {},
};

let frame = 0;
let opening = 0;

/** Draw slices and marks at the next frame. */
export function redraw() {
  if (frame) return;
  frame = requestAnimationFrame(() => {
    frame = 0;
    drawNow();
  });
}

/** Draw at once. @returns {number} Milliseconds it took, the graphics queue included. */
export function drawNow() {
  if (!view.nv || !view.grid) return 0;
  const start = performance.now();
  view.nv.scene.crosshairPos = view.grid.fractions(view.cross);
  view.nv.drawScene();
  drawMarks(byId("marks"), view);
  return performance.now() - start;
}

/** Draw the marks alone. */
export const redrawMarks = () => drawMarks(byId("marks"), view);

/** Start NiiVue on the page's canvas. @returns {Promise<void>} */
export async function start() {
  const probe = document.createElement("canvas").getContext("webgl2");
  if (!probe) throw new Error("This browser shows no WebGL 2, which the reading view needs.");
  probe.getExtension("WEBGL_lose_context")?.loseContext();
  view.nv = new RoomViewer();
  await view.nv.attach(byId("slices"));
  byId("slices").addEventListener("webglcontextlost", () => {
    state.problem = "The graphics memory was lost: reload this page. No mark is lost.";
    emit("problem");
  });
  new ResizeObserver(arrange).observe(byId("panes"));
  on("selection reading view", redraw);
}

function fits(canvas, width, height) {
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
}

/** Lay the panes out for the canvas's size; zoom of panes that stay is kept. */
function arrange() {
  if (!view.nv) return;
  const box = byId("panes").getBoundingClientRect();
  const scale = Math.min(globalThis.devicePixelRatio || 1, MOST_PIXELS_PER_POINT);
  const width = Math.max(1, Math.round(box.width * scale));
  const height = Math.max(1, Math.round(box.height * scale));
  for (const id of ["slices", "marks"]) fits(byId(id), width, height);
  if (!view.grid) return;
  view.scale = scale;
  const before = view.nv.panes;
  const main = view.grid.planeAcross(state.study.about.slice_axis);
  const flat = view.grid.shape[state.study.about.slice_axis] === 1;
  view.nv.panes = layout({ width, height, main, flat, phase: view.phase, render: view.render });
  for (const pane of view.nv.panes) {
    const same = before.find((old) => old.plane === pane.plane);
    // Phase beside the scan moves with it: both share one view.
    const twin = view.nv.panes.find((other) => other !== pane && other.plane === pane.plane && other.view.shared);
    pane.view = twin?.view ?? same?.view ?? pane.view;
    pane.view.shared = true;
  }
  view.active = view.nv.panes.find((pane) => pane.plane === view.active?.plane) ?? view.nv.panes[0];
  view.nv.clearBounds();
  redraw();
}

/**
 * Open a study's scan.
 * @param {Object} study - With `about`.
 * @returns {Promise<boolean>} False where it was left, or another study opened, meanwhile.
 */
export async function open(study) {
  const started = performance.now();
  close();
  const turn = opening;
  const image = await api.volume(study.id, "image.nii");
  const fetched = performance.now();
  const volume = await parse(image, "image.nii");
  if (turn !== opening) return false;
  const grid = new Grid(volume);
  if (Math.max(...grid.shape) > view.nv.uiData.max3D) {
    throw new Error(`This scan has a side of ${Math.max(...grid.shape)} pixels; this computer's graphics show ${view.nv.uiData.max3D}.`);
  }
  if (!(await view.nv.show(volume, grid, () => turn === opening))) return false;
  Object.assign(view, { grid, volume, phase: false, hasPhase: false, render: false });
  view.cross = grid.shape.map((n) => Math.floor(n / 2));
  view.slab.source(volume.img, grid.shape, study.about.slice_axis);
  view.windows.image = tissueWindow(volume, raw(volume, study.about.window));
  setWindow("image", ...view.windows.image);
  arrange();
  drawNow();
  view.timings = { fetch: fetched - started, show: performance.now() - fetched, total: performance.now() - started };
  emit("view");
  if (study.about.has_phase) {
    openPhase(study, turn).catch((problem) => {
      if (turn !== opening) return;
      state.message = { words: `The phase is not shown: ${problem.message}`, kind: "problem" };
      emit("message");
    });
  }
  return true;
}

async function openPhase(study, turn) {
  const volume = await parse(await api.volume(study.id, "phase.nii"), "phase.nii");
  if (turn !== opening) return;
  view.nv.upload("phase", volume.img);
  view.phaseVolume = volume;
  // A sample suffices for a window: phase fills its range evenly.
  let [low, high] = [Infinity, -Infinity];
  for (let n = 0; n < volume.img.length; n += 101) {
    low = Math.min(low, volume.img[n]);
    high = Math.max(high, volume.img[n]);
  }
  view.windows.phase = [low, high];
  setWindow("phase", low, high);
  view.hasPhase = true;
  view.phase = recall("phase", true);
  arrange();
  emit("view");
}

/** Forget the open scan, and one that is being opened. */
export function close() {
  opening++;
  view.grid = null;
  view.volume = null;
  view.phaseVolume = null;
  view.sketch = null;
  view.fresh = null;
  state.slabMm = 0;
  view.slab.clear();
  if (!view.nv) return;
  view.nv.clear();
  redrawMarks();
}

const slope = (volume) => volume.hdr.scl_slope || 1;

function raw(volume, values) {
  return values.map((value) => (value - (volume.hdr.scl_inter || 0)) / slope(volume));
}

/**
 * A window for the brain: the middle of the scan decides, not the bright scalp around it.
 * @param {Object} volume @param {number[]} given - The study's window, kept where the middle says nothing.
 * @returns {number[]}
 */
function tissueWindow(volume, given) {
  const [ni, nj, nk] = view.grid.shape;
  const values = [];
  const range = (n) => [Math.floor(n / 4), Math.max(Math.floor(n / 4) + 1, Math.ceil((3 * n) / 4))];
  const [[i0, i1], [j0, j1], [k0, k1]] = [range(ni), range(nj), range(nk)];
  const step = Math.max(1, Math.round(Math.cbrt(((i1 - i0) * (j1 - j0) * (k1 - k0)) / 60000)));
  for (let k = k0; k < k1; k += Math.min(step, 2)) {
    for (let j = j0; j < j1; j += step) {
      for (let i = i0; i < i1; i += step) values.push(volume.img[i + ni * (j + nj * k)]);
    }
  }
  values.sort((a, b) => a - b);
  const at = (share) => values[Math.floor(share * (values.length - 1))];
  const high = at(0.5) + 1.6 * (at(0.97) - at(0.5)) + 0.12 * Math.abs(at(0.5));
  return at(0.97) > at(0.03) && high < given[1] ? [given[0], high] : given;
}

/** @param {"image"|"phase"} source @param {number} low @param {number} high - Stored values. */
function setWindow(source, low, high) {
  if (!view.nv.sources[source]) return;
  view.nv.sources[source].window = [low, Math.max(high, low + 1)];
  redraw();
}

/** @param {"image"|"phase"} [source] @returns {number[]} Low and high of the window. */
export const windowOf = (source = "image") => view.nv.sources[source]?.window ?? [0, 1];

/** Move level by a share of the width, and width by a factor. */
export function windowBy(source, level, factor) {
  const [low, high] = windowOf(source);
  const width = Math.max(1, (high - low) * factor);
  const middle = (low + high) / 2 + level * (high - low);
  setWindow(source, middle - width / 2, middle + width / 2);
  emit("window");
}

/** Take the study's own window and the whole slices again. */
export function resetWindow() {
  setWindow("image", ...view.windows.image);
  setWindow("phase", ...view.windows.phase);
  emit("window");
}

/** Show each plane whole. */
export function fit() {
  for (const pane of view.nv.panes) Object.assign(pane.view, { zoom: 1, centre: null });
  redraw();
}

/**
 * Put the crosshair on a voxel.
 * @param {number[]} voxel
 * @param {boolean} [centre] - Also bring the place to the middle of panes that are zoomed in.
 */
export function moveTo(voxel, centre = false) {
  if (!view.grid) return;
  view.cross = view.grid.inside(voxel);
  for (const pane of view.nv.panes) {
    if (centre && pane.plane !== RENDER && pane.view.zoom > 1) pane.centreOn(view.grid, view.cross);
  }
  redraw();
  emit("cross");
}

/** Step through the slices of a pane. @param {import("./geometry.js").Pane} pane @param {number} step - Up, left or front is positive. */
export function scroll(pane, step) {
  if (!view.grid || pane.plane === RENDER) return;
  nudge(PLANES[pane.plane].depth, step);
}

/** Move the crosshair along a RAS axis. @param {number} ras @param {number} step - In voxels. */
export function nudge(ras, step) {
  const axis = view.grid.axis[ras];
  const voxel = [...view.cross];
  voxel[axis] += view.grid.flipped[ras] ? -step : step;
  moveTo(voxel);
}

/** Zoom a pane about a canvas pixel. */
export function zoom(pane, factor, pixel) {
  if (pane.plane === RENDER) {
    view.nv.scene.volScaleMultiplier = Math.min(4, Math.max(0.4, view.nv.scene.volScaleMultiplier * factor));
    redraw();
    return;
  }
  const place = pane.voxelAt(view.grid, pixel, view.cross);
  pane.view.zoom = Math.min(24, Math.max(1, pane.view.zoom * factor));
  if (pane.view.zoom === 1) {
    pane.view.centre = null;
  } else {
    pane.centreOn(view.grid, place);
    const off = pane.pixel(view.grid, place).map((value, n) => value - pixel[n]);
    pan(pane, -off[0], -off[1]);
  }
  redraw();
}

/** Move what a pane shows by canvas pixels. */
export function pan(pane, dx, dy) {
  if (pane.plane === RENDER) {
    view.nv.scene.renderAzimuth += dx / 2;
    view.nv.scene.renderElevation += dy / 2;
  } else {
    const [left, bottom, right, top] = pane.window(view.grid);
    const mm = pane.mmPerPixel(view.grid);
    pane.view.centre = [(left + right) / 2 + dx * mm, (bottom + top) / 2 + dy * mm];
  }
  redraw();
}

/** Switch a part of the view. @param {"phase"|"render"|"crosshair"|"ruler"|"linear"} name */
export async function toggle(name) {
  if (name === "phase" && !view.hasPhase) return;
  view[name] = !view[name];
  if (name !== "render") keep(name, view[name]);
  if (name === "linear") view.nv.linear = view.linear;
  if (name === "render" && view.render) await view.nv.prepareRender();
  if (name === "render" || name === "phase") arrange();
  redraw();
  emit("view");
}

/**
 * Show the minimum over a slab in the large pane, or its slices again.
 * @param {number} mm - 0 for single slices; else of two slices at least, and of no more than there are.
 */
export async function setSlab(mm) {
  if (!view.grid) return;
  state.slabMm = mm;
  const axis = state.study.about.slice_axis;
  const slices = Math.min(view.grid.shape[axis], Math.max(2, Math.round(mm / view.grid.spacing[axis])));
  view.slab.thickness = `${Number((slices * view.grid.spacing[axis]).toFixed(1))} mm`;
  emit("view");
  const { volume } = view;
  const values = mm > 0 ? await view.slab.minimum(slices) : null;
  if (volume !== view.volume || mm !== state.slabMm || (mm > 0 && !values)) return;
  if (values) view.nv.upload("slab", values);
  else view.nv.release("slab");
  view.slab.shownMm = mm;
  redraw();
  emit("view");
}

/** @param {number[]} voxel @returns {number} The scan's value there, in view values. */
export function valueAt([i, j, k]) {
  const [ni, nj] = view.grid.shape;
  return view.volume.img[i + ni * (j + nj * k)] * slope(view.volume) + (view.volume.hdr.scl_inter || 0);
}
