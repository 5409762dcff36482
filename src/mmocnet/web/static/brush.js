/** A round brush in millimetres, in the plane of the pane where it is used. */

import { draw, repaint, select, showFresh, target } from "./actions.js";
import { PLANES } from "./geometry.js";
import { emit, state } from "./state.js";
import { redrawMarks, view } from "./viewer.js";
import { flat } from "./voxels.js";

/**
 * Voxels whose centres lie in a disc; the one under its middle always counts.
 * @param {import("./geometry.js").Grid} grid
 * @param {number} plane
 * @param {number[]} centre - Voxel with decimals.
 * @param {number} radius - In mm.
 * @returns {number[]} Flat indices.
 */
function disc(grid, plane, centre, radius) {
  const { depth, across, up } = PLANES[plane];
  const [axis, u, v] = [depth, across, up].map((ras) => grid.axis[ras]);
  const found = [];
  const voxel = [0, 0, 0];
  voxel[axis] = Math.round(centre[axis]);
  const range = (a) => {
    const reach = radius / grid.spacing[a];
    return [Math.max(0, Math.floor(centre[a] - reach)), Math.min(grid.shape[a] - 1, Math.ceil(centre[a] + reach))];
  };
  const [[u0, u1], [v0, v1]] = [range(u), range(v)];
  const middle = [Math.round(centre[u]), Math.round(centre[v])];
  for (voxel[u] = u0; voxel[u] <= u1; voxel[u]++) {
    for (voxel[v] = v0; voxel[v] <= v1; voxel[v]++) {
      const mm = Math.hypot((voxel[u] - centre[u]) * grid.spacing[u], (voxel[v] - centre[v]) * grid.spacing[v]);
      const under = voxel[u] === middle[0] && voxel[v] === middle[1];
      if (mm <= radius || under) found.push(flat(voxel, grid.shape));
    }
  }
  return found;
}

/** One stroke from pointer down to pointer up: shown as it is drawn, sent as one event. */
export class Stroke {
  /** @param {import("./geometry.js").Pane} pane @param {number[]} start - Voxel with decimals. @param {boolean} erase */
  constructor(pane, start, erase) {
    Object.assign(this, { pane, erase, last: start });
    this.voxels = new Set();
    this.radius = state.brushMm / 2;
    this.target = null;
    if (erase) this.belongTo(this.erased(start));
    this.paint(start);
  }

  /** The finding that the eraser is on: the selected one, else the one under it. */
  erased(start) {
    const under = disc(view.grid, this.pane.plane, start, this.radius);
    const holds = (finding) => under.some((voxel) => finding.set.has(voxel));
    const chosen = target();
    if (chosen && holds(chosen)) return chosen;
    const hit = state.reading.visible(state.threshold).find(holds) ?? null;
    if (hit) select(hit.id, false);
    return hit;
  }

  /** @param {?Object} finding - What the stroke changes; one that has no name yet shows it when it has. */
  belongTo(finding) {
    this.target = finding;
    finding?.strokes?.push(this);
  }

  /** @param {number[]} to - Voxel with decimals. */
  move(to) {
    const { grid } = view;
    const mm = Math.hypot(...to.map((value, n) => (value - this.last[n]) * grid.spacing[n]));
    const steps = Math.max(1, Math.ceil(mm / Math.max(0.25, this.radius / 2)));
    for (let n = 1; n <= steps; n++) {
      const between = to.map((value, axis) => this.last[axis] + ((value - this.last[axis]) * n) / steps);
      this.paint(between);
    }
    this.last = to;
  }

  paint(middle) {
    for (const voxel of disc(view.grid, this.pane.plane, middle, this.radius)) this.voxels.add(voxel);
    if (!this.target && !this.erase && reaches(target(), middle)) this.belongTo(target());
    if (this.target) this.show();
    showFresh(this.target ? [] : this.voxels);
  }

  /** Show it on the finding; an answer of the server's may have replaced that meanwhile. */
  show() {
    const finding = state.reading?.findings.get(this.target.id) ?? this.target;
    finding.set = this.erase ? finding.set.changed([], this.voxels) : finding.set.changed(this.voxels, []);
  }

  /** Send what was drawn. */
  end() {
    if (this.target) repaint(this.voxels, this.target, this.erase);
    else if (!this.erase) draw(this.voxels);
    emit("reading");
  }
}

/** Whether a brush there extends a finding: it touches its outline or is within its own width of it. */
function reaches(finding, middle) {
  if (!finding || finding.verdict === "reject") return false;
  const { spacing } = view.grid;
  // Between the sides of voxels: those that touch are 0 mm apart.
  const gap = (n, axis) => Math.max(0, Math.abs(n - Math.round(middle[axis])) - 1) * spacing[axis];
  const near = (voxel) => Math.hypot(...voxel.map(gap)) <= state.brushMm;
  return [...finding.set.bySlice(0).values()].some((voxels) => voxels.some(near));
}
