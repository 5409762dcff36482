/** Small helpers to build and find elements; no HTML strings, so nothing typed can become markup. */

const SVG = "http://www.w3.org/2000/svg";

/**
 * Build an element.
 * @param {string} tag
 * @param {Object<string, *>} [attributes] - `class`, `text`, `on<event>` and plain attributes;
 *   null and false leave the attribute out, true sets it empty.
 * @param {...(Node|string|null|undefined)} children
 * @returns {HTMLElement}
 */
export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name === "text") element.textContent = value;
    else if (name === "test") element.dataset.test = value;
    else if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && typeof value === "boolean") element[name] = value;
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** @param {string} id @returns {HTMLElement} The element of index.html with this id. */
export const byId = (id) => document.getElementById(id);

/** Put children in place of an element's content; the focus stays on what has the same test name. @param {Element} element */
export function fill(element, ...children) {
  const { activeElement } = document;
  const held = element.contains(activeElement) ? activeElement.dataset.test : null;
  element.replaceChildren(...children.filter((child) => child !== null && child !== undefined));
  if (held && document.activeElement !== activeElement) element.querySelector(`[data-test="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
}

const GLYPHS = {
  undecided: [["circle", { cx: 8, cy: 8, r: 5 }]],
  accept: [["circle", { cx: 8, cy: 8, r: 6 }], ["path", { d: "M5 8.2l2.2 2.3L11.2 6" }]],
  reject: [["circle", { cx: 8, cy: 8, r: 6, "stroke-dasharray": "2.4 2" }], ["path", { d: "M5.6 5.6l4.8 4.8M10.4 5.6l-4.8 4.8" }]],
  added: [["rect", { x: 2.8, y: 2.8, width: 10.4, height: 10.4 }]],
  new: [["circle", { cx: 8, cy: 8, r: 2 }]],
  waiting: [["circle", { cx: 8, cy: 8, r: 5.6 }], ["path", { d: "M8 4.8V8l2.4 1.6" }]],
  running: [["path", { d: "M13.4 8A5.4 5.4 0 1 1 8 2.6" }], ["path", { d: "M6.6 5.6v4.8L10.6 8z" }]],
  ready: [["path", { d: "M3.2 8.6l3.2 3.2 6.6-7.4" }]],
  failed: [["path", { d: "M8 2.2l6.2 11.2H1.8zM8 6.4v3.4M8 11.4v.6" }]],
  cancelled: [["circle", { cx: 8, cy: 8, r: 5.6 }], ["path", { d: "M4 12L12 4" }]],
};

/**
 * A mark of the legend: the same shapes that the panes draw.
 * @param {keyof typeof GLYPHS} name
 * @returns {SVGElement}
 */
export function glyph(name) {
  const root = document.createElementNS(SVG, "svg");
  root.setAttribute("viewBox", "0 0 16 16");
  root.setAttribute("class", `glyph glyph-${name}`);
  root.setAttribute("aria-hidden", "true");
  for (const [tag, attributes] of GLYPHS[name]) {
    const part = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, String(value));
    root.append(part);
  }
  return root;
}

/** @param {?number} value @param {number} digits @returns {string} The number, or "n/a". */
export const number = (value, digits = 1) =>
  value === null || value === undefined || Number.isNaN(value) ? "n/a" : value.toFixed(digits);

/** @param {number} seconds @returns {string} "40 s" or "3 min". */
export const duration = (seconds) =>
  seconds < 90 ? `${Math.max(1, Math.round(seconds))} s` : `${Math.round(seconds / 60)} min`;

/** @param {number} count @param {string} one @param {string} [many] @returns {string} */
export const plural = (count, one, many = `${one}s`) => `${count} ${count === 1 ? one : many}`;

/** Offer a file for download. @param {string} url @param {string} name */
export function download(url, name) {
  const link = h("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
}
