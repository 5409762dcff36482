/** A round brush in millimetres, in the plane of the pane where it is used. */

import { draw, repaint, select } from "./actions.js";
import { PLANES } from "./geometry.js";
import { emit, state } from "./state.js";
import { redrawMarks, view } from "./viewer.js";
import { VoxelSet, flat } from "./voxels.js";

const FAR_MM = 10;

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
    const under = disc(view.grid, pane.plane, start, this.radius);
    this.target = this.choose(under, start);
    this.before = this.target?.set;
    this.paint(under);
  }

  /** The finding that the stroke belongs to: the selected one if near, else for erasing the one under it. */
  choose(under, start) {
    const chosen = state.reading.findings.get(state.selected);
    const holds = (finding) => under.some((voxel) => finding.set.has(voxel));
    if (this.erase) {
      if (chosen && holds(chosen)) return chosen;
      const hit = state.reading.visible(state.threshold).find(holds) ?? null;
      if (hit) select(hit.id, false);
      return hit;
    }
    return chosen && distance(chosen, start) <= FAR_MM ? chosen : null;
  }

  /** @param {number[]} to - Voxel with decimals. */
  move(to) {
    const { grid } = view;
    const mm = Math.hypot(...to.map((value, n) => (value - this.last[n]) * grid.spacing[n]));
    const steps = Math.max(1, Math.ceil(mm / Math.max(0.25, this.radius / 2)));
    for (let n = 1; n <= steps; n++) {
      const between = to.map((value, axis) => this.last[axis] + ((value - this.last[axis]) * n) / steps);
      this.paint(disc(grid, this.pane.plane, between, this.radius));
    }
    this.last = to;
  }

  paint(voxels) {
    for (const voxel of voxels) this.voxels.add(voxel);
    if (this.target) this.target.set = this.erase ? this.before.changed([], this.voxels) : this.before.changed(this.voxels, []);
    else if (!this.erase) view.fresh = new VoxelSet(Uint32Array.from(this.voxels), view.grid.shape);
    redrawMarks();
  }

  /** Send what was drawn. */
  end() {
    if (this.target) repaint(this.voxels, this.target.id, this.erase);
    else if (!this.erase) draw(this.voxels);
    emit("reading");
  }
}

function distance(finding, voxel) {
  const { spacing } = view.grid;
  return Math.hypot(...finding.centre_voxel.map((n, axis) => (n - voxel[axis]) * spacing[axis]));
}
