/** The work list: all studies, their states, and what can be done with them. */

import * as api from "./api.js";
import { tell } from "./actions.js";
import { choice, confirm, dialog } from "./dialogs.js";
import { byId, duration, fill, glyph, h, number } from "./dom.js";
import { blindFirst } from "./events.js";
import { runDialog, seriesName } from "./run.js";
import { emit, on, state } from "./state.js";
import { askSpacing } from "./upload.js";

const FAST_MS = 1000;
const SLOW_MS = 5000;
const STATES = { new: "new", waiting: "waiting", running: "running", ready: "ready", failed: "failed", cancelled: "cancelled" };
const SOURCES = { nifti: "NIfTI", dicom: "DICOM", picture: "picture" };
/** What runs when all slices are done, and takes some seconds more. */
const AFTER_SLICES = "judging, locating and writing the findings";
let search = "";
let only = "all";
let timer = 0;
let drawn = "";
let runShown;
let cancelWaiting;
/** Whether the mouse is down on the list: a row that is replaced between down and up is not clicked. */
let held = false;

const works = ({ state: now }) => now === "running" || now === "waiting";
const waiting = () => state.studies.filter((study) => study.state === "waiting").length;
const busy = () => state.studies.some(works) || (state.folder && works(state.folder));

/** Ask for the studies now, and again later. @returns {Promise<void>} */
export async function refresh() {
  clearTimeout(timer);
  try {
    const reader = state.reader?.id;
    const { studies, folder } = await api.studies(reader);
    // Another reader may be told more, or less.
    if (state.reader?.id !== reader) return refresh();
    Object.assign(state, { studies, folder });
    setOnline("yes");
    emit("studies");
  } catch (problem) {
    if (problem.status === 0) setOnline("gone");
    else if (problem.status === 401) setOnline("locked");
    else tell(problem.message, "problem");
  }
  // Another look that began meanwhile has set one already.
  clearTimeout(timer);
  timer = setTimeout(refresh, busy() || state.online !== "yes" ? FAST_MS : SLOW_MS);
}

function setOnline(online) {
  if (state.online === online) return;
  state.online = online;
  emit("online");
}

/** Run something that the server may refuse, and show its sentence. */
async function attempt(promise) {
  try {
    await promise;
  } catch (problem) {
    tell(problem.message, "problem");
  }
  await refresh();
}

/** Build the list's tools; call once. */
export function build() {
  const find = h("input", { type: "search", placeholder: "Find a study", test: "search", "aria-label": "Find a study", oninput: (event) => {
    search = event.target.value.toLowerCase();
    draw();
  } });
  const filter = choice(
    [["all", "all states"], ["unread", "not read by me"], ...Object.entries(STATES)],
    only,
    { test: "filter", "aria-label": "State", onchange: (event) => {
      only = event.target.value;
      draw();
    } },
  );
  runShown = h("button", { type: "button", test: "run-shown", onclick: () => attempt(api.run({ ids: startable().map((study) => study.id), ...formSettings() })) });
  cancelWaiting = h("button", { type: "button", test: "cancel-waiting", onclick: () => attempt(api.cancelWaiting()) });
  fill(byId("list-tools"), h("h2", { class: "grow", text: "Studies" }), find, filter, runShown, cancelWaiting);
  byId("list").addEventListener("pointerdown", () => {
    held = true;
  });
  for (const end of ["pointerup", "pointercancel"]) addEventListener(end, () => held && setTimeout(release));
  on("studies", draw);
  on("reader", refresh);
}

function release() {
  held = false;
  draw();
}

function formSettings() {
  const value = (test) => document.querySelector(`[data-test=${test}]`).value;
  const point = value("new-point");
  return { model: value("new-model"), ...(point === "own" ? { threshold: Number(value("new-threshold")) } : { point }) };
}

const read = (study) => study.read_by.includes(state.reader?.id);

function matches(study) {
  if (search && !`${study.name} ${study.source ?? ""}`.toLowerCase().includes(search)) return false;
  if (only === "unread") return !read(study);
  return only === "all" || study.state === only;
}

/** The studies that are shown and can be run at once: one that has a question is asked first. */
const startable = () => state.studies.filter((study) => matches(study) && !study.needs && ["new", "failed", "cancelled"].includes(study.state));

function draw() {
  const ready = startable().length;
  runShown.textContent = `Run ${ready} shown`;
  runShown.disabled = !ready;
  cancelWaiting.textContent = `Cancel all ${waiting()} waiting`;
  cancelWaiting.hidden = !waiting();
  // The list is redrawn only when it changed, so that the focus stays where it is.
  const now = JSON.stringify([state.studies, state.folder, state.reader?.id, blindFirst(), search, only]);
  if (now === drawn || held) return;
  drawn = now;
  const shown = state.studies.filter(matches);
  if (!state.studies.length) {
    fill(byId("list"), folderNote(), h("div", { class: "empty" }, h("b", { text: "No studies yet" }), h("p", { text: "Drop a scan on the left to begin." })));
  } else if (!shown.length) {
    fill(byId("list"), folderNote(), h("div", { class: "empty" }, h("p", { text: "No study matches." })));
  } else {
    const head = [["Study", ""], ["State", "col-state"], ["Lesions", "col-found"], ["Read by", "col-read"], ["", "col-act"]];
    fill(byId("list"), folderNote(), h("table", {}, h("thead", {}, h("tr", {}, ...head.map(([name, kind]) => h("th", { class: kind, text: name })))), h("tbody", {}, ...shown.map(row))));
  }
}

