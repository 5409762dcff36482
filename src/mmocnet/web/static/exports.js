/** Reports and files to take away, and the record of what was done. */

import * as api from "./api.js";
import { dialog } from "./dialogs.js";
import { download, fill, h } from "./dom.js";
import { AGAIN, pending } from "./events.js";
import { emit, on, state } from "./state.js";

const POLL_MS = 500;
const KINDS = [
  ["html", "Report (HTML)", "One file with pictures of every finding and the reader's verdicts."],
  ["pdf", "Report (PDF)", "The same, to print or file."],
  ["nifti", "Mask (NIfTI)", "Accepted and added lesions, each its number, on exactly the scan's grid."],
  ["csv", "Lesion table (CSV)", "A row a finding: machine's and reader's columns apart."],
  ["tsv", "Lesion table (TSV)", "The same as BIDS writes it."],
  ["bids", "BIDS derivative (zip)", "Reviewed mask and table with verdict, reason, reader."],
  ["training", "Training set (zip)", "What mmocnet finetune reads: scan, verdicts, rejected findings as negatives."],
  ["dicom", "DICOM SEG and SR (zip)", "For an archive; the SR is unverified."],
  ["audit", "Audit log (JSON lines)", "Every event of this reading, none left out."],
];

let warning;

/** Keep what the menu says of the reading current: it can be open before the last event is saved. */
export function start() {
  on("reading", warn);
}

/** Open the menu of exports. */
export function open() {
  const kinds = KINDS.filter(([kind]) => kind !== "dicom" || state.study.about.source === "dicom");
  return dialog(
    "Report and export",
    "export",
    () => {
      warning = h("p", { class: "warn small" });
      warn();
      return [
        warning,
        h("div", { class: "exports" }, ...kinds.flatMap(row)),
        h("p", { class: "small", text: "Research use only - not a medical device. Every file says which model, version and reader made it." }),
        h("div", { class: "row" }, h("button", { type: "button", test: "audit", onclick: showAudit, text: "Show the audit" })),
      ];
    },
    { wide: true },
  );
}

function warn() {
  if (!warning || !state.reading) return;
  warning.hidden = state.reading.complete;
  const { accepted, added } = state.reading.counts(0);
  warning.textContent = `This reading is not marked complete. Findings not judged are listed as not judged, never as microbleeds. Accepted or added so far: ${accepted + added}.`;
}

function row([kind, name, words]) {
  const said = h("span", { class: "small", role: "status", test: `export-state-${kind}` });
  const button = h("button", { type: "button", test: `export-${kind}`, text: "Make" });
  button.addEventListener("click", () => make(kind, button, said));
  return [h("p", {}, h("b", { text: name }), h("small", { text: words })), h("div", { class: "row end" }, said, button)];
}

async function make(kind, button, said) {
  const { study, reader } = state;
  button.disabled = true;
  said.textContent = "making…";
  said.className = "small";
  try {
    while (pending()) await new Promise((resolve) => setTimeout(resolve, POLL_MS / 5));
    const { job } = await api.exportStart(study.id, { reader: reader.id, result: study.result, kind });
    const done = await finished(job);
    const link = h("a", { href: api.exportFile(job), download: done.name, test: `export-link-${kind}`, text: `${done.name} (${size(done.bytes)})` });
    fill(said, link);
    download(api.exportFile(job), done.name);
  } catch (problem) {
    if (problem.status === 409) emit("outdated");
    said.textContent = problem.status === 409 ? AGAIN : problem.message;
    said.className = "problem";
  }
  button.disabled = false;
}

async function finished(job) {
  for (;;) {
    const now = await api.exportState(job);
    if (now.state === "ready" || now.state === "done") return now;
    if (now.state === "failed" || now.state === "cancelled") throw new api.ApiError(now.reason ?? "The export was cancelled.", 400);
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
}

const size = (bytes) => (bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`);

async function showAudit() {
  const { events } = await api.audit(state.study.id, state.reader.id);
  const brief = ({ payload }) =>
    Object.entries(payload)
      .filter(([, value]) => value !== null)
      .map(([name, value]) => `${name} ${name === "voxels" ? "(voxels)" : value}`)
      .join(", ");
  const rows = events.map((event) =>
    h("tr", {}, h("td", { class: "num", text: event.number }), h("td", { class: "num", text: event.time.replace("T", " ").slice(0, 19) }), h("td", { text: event.kind }), h("td", { text: brief(event) })),
  );
  const head = h("tr", {}, ...["No.", "Time (UTC)", "Event", "What"].map((name) => h("th", { text: name })));
  await dialog(
    `Audit of reader ${state.reader.name}`,
    "audit",
    () => [h("p", { class: "small", text: "Nothing is ever deleted: an undo is an event too." }), h("div", { class: "audit" }, h("table", {}, h("thead", {}, head), h("tbody", { test: "audit-rows" }, ...rows)))],
    { wide: true },
  );
}
