/** The panel beside the slices: counts, confidence, the list of findings, verdicts. */

import * as actions from "./actions.js";
import { byId, fill, glyph, h, number, plural } from "./dom.js";
import { blindFirst, keepBlindFirst } from "./events.js";
import { look } from "./reading.js";
import { emit, keyed, on, state } from "./state.js";
import { redraw, view } from "./viewer.js";

const WORDS = { undecided: "to judge", accept: "accepted", reject: "rejected", added: "added by you" };
let parts = null;

/** What the panel shows instead of the findings, or null. @type {?() => Node[]} */
let instead = null;

/** Show something else in the panel, or the findings again. @param {?() => Node[]} content */
export function showInstead(content) {
  instead = content;
  draw();
}

function build() {
  parts = {
    counts: h("p", { class: "counts", test: "counts", "aria-live": "polite" }),
    slider: h("input", { type: "range", min: 0, max: 1, step: 0.005, test: "confidence", "aria-label": "Least confidence of machine marks that are shown", oninput: () => show(fromPlace(Number(parts.slider.value))) }),
    sliderLabel: h("span", { class: "num", test: "confidence-value" }),
    ticks: h("div", { "aria-hidden": "true" }),
    points: h("div", { class: "points" }),
    flags: h("div", { class: "stack" }),
    notes: h("details", { test: "notes", class: "small" }),
    list: h("ul", { class: "findings", role: "listbox", "aria-label": "Findings, by confidence", tabindex: "0", test: "findings" }),
    verdict: h("div", { class: "block", test: "verdict" }),
    foot: h("div", { class: "block" }),
  };
  parts.sliderBox = h("div", { class: "slider" }, parts.slider, parts.ticks);
  parts.confidence = h("div", {}, h("div", { class: "row" }, h("label", { class: "small grow", text: "Machine's confidence at least" }), parts.sliderLabel), parts.sliderBox, parts.points);
  parts.openOnly = h("input", { type: "checkbox", test: "open-only", onchange: toggleOpenOnly });
  const openOnly = h("label", { class: "check small" }, parts.openOnly, "Next stops only at findings to judge");
  parts.top = h("div", { class: "block" }, parts.counts, parts.notes, parts.flags, parts.confidence, openOnly);
}

function toggleOpenOnly() {
  state.toJudgeOnly = parts.openOnly.checked;
  emit("reading");
}

// Thresholds lie low: the slider gives them more room.
const toPlace = (confidence) => Math.sqrt(confidence);
const fromPlace = (place) => place * place;

function show(threshold) {
  state.threshold = threshold;
  const finding = actions.selected();
  if (finding && !state.reading.visible(threshold).includes(finding)) state.selected = null;
  drawFindings();
  redraw();
}

function draw() {
  if (byId("reading").hidden || !state.study) return;
  const side = byId("side");
  const held = side.contains(document.activeElement);
  drawSide();
  // A button that is gone hands the focus to what is there instead.
  if (held && !side.contains(document.activeElement)) (side.querySelector("[role=listbox]") ?? side.querySelector("button"))?.focus({ preventScroll: true });
}

function drawSide() {
  if (instead && state.reading) {
    fill(byId("side"), ...instead());
    return;
  }
  if (!parts) build();
  if (!state.reading) {
    const waiting = state.study.state === "ready" ? "Loading the reading." : "Not segmented yet: run it from the work list to get marks.";
    fill(byId("side"), h("div", { class: "block" }, h("p", { text: waiting })));
    return;
  }
  if (!byId("side").contains(parts.list)) fill(byId("side"), parts.top, parts.list, parts.verdict, parts.foot);
  drawNotes();
  drawTicks();
  drawFlags();
  drawFindings();
  drawFoot();
}

/** Warnings of the import and of the networks, and how the scan was made. */
function drawNotes() {
  const { about } = state.study;
  const { hidden, warnings } = state.reading;
  const notes = [...new Set([...about.warnings, ...(hidden ? [] : warnings)])];
  const technique = about.technique.map(([name, value]) => `${name.replace(/([a-z])([A-Z])/g, "$1 $2").toLowerCase()}: ${value}`);
  parts.notes.hidden = notes.length + technique.length === 0;
  fill(
    parts.notes,
    h("summary", { class: notes.length ? "warn" : "", text: notes.length ? `${plural(notes.length, "note")} on this scan` : "How it was made" }),
    h("ul", {}, ...[...notes, ...technique].map((words) => h("li", { text: words }))),
  );
}

