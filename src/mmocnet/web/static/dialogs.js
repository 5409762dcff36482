/** Dialogs: the browser's own, which hold the focus and close with Esc. */

import { fill, h } from "./dom.js";

/**
 * Open a dialog.
 * @param {string} title
 * @param {string} test - Name for tests.
 * @param {(close: (value?: *) => void, problem: (words: string) => void) => Node[]} body
 * @param {{wide?: boolean, locked?: boolean}} [options] - A locked one cannot be left without an answer.
 * @returns {Promise<*>} What `close` was called with; undefined where it was left.
 */
export function dialog(title, test, body, { wide = false, locked = false } = {}) {
  return new Promise((resolve) => {
    const before = document.activeElement;
    const words = h("p", { class: "problem", role: "alert", hidden: true });
    let answer;
    const close = (value) => {
      answer = value;
      element.close();
    };
    const problem = (text) => {
      words.textContent = text;
      words.hidden = !text;
    };
    const head = h("header", {}, h("h2", { text: title, id: `dialog-${test}` }));
    if (!locked) {
      head.append(h("button", { type: "button", class: "quiet", "aria-label": "Close", test: "dialog-close", onclick: () => close(), text: "Close" }));
    }
    const element = h("dialog", { class: wide ? "wide" : "", test: `dialog-${test}`, "aria-labelledby": `dialog-${test}` }, head);
    element.append(h("div", { class: "body" }, ...body(close, problem), words));
    element.addEventListener("cancel", (event) => {
      if (locked) event.preventDefault();
    });
    element.addEventListener("close", () => {
      element.remove();
      if (before?.isConnected) before.focus();
      resolve(answer);
    });
    document.body.append(element);
    element.showModal();
    element.querySelector("[autofocus]")?.focus();
  });
}

/**
 * Ask yes or no.
 * @param {string} title @param {string} words @param {string} yes - What the button says.
 * @returns {Promise<boolean>}
 */
export async function confirm(title, words, yes) {
  const answer = await dialog(title, "confirm", (close) => [
    h("p", { text: words }),
    h(
      "div",
      { class: "row end" },
      h("button", { type: "button", onclick: () => close(false), text: "Cancel", test: "confirm-no" }),
      h("button", { type: "button", class: "danger", onclick: () => close(true), text: yes, test: "confirm-yes" }),
    ),
  ]);
  return answer === true;
}

/** A labelled control. @param {string} label @param {HTMLElement} control @param {string} [hint] @returns {HTMLElement} */
export function field(label, control, hint = "") {
  const note = hint ? h("small", { text: hint }) : null;
  return h("label", { class: "field" }, h("span", { text: label }), control, note);
}

/** Run something at Enter in a field of a dialog. @param {HTMLInputElement} input @param {() => void} run */
export function onEnter(input, run) {
  input.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    // Else the button that gets the focus back when the dialog closes would be pressed by it.
    event.preventDefault();
    run();
  });
}

/** A select. @param {[string, string][]} choices @param {?string} value @param {Object} attributes @returns {HTMLSelectElement} */
export function choice(choices, value, attributes = {}) {
  const element = h("select", attributes);
  setChoices(element, choices, value);
  return element;
}

/** Put other choices into a select. @param {HTMLSelectElement} element */
export function setChoices(element, choices, value) {
  fill(element, ...choices.map(([key, words]) => h("option", { value: key, text: words })));
  if (value !== null && value !== undefined) element.value = value;
}
