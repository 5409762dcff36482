/** One reader's reading of one result, as the server tells it. */

import { VoxelSet, around, decode, flat } from "./voxels.js";

/** How a finding is drawn. @param {Object} finding @returns {"added"|"accept"|"reject"|"undecided"} */
export function look(finding) {
  if (finding.origin === "reader" && finding.verdict === "accept") return "added";
  return finding.verdict ?? "undecided";
}

/** The findings and flags of a reading, with what the page may show of them. */
export class Reading {
  /** @param {Object} answer - Of GET reading. @param {Object} study - With `about`; its `result` is what is read. */
  constructor(answer, study) {
    this.result = study.result;
    this.shape = study.about.shape;
    /** @type {Map<string, Object>} */
    this.findings = new Map();
    answer.findings.forEach((finding) => this.take(finding));
    /** @type {string[]} */
    this.warnings = answer.warnings;
    this.takeFlags(answer);
    const machine = this.all().filter((finding) => finding.origin === "machine");
    this.ranks = new Map(machine.map((finding, n) => [finding.id, n + 1]));
  }

  take(finding) {
    finding.set = new VoxelSet(decode(finding.voxels), this.shape);
    delete finding.voxels;
    this.findings.set(finding.id, finding);
  }

  takeFlags({ revision, blind, revealed, complete, can_undo: undo, can_redo: redo }) {
    Object.assign(this, { revision, blind, revealed, complete, canUndo: undo, canRedo: redo });
  }

  /** Take over an event's answer. @param {Object} answer */
  apply(answer) {
    answer.changed.forEach((finding) => this.take(finding));
    answer.removed.forEach((id) => this.findings.delete(id));
    this.takeFlags(answer);
  }

  /** @returns {boolean} Whether the machine's marks are kept from the reader. */
  get hidden() {
    return this.blind && !this.revealed;
  }

  /** @returns {Object[]} Machine's by falling confidence, then the reader's own. */
  all() {
    const rank = (finding) => (finding.origin === "machine" ? 1 + finding.confidence : 0);
    const own = (finding) => Number(finding.id.replace(/\D/g, ""));
    return [...this.findings.values()].sort((a, b) => rank(b) - rank(a) || own(a) - own(b));
  }

  /** @param {number} threshold @returns {Object[]} Those at or above it, judged or added. */
  visible(threshold) {
    return this.all().filter(
      (finding) =>
        finding.origin === "reader" || (!this.hidden && (finding.verdict || finding.confidence >= threshold)),
    );
  }

  /** @param {Object} finding @returns {string} Its number in the list and beside its mark. */
  label(finding) {
    if (finding.origin === "reader") return `+${finding.id.replace(/\D/g, "")}`;
    return String(this.ranks.get(finding.id) ?? finding.id.replace(/\D/g, ""));
  }

  /**
   * As the report counts: accepted of the machine's, added of the reader's own, rejected of either.
   * @param {number} threshold
   * @returns {{shown: number, all: number, accepted: number, rejected: number, added: number, open: number}}
   */
  counts(threshold) {
    const shown = this.visible(threshold);
    const count = (test) => shown.filter(test).length;
    return {
      shown: shown.length,
      all: this.findings.size,
      accepted: count((finding) => look(finding) === "accept"),
      rejected: count((finding) => finding.verdict === "reject"),
      added: count((finding) => look(finding) === "added"),
      open: count((finding) => !finding.verdict),
    };
  }

  /** @returns {number} The machine's lesions without a verdict, as the report counts them. */
  notJudged() {
    return [...this.findings.values()].filter(({ status, verdict }) => status === "lesion" && !verdict).length;
  }

  /**
   * Whose a place is, whether shown or not; blind, only one's own are known here.
   * @param {number[]} voxel
   * @returns {?Object} The finding that holds it, else a candidate not judged that touches it.
   */
  holder(voxel) {
    const own = flat(voxel, this.shape);
    const near = around(voxel, this.shape);
    const touches = ({ origin, verdict, set }) => origin === "machine" && !verdict && near.some((at) => set.has(at));
    const all = this.all();
    return all.find((finding) => finding.set.has(own)) ?? all.find(touches) ?? null;
  }

  /** @param {number} voxel - Flat index. @param {number} threshold @returns {?Object} The finding there. */
  at(voxel, threshold) {
    return this.visible(threshold).find((finding) => finding.set.has(voxel)) ?? null;
  }
}
