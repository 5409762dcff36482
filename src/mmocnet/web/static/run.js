/** Segmenting a study, again too: with other settings, pixel size, series, phase or mask. */

import * as api from "./api.js";
import { choice, dialog, field } from "./dialogs.js";
import { h } from "./dom.js";
import { settingsForm } from "./settings.js";
import { WRONG_SPACING, isSpacing } from "./upload.js";

const EXTRAS = [["phase", "Phase image"], ["mask", "Brain mask"]];

/** @param {Object} one - Of a study's series. @returns {string} */
export const seriesName = (one) => one.description ?? `series ${one.number}`;

/**
 * Ask how to segment a study, and queue it.
 * @param {Object} study - Of the work list.
 * @returns {Promise<void>}
 */
export async function runDialog(study) {
  const form = settingsForm("run", study.settings?.model ? study.settings : null);
  const fields = [spacingField(study), seriesField(study)].filter(Boolean);
  const extras = EXTRAS.map((one) => extraField(study, one));
  const again = study.result ? [h("p", { class: "small", text: "A new result is made. Readings of the old one are kept, but belong to it." })] : [];
  const settings = await dialog(`Segment ${study.name}`, "run", (close, problem) => {
    const run = () => {
      const wrong = fields.map((one) => one.wrong?.()).find(Boolean);
      if (wrong) problem(wrong);
      else close(Object.assign(form.values(), ...fields.map((one) => one.values())));
    };
    return [
      ...again,
      ...form.nodes,
      ...[...fields, ...extras].flatMap((one) => one.nodes),
      h("div", { class: "row end" }, h("button", { type: "button", class: "primary", test: "run-ok", onclick: run, text: "Run" })),
    ];
  });
  if (!settings) return;
  await changeFiles(study, extras);
  await api.run({ ids: [study.id], ...settings });
}

/** The pixel size of a picture, as it was given; only another one is sent. */
function spacingField(study) {
  if (study.source !== "picture") return null;
  const known = String(study.spacing_mm ?? "");
  const input = h("input", { type: "number", min: 0.02, max: 20, step: 0.001, value: known, test: "run-spacing" });
  return {
    nodes: [field("Side of a pixel in mm", input)],
    wrong: () => (isSpacing(Number(input.value)) ? "" : WRONG_SPACING),
    values: () => (input.value !== known ? { spacing_mm: Number(input.value) } : {}),
  };
}

/** The series of a DICOM study, where there are several; only another one is sent. */
function seriesField(study) {
  if (study.source !== "dicom" || !(study.series?.length > 1)) return null;
  const known = study.series.find((one) => one.chosen)?.number ?? "";
  const none = known ? [] : [["", "as before"]];
  const select = choice([...none, ...study.series.map((one) => [one.number, seriesName(one)])], known, { test: "run-series" });
  return { nodes: [field("Series", select)], values: () => (select.value === known ? {} : { series: select.value }) };
}

/** A file to go with an uploaded scan, or one that goes with a scan to be taken off. */
function extraField(study, [role, name]) {
  const input = h("input", { type: "file", accept: ".nii,.gz", test: `run-${role}` });
  const off = h("input", { type: "checkbox", test: `run-remove-${role}` });
  const nodes = study.origin === "upload" ? [field(`${name} (NIfTI), if any`, input)] : [];
  if (study.attached[role]) nodes.push(h("label", { class: "check small" }, off, `Remove the ${name.toLowerCase()} that goes with it now`));
  return { role, input, off, nodes };
}

async function changeFiles(study, extras) {
  const files = new FormData();
  for (const { role, input, off } of extras) {
    if (input.files.length) files.set(role, input.files[0]);
    else if (off.checked) await api.detach(study.id, role);
  }
  if ([...files.keys()].length) await api.attach(study.id, files);
}
