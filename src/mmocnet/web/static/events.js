/** The reader's events on their way to the server: in order, one at a time, until it says saved. */

import * as api from "./api.js";
import { Reading } from "./reading.js";
import { emit, keep, recall, state } from "./state.js";

const RETRY_MS = 1000;
const MOST_FAILURES = 3;
/** Nobody answers; a server that was started anew lets in who opens its new address; busy; disk full: each passes. */
const PASSING = [0, 401, 503, 507];

/** Said where marks of a result meet a newer one. */
export const AGAIN =
  "This scan was analysed again: the new result is the one to read. Marks that were saved stay with the earlier result; one not saved yet is not taken over.";

/** @type {{state: "idle"|"saving"|"saved"|"failed"|"refused", at: ?Date, message: string}} */
export const saved = { state: "idle", at: null, message: "" };
/** What `saved` said last of events that are done with. */
let settled = { state: "idle", message: "" };
const queue = [];
let busy = false;

/** @returns {boolean} Whether anything is not yet durable. */
export const pending = () => busy || queue.length > 0;

/** Whether what is open is what an event was made in. */
const isOpen = ({ study, reader, result }) =>
  state.study?.id === study && state.reader?.id === reader && state.reading?.result === result;

/** A name for an event that is the same at each try, so that the server takes it once. */
const newId = () => [...crypto.getRandomValues(new Uint8Array(16))].map((byte) => byte.toString(16).padStart(2, "0")).join("");

/** Warn before the page is left with events unsaved. */
export function guardLeaving() {
  addEventListener("beforeunload", (event) => {
    if (pending()) event.preventDefault();
  });
}

/** Say nothing of saving: the work list has nothing to save, another study or reader nothing saved yet. */
export function forgetSaved() {
  if (!pending()) mark("idle");
}

/** Say that an event is durable; of a study that was left nothing is said. */
function markDone(item) {
  mark(isOpen(item) ? "saved" : "idle");
  if (queue.length > 1) mark("saving");
}

function mark(kind, message = "") {
  if (kind === "saved") saved.at = new Date();
  if (kind !== "saving" && kind !== "failed") settled = { state: kind, message };
  say({ state: kind, message });
}

/** Say what was said before an event with which nothing was lost. */
function unmark(item) {
  if (!isOpen(item)) mark("idle");
  say(queue.length > 1 ? { state: "saving", message: "" } : settled);
}

function say(words) {
  Object.assign(saved, words);
  emit("saved");
}

/**
 * Send an event.
 * @param {string} kind
 * @param {Object} payload
 * @param {?Promise<Object>} [adds] - What `send` returned for the `add` that makes the finding which is meant.
 * @returns {Promise<Object>} The server's answer, when it is durable; refused events reject.
 */
export function send(kind, payload, adds = null) {
  const { study, reader, reading } = state;
  const of = { study: study.id, reader: reader.id, result: reading.result, revision: reading.revision };
  const item = { id: newId(), ...of, kind, payload, adds, tries: 0, failures: 0 };
  item.answer = new Promise((resolve, reject) => Object.assign(item, { resolve, reject }));
  queue.push(item);
  mark("saving");
  work();
  return item.answer;
}

/** @param {Object} answer - To an `add`. @returns {Object} The finding that it made; others that lost voxels to it come before. */
export const madeBy = (answer) => answer.changed.findLast((finding) => finding.origin === "reader");

/** @returns {boolean} Whether this reader begins every study blind. */
export const blindFirst = () => recall(`blind.${state.reader?.id}`, false);

/** @param {boolean} yes - Begin every study blind. */
export const keepBlindFirst = (yes) => keep(`blind.${state.reader.id}`, yes);

/** Load the reading of the open study and reader. @returns {Promise<void>} */
export async function loadReading() {
  const { study, reader } = state;
  const before = state.reading?.revision;
  const answer = await fetchReading(study, reader);
  if (state.study !== study || state.reader !== reader) return;
  if (answer.result !== study.result) {
    emit("outdated");
    return;
  }
  // What was saved meanwhile may not be in the answer.
  if (state.reading && state.reading.revision !== before) return loadReading();
  state.reading = new Reading(answer, study);
  if (!state.reading.findings.has(state.selected)) state.selected = null;
  emit("reading");
}

async function fetchReading(study, reader) {
  const answer = await api.reading(study.id, reader.id);
  if (!blindFirst() || answer.revision > 0) return answer;
  // Before anything is shown: who saw a mark for a moment has not read blind.
  const of = { id: newId(), reader: reader.id, result: study.result, revision: 0 };
  await api.sendEvent(study.id, { ...of, kind: "blind", payload: { on: true } });
  return api.reading(study.id, reader.id);
}

