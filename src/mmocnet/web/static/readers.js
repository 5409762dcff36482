/** Who reads: a pseudonym for each reader, kept apart in every record. */

import * as api from "./api.js";
import { dialog, field, onEnter } from "./dialogs.js";
import { h } from "./dom.js";
import { emit, keep, recall, state } from "./state.js";

/** Take the reader of last time where there is one; else ask. @returns {Promise<void>} */
export async function enter() {
  const known = state.room.readers.find((reader) => reader.id === recall("reader", null));
  if (known) take(known);
  else await choose(true);
}

function take(reader) {
  state.reader = reader;
  keep("reader", reader.id);
  emit("reader");
}

/**
 * Ask who reads.
 * @param {boolean} [locked] - The first time it must be answered.
 * @returns {Promise<void>}
 */
export async function choose(locked = false) {
  // Others may have come in through another window.
  state.room.readers = (await api.room()).readers;
  const chosen = await dialog(
    "Who is reading?",
    "reader",
    (close, problem) => {
      const input = h("input", { type: "text", maxlength: 40, autofocus: true, test: "reader-name", autocomplete: "off" });
      const begin = async () => {
        try {
          close(await api.addReader(input.value.trim()));
        } catch (failure) {
          problem(failure.message);
        }
      };
      onEnter(input, begin);
      const known = state.room.readers.map((reader) => h("button", { type: "button", test: `reader-${reader.id}`, onclick: () => close(reader), text: reader.name }));
      const list = known.length ? [h("h3", { text: "Read as" }), h("div", { class: "row" }, ...known)] : [];
      return [
        h("p", { class: "small", text: "Each reader has verdicts of their own. Use a pseudonym such as R1; it goes into every export." }),
        ...list,
        field(known.length ? "Or as a new reader" : "Reader's pseudonym", input),
        h("div", { class: "row end" }, h("button", { type: "button", class: "primary", test: "reader-ok", onclick: begin, text: "Begin" })),
      ];
    },
    { locked },
  );
  if (!chosen) return;
  if (!state.room.readers.some((reader) => reader.id === chosen.id)) state.room.readers.push(chosen);
  take(chosen);
}
