/** The server's HTTP API; every failure is an ApiError that holds one sentence. */

/** What went wrong, in a sentence; `status` 0 means that the server did not answer. */
export class ApiError extends Error {
  /** @param {string} message @param {number} status */
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

const HEADERS = { "X-Mmocnet": "1" };
const GONE = "The reading room's server does not answer.";

function sentence(status, text) {
  try {
    const found = JSON.parse(text).error;
    if (typeof found === "string" && found) return found;
  } catch {
    // Not ours: a proxy's page or an empty answer.
  }
  if (status === 401) return "This page's access has ended: open the address that the server printed.";
  return `The server answered with status ${status}.`;
}

async function request(method, path, { json, form } = {}) {
  const options = { method, headers: { ...HEADERS }, credentials: "same-origin" };
  if (json !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(json);
  }
  if (form) options.body = form;
  let response;
  let text;
  try {
    response = await fetch(`/api${path}`, options);
    text = await response.text();
  } catch {
    throw new ApiError(GONE, 0);
  }
  if (!response.ok) throw new ApiError(sentence(response.status, text), response.status);
  return text ? JSON.parse(text) : null;
}

const get = (path) => request("GET", path);
const post = (path, json = {}) => request("POST", path, { json });

export const addReader = (name) => post("/readers", { name });
export const agreement = (id, result, first, second) =>
  get(`/studies/${id}/agreement?result=${result}&first=${first}&second=${second}`);
export const attach = (id, form) => request("POST", `/studies/${id}/files`, { form });
export const audit = (id, reader) => get(`/studies/${id}/audit?reader=${reader}`);
export const cancel = (id) => post(`/studies/${id}/cancel`);
export const cancelWaiting = () => post("/studies/cancel");
export const detach = (id, role) => request("DELETE", `/studies/${id}/files/${role}`);
export const exportFile = (job) => `/api/exports/${job}/file`;
export const exportState = (job) => get(`/exports/${job}`);
export const exportStart = (id, order) => post(`/studies/${id}/export`, order);
export const reading = (id, reader) => get(`/studies/${id}/reading?reader=${reader}`);
export const removeStudy = (id) => request("DELETE", `/studies/${id}`);
export const room = () => get("/room");
export const run = (body) => post("/studies/run", body);
export const sendEvent = (id, event) => post(`/studies/${id}/events`, event);
const asks = (reader) => (reader ? `?reader=${reader}` : "");
export const studies = (reader) => get(`/studies${asks(reader)}`);
export const study = (id, reader) => get(`/studies/${id}${asks(reader)}`);

/**
 * Upload one drop.
 * @param {FormData} form
 * @param {(share: number) => void} onProgress - Called with 0 to 1.
 * @returns {Promise<{studies: Object[]}>}
 */
export function upload(form, onProgress) {
  return new Promise((resolve, reject) => {
    const sender = new XMLHttpRequest();
    sender.open("POST", "/api/studies");
    for (const [name, value] of Object.entries(HEADERS)) sender.setRequestHeader(name, value);
    sender.upload.addEventListener("progress", (event) => {
      if (event.lengthComputable) onProgress(event.loaded / event.total);
    });
    sender.addEventListener("error", () => reject(new ApiError(GONE, 0)));
    sender.addEventListener("load", () => {
      if (sender.status >= 200 && sender.status < 300) resolve(JSON.parse(sender.responseText));
      else reject(new ApiError(sentence(sender.status, sender.responseText), sender.status));
    });
    sender.send(form);
  });
}

/**
 * Read one of a study's volumes.
 * @param {string} id
 * @param {"image.nii"|"phase.nii"} name
 * @returns {Promise<ArrayBuffer>}
 */
export async function volume(id, name) {
  let response;
  try {
    response = await fetch(`/api/studies/${id}/${name}`, { headers: HEADERS, credentials: "same-origin" });
    if (response.ok) return await response.arrayBuffer();
  } catch {
    throw new ApiError(GONE, 0);
  }
  throw new ApiError(sentence(response.status, await response.text()), response.status);
}
