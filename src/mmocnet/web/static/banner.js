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
/** What `saved` said last, so that it is said once. */
let said = "";

function toast() {
  const element = byId("toast");
  const { words, kind } = state.message;
  element.textContent = words;
  element.className = kind === "problem" ? "toast bad" : "toast";
  element.hidden = false;
  clearTimeout(timer);
  // Why work was lost stands until another sentence comes, or something is saved.
  if (saved.state === "refused" && saved.message === words) return;
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
  element.title = saved.message;
  // The page's head is drawn anew each time that the list is: that is no news.
  if (saved.message === said) return;
  if (byId("toast").textContent === said) byId("toast").hidden = true;
  said = saved.message;
  if (saved.state === "refused") {
    state.message = { words: said, kind: "problem" };
    toast();
  }
}

/** Keep them current. */
export function start() {
  on("message", toast);
  on("problem online", banner);
  on("saved study", drawSaved);
}
