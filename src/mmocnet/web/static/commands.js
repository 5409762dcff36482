/** Every command of the reading view: what it is called, its keys, when it can be used, what it does. */

import * as actions from "./actions.js";
import { PLANES, RENDER } from "./geometry.js";
import { emit, state } from "./state.js";
import * as viewer from "./viewer.js";

const { view } = viewer;
const open = () => Boolean(view.grid);
const reading = () => Boolean(state.reading);
const chosen = () => Boolean(actions.target());
const asking = () => state.awaitingReason;
const deep = () => open() && view.grid.shape[state.study.about.slice_axis] > 1;

/** The pane that keys act on, the large one where the active one is the 3D rendering. */
const pane = () => (view.active && view.active.plane !== RENDER ? view.active : view.nv.panes[0]);

function step(direction) {
  const { across, up } = PLANES[pane().plane];
  // The patient's right, and the nose, are on the left of the screen.
  const moves = { left: [across, 1], right: [across, -1], up: [up, 1], down: [up, -1] };
  viewer.nudge(...moves[direction]);
}

function slab() {
  if (state.slabMm) {
    view.lastSlabMm = state.slabMm;
    viewer.setSlab(0);
  } else {
    viewer.setSlab(view.lastSlabMm ?? 10);
  }
}

function marks() {
  state.marksShown = !state.marksShown;
  emit("view");
}

function openOnly() {
  state.toJudgeOnly = !state.toJudgeOnly;
  emit("reading");
}

const middle = () => {
  const [left, top, width, height] = pane().rect;
  return pane().pixel(view.grid, view.cross).map((value, n) =>
    Math.min([left + width, top + height][n], Math.max([left, top][n], value)),
  );
};

const reasons = ["vein", "calcium", "iron", "artefact", "siderosis", "other"].map((reason, n) => ({
  id: `reason-${reason}`,
  name: reason[0].toUpperCase() + reason.slice(1),
  long: `Reject as ${reason}`,
  keys: [String(n + 1)],
  group: "Verdict",
  when: chosen,
  bar: asking,
  run: () => actions.rejectFor(reason),
}));

/**
 * @typedef {{id: string, name: string, long?: string, keys: string[], group: string,
 *   when: () => boolean, bar?: () => boolean, run: () => void, repeat?: boolean}} Command
 * `keys` are the default ones; `bar` says when the bar of live keys shows it.
 */

