/** What the page says of itself: saved, server gone, one sentence about what just happened. */

import { byId } from "./dom.js";
import { saved } from "./events.js";
import { on, state } from "./state.js";

const TOAST_MS = 6000;
const OFFLINE = {
  yes: "",
  gone: "The reading room's server does not answer. Trying again every second; nothing that was saved is lost.",
  locked: "The server was started anew. Open the address that it printed, in this browser: this page then goes on by itself.",
};
let timer = 0;

function toast() {
  const element = byId("toast");
  const { words, kind } = state.message;
  element.textContent = words;
  element.className = kind === "problem" ? "toast bad" : "toast";
  element.hidden = false;
  clearTimeout(timer);
  timer = setTimeout(() => {
    element.hidden = true;
  }, TOAST_MS);
}

function banner() {
  const element = byId("banner");
  const words = state.problem ?? OFFLINE[state.online];
  element.textContent = words;
  element.hidden = !words;
}

function drawSaved() {
  const element = byId("saved");
  if (!element) return;
  const clock = saved.at?.toLocaleTimeString("en-GB") ?? "";
  const words = {
    idle: "",
    saving: "saving…",
    saved: `saved ${clock}`,
    failed: "NOT SAVED - retrying",
    refused: "NOT SAVED - refused",
  };
  element.textContent = words[saved.state];
  element.className = `saved ${saved.state}`;
  if (saved.state === "refused") {
    state.message = { words: saved.message, kind: "problem" };
    toast();
  }
}

/** Keep them current. */
export function start() {
  on("message", toast);
  on("problem online", banner);
  on("saved study", drawSaved);
}
