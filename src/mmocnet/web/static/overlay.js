/** What is drawn over the slices: outlines, ring marks, crosshair, sides, scale, brush. */

import { PLANES, RENDER } from "./geometry.js";
import { look } from "./reading.js";
import { state } from "./state.js";
import { edges } from "./voxels.js";

/** Okabe and Ito's colours, each with a shape of its own. */
const COLOURS = { undecided: "#e69f00", accept: "#2fc08f", reject: "#a3a9ae", added: "#56b4e9" };
const INK = "#c9d1d6";
const CROSS = "rgba(240, 228, 66, 0.55)";
const TYPE = "system-ui, 'Segoe UI', Roboto, sans-serif";

/** @returns {boolean} Whether a pane shows a minimum projection, where no mark is drawn. */
export const isSlab = (view, pane) => state.slabMm > 0 && pane === view.nv.panes[0];

/** @returns {boolean} Whether marks may be drawn in a pane now: never on a minimum projection. */
const marksVisible = (view, pane) => state.marksShown && !state.peeking && !isSlab(view, pane);

/**
 * Draw everything over the slices.
 * @param {HTMLCanvasElement} canvas
 * @param {Object} view - The view of viewer.js.
 */
export function drawMarks(canvas, view) {
  const ctx = canvas.getContext("2d");
  ctx.clearRect(0, 0, canvas.width, canvas.height);
  if (!view.grid) return;
  for (const pane of view.nv.panes) {
    ctx.save();
    ctx.beginPath();
    ctx.rect(...pane.rect);
    ctx.clip();
    if (pane.plane === RENDER) {
      text(ctx, view, "3D", pane.rect[0] + 8 * view.scale, pane.rect[1] + 8 * view.scale, "left", "top");
    } else {
      if (view.crosshair) drawCross(ctx, view, pane);
      if (marksVisible(view, pane) && state.reading) drawFindings(ctx, view, pane);
      drawFrame(ctx, view, pane);
      if (view.sketch) drawSketch(ctx, view, pane);
    }
    ctx.restore();
  }
}

function text(ctx, view, words, x, y, align = "left", base = "alphabetic", colour = INK) {
  ctx.font = `600 ${13 * view.scale}px ${TYPE}`;
  ctx.textAlign = align;
  ctx.textBaseline = base;
  ctx.lineWidth = 3 * view.scale;
  ctx.strokeStyle = "rgba(0, 0, 0, 0.75)";
  ctx.lineJoin = "round";
  ctx.strokeText(words, x, y);
  ctx.fillStyle = colour;
  ctx.fillText(words, x, y);
}

/** Stroke the path over a dark halo: marks lie on black and on bright tissue. */
function halo(ctx, view) {
  const { strokeStyle, lineWidth } = ctx;
  ctx.strokeStyle = "rgba(0, 0, 0, 0.5)";
  ctx.lineWidth = lineWidth + 2 * view.scale;
  ctx.stroke();
  ctx.strokeStyle = strokeStyle;
  ctx.lineWidth = lineWidth;
  ctx.stroke();
}

function drawCross(ctx, view, pane) {
  const [x, y] = pane.pixel(view.grid, view.cross);
  const [left, top, width, height] = pane.rect;
  const gap = 14 * view.scale;
  ctx.strokeStyle = CROSS;
  ctx.lineWidth = view.scale;
  ctx.beginPath();
  for (const [x0, y0, x1, y1] of [
    [left, y, x - gap, y],
    [x + gap, y, left + width, y],
    [x, top, x, y - gap],
    [x, y + gap, x, top + height],
  ]) {
    ctx.moveTo(x0, y0);
    ctx.lineTo(x1, y1);
  }
  ctx.stroke();
}