async function work() {
  if (busy) return;
  busy = true;
  while (queue.length) {
    const item = queue[0];
    const outcome = await attempt(item).catch((problem) => giveUp(item, problem));
    if (outcome === "again") {
      await pause();
      continue;
    }
    queue.shift();
  }
  busy = false;
  if (saved.state === "saving") mark("saved");
}

/** Go on without an event, as one of a study that is deleted; those of others must still be sent. */
function giveUp(item, problem) {
  mark("refused", problem.message);
  dropMeant(item, problem);
  item.reject(problem);
  return "done";
}

/** What waits to be sent of the same reading. */
function laterOf(item) {
  const same = (one) => ["study", "reader", "result"].every((key) => one[key] === item[key]);
  return queue.filter((one) => one !== item && same(one));
}

const pause = () => new Promise((resolve) => setTimeout(resolve, RETRY_MS));

/** Whether to send an event again; one at which the server itself fails must not hold the others back for ever. */
function passes(item, { status }) {
  return PASSING.includes(status) || (status >= 500 && ++item.failures < MOST_FAILURES);
}

async function attempt(item) {
  item.tries++;
  const { study, id, reader, result, revision, kind, payload, adds } = item;
  if (adds) payload.finding = madeBy(await adds).id;
  try {
    const answer = await api.sendEvent(study, { id, reader, result, revision, kind, payload });
    await take(item, answer);
    item.resolve(answer);
    return "done";
  } catch (problem) {
    if (!(problem instanceof api.ApiError)) throw problem;
    if (!passes(item, problem)) return refuse(item, problem);
    mark("failed", problem.message);
    return "again";
  }
}

/** Note that an event is in, and show what it did; the study may have been left meanwhile. */
async function take(item, answer) {
  // Not the answer's: another window's events, not seen here, may have followed one whose answer was lost.
  for (const later of laterOf(item)) later.revision = Math.max(later.revision, item.revision + 1);
  if (isOpen(item) && item.tries === 1 && state.reading.revision === item.revision) {
    state.reading.apply(answer);
    if (answer.removed.includes(state.selected)) state.selected = null;
    emit("reading");
  } else {
    await reload(item);
  }
  markDone(item);
}

async function refuse(item, problem) {
  if (problem.status === 409) return outdated(item, problem);
  if (problem.status >= 500) problem.message = `The server failed at this mark ${MOST_FAILURES} times, and it is not saved; those after it are. It says: ${problem.message}`;
  const lost = losesWork(item);
  dropMeant(item, problem);
  if (lost) mark("refused", problem.message);
  else unmark(item);
  await reload(item);
  item.reject(problem);
  return "done";
}

/** The reading went on without this event, or its result is no longer the study's; what follows was meant for what the reader saw before. */
async function outdated(item, problem) {
  const { result } = await insist(() => api.study(item.study, item.reader));
  const again = result !== item.result;
  // What the server says of it, to load again, is done here.
  problem.message = again ? AGAIN : "This reading changed in another window and was loaded again; repeat your last mark.";
  if (!again) await reload(item);
  for (const later of laterOf(item)) drop(later, problem);
  mark("refused", problem.message);
  item.reject(problem);
  if (again) emit("outdated");
  return "done";
}

/** Whether work is lost with an event: not where it asked for what may not be there, a dark spot or what can be undone. */
function losesWork(item) {
  const asks = item.kind === "undo" || item.kind === "redo" || (item.kind === "add" && !item.payload.voxels);
  const drawn = laterOf(item).some((later) => later.adds === item.answer && later.payload.voxels);
  return !asks || drawn;
}

/** Drop what was done to a finding that is not made, and undos that were meant for this: they must not take back what was before. */
function dropMeant(item, problem) {
  let undos = 1;
  for (const later of laterOf(item)) {
    const meant = later.adds === item.answer;
    const undoes = later.kind === "undo" && undos > 0;
    if (meant || undoes) drop(later, problem);
    if (meant) undos++;
    else if (undoes) undos--;
    else undos = 0;
  }
}

function drop(item, problem) {
  queue.splice(queue.indexOf(item), 1);
  item.reject(problem);
}

/** Load the reading of an event again where it is open; where that fails, the next event will tell. */
async function reload(item) {
  await insist(async () => isOpen(item) && loadReading()).catch(() => {});
}

/** Ask until the server answers. */
async function insist(ask) {
  for (;;) {
    try {
      return await ask();
    } catch (problem) {
      if (!PASSING.includes(problem.status)) throw problem;
      await pause();
    }
  }
}
