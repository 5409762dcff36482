/** The keyboard: which key runs which command, the bar of live keys, and changing keys. */

import { COMMANDS } from "./commands.js";
import { byId, fill, h } from "./dom.js";
import { emit, keep, on, recall, state } from "./state.js";

const HOLD_MS = 350;
const NAMES = { Escape: "Esc", ArrowLeft: "←", ArrowRight: "→", ArrowUp: "↑", ArrowDown: "↓", PageUp: "PgUp", PageDown: "PgDn", Delete: "Del" };
let changed = recall("keys", {});
let heldSince = null;

/** @param {import("./commands.js").Command} command @returns {string[]} Its keys now. */
export const keysOf = (command) => changed[command.id] ?? command.keys;

/** @param {string} key @returns {string} As it is printed on a keyboard. */
export const keyName = (key) => (NAMES[key] ?? key).replace(/^[a-z]$/, (letter) => letter.toUpperCase());

/** @param {KeyboardEvent} event @returns {string} For example "a", "Shift+U", "Ctrl+z", "?". */
export function keyOf(event) {
  const control = event.ctrlKey || event.metaKey ? "Ctrl+" : "";
  const letter = /^[a-zA-Z]$/.test(event.key);
  const shift = event.shiftKey && (letter || event.key.length > 1) ? "Shift+" : "";
  const key = letter ? (event.shiftKey && !control ? event.key.toUpperCase() : event.key.toLowerCase()) : event.key;
  return `${control}${shift}${key}`;
}

/** Give a command one key; another that had it loses it. @param {string} id @param {string} key */
export function bind(id, key) {
  for (const command of COMMANDS) {
    if (command.id !== id && keysOf(command).includes(key)) {
      changed[command.id] = keysOf(command).filter((old) => old !== key);
    }
  }
  changed[id] = [key];
  keep("keys", changed);
  nameKeys();
}

/** Take all default keys again. */
export function resetKeys() {
  changed = {};
  keep("keys", changed);
  nameKeys();
}

/** Have the page name the keys as they are now. */
function nameKeys() {
  const first = (command) => keysOf(command).map(keyName)[0] ?? "";
  state.keys = Object.fromEntries(COMMANDS.map((command) => [command.id, first(command)]));
  emit("keys");
}

function busyElsewhere(event) {
  const { target } = event;
  if (document.querySelector("dialog[open]") || byId("reading").hidden) return true;
  if (target.matches("input[type=range]")) return event.key.startsWith("Arrow") || event.key.startsWith("Page");
  if (target.matches("input:not([type=checkbox]), textarea, select")) return true;
  const presses = event.key === "Enter" || event.key === " ";
  return presses && !state.awaitingReason && target.closest("button, a, summary, [role=option]") !== null;
}

function down(event) {
  if (event.altKey || busyElsewhere(event)) return;
  const key = keyOf(event);
  const command = COMMANDS.find((one) => keysOf(one).includes(key) && one.when());
  if (!command) return;
  event.preventDefault();
  if (command.id === "marks") {
    peek(event);
  } else if (!event.repeat || command.repeat) {
    command.run();
  }
}

/** A tap switches the marks; holding hides them as long as the key is down. */
function peek(event) {
  if (event.repeat) return;
  heldSince = { at: performance.now(), key: event.key.toLowerCase() };
  state.peeking = state.marksShown;
  emit("view");
}

function up(event) {
  if (!heldSince || event.key.toLowerCase() !== heldSince.key) return;
  const tapped = performance.now() - heldSince.at < HOLD_MS;
  heldSince = null;
  state.peeking = false;
  if (tapped) COMMANDS.find((command) => command.id === "marks").run();
  emit("view");
}

function drawBar() {
  const live = COMMANDS.filter((command) => command.bar?.() && command.when() && keysOf(command).length);
  const lead = state.awaitingReason ? [h("span", { class: "bar-lead", text: "Why not a microbleed?" })] : [];
  const button = (command) =>
    h(
      "button",
      { class: "key", type: "button", title: command.long ?? command.name, test: `key-${command.id}`, tabindex: "-1", onclick: command.run },
      h("kbd", { text: state.keys[command.id] }),
      command.name,
    );
  const last = live.filter((command) => command.id === "help");
  // Where the bar is short, what comes last is not seen: that has a button above the slices.
  const rank = ({ group, id }) => Number(group === "View") + Number(id === "redo");
  const others = live.filter((command) => command.id !== "help").sort((a, b) => rank(a) - rank(b));
  fill(byId("keybar"), ...lead, h("div", { class: "keys" }, ...others.map(button)), ...last.map(button));
}

/** A slider that the mouse let go gives the keys back: PgDn after it is for slices. */
function handBack(event) {
  if (event.target.matches?.("#reading input[type=range]")) setTimeout(() => byId("marks").focus({ preventScroll: true }));
}

/** Listen to the keyboard and keep the bar of live keys current. */
export function listen() {
  nameKeys();
  addEventListener("keydown", down);
  addEventListener("keyup", up);
  addEventListener("pointerup", handBack);
  addEventListener("blur", () => {
    heldSince = null;
    if (state.peeking) {
      state.peeking = false;
      emit("view");
    }
  });
  on("reading selection tool view keys study", drawBar);
}
