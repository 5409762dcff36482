/** The page's beginning: who reads, the work list, and opening a study to read. */

import * as api from "./api.js";
import { select, tell } from "./actions.js";
import * as agreement from "./agreement.js";
import * as banner from "./banner.js";
import { byId, fill, h, number } from "./dom.js";
import { AGAIN, forgetSaved, guardLeaving, loadReading, pending, saved, send } from "./events.js";
import * as exporting from "./exports.js";
import * as help from "./help.js";
import * as keys from "./keys.js";
import * as panel from "./panel.js";
import * as pointer from "./pointer.js";
import * as readers from "./readers.js";
import { emit, on, state } from "./state.js";
import * as toolbar from "./toolbar.js";
import * as upload from "./upload.js";
import * as viewer from "./viewer.js";
import * as worklist from "./worklist.js";

const { view } = viewer;
const NO_IMAGES = "The images of this study are not ready: they are made when it is run. Run it from the work list, or wait until it has run.";

/** For tests and for the curious: the page's state, and NiiVue's instance. */
globalThis.room = {
  get ready() {
    return state.ready;
  },
  get study() {
    return state.study?.id ?? null;
  },
  get viewer() {
    return view.nv;
  },
  view,
  state: () => describe(),
  drawNow: viewer.drawNow,
  moveTo: viewer.moveTo,
  valueAt: viewer.valueAt,
  windowBy: viewer.windowBy,
  setSlab: viewer.setSlab,
  /** Where a voxel's centre is on the page. */
  place: (voxel, pane = 0) => {
    const box = byId("marks").getBoundingClientRect();
    const [x, y] = view.nv.panes[pane].pixel(view.grid, voxel);
    return [box.left + x / view.scale, box.top + y / view.scale];
  },
};

function describe() {
  const findings = state.reading ? state.reading.all() : [];
  return {
    study: state.study?.id ?? null,
    result: state.reading?.result ?? null,
    reader: state.reader?.name ?? null,
    selected: state.selected,
    threshold: state.threshold,
    tool: state.tool,
    slabMm: state.slabMm,
    cross: view.cross,
    window: view.nv ? viewer.windowOf() : null,
    saved: saved.state,
    pending: pending(),
    revision: state.reading?.revision ?? null,
    hidden: state.reading?.hidden ?? null,
    complete: state.reading?.complete ?? null,
    shown: state.reading?.visible(state.threshold).map((finding) => finding.id) ?? [],
    findings: findings.map(({ set, ...finding }) => ({ ...finding, voxels: [...set.indices] })),
  };
}

function drawTop() {
  const reading = state.study !== null;
  const running = worklist.activity();
  fill(
    byId("top-study"),
    ...(reading
      ? [
          h("button", { type: "button", test: "back", onclick: goToList, text: "‹ Work list" }),
          h("b", { test: "study-name", title: state.study.name, text: state.study.name }),
          h("span", { class: "small num technique", title: technique(), text: technique() }),
        ]
      : []),
  );
  fill(
    byId("top-tools"),
    running ? h("span", { class: "small", text: running }) : null,
    h("span", { id: "saved", class: "saved", role: "status", test: "saved" }),
    state.reader ? h("button", { type: "button", class: "reader", test: "reader", title: `Change the reader, now ${state.reader.name}`, onclick: () => readers.choose(), text: `Reader ${state.reader.name}` }) : null,
    h("button", { type: "button", test: "help", "aria-label": "Help: keys and mouse", onclick: help.open, text: "?" }),
  );
  emit("saved");
}

function technique() {
  const { about, model, thresholds, threshold } = state.study;
  // A picture has no thickness.
  const sides = about.source === "picture" ? 2 : 3;
  const size = `${about.shape.slice(0, sides).join(" × ")}, ${about.spacing_mm.slice(0, sides).map((mm) => mm.toFixed(2)).join(" × ")} mm`;
  if (!model) return size;
  // A threshold of one's own is none of the model's points, whatever point stood beside it.
  const point = thresholds?.[model.operating_point] === threshold ? model.operating_point : `threshold ${number(threshold, 2)}`;
  return `marks: ${model.name}, ${point}; ${size}`;
}

function showReading(yes) {
  byId("worklist").hidden = yes;
  byId("reading").hidden = !yes;
}

function loading(words) {
  byId("loading").textContent = words;
  byId("loading").hidden = !words;
}

