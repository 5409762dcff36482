/** Agreement of two readers, or of a reader and the machine. */

import * as api from "./api.js";
import { choice, field } from "./dialogs.js";
import { h, number, plural } from "./dom.js";
import { showInstead } from "./panel.js";
import { select, tell } from "./actions.js";
import { emit, state } from "./state.js";
import { moveTo } from "./viewer.js";

const MACHINE = "machine";
let first;
let second;
let found;
/** The last event of the open reading when it was compared. */
let compared;
/** Number of the comparison that was asked for last: its answer alone counts. */
let turn = 0;

const nameOf = (id) => (id === MACHINE ? "the machine" : (state.room.readers.find((reader) => reader.id === id)?.name ?? "a reader"));

/** Open the agreement panel for the open study. */
export async function open() {
  if (state.reading.hidden) {
    tell("Reveal the machine's marks first: agreement would show them.");
    return;
  }
  first = state.reader.id;
  second = MACHINE;
  await compare();
}

async function compare() {
  const asked = ++turn;
  const { study, reader, reading } = state;
  compared = reading.revision;
  let answer = null;
  let problem = "";
  try {
    answer = await api.agreement(study.id, study.result, first, second);
  } catch (failure) {
    problem = failure.message;
    if (failure.status === 409) emit("outdated");
  }
  // It was closed, or asked for anew; or the study was left, or handed to another reader.
  if (asked !== turn || state.study !== study || state.reader !== reader || !state.reading) return;
  found = answer;
  showInstead(() => draw(problem));
}

function close() {
  turn++;
  showInstead(null);
}

function draw(problem) {
  if (state.reading.revision !== compared) compare();
  const who = [[MACHINE, "the machine"], ...state.room.readers.map((reader) => [reader.id, reader.name])];
  const pick = (test, value, set) =>
    choice(who, value, { test, onchange: (event) => {
      set(event.target.value);
      compare();
    } });
  const top = h(
    "div",
    { class: "block", test: "agreement-panel" },
    h("div", { class: "row" }, h("h2", { class: "grow", text: "Agreement" }), h("button", { type: "button", class: "quiet", test: "agreement-close", onclick: close, text: "Back to findings" })),
    h(
      "div",
      { class: "row" },
      field("First", pick("agreement-first", first, (value) => {
        first = value;
      })),
      field("Second", pick("agreement-second", second, (value) => {
        second = value;
      })),
    ),
    problem ? h("p", { class: "problem", text: problem }) : figures(),
  );
  return found ? [top, list()] : [top];
}

function figures() {
  const rows = [
    [`Microbleeds of ${nameOf(found.first)}`, found.n_first],
    [`Microbleeds of ${nameOf(found.second)}`, found.n_second],
    ["Marked by both", found.matched],
    ["Kappa over judged places", number(found.kappa, 2)],
    ["Dice of all voxels", number(found.voxel_dice, 2)],
    ["Dice of matched lesions", number(found.matched_dice, 2)],
  ];
  return h("dl", { class: "figures", test: "agreement-figures" }, ...rows.flatMap(([name, value]) => [h("dt", { text: name }), h("dd", { text: value })]));
}

function list() {
  const head = h("li", { class: "block small", text: found.disagreements.length ? `${plural(found.disagreements.length, "disagreement")}: choose one to see it` : "No disagreement." });
  return h("ul", { class: "findings", test: "disagreements" }, head, ...found.disagreements.map(item));
}

function item(one) {
  const words = (verdict) => ({ accept: "microbleed", reject: "not one" })[verdict] ?? verdict ?? "no mark";
  const own = finding(one);
  const mm = one.centre_mm.map((value) => value.toFixed(0)).join(", ");
  return h(
    "li",
    {},
    h(
      "button",
      { type: "button", class: "place", onclick: () => jump(one) },
      h("span", { text: `${nameOf(found.first)}: ${words(one.first)}` }),
      h("span", { text: `${nameOf(found.second)}: ${words(one.second)}` }),
      h("span", { class: "small num", text: `${own ? `finding ${state.reading.label(own)}, ` : ""}at ${mm} mm` }),
    ),
  );
}

/** What is meant of the open reading; another reader's own findings are not in it, though they have the same names. */
function finding(one) {
  const whose = found[one.side];
  const known = one.id.startsWith("m") || whose === state.reader.id;
  return known ? state.reading.findings.get(one.id) : undefined;
}

function jump(one) {
  const own = finding(one);
  // With none selected, the next verdict is not for one that is elsewhere.
  select(own?.id ?? null);
  if (!own) moveTo(voxelOf(one.centre_mm), true);
}

/** The voxel at a place of the world, by the inverse of the scan's affine. */
function voxelOf(mm) {
  const [[a, b, c, x], [d, e, f, y], [g, i, k, z]] = state.study.about.affine;
  const [p, q, r] = [mm[0] - x, mm[1] - y, mm[2] - z];
  const volume = a * (e * k - f * i) - b * (d * k - f * g) + c * (d * i - e * g);
  return [
    (p * (e * k - f * i) - b * (q * k - f * r) + c * (q * i - e * r)) / volume,
    (a * (q * k - f * r) - p * (d * k - f * g) + c * (d * r - q * g)) / volume,
    (a * (e * r - q * i) - b * (d * r - q * g) + p * (d * i - e * g)) / volume,
  ];
}
