/** What a reader does to findings: judge, move on, add, paint, undo. */

import { confirm } from "./dialogs.js";
import { number } from "./dom.js";
import { loadReading, madeBy, pending, send } from "./events.js";
import { emit, keyed, state } from "./state.js";
import { fit, moveTo, redrawMarks, view } from "./viewer.js";
import { VoxelSet, encode, flat } from "./voxels.js";

/** @returns {?Object} The selected finding. */
export const selected = () => state.reading?.findings.get(state.selected) ?? null;

/** The one added last, until it has a name or another is selected: what is done meanwhile is meant for it. */
let adding = null;
/** All that the server has not named yet. @type {Set<Object>} */
const unnamed = new Set();

const isOpen = ({ study, reader }) => Boolean(state.reading) && state.study === study && state.reader === reader;

const beingAdded = () => (adding && isOpen(adding) ? adding : null);

/** @returns {?Object} What verdicts and strokes are meant for: the finding that is being added, else the selected one. */
export const target = () => beingAdded() ?? selected();

/** Show one sentence to the reader. @param {string} words @param {"info"|"problem"} [kind] */
export function tell(words, kind = "info") {
  state.message = { words, kind };
  emit("message");
}

/** Select a finding. @param {?string} id @param {boolean} [jump] - Also bring it into all panes. */
export function select(id, jump = true) {
  adding = null;
  state.selected = id;
  state.awaitingReason = false;
  const finding = selected();
  if (finding && jump) moveTo(finding.centre_voxel, true);
  emit("selection");
}

/**
 * Go to the next or previous finding.
 * @param {number} step - 1 or -1.
 * @param {boolean} [openOnly] - Only those not judged.
 * @returns {boolean} Whether there was one.
 */
export function go(step, openOnly = state.toJudgeOnly) {
  const shown = state.reading?.visible(state.threshold) ?? [];
  const at = shown.findIndex((finding) => finding.id === state.selected);
  const start = at < 0 && step < 0 ? shown.length : at;
  for (let n = 1; n <= shown.length; n++) {
    const finding = shown[(start + step * n + 2 * shown.length) % shown.length];
    if (finding.id !== state.selected && (!openOnly || !finding.verdict)) {
      select(finding.id);
      return true;
    }
  }
  return false;
}

function guarded(promise) {
  promise.catch((problem) => tell(problem.message, "problem"));
  return promise;
}

/** Send what is done to a finding; the answer to its `add` names one that has no name yet. */
function sendOf(kind, finding, payload = {}) {
  guarded(send(kind, { finding: finding.id, ...payload }, finding.sent));
}

const tellToSelect = () => tell(`Select a finding first: click it${keyed("next", ", or press ")}.`);

function judge(change, advance) {
  const finding = target();
  if (!finding) {
    tellToSelect();
    return;
  }
  const wasOpen = !finding.verdict;
  const verdict = { verdict: finding.verdict, reason: finding.reason, certainty: finding.certainty, ...change };
  // Shown at once; the server's answer comes after and is what counts.
  Object.assign(finding, verdict);
  sendOf("verdict", finding, verdict);
  state.awaitingReason = false;
  if (advance && wasOpen) {
    if (!go(1, true)) tell(`All shown findings are judged.${keyed("complete", " Press ", " when the reading is complete.")}`);
  }
  emit("reading");
  emit("selection");
}

/** Accept the selected finding and go to the next that is not judged. */
export const accept = () => judge({ verdict: "accept", reason: null }, true);

/** Accept with a certainty. @param {"definite"|"possible"} certainty */
export const acceptAs = (certainty) => judge({ verdict: "accept", reason: null, certainty }, true);

/** Take the verdict on the selected finding back. */
export function clearVerdict() {
  const finding = target();
  if (finding?.origin === "reader") {
    adding = null;
    sendOf("remove", finding);
  } else if (finding) {
    judge({ verdict: null, reason: null, certainty: null }, false);
  }
}

/** Start a rejection: the next key gives the reason. */
export function reject() {
  if (!target()) {
    tellToSelect();
    return;
  }
  state.awaitingReason = true;
  emit("selection");
}

/** Reject the selected finding. @param {?string} reason */
export const rejectFor = (reason) => judge({ verdict: "reject", reason, certainty: null }, true);

/** Leave what was begun: a rejection, a tool, else the selected finding. */
export function leave() {
  if (state.awaitingReason) {
    state.awaitingReason = false;
    emit("selection");
  } else {
    if (state.tool === "navigate") select(null);
    setTool("navigate");
  }
}

/**
 * Add a lesion that was missed; one that the machine has there is shown and accepted instead.
 * @param {number[]} [seed] - Voxel; the crosshair where none is given.
 */
export async function add(seed = view.cross) {
  if (!state.reading) return;
  const at = flat(seed, state.reading.shape);
  if ([...unnamed].some((one) => isOpen(one) && one.set.has(at))) return;
  const holder = state.reading.holder(seed);
  if (holder) take(holder);
  else await make({ seed }, [at]);
}