/** How the look through the folder goes that is served; nothing where it is done. */
function folderNote() {
  const { folder } = state;
  if (!folder || folder.state === "done") return null;
  if (works(folder)) return h("p", { class: "folder small", test: "folder" }, glyph("running"), "Looking through the folder for scans; they are listed when that is done.");
  return h("p", { class: "folder warn", test: "folder" }, glyph("failed"), `The folder's scans are not listed: ${folder.reason ?? folder.state}.`);
}

/** Whether there is something to look at; what a later run came to does not lock a result away. */
const opens = (study) => Boolean(study.size) && (study.state !== "failed" || study.result !== null);

function row(study) {
  const untold = blindFirst() && !study.begun;
  const found = study.counts && !untold ? `${study.counts.lesions} of ${study.counts.candidates}` : "";
  return h(
    "tr",
    { test: `study-${study.id}` },
    h("td", { class: "name" }, h("button", { type: "button", disabled: !opens(study), test: `open-${study.id}`, title: study.name, onclick: () => openStudy(study), text: study.name }), h("div", { class: "reason", text: sourceWords(study) })),
    h("td", {}, stateCell(study)),
    h("td", { class: "num", title: "Lesions at the operating point, of all candidates", text: found }),
    h("td", {}, readCell(study)),
    h("td", {}, h("div", { class: "row act end" }, ...buttons(study))),
  );
}

function openStudy(study) {
  state.wanted = study.id;
  emit("open");
}

/** The threshold that was given, else the operating point. */
const pointOf = ({ threshold, point }) => (threshold ? `threshold ${number(threshold, 2)}` : (point ?? ""));

function sourceWords(study) {
  const settings = study.settings?.model ? `, ${study.settings.model}, ${pointOf(study.settings)}` : "";
  const extra = study.settings?.phase ? ", with phase" : "";
  const size = study.size ? ` ${study.size.join(" × ")}` : "";
  return `${SOURCES[study.source] ?? "file"}${size}${settings}${extra}`.replace(/, $/, "");
}

function readCell(study) {
  if (!study.read_by.length) return h("span", { class: "small", text: "" });
  const names = study.read_by.map((id) => state.room.readers.find((reader) => reader.id === id)?.name ?? "a reader");
  return h("div", { class: "readers small", title: names.join(", ") }, glyph("ready"), h("span", { text: names.join(", ") }));
}

function stateCell(study) {
  const words = [h("span", { class: "small", test: `state-${study.id}`, text: study.needs ? `needs ${study.needs === "spacing" ? "the pixel size" : "a series"}` : STATES[study.state] })];
  const { progress } = study;
  if (study.state === "running" && progress?.total) {
    const left = progress.seconds_left === null ? "" : `${duration(progress.seconds_left)} left`;
    const after = progress.done < progress.total ? left : AFTER_SLICES;
    words.push(h("div", { class: "row" }, h("progress", { max: progress.total, value: progress.done, "aria-label": "Progress" }), h("span", { class: "small num", text: after })));
  }
  if (study.reason) words.push(h("div", { class: "reason", test: `reason-${study.id}`, text: study.reason }));
  return h("div", { class: "state" }, glyph(study.state), h("div", {}, ...words));
}

function buttons(study) {
  const named = (name, test, run, kind = "") => h("button", { type: "button", class: kind, test: `${test}-${study.id}`, "aria-label": `${name} ${study.name}`, onclick: run, text: name });
  const found = [];
  if (study.needs === "spacing") found.push(named("Pixel size", "spacing", () => giveSpacing(study)));
  else if (study.needs === "series") found.push(named("Series", "series", () => giveSeries(study)));
  else if (study.state === "waiting" || study.state === "running") found.push(named("Cancel", "cancel", () => attempt(api.cancel(study.id))));
  else found.push(named(study.state === "ready" ? "Again" : "Run", "run", () => attempt(runDialog(study))));
  if (opens(study) && (study.state === "ready" || study.result)) found.unshift(named("Read", "read", () => openStudy(study), "primary"));
  if (study.origin === "upload") found.push(named("Delete", "delete", () => remove(study), "quiet"));
  return found;
}

async function remove(study) {
  const sure = await confirm("Delete this study?", `${study.name}, its results and all readings of it will be deleted from this computer. This cannot be undone.`, "Delete");
  if (sure) await attempt(api.removeStudy(study.id));
}

async function giveSpacing(study) {
  const spacing = await askSpacing(1);
  if (spacing) await attempt(api.run({ ids: [study.id], spacing_mm: spacing, ...formSettings() }));
}

async function giveSeries(study) {
  const chosen = await dialog("Which series?", "series", (close) => [
    h("p", { text: "Several series of this study could be the scan to read." }),
    ...(study.series ?? []).map((one) => h("button", { type: "button", test: `series-${one.number}`, onclick: () => close(one), text: seriesName(one) })),
  ]);
  if (chosen) await attempt(api.run({ ids: [study.id], series: String(chosen.number), ...formSettings() }));
}

/** @returns {string} What runs now, for the head of the page. */
export function activity() {
  const running = state.studies.filter((study) => study.state === "running").length;
  return [running ? `${running} running` : "", waiting() ? `${waiting()} waiting` : ""].filter(Boolean).join(", ");
}