/** @returns {string} The id of the study that the address names, "" for the list. */
const addressed = () => location.hash.match(/^#([0-9a-f]{16})$/)?.[1] ?? "";

/**
 * Name a study in the address, and nothing else: no key that the page was opened with.
 * @param {string} id - "" for the list. @param {"pushState"|"replaceState"} [how]
 */
function address(id, how = "pushState") {
  if (addressed() !== id) history[how](null, "", id ? `/#${id}` : "/");
}

/** Show what the address names: it was gone back to, or loaded again. */
function follow() {
  const id = addressed();
  if (id === (state.wanted ?? "")) return;
  // What a dialog asks is of the study that is left.
  for (const open of document.querySelectorAll("dialog")) open.close();
  if (!id) leave();
  else {
    state.wanted = id;
    openStudy();
  }
}

function goToList() {
  leave();
  address("");
}

async function openStudy() {
  const id = state.wanted;
  address(id);
  if (!state.reader) await readers.choose(true);
  state.ready = false;
  state.reading = null;
  state.selected = null;
  state.tool = "navigate";
  let study = null;
  // Left, or opened anew: what comes of this is nobody's business any more.
  const left = () => (study ? state.study !== study : state.wanted !== id);
  try {
    const found = await api.study(id, state.reader.id);
    if (left()) return;
    if (!found.about) throw new Error(NO_IMAGES);
    state.study = study = found;
    forgetSaved();
    state.threshold = study.threshold ?? study.thresholds?.balanced ?? 0.5;
    showReading(true);
    drawTop();
    emit("study");
    loading("Loading the scan.");
    if (!(await viewer.open(study)) || left()) return;
    loading("");
    if (study.result) await loadReading();
    if (left()) return;
    emit("study");
    firstFinding();
    state.ready = true;
  } catch (problem) {
    if (left()) return;
    leave();
    address("", "replaceState");
    tell(problem.message, "problem");
  }
}

function firstFinding() {
  const shown = state.reading?.visible(state.threshold) ?? [];
  const first = shown.find((finding) => !finding.verdict) ?? shown[0];
  if (first) select(first.id);
}

function leave() {
  state.ready = false;
  viewer.close();
  loading("");
  Object.assign(state, { wanted: null, study: null, reading: null, selected: null, awaitingReason: false });
  forgetSaved();
  showReading(false);
  drawTop();
  emit("study");
  worklist.refresh();
}

async function reveal() {
  if (!state.reading?.hidden) return;
  const { study, reader } = state;
  await send("reveal", {});
  // Whoever has left meanwhile finds the marks when the study is opened again.
  if (state.study !== study || state.reader !== reader) return;
  await loadReading();
  firstFinding();
}

async function changeReader() {
  forgetSaved();
  drawTop();
  if (!state.study?.result) return;
  state.reading = null;
  state.selected = null;
  emit("reading");
  await loadReading();
  firstFinding();
}

/** Another result while the study is open belongs to another reading: show that. */
function noticeResult() {
  const now = state.studies.find((study) => study.id === state.study?.id);
  if (!now || !state.ready || now.result === state.study.result) return;
  const first = state.study.result === null;
  state.wanted = state.study.id;
  openStudy();
  tell(first ? "This scan has been analysed: its findings are shown now." : AGAIN);
}

async function begin() {
  banner.start();
  panel.start();
  toolbar.start();
  exporting.start();
  keys.listen();
  pointer.listen();
  guardLeaving();
  addEventListener("popstate", follow);
  document.querySelector(".skip").addEventListener("click", (event) => {
    // The address goes on naming the study.
    event.preventDefault();
    byId("marks").focus();
  });
  on("open", openStudy);
  on("leave", goToList);
  on("outdated", worklist.refresh);
  on("reveal", () => reveal().catch((problem) => tell(problem.message, "problem")));
  on("export", exporting.open);
  on("agreement", agreement.open);
  on("help", help.open);
  on("reader", () => changeReader().catch((problem) => tell(problem.message, "problem")));
  on("studies", () => {
    if (state.study) noticeResult();
    drawTop();
  });
  state.room = await api.room();
  drawTop();
  worklist.build();
  upload.build();
  await readers.enter();
  await Promise.all([worklist.refresh(), viewer.start()]);
  state.started = true;
  follow();
}

begin().catch((problem) => {
  state.problem = problem.message;
  emit("problem");
});
