/** Adding studies: drop or pick files and folders, with settings, phase and mask. */

import * as api from "./api.js";
import { tell } from "./actions.js";
import { dialog, field, onEnter } from "./dialogs.js";
import { byId, fill, h } from "./dom.js";
import { settingsForm } from "./settings.js";
import { state } from "./state.js";
import { refresh } from "./worklist.js";

export const WRONG_SPACING = "Give the side of a pixel in millimetres, 0.02 to 20.";

/** @param {number} mm @returns {boolean} Whether it can be the side of a pixel. */
export const isSpacing = (mm) => mm >= 0.02 && mm <= 20;

const PICTURE = /\.(png|tiff?)$/i;
let progress;
let words;
let form;
let extras;

/** Build the panel. Call once the room's models are known. */
export function build() {
  form = settingsForm("new");
  progress = h("progress", { max: 1, value: 0, hidden: true, "aria-label": "Upload" });
  words = h("p", { class: "small", role: "status", test: "upload-state" });
  const files = h("input", { type: "file", multiple: true, hidden: true, test: "pick-files", onchange: picked });
  const folder = h("input", { type: "file", webkitdirectory: true, hidden: true, test: "pick-folder", onchange: picked });
  extras = { phase: extra("phase"), mask: extra("mask") };
  const zone = h(
    "div",
    { class: "zone" },
    h("p", {}, h("b", { text: "Drop a scan here" })),
    h("p", { class: "small", text: "NIfTI, a folder or zip of DICOM, or a PNG or TIFF slice. Nothing leaves this computer." }),
    h("div", { class: "row" }, h("button", { type: "button", class: "primary", test: "choose-files", onclick: () => files.click(), text: "Choose files" }), h("button", { type: "button", test: "choose-folder", onclick: () => folder.click(), text: "Choose folder" })),
    files,
    folder,
    progress,
    words,
  );
  fill(
    byId("drop"),
    h("h2", { text: "Add studies" }),
    zone,
    h("h3", { text: "Segment with" }),
    h("div", { class: "stack" }, ...form.nodes),
    h("details", {}, h("summary", { text: "Phase or mask for the next scan" }), h("div", { class: "stack" }, field("Phase image (NIfTI)", extras.phase), field("Brain mask (NIfTI)", extras.mask))),
  );
  listen(zone);
}

const extra = (name) => h("input", { type: "file", accept: ".nii,.gz", test: `new-${name}` });

function picked(event) {
  const files = [...event.target.files].map((file) => ({ file, path: file.webkitRelativePath || file.name }));
  event.target.value = "";
  add(files);
}

function listen(zone) {
  const room = byId("worklist");
  room.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  room.addEventListener("dragleave", () => zone.classList.remove("over"));
  room.addEventListener("drop", async (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    const entries = [...event.dataTransfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
    const files = entries.length ? (await Promise.all(entries.map((entry) => walk(entry)))).flat() : [...event.dataTransfer.files].map((file) => ({ file, path: file.name }));
    add(files);
  });
}

/** All files below a dropped entry, with their relative paths. */
async function walk(entry, path = "") {
  const here = path + entry.name;
  if (entry.isFile) return [{ file: await new Promise((resolve, reject) => entry.file(resolve, reject)), path: here }];
  const reader = entry.createReader();
  const found = [];
  // A browser hands out at most a hundred entries at a time.
  for (;;) {
    const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!some.length) return found;
    for (const one of some) found.push(...(await walk(one, `${here}/`)));
  }
}

async function add(files) {
  if (!files.length) return;
  const body = new FormData();
  const pictures = files.filter(({ path }) => PICTURE.test(path));
  if (pictures.length) {
    const spacing = await askSpacing(pictures.length);
    if (!spacing) return;
    body.set("spacing_mm", String(spacing));
  }
  const given = Object.entries(extras).filter(([, input]) => input.files.length);
  const beside = given.map(([name, input]) => [name, input.files[0]]);
  const all = [...files.map(({ file }) => file), ...beside.map(([, file]) => file)];
  const total = all.reduce((sum, { size }) => sum + size, 0);
  if (total > state.room.upload_mb * 1e6) {
    tell(`That is ${Math.ceil(total / 1e6)} MB; at most ${state.room.upload_mb} MB are taken at a time.`, "problem");
    return;
  }
  for (const [name, value] of Object.entries(form.values())) body.set(name, String(value));
  for (const [name, file] of beside) body.set(name, file);
  for (const { file, path } of files) body.append("files", file, path);
  await upload(body);
}

async function upload(body) {
  progress.hidden = false;
  try {
    await api.upload(body, (share) => {
      progress.value = share;
      words.textContent = share < 1 ? `Uploading, ${Math.round(100 * share)} %` : "Uploaded; taking it in.";
    });
    words.textContent = "";
    for (const input of Object.values(extras)) input.value = "";
  } catch (problem) {
    words.textContent = "";
    tell(problem.message, "problem");
  }
  progress.hidden = true;
  await refresh();
}

/**
 * Ask for the pixel size of pictures.
 * @param {number} count
 * @returns {Promise<?number>} In mm.
 */
export function askSpacing(count) {
  return dialog("Pixel size", "spacing", (close, problem) => {
    const input = h("input", { type: "number", min: 0.02, max: 20, step: 0.001, autofocus: true, test: "spacing" });
    const take = () => {
      const value = Number(input.value);
      if (isSpacing(value)) close(value);
      else problem(WRONG_SPACING);
    };
    onEnter(input, take);
    const what = count === 1 ? "A picture says" : "Pictures say";
    return [
      h("p", { text: `${what} nothing of the pixels' size. Lesions are measured with it.` }),
      field("Side of a pixel in mm", input),
      h("div", { class: "row end" }, h("button", { type: "button", class: "primary", test: "spacing-ok", onclick: take, text: "Add" })),
    ];
  });
}