/** Take what is there already as what was meant. @param {Object} finding */
function take(finding) {
  select(finding.id, false);
  const name = state.reading.label(finding);
  if (finding.origin === "reader") {
    tell(`Your finding ${name} is there already.`);
  } else if (finding.verdict) {
    tell(`The machine's finding ${name} is there already, ${finding.verdict}ed: it is selected.`);
  } else {
    judge({ verdict: "accept", reason: null }, false);
    tell(`The machine had it, at confidence ${number(finding.confidence, 2)}: accepted.`);
  }
}

/**
 * Make a finding, which is selected when the server has named it; until then, or where it is refused, none is.
 * @param {Object} payload - Of the event.
 * @param {Iterable<number>} voxels - What is known of its outline.
 */
async function make(payload, voxels) {
  const { study, reader, reading } = state;
  const set = new VoxelSet(Uint32Array.from(voxels).sort(), reading.shape);
  const made = { id: null, origin: "reader", verdict: "accept", reason: null, certainty: null, set, strokes: [], study, reader };
  made.sent = send("add", payload);
  unnamed.add(made);
  adding = made;
  Object.assign(state, { selected: null, awaitingReason: false });
  showFresh();
  emit("selection");
  try {
    name(made, madeBy(await made.sent).id);
  } catch (problem) {
    // Where one is being drawn, it is a finding of its own.
    for (const stroke of made.strokes) stroke.target = null;
    tell(problem.message, "problem");
  }
  unnamed.delete(made);
  showFresh();
  if (made !== beingAdded()) return;
  adding = null;
  state.selected = made.id;
  state.awaitingReason &&= made.id !== null;
  emit("selection");
}

/** Give a finding its name, and show on it what was done before it had one. */
function name(made, id) {
  made.id = id;
  const finding = isOpen(made) && state.reading.findings.get(id);
  if (!finding) return;
  const { verdict, reason, certainty } = made;
  Object.assign(finding, { verdict, reason, certainty });
  for (const stroke of made.strokes) stroke.show();
  emit("reading");
}

/** Show the voxels that are no finding's yet. @param {Iterable<number>} [voxels] - Of a stroke that is being drawn. */
export function showFresh(voxels = []) {
  if (!view.grid) return;
  const none = new VoxelSet(new Uint32Array(), view.grid.shape);
  const held = [...unnamed].filter(isOpen).flatMap(({ set }) => [...set.indices]);
  view.fresh = none.changed([...held, ...voxels], []);
  redrawMarks();
}

/** Send a stroke on a finding. @param {Iterable<number>} voxels @param {Object} finding @param {boolean} erase */
export function repaint(voxels, finding, erase) {
  sendOf("paint", finding, { voxels: encode(voxels), erase });
}

/** Send a stroke that is a finding of its own; it is shown before it is sent. @param {Iterable<number>} voxels */
export const draw = (voxels) => make({ voxels: encode(voxels) }, voxels);

/** Take the last event back, or do it again. @param {"undo"|"redo"} kind */
export async function history(kind) {
  const able = kind === "undo" ? state.reading?.canUndo : state.reading?.canRedo;
  if (!able && !pending()) {
    tell(kind === "undo" ? "There is nothing to undo." : "There is nothing to redo.");
    return;
  }
  try {
    const answer = await send(kind, {});
    const changed = answer?.changed[0];
    if (changed && !beingAdded() && !answer.changed.some((finding) => finding.id === state.selected)) select(changed.id);
  } catch (problem) {
    tell(problem.message, "problem");
  }
}

/** Say that the reading is complete, or open it again; asks first where findings are not judged. */
export async function complete() {
  if (!state.reading) return;
  if (state.reading.hidden) {
    tell("Reveal the machine's marks before you complete the reading.");
    return;
  }
  const done = !state.reading.complete;
  if (done && !(await mayComplete())) return;
  guarded(send("complete", { complete: done }));
}

/** Ask where findings are not judged. @returns {Promise<boolean>} */
async function mayComplete() {
  const open = state.reading.notJudged();
  if (!open) return true;
  const what = open === 1 ? "1 finding is" : `${open} findings are`;
  const words = `${what} not judged: the report will say so, not count them and stay preliminary, and no training set can be made.`;
  return confirm("Mark complete all the same?", words, "Mark complete");
}

/** @param {boolean} yes - Hide the machine's marks until revealed. */
export async function blind(yes) {
  const { study, reader } = state;
  await guarded(send("blind", { on: yes }));
  if (state.study !== study || state.reader !== reader) return;
  // Ranks and warnings of the machine's come with the reading, not with the event.
  if (!yes) await guarded(loadReading());
  if (!state.reading?.hidden || !view.grid) return;
  // The crosshair was on a finding of the machine's: it must not stay there.
  fit();
  moveTo(view.grid.shape.map((n) => Math.floor(n / 2)));
}

/** @param {"navigate"|"brush"|"eraser"|"add"} tool */
export function setTool(tool) {
  state.tool = tool;
  view.sketch = null;
  emit("tool");
  emit("view");
}

/** @param {number} step - In half millimetres. */
export function resizeBrush(step) {
  state.brushMm = Math.min(20, Math.max(0.5, state.brushMm + step / 2));
  if (view.sketch?.kind !== "measure" && view.sketch) view.sketch.mm = state.brushMm;
  emit("tool");
  emit("view");
}