function drawTicks() {
  const points = Object.entries(state.study.thresholds ?? {}).filter(([, value]) => value !== null);
  const tick = ([, value]) => {
    const mark = h("span", { class: "tick" });
    // The slider's thumb keeps 8 px from either end.
    mark.style.left = `calc(8px + ${toPlace(value)} * (100% - 16px))`;
    return mark;
  };
  const name = ([point, value]) =>
    h("button", { type: "button", class: "quiet", test: `point-${point}`, title: `Show marks at or above the ${point} point`, onclick: () => show(value), text: `${point} ${number(value, 2)}` });
  fill(parts.ticks, ...points.map(tick));
  fill(parts.points, ...points.map(name));
}

function drawFlags() {
  const { blind, revealed, hidden, revision } = state.reading;
  const flags = [];
  if (hidden) {
    flags.push(
      h("p", { class: "warn small", text: "Blind reading: the machine's marks are hidden. Mark your own, then reveal." }),
      h("button", { type: "button", class: "primary", test: "reveal", onclick: () => emit("reveal"), text: "Reveal machine marks" }),
    );
    if (revision <= 1) flags.push(h("button", { type: "button", class: "quiet", test: "blind-off", onclick: () => actions.blind(false), text: "Read with the machine's marks instead" }));
  } else if (blind && revealed) {
    flags.push(h("p", { class: "small", test: "revealed", text: overlapWords() }));
  } else if (revision === 0) {
    flags.push(h("button", { type: "button", test: "blind-on", onclick: () => actions.blind(true), text: "Read blind first: hide machine marks" }));
  }
  if (revision <= 1 && !revealed) flags.push(always());
  parts.confidence.hidden = hidden;
  parts.openOnly.parentElement.hidden = hidden;
  fill(parts.flags, ...flags);
}

function always() {
  const box = h("input", { type: "checkbox", test: "blind-always", checked: blindFirst(), onchange: () => keepBlindFirst(box.checked) });
  return h("label", { class: "check small" }, box, "Begin every study blind");
}

/** After revealing, a blind mark that the machine has too is one finding with the machine's. */
function overlapWords() {
  const blind = state.reading.all().filter((finding) => finding.found_blind);
  const both = blind.filter((finding) => finding.origin === "machine").length;
  return `Read blind, then revealed: the machine has ${both} of your ${plural(blind.length, "blind mark")} too.`;
}

function drawFindings() {
  const counts = state.reading.counts(state.threshold);
  parts.sliderLabel.textContent = number(state.threshold, 2);
  parts.slider.setAttribute("aria-valuetext", number(state.threshold, 2));
  if (document.activeElement !== parts.slider || fromPlace(Number(parts.slider.value)) !== state.threshold) parts.slider.value = toPlace(state.threshold);
  parts.openOnly.checked = state.toJudgeOnly;
  const added = counts.added ? `, ${counts.added} added` : "";
  if (state.reading.hidden) parts.counts.textContent = `${plural(counts.shown, "mark")} of yours; the machine's are hidden`;
  else parts.counts.textContent = `${counts.shown} shown of ${counts.all}, ${counts.accepted} accepted, ${counts.rejected} rejected${added}, ${counts.open} to judge`;
  const shown = state.reading.visible(state.threshold);
  const rows = shown.map(row);
  const none = state.reading.hidden ? `No marks of yours yet.${keyed("add", " ", " adds one at the crosshair.")}` : "No finding at this confidence.";
  fill(parts.list, ...(rows.length ? rows : [h("li", { class: "empty", text: none })]));
  drawVerdict();
  // After the verdict's buttons took their height, so that the selected row is not behind them.
  const chosen = parts.list.querySelector("[aria-selected=true]");
  chosen?.scrollIntoView({ block: "nearest" });
  parts.list.setAttribute("aria-activedescendant", chosen?.id ?? "");
}

const where = ({ region, side }) => (region ? [side && side !== "n/a" ? side : null, region].filter(Boolean).join(" ") : "region n/a");

/** Volume; of a picture, which has no thickness, the area. */
function extent({ volume_mm3: volume }) {
  const { source, spacing_mm: spacing } = state.study.about;
  return source === "picture" ? `${number(volume / spacing[2])} mm²` : `${number(volume)} mm³`;
}