/** @type {Command[]} */
export const COMMANDS = [
  { id: "accept", name: "Accept", keys: ["a"], group: "Verdict", when: chosen, bar: () => !asking() && chosen(), run: actions.accept },
  { id: "reject", name: "Reject", keys: ["r"], group: "Verdict", when: chosen, bar: () => !asking() && chosen(), run: actions.reject },
  ...reasons,
  { id: "no-reason", name: "No reason", long: "Reject without a reason (after Reject)", keys: ["Enter"], group: "Verdict", when: asking, bar: asking, run: () => actions.rejectFor(null) },
  { id: "definite", name: "Definite", long: "Accept as definite", keys: ["d"], group: "Verdict", when: chosen, bar: () => !asking() && chosen(), run: () => actions.acceptAs("definite") },
  { id: "possible", name: "Possible", long: "Accept as possible", keys: ["p"], group: "Verdict", when: chosen, bar: () => !asking() && chosen(), run: () => actions.acceptAs("possible") },
  { id: "clear", name: "Clear", long: "Take the verdict back, or remove your own finding", keys: ["Delete", "Backspace"], group: "Verdict", when: chosen, run: actions.clearVerdict },
  { id: "next", name: "Next", long: "Next finding", keys: ["n", "j"], group: "Go", when: reading, bar: () => !asking() && reading(), run: () => actions.go(1), repeat: true },
  { id: "previous", name: "Previous", long: "Previous finding", keys: ["b", "k"], group: "Go", when: reading, bar: () => !asking() && reading(), run: () => actions.go(-1), repeat: true },
  { id: "open-only", name: "To judge only", long: "Next and previous stop only at findings not judged", keys: ["y"], group: "Go", when: reading, run: openOnly },
  { id: "undo", name: "Undo", keys: ["u", "Ctrl+z"], group: "Edit", when: reading, bar: () => !asking() && Boolean(state.reading?.canUndo), run: () => actions.history("undo") },
  { id: "redo", name: "Redo", keys: ["Shift+U", "Ctrl+y", "Ctrl+Shift+z"], group: "Edit", when: reading, bar: () => !asking() && Boolean(state.reading?.canRedo), run: () => actions.history("redo") },
  { id: "add", name: "Add missed", long: "Add a missed lesion at the crosshair", keys: ["m"], group: "Edit", when: reading, bar: () => !asking() && reading(), run: () => actions.add() },
  { id: "brush", name: "Brush", keys: ["e"], group: "Edit", when: reading, bar: () => !asking() && reading(), run: () => actions.setTool(state.tool === "brush" ? "navigate" : "brush") },
  { id: "eraser", name: "Eraser", keys: ["x"], group: "Edit", when: reading, bar: () => !asking() && reading(), run: () => actions.setTool(state.tool === "eraser" ? "navigate" : "eraser") },
  { id: "smaller", name: "Smaller", long: "Smaller brush", keys: ["["], group: "Edit", when: reading, bar: () => state.tool === "brush" || state.tool === "eraser", run: () => actions.resizeBrush(-1), repeat: true },
  { id: "larger", name: "Larger", long: "Larger brush", keys: ["]"], group: "Edit", when: reading, bar: () => state.tool === "brush" || state.tool === "eraser", run: () => actions.resizeBrush(1), repeat: true },
  { id: "leave", name: "Leave", long: "Leave the tool, or the question for a reason; else select nothing", keys: ["Escape"], group: "Edit", when: () => true, bar: () => asking() || state.tool !== "navigate", run: actions.leave },
  { id: "marks", name: "Marks", long: "Hide or show marks; hold to peek", keys: ["h"], group: "View", when: open, bar: () => !asking() && open(), run: marks },
  { id: "minip", name: "minIP", long: "Minimum projection on or off", keys: ["s"], group: "View", when: deep, bar: () => !asking(), run: slab },
  { id: "phase", name: "Phase", long: "Phase beside the scan", keys: ["f"], group: "View", when: () => view.hasPhase, bar: () => !asking() && view.hasPhase, run: () => viewer.toggle("phase") },
  { id: "linear", name: "Smooth", long: "Smooth or square pixels", keys: ["i"], group: "View", when: open, run: () => viewer.toggle("linear") },
  { id: "crosshair", name: "Crosshair", keys: ["c"], group: "View", when: open, run: () => viewer.toggle("crosshair") },
  { id: "ruler", name: "Scale", long: "Scale bar", keys: ["l"], group: "View", when: open, run: () => viewer.toggle("ruler") },
  { id: "render", name: "3D", long: "3D rendering", keys: ["t"], group: "View", when: deep, run: () => viewer.toggle("render") },
  { id: "window-reset", name: "Reset window", keys: ["w"], group: "View", when: open, run: viewer.resetWindow },
  { id: "narrower", name: "Narrower window", long: "More contrast", keys: ["="], group: "View", when: open, run: () => viewer.windowBy(pane().source, 0, 0.9), repeat: true },
  { id: "wider", name: "Wider window", long: "Less contrast", keys: ["-"], group: "View", when: open, run: () => viewer.windowBy(pane().source, 0, 1 / 0.9), repeat: true },
  { id: "brighter", name: "Brighter", keys: ["."], group: "View", when: open, run: () => viewer.windowBy(pane().source, -0.05, 1), repeat: true },
  { id: "darker", name: "Darker", keys: [","], group: "View", when: open, run: () => viewer.windowBy(pane().source, 0.05, 1), repeat: true },
  { id: "zoom-in", name: "Zoom in", keys: ["z"], group: "View", when: open, run: () => viewer.zoom(pane(), 1.25, middle()), repeat: true },
  { id: "zoom-out", name: "Zoom out", keys: ["Shift+Z"], group: "View", when: open, run: () => viewer.zoom(pane(), 0.8, middle()), repeat: true },
  { id: "fit", name: "Fit", long: "Show whole slices", keys: ["0"], group: "View", when: open, run: viewer.fit },
  { id: "left", name: "Left", long: "Crosshair to the left", keys: ["ArrowLeft"], group: "Go", when: open, run: () => step("left"), repeat: true },
  { id: "right", name: "Right", long: "Crosshair to the right", keys: ["ArrowRight"], group: "Go", when: open, run: () => step("right"), repeat: true },
  { id: "up", name: "Up", long: "Crosshair up", keys: ["ArrowUp"], group: "Go", when: open, run: () => step("up"), repeat: true },
  { id: "down", name: "Down", long: "Crosshair down", keys: ["ArrowDown"], group: "Go", when: open, run: () => step("down"), repeat: true },
  { id: "slice-up", name: "Slice up", keys: ["PageUp"], group: "Go", when: open, run: () => viewer.scroll(pane(), 1), repeat: true },
  { id: "slice-down", name: "Slice down", keys: ["PageDown"], group: "Go", when: open, run: () => viewer.scroll(pane(), -1), repeat: true },
  { id: "complete", name: "Complete", long: "Mark the reading complete, or open it again", keys: ["g"], group: "Reading", when: reading, bar: () => !asking() && reading(), run: actions.complete },
  { id: "reveal", name: "Reveal", long: "Reveal the machine's marks", keys: ["v"], group: "Reading", when: () => Boolean(state.reading?.hidden), bar: () => Boolean(state.reading?.hidden), run: () => emit("reveal") },
  { id: "export", name: "Export", long: "Report and export", keys: ["o"], group: "Reading", when: reading, run: () => emit("export") },
  { id: "agreement", name: "Agreement", long: "Agreement with another reader or the machine", keys: ["q"], group: "Reading", when: reading, run: () => emit("agreement") },
  { id: "worklist", name: "Work list", long: "Back to the work list", keys: ["Shift+W"], group: "Reading", when: open, run: () => emit("leave") },
  { id: "help", name: "Help", long: "All keys, and how to change them", keys: ["?"], group: "Reading", when: () => true, bar: () => !asking(), run: () => emit("help") },
];