function drawFindings(ctx, view, pane) {
  const shown = state.reading.visible(state.threshold);
  const { depth, across, up } = PLANES[pane.plane];
  const [axis, u, v] = [depth, across, up].map((ras) => view.grid.axis[ras]);
  const place = { axis, u, v, cross: view.cross };
  // Thin where voxels are small on the screen, so that the outline does not hide what it surrounds.
  const voxelPixels = view.grid.spacing[u] / pane.mmPerPixel(view.grid);
  const thin = Math.min(1.5 * view.scale, Math.max(0.6 * view.scale, 0.2 * voxelPixels));
  const fresh = view.fresh?.bySlice(axis).get(view.cross[axis]);
  if (fresh) {
    ctx.strokeStyle = COLOURS.added;
    ctx.lineWidth = thin;
    outline(ctx, view, pane, edges(fresh, u, v), place);
  }
  for (const finding of shown) {
    const voxels = finding.set.bySlice(axis).get(view.cross[axis]);
    if (!voxels) continue;
    const kind = look(finding);
    ctx.strokeStyle = COLOURS[kind];
    ctx.setLineDash(kind === "reject" ? [3 * view.scale, 3 * view.scale] : []);
    ctx.lineWidth = thin;
    outline(ctx, view, pane, edges(voxels, u, v), place);
    ring(ctx, view, pane, { finding, kind, box: bounds(view, pane, voxels) });
    ctx.setLineDash([]);
  }
}

function outline(ctx, view, pane, segments, { axis, u, v, cross }) {
  const voxel = [0, 0, 0];
  voxel[axis] = cross[axis];
  const point = (a, b) => {
    voxel[u] = a;
    voxel[v] = b;
    return pane.pixel(view.grid, voxel);
  };
  ctx.beginPath();
  for (const [a, b, c, d] of segments) {
    ctx.moveTo(...point(a, b));
    ctx.lineTo(...point(c, d));
  }
  ctx.stroke();
}

function bounds(view, pane, voxels) {
  const pixels = voxels.map((voxel) => pane.pixel(view.grid, voxel));
  const [xs, ys] = [0, 1].map((n) => pixels.map((pixel) => pixel[n]));
  const middle = (values) => (Math.min(...values) + Math.max(...values)) / 2;
  const reach = Math.max(Math.max(...xs) - Math.min(...xs), Math.max(...ys) - Math.min(...ys)) / 2;
  return { x: middle(xs), y: middle(ys), reach };
}

function ring(ctx, view, pane, { finding, kind, box }) {
  const s = view.scale;
  const radius = Math.max(13 * s, box.reach * 1.5 + 9 * s);
  ctx.lineWidth = (kind === "reject" ? 1.25 : 2) * s;
  ctx.setLineDash(kind === "reject" ? [4 * s, 4 * s] : []);
  ctx.beginPath();
  if (kind === "added") ctx.rect(box.x - radius, box.y - radius, 2 * radius, 2 * radius);
  else ctx.arc(box.x, box.y, radius, 0, 2 * Math.PI);
  halo(ctx, view);
  ctx.setLineDash([]);
  const corner = kind === "added" ? radius : radius * 0.75;
  const [x, y] = [box.x + corner, box.y - corner];
  if (kind === "accept") lines(ctx, view, [[x - 5 * s, y, x - 1.5 * s, y + 4 * s], [x - 1.5 * s, y + 4 * s, x + 5 * s, y - 5 * s]]);
  if (kind === "reject") lines(ctx, view, [[x - 4 * s, y - 4 * s, x + 4 * s, y + 4 * s], [x - 4 * s, y + 4 * s, x + 4 * s, y - 4 * s]]);
  const chosen = finding.id === state.selected;
  if (chosen) corners(ctx, view, box, radius + 4 * s);
  if (pane.plane === view.nv.panes[0].plane) {
    const beside = x + (kind === "accept" || kind === "reject" ? 9 : 4) * s;
    const left = chosen ? Math.max(beside, box.x + radius + 9 * s) : beside;
    text(ctx, view, state.reading.label(finding), left, y + 4 * s, "left", "alphabetic", COLOURS[kind]);
  }
}

function lines(ctx, view, segments) {
  ctx.beginPath();
  for (const [a, b, c, d] of segments) {
    ctx.moveTo(a, b);
    ctx.lineTo(c, d);
  }
  halo(ctx, view);
}

