/** The choice of model and operating point, for new studies and for running one again. */

import { choice, field, setChoices } from "./dialogs.js";
import { h, number } from "./dom.js";
import { keep, recall, state } from "./state.js";

const OWN = "own";

/** A text in which no percent sign begins a line. */
const unbroken = (text) => text.replaceAll(" %", "\u00a0%");

/**
 * Controls for model, operating point and threshold.
 * @param {string} test - Prefix of the test names.
 * @param {?Object} [known] - Settings to begin with.
 * @returns {{nodes: HTMLElement[], values: () => Object<string, string>}}
 */
export function settingsForm(test, known = null) {
  const { models } = state.room;
  const start = known ?? recall("settings", {});
  const usual = models.find((model) => model.default) ?? models[0];
  const model = choice(models.map((one) => [one.name, one.title]), models.some((one) => one.name === start.model) ? start.model : usual.name, { test: `${test}-model` });
  const point = choice([], null, { test: `${test}-point` });
  const threshold = h("input", { type: "number", min: 0.001, max: 1, step: "any", value: start.threshold ?? 0.5, test: `${test}-threshold` });
  const meaning = h("p", { class: "meaning", test: `${test}-meaning` });
  const slices = h("p", { class: "meaning", test: `${test}-slices` });
  const own = field("Threshold, above 0 to 1", threshold);
  const now = () => models.find((one) => one.name === model.value);
  const explain = () => {
    own.hidden = point.value !== OWN;
    const found = now().points.find((one) => one.name === point.value);
    meaning.textContent = unbroken(found ? found.text : "Candidates at or above this confidence count as lesions.");
    slices.textContent = unbroken(found?.slices ?? "");
    slices.hidden = !found?.slices;
  };
  const refill = () => {
    const points = now().points.map((one) => [one.name, `${one.name} (${number(one.threshold, 2)})`]);
    const wanted = known?.threshold ? OWN : (start.point ?? "balanced");
    setChoices(point, [...points, [OWN, "own threshold"]], points.some(([name]) => name === wanted) || wanted === OWN ? wanted : points[0][0]);
    explain();
  };
  model.addEventListener("change", refill);
  point.addEventListener("change", explain);
  refill();
  const values = () => {
    const chosen = { model: model.value };
    if (point.value === OWN) chosen.threshold = Number(threshold.value);
    else chosen.point = point.value;
    keep("settings", chosen);
    return chosen;
  };
  return { nodes: [field("Model", model), field("Operating point", point), own, meaning, slices], values };
}
