/** The reader's events on their way to the server: in order, one at a time, until it says saved. */

import * as api from "./api.js";
import { Reading } from "./reading.js";
import { emit, keep, recall, state } from "./state.js";

const RETRY_MS = 1000;

/** @type {{state: "idle"|"saving"|"saved"|"failed", at: ?Date, message: string}} */
export const saved = { state: "idle", at: null, message: "" };
const queue = [];
let busy = false;

/** @returns {boolean} Whether anything is not yet durable. */
export const pending = () => busy || queue.length > 0;

/** Whether what is open is what an event was made in. */
const isOpen = ({ study, reader }) => state.reading !== null && state.study?.id === study && state.reader?.id === reader;

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
  if (queue.length > 1) mark("saving");
  else mark(isOpen(item) ? "saved" : "idle");
}

function mark(kind, message = "") {
  saved.state = kind;
  saved.message = message;
  if (kind === "saved") saved.at = new Date();
  emit("saved");
}

/**
 * Send an event.
 * @param {string} kind
 * @param {Object} payload
 * @returns {Promise<Object>} The server's answer, when it is durable; refused events reject.
 */
export function send(kind, payload) {
  return new Promise((resolve, reject) => {
    const { study, reader, reading } = state;
    queue.push({ study: study.id, reader: reader.id, revision: reading.revision, kind, payload, resolve, reject, tries: 0 });
    mark("saving");
    work();
  });
}

/** @returns {boolean} Whether this reader begins every study blind. */
export const blindFirst = () => recall(`blind.${state.reader?.id}`, false);

/** @param {boolean} yes - Begin every study blind. */
export const keepBlindFirst = (yes) => keep(`blind.${state.reader.id}`, yes);

/** Load the reading of the open study and reader. @returns {Promise<void>} */
export async function loadReading() {
  const { study, reader } = state;
  let answer = await api.reading(study.id, reader.id);
  if (blindFirst() && answer.revision === 0) {
    // Before anything is shown: who saw a mark for a moment has not read blind.
    await api.sendEvent(study.id, { reader: reader.id, revision: 0, kind: "blind", payload: { on: true } });
    answer = await api.reading(study.id, reader.id);
  }
  if (state.study !== study || state.reader !== reader) return;
  state.reading = new Reading(answer, study.about.shape);
  if (!state.reading.findings.has(state.selected)) state.selected = null;
  emit("reading");
}

async function work() {
  if (busy) return;
  busy = true;
  while (queue.length) {
    const item = queue[0];
    const outcome = await attempt(item).catch((problem) => giveUp(item, problem));
    if (outcome === "again") {
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
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
  item.reject(problem);
  return "done";
}

/** What waits to be sent of the same reading. */
const laterOf = (item) => queue.filter((one) => one !== item && one.study === item.study && one.reader === item.reader);

/** Note that an event is in; the study may be left before what waits is sent. */
function passed(item, revision) {
  for (const later of laterOf(item)) later.revision = revision;
}

/** Whether a server that answers so may answer otherwise in a while. 401: one that was started anew lets in who opens its new address. */
const passes = (problem) => problem instanceof api.ApiError && ([0, 401].includes(problem.status) || problem.status >= 500);

async function attempt(item) {
  if (item.tries === 0 && isOpen(item)) item.revision = Math.max(item.revision, state.reading.revision);
  item.tries++;
  const { study, reader, revision, kind, payload } = item;
  try {
    const answer = await api.sendEvent(study, { reader, revision, kind, payload });
    passed(item, answer.revision);
    if (isOpen(item)) {
      state.reading.apply(answer);
      if (answer.removed.includes(state.selected)) state.selected = null;
      emit("reading");
    }
    markDone(item);
    item.resolve(answer);
    return "done";
  } catch (problem) {
    if (!(problem instanceof api.ApiError)) throw problem;
    if (passes(problem)) {
      mark("failed", problem.message);
      return "again";
    }
    return refuse(item, problem);
  }
}

async function refuse(item, problem) {
  if (problem.status === 409 && (await caughtUp(item))) {
    passed(item, item.revision + 1);
    item.resolve(null);
    markDone(item);
    return "done";
  }
  const stale = problem.status === 409;
  // What the server says of it, to load again, has just been done.
  if (stale) problem.message = "This reading changed in another window and was loaded again; repeat your last mark.";
  mark("refused", problem.message);
  if (stale) {
    // Later events were meant for what the reader saw before.
    for (const later of laterOf(item)) {
      queue.splice(queue.indexOf(later), 1);
      later.reject(problem);
    }
  } else if (isOpen(item)) {
    await reload(item);
  }
  item.reject(problem);
  return "done";
}

/** After an answer was lost on the way: the event may be in. Load and see. */
async function caughtUp(item) {
  const revision = await reload(item);
  return item.tries > 1 && revision === item.revision + 1;
}

/** Load the reading of an event again. @returns {Promise<number>} Its revision. */
async function reload(item) {
  for (;;) {
    try {
      if (isOpen(item)) await loadReading();
      return (isOpen(item) ? state.reading : await api.reading(item.study, item.reader)).revision;
    } catch (problem) {
      if (!passes(problem)) throw problem;
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }
}