function row(finding) {
  const kind = look(finding);
  const verdict = [WORDS[kind], finding.certainty, finding.reason].filter(Boolean);
  if (finding.edited) verdict.push("edited");
  if (finding.found_blind && state.reading.revealed) verdict.push(finding.origin === "reader" ? "machine has it not" : "found blind too");
  if (finding.verdict === "accept" && finding.macrohaemorrhage) verdict.push("over 10 mm, not counted");
  const score = finding.origin === "machine" ? number(finding.confidence, 2) : "reader";
  const size = `${number(finding.diameter_mm)} mm, ${extent(finding)}`;
  return h(
    "li",
    {
      class: "finding", role: "option", test: `finding-${finding.id}`, id: `finding-${finding.id}`,
      "aria-selected": String(finding.id === state.selected),
      "aria-label": `${state.reading.label(finding)}, ${verdict.join(", ")}, ${size}`,
      onclick: () => actions.select(finding.id),
    },
    glyph(kind),
    h("b", { text: state.reading.label(finding) }),
    h("span", { class: "verdict", test: "finding-verdict", text: verdict.join(", ") }),
    h("span", { class: "num small", title: finding.origin === "machine" ? "The machine's confidence" : "Marked by a human reader", text: score }),
    h("span", { class: "line", title: `${size}, ${where(finding)}`, text: `${size}, ${where(finding)}${note(finding)}` }),
  );
}

const note = (finding) => (["siderosis", "vessel"].includes(finding.status) ? `, possible ${finding.status}` : "");

/** A button of a command, with its key. */
const act = (id, name, glyphName, run) =>
  h("button", { type: "button", test: id, onclick: run }, glyphName ? glyph(glyphName) : null, state.keys[id] ? h("kbd", { text: state.keys[id] }) : null, name);

function drawVerdict() {
  const finding = actions.selected();
  if (!finding) {
    const next = state.reading.visible(state.threshold).length ? keyed("next", " ", " goes to the next one.") : "";
    fill(parts.verdict, h("p", { class: "small", text: actions.target() ? "Your finding is being added." : `No finding selected.${next}` }));
    return;
  }
  const head = h("p", { class: "small" }, h("b", { text: `Finding ${state.reading.label(finding)}` }), ` ${finding.origin === "machine" ? `by the machine, confidence ${number(finding.confidence, 2)}` : "by you"}`);
  if (state.awaitingReason) {
    const reasons = state.room.reasons.map((reason) => act(`reason-${reason}`, reason, null, () => actions.rejectFor(reason)));
    fill(parts.verdict, head, h("p", { class: "warn small", text: `Why is it not a microbleed?${keyed("no-reason", " ", ": no reason")}` }), h("div", { class: "verdicts three" }, ...reasons));
    return;
  }
  fill(
    parts.verdict,
    head,
    h(
      "div",
      { class: "verdicts" },
      act("accept", "Accept", "accept", actions.accept),
      finding.origin === "machine" ? act("reject", "Reject", "reject", actions.reject) : act("clear", "Remove", null, actions.clearVerdict, "remove"),
      act("definite", "Definite", null, () => actions.acceptAs("definite")),
      act("possible", "Possible", null, () => actions.acceptAs("possible")),
    ),
  );
}

function drawFoot() {
  const { complete } = state.reading;
  const title = `${complete ? "The reading is complete; open it again" : "Mark the reading complete"}${keyed("complete", " (", ")")}`;
  fill(
    parts.foot,
    h(
      "div",
      { class: "row" },
      h("button", { type: "button", class: complete ? "" : "primary", test: "complete", onclick: actions.complete, title, text: complete ? "Open again" : "Complete" }),
      h("button", { type: "button", test: "export", onclick: () => emit("export"), text: "Export" }),
      h("button", { type: "button", test: "agreement", onclick: () => emit("agreement"), text: "Agreement" }),
    ),
  );
}

function arrows(event) {
  if (!parts || event.target !== parts.list || !["ArrowDown", "ArrowUp"].includes(event.key)) return;
  event.preventDefault();
  event.stopPropagation();
  actions.go(event.key === "ArrowDown" ? 1 : -1, false);
}

/** Keep the panel current. */
export function start() {
  byId("side").addEventListener("keydown", arrows);
  on("study reader", () => {
    instead = null;
  });
  on("study", () => {
    if (state.study && view.grid === null) state.toJudgeOnly = false;
  });
  on("study reading selection keys", draw);
}
