/** All commands with their keys, which can be changed here. */

import { COMMANDS } from "./commands.js";
import { dialog } from "./dialogs.js";
import { fill, h } from "./dom.js";
import { bind, keyName, keyOf, keysOf, resetKeys } from "./keys.js";

const MOUSE = [
  ["Wheel", "slices of the pane under the mouse"],
  ["Left click", "crosshair, in all panes; on a mark: select it"],
  ["Right drag", "window (across) and level (along)"],
  ["Middle drag", "move the slice"],
  ["Ctrl + wheel", "zoom"],
  ["Shift + drag", "measure in mm"],
];

/** Open the help. */
export function open() {
  return dialog(
    "Keys and mouse",
    "help",
    () => {
      const columns = h("div", { class: "columns" });
      draw(columns);
      const reset = h("button", { type: "button", test: "keys-reset", text: "Default keys", onclick: () => {
        resetKeys();
        draw(columns);
      } });
      return [h("p", { class: "small", text: "Choose a key to change it, then press the new one. Keys are kept in this browser." }), columns, h("div", { class: "row end" }, reset)];
    },
    { wide: true },
  );
}

function draw(columns) {
  const groups = [...new Set(COMMANDS.map((command) => command.group))];
  const mouse = h("section", {}, h("h3", { text: "Mouse" }), ...MOUSE.map(([key, words]) => h("div", { class: "keyrow" }, h("span", { text: words }), h("kbd", { text: key }))));
  fill(columns, ...groups.map((group) => section(group, columns)), mouse);
}

function section(group, columns) {
  const rows = COMMANDS.filter((command) => command.group === group).map((command) => {
    const keys = keysOf(command).map(keyName).join(" or ") || "none";
    const button = h("button", { type: "button", test: `bind-${command.id}`, "aria-label": `Change the key of ${command.long ?? command.name}, now ${keys}`, text: keys });
    button.addEventListener("click", () => ask(button, command, columns));
    return h("div", { class: "keyrow" }, h("span", { text: command.long ?? command.name }), button);
  });
  return h("section", {}, h("h3", { text: group }), ...rows);
}

function ask(button, command, columns) {
  button.textContent = "press a key";
  button.classList.add("asking");
  const take = (event) => {
    if (["Shift", "Control", "Alt", "Meta"].includes(event.key)) return;
    event.preventDefault();
    event.stopPropagation();
    removeEventListener("keydown", take, true);
    if (event.key !== "Escape" && event.key !== "Tab") bind(command.id, keyOf(event));
    draw(columns);
    columns.querySelector(`[data-test="bind-${command.id}"]`).focus();
  };
  addEventListener("keydown", take, true);
}