function corners(ctx, view, { x, y }, r) {
  const side = r * 0.45;
  ctx.strokeStyle = "#ffffff";
  ctx.lineWidth = 2 * view.scale;
  const segments = [];
  for (const [sx, sy] of [[-1, -1], [1, -1], [1, 1], [-1, 1]]) {
    segments.push([x + sx * r, y + sy * r, x + sx * (r - side), y + sy * r]);
    segments.push([x + sx * r, y + sy * r, x + sx * r, y + sy * (r - side)]);
  }
  lines(ctx, view, segments);
}

function drawFrame(ctx, view, pane) {
  const s = view.scale;
  const [left, top, width, height] = pane.rect;
  const plane = PLANES[pane.plane];
  const axis = view.grid.axis[plane.depth];
  const picture = state.study.about.source === "picture";
  const [near, far, above, below] = plane.sides;
  if (!picture) {
    text(ctx, view, near, left + 8 * s, top + height / 2, "left", "middle");
    text(ctx, view, far, left + width - 8 * s, top + height / 2, "right", "middle");
    text(ctx, view, above, left + width / 2, top + 6 * s, "center", "top");
    text(ctx, view, below, left + width / 2, top + height - 6 * s, "center", "bottom");
  }
  const slice = view.grid.shape[axis] > 1 ? ` ${view.cross[axis] + 1}/${view.grid.shape[axis]}` : "";
  const name = width < 300 * s ? plane.name.slice(0, 3) : plane.name;
  const what = pane.source === "phase" ? "Phase" : picture ? "Picture, side unknown" : name;
  text(ctx, view, `${what}${slice}`, left + 8 * s, top + 8 * s, "left", "top");
  if (isSlab(view, pane)) {
    text(ctx, view, `minIP ${view.slab.thickness} - no marks`, left + 8 * s, top + 26 * s, "left", "top", "#f0e442");
  } else if (!marksVisible(view, pane) && state.reading) {
    text(ctx, view, "Marks hidden", left + 8 * s, top + 26 * s, "left", "top", "#f0e442");
  }
  if (view.ruler) ruler(ctx, view, pane);
  if (pane === view.active) {
    ctx.strokeStyle = "rgba(86, 180, 233, 0.5)";
    ctx.lineWidth = s;
    ctx.strokeRect(left + 0.5, top + 0.5, width - 1, height - 1);
  }
}

function ruler(ctx, view, pane) {
  const s = view.scale;
  const mm = pane.mmPerPixel(view.grid);
  const long = [100, 50, 20, 10, 5, 2].find((length) => length / mm < pane.rect[2] * 0.3) ?? 1;
  const end = pane.rect[0] + pane.rect[2] - 10 * s;
  const y = pane.rect[1] + pane.rect[3] - 12 * s;
  const x = end - long / mm;
  ctx.strokeStyle = INK;
  ctx.lineWidth = 1.5 * s;
  lines(ctx, view, [[x, y, end, y], [x, y - 4 * s, x, y + 4 * s], [end, y - 4 * s, end, y + 4 * s]]);
  text(ctx, view, `${long} mm`, end, y - 7 * s, "right", "bottom");
}

function drawSketch(ctx, view, pane) {
  const { sketch } = view;
  if (sketch.pane !== pane) return;
  const s = view.scale;
  if (sketch.kind === "measure") {
    ctx.strokeStyle = "#f0e442";
    ctx.lineWidth = 1.5 * s;
    const [a, b] = [sketch.from, sketch.to].map((voxel) => pane.pixel(view.grid, voxel));
    lines(ctx, view, [[...a, ...b]]);
    text(ctx, view, `${sketch.mm.toFixed(1)} mm`, b[0] + 8 * s, b[1], "left", "middle", "#f0e442");
    return;
  }
  const radius = sketch.mm / 2 / pane.mmPerPixel(view.grid);
  ctx.strokeStyle = sketch.kind === "eraser" ? "#ffffff" : COLOURS.added;
  ctx.setLineDash(sketch.kind === "eraser" ? [3 * s, 3 * s] : []);
  ctx.lineWidth = 1.5 * s;
  ctx.beginPath();
  ctx.arc(...sketch.at, radius, 0, 2 * Math.PI);
  ctx.stroke();
  ctx.setLineDash([]);
}
