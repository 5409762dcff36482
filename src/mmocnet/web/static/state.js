/** What the page knows, and who wants to be told when a part of it changes. */

const listeners = new Map();

/**
 * The page's state; change it, then `emit` the topic.
 * Topics: room, online, studies, study, reading, selection, saved, view, tool, keys; "outdated"
 * asks to look whether the open study was analysed again.
 */
export const state = {
  /** @type {?Object} answer of /api/room */ room: null,
  /** @type {?{id: string, name: string}} */ reader: null,
  /** @type {Object[]} */ studies: [],
  /** @type {?{state: string, reason: ?string}} the look through the folder that is served */ folder: null,
  /** @type {?string} id of the study that is to be opened, or is */ wanted: null,
  /** @type {?Object} the open study with `about` and `thresholds` */ study: null,
  /** @type {?import("./reading.js").Reading} */ reading: null,
  /** @type {?string} id of the selected finding */ selected: null,
  /** @type {"yes"|"gone"|"locked"} */ online: "yes",
  ready: false,
  threshold: 0.5,
  toJudgeOnly: false,
  marksShown: true,
  peeking: false,
  awaitingReason: false,
  tool: "navigate",
  brushMm: 3,
  /** @type {Object<string, string>} each command's first key as it is printed, "" where it has none */ keys: {},
  slabMm: 0,
};

/** @param {string} topics - One or more, by blank. @param {() => void} listener */
export function on(topics, listener) {
  for (const topic of topics.split(" ")) {
    if (!listeners.has(topic)) listeners.set(topic, []);
    listeners.get(topic).push(listener);
  }
}

/** @param {string} topic */
export function emit(topic) {
  for (const listener of listeners.get(topic) ?? []) listener();
}

/**
 * A part of a sentence that names a command's key, empty where it has none.
 * @param {string} id - Of the command. @param {string} before @param {string} [after]
 */
export const keyed = (id, before, after = "") => (state.keys[id] ? `${before}${state.keys[id]}${after}` : "");

/** Read a setting kept in this browser. @param {string} name @param {*} otherwise */
export function recall(name, otherwise) {
  try {
    return JSON.parse(localStorage.getItem(`mmocnet.${name}`)) ?? otherwise;
  } catch {
    return otherwise;
  }
}

/** Keep a setting in this browser. @param {string} name @param {*} value */
export function keep(name, value) {
  try {
    localStorage.setItem(`mmocnet.${name}`, JSON.stringify(value));
  } catch {
    // A browser that keeps nothing still reads scans.
  }
}
