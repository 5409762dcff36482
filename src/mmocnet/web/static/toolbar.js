/** The bar above the slices: window, slab, what is drawn, tools. */

import { resizeBrush, setTool } from "./actions.js";
import { byId, fill, h } from "./dom.js";
import { emit, keyed, on, state } from "./state.js";
import { fit, resetWindow, setSlab, toggle, view, windowOf } from "./viewer.js";

let slabLabel;
let slabSlider;
let windowLabel;

const pressed = (name, test, run, title) =>
  h("button", { type: "button", "aria-pressed": "false", test, title, onclick: run, text: name });

/** A title with the key that does the same. */
const titled = (words, id) => `${words}${keyed(id, " (", ")")}`;

const part = (...children) => h("div", { class: "part" }, ...children);

function draw() {
  if (byId("reading").hidden || !view.nv) return;
  if (document.activeElement === slabSlider) {
    // A slider in the hand must not be replaced under it.
    update();
    return;
  }
  slabLabel = h("output", { test: "slab-mm" });
  slabSlider = h("input", { type: "range", min: 0, max: 20, step: 2, value: state.slabMm, test: "slab", "aria-label": "Thickness of the minimum projection in mm", oninput: (event) => setSlab(Number(event.target.value)) });
  windowLabel = h("output", { test: "window", class: "num", title: "Level and width: drag with the right button" });
  const flat = view.grid && view.grid.shape[state.study.about.slice_axis] === 1;
  const views = [
    pressed("Marks", "marks-on", () => {
      state.marksShown = !state.marksShown;
      emit("view");
    }, titled("Show marks", "marks")),
    pressed("Cross", "crosshair-on", () => toggle("crosshair"), titled("Show the crosshair", "crosshair")),
    pressed("Scale", "ruler-on", () => toggle("ruler"), titled("Show the scale bar", "ruler")),
    pressed("Smooth", "linear-on", () => toggle("linear"), titled("Smooth between pixels", "linear")),
  ];
  if (view.hasPhase) views.push(pressed("Phase", "phase-on", () => toggle("phase"), titled("Phase beside the scan", "phase")));
  if (!flat) views.push(pressed("3D", "render-on", () => toggle("render"), titled("3D rendering", "render")));
  fill(
    byId("toolbar"),
    part(...tools()),
    part(
      windowLabel,
      h("button", { type: "button", test: "window-reset", title: titled("The study's own window", "window-reset"), onclick: resetWindow, text: "Reset" }),
      h("button", { type: "button", test: "fit", title: titled("Whole slices", "fit"), onclick: fit, text: "Fit" }),
    ),
    flat ? null : part(h("label", {}, "minIP", slabSlider), slabLabel),
    part(...views),
  );
  update();
}

function tools() {
  const painting = state.tool === "brush" || state.tool === "eraser";
  const choose = (tool) => () => setTool(state.tool === tool ? "navigate" : tool);
  const size = h("input", {
    type: "number", min: 0.5, max: 20, step: 0.5, value: state.brushMm, test: "brush-mm", "aria-label": "Diameter of the brush in mm",
    onchange: (event) => resizeBrush(2 * (Number(event.target.value) - state.brushMm)),
  });
  return [
    pressed("Add", "tool-add", choose("add"), `A click adds a missed lesion${keyed("add", " (", " adds one at the crosshair)")}`),
    pressed("Brush", "tool-brush", choose("brush"), titled("Paint voxels", "brush")),
    pressed("Eraser", "tool-eraser", choose("eraser"), titled("Erase voxels", "eraser")),
    painting ? h("label", {}, size, "mm") : null,
  ];
}

function isOn(test) {
  const shown = { "marks-on": state.marksShown, "crosshair-on": view.crosshair, "ruler-on": view.ruler, "linear-on": view.linear, "phase-on": view.phase, "render-on": view.render };
  return shown[test] ?? test === `tool-${state.tool}`;
}

function update() {
  if (!windowLabel || !view.volume) return;
  for (const button of byId("toolbar").querySelectorAll("[aria-pressed]")) button.ariaPressed = String(isOn(button.dataset.test));
  const slope = view.volume.hdr.scl_slope || 1;
  const [low, high] = windowOf().map((value) => value * slope + (view.volume.hdr.scl_inter || 0));
  windowLabel.textContent = `L ${Math.round((low + high) / 2)} W ${Math.round(high - low)}`;
  slabLabel.textContent = state.slabMm ? view.slab.thickness : "off";
  if (document.activeElement !== slabSlider) slabSlider.value = state.slabMm;
  byId("marks").className = state.tool;
  byId("toolbar").dataset.tool = state.tool;
}

/** Keep the bar current. */
export function start() {
  on("study view tool keys", draw);
  on("window", update);
}
