/** From the scan's own voxels to NiiVue's fractions and a pane's pixels, and back. */

/** Planes as NiiVue numbers them; across, up and depth are axes of NiiVue's RAS order. */
export const PLANES = [
  { name: "Axial", across: 0, up: 1, depth: 2, sides: ["R", "L", "A", "P"] },
  { name: "Coronal", across: 0, up: 2, depth: 1, sides: ["R", "L", "S", "I"] },
  { name: "Sagittal", across: 1, up: 2, depth: 0, sides: ["A", "P", "S", "I"] },
];
export const RENDER = 4;

/** The grid of a scan: its own axes (I, J, K) and NiiVue's, which are the nearest to RAS. */
export class Grid {
  /** @param {Object} volume - NiiVue's NVImage. */
  constructor(volume) {
    const dims = volume.hdr.dims;
    /** @type {number[]} */
    this.shape = [1, 2, 3].map((n) => Math.max(1, dims[n]));
    this.spacing = [1, 2, 3].map((n) => Math.abs(volume.hdr.pixDims[n]));
    /** own axis of each RAS axis */
    this.axis = [0, 1, 2].map((ras) => Math.abs(volume.permRAS[ras]) - 1);
    this.flipped = [0, 1, 2].map((ras) => volume.permRAS[ras] < 0);
    this.low = [...volume.extentsMinOrtho];
    this.high = [...volume.extentsMaxOrtho];
  }

  /** @param {number} axis - Of the scan. @returns {number} The plane that cuts across it. */
  planeAcross(axis) {
    return PLANES.findIndex((plane) => this.axis[plane.depth] === axis);
  }

  /** @param {number[]} voxel - May be between voxels. @returns {number[]} RAS fractions, 0 to 1. */
  fractions(voxel) {
    return this.axis.map((axis, ras) => {
      const along = (voxel[axis] + 0.5) / this.shape[axis];
      return this.flipped[ras] ? 1 - along : along;
    });
  }

  /** @param {number[]} fractions @returns {number[]} Voxel, with decimals; a voxel's centre is whole. */
  voxel(fractions) {
    const found = [0, 0, 0];
    this.axis.forEach((axis, ras) => {
      const along = this.flipped[ras] ? 1 - fractions[ras] : fractions[ras];
      found[axis] = along * this.shape[axis] - 0.5;
    });
    return found;
  }

  /** @param {number[]} voxel @returns {number[]} The nearest voxel inside. */
  inside(voxel) {
    return voxel.map((n, axis) => Math.min(this.shape[axis] - 1, Math.max(0, Math.round(n))));
  }

  /** @returns {number[]} Column-major 4 x 4 matrix from RAS fractions to own voxels. */
  matrix() {
    const matrix = new Array(16).fill(0);
    matrix[15] = 1;
    this.axis.forEach((axis, ras) => {
      const sign = this.flipped[ras] ? -1 : 1;
      matrix[4 * ras + axis] = sign * this.shape[axis];
      matrix[12 + axis] = (this.flipped[ras] ? this.shape[axis] : 0) - 0.5;
    });
    return matrix;
  }

  /** @param {number} ras @returns {number} Extent along a RAS axis in mm. */
  extent(ras) {
    return this.high[ras] - this.low[ras];
  }
}

/** One view of the canvas: a plane, a rectangle in canvas pixels, and what of the plane it shows. */
export class Pane {
  /** @param {number} plane - 0 to 2, or RENDER. @param {"image"|"phase"} source @param {number[]} rect */
  constructor(plane, source, rect) {
    Object.assign(this, { plane, source, rect });
    this.view = { zoom: 1, centre: null };
  }

  /** @param {Grid} grid @returns {number} Millimetres a canvas pixel. */
  mmPerPixel(grid) {
    const { across, up } = PLANES[this.plane];
    const fit = Math.max(grid.extent(across) / this.rect[2], grid.extent(up) / this.rect[3]);
    return fit / this.view.zoom;
  }

  /** @param {Grid} grid @returns {number[]} Left, bottom, right, top in mm along across and up. */
  window(grid) {
    const { across, up } = PLANES[this.plane];
    const centre = this.view.centre ?? [across, up].map((ras) => (grid.low[ras] + grid.high[ras]) / 2);
    const half = [this.rect[2], this.rect[3]].map((pixels) => (pixels * this.mmPerPixel(grid)) / 2);
    return [centre[0] - half[0], centre[1] - half[1], centre[0] + half[0], centre[1] + half[1]];
  }

  /** @param {Grid} grid @param {number[]} voxel @returns {number[]} Canvas pixel of a voxel's centre. */
  pixel(grid, voxel) {
    const fractions = grid.fractions(voxel);
    const [left, bottom, right, top] = this.window(grid);
    const { across, up } = PLANES[this.plane];
    const mm = [across, up].map((ras) => grid.low[ras] + fractions[ras] * grid.extent(ras));
    // Radiological: the patient's right, and in the sagittal plane the nose, on the left.
    return [
      this.rect[0] + ((right - mm[0]) / (right - left)) * this.rect[2],
      this.rect[1] + ((top - mm[1]) / (top - bottom)) * this.rect[3],
    ];
  }

  /** @param {Grid} grid @param {number[]} pixel @param {number[]} cross - Voxel that gives the depth.
   * @returns {number[]} Voxel with decimals at a canvas pixel. */
  voxelAt(grid, pixel, cross) {
    const [left, bottom, right, top] = this.window(grid);
    const { across, up } = PLANES[this.plane];
    const fractions = grid.fractions(cross);
    const mm = [
      right - ((pixel[0] - this.rect[0]) / this.rect[2]) * (right - left),
      top - ((pixel[1] - this.rect[1]) / this.rect[3]) * (top - bottom),
    ];
    [across, up].forEach((ras, n) => {
      fractions[ras] = (mm[n] - grid.low[ras]) / grid.extent(ras);
    });
    return grid.voxel(fractions);
  }

  /** @param {Grid} grid @param {number[]} voxel - Put this place in the middle. */
  centreOn(grid, voxel) {
    const fractions = grid.fractions(voxel);
    const { across, up } = PLANES[this.plane];
    this.view.centre = [across, up].map((ras) => grid.low[ras] + fractions[ras] * grid.extent(ras));
  }

  /** @param {number[]} pixel @returns {boolean} */
  holds([x, y]) {
    const [left, top, width, height] = this.rect;
    return x >= left && y >= top && x < left + width && y < top + height;
  }
}

/**
 * Panes that fill a canvas: the slices as acquired large; beside them their phase and the other two
 * planes.
 * @param {{width: number, height: number, main: number, flat: boolean, phase: boolean, render: boolean}} wish
 * @returns {Pane[]}
 */
export function layout({ width, height, main, flat, phase, render }) {
  const gap = 2;
  const small = [];
  if (phase) small.push([main, "phase", 1.35]);
  if (!flat) small.push(...[0, 1, 2].filter((plane) => plane !== main).map((plane) => [plane, "image", 1]));
  if (render && !flat) small.push([RENDER, "image", 1]);
  const column = small.length ? Math.floor(width * 0.36) : 0;
  const large = width - (column ? column + gap : 0);
  const panes = [new Pane(main, "image", [0, 0, large, height])];
  const whole = small.reduce((sum, [, , weight]) => sum + weight, 0);
  let top = 0;
  for (const [plane, source, weight] of small) {
    const high = Math.floor(((height - gap * (small.length - 1)) * weight) / whole);
    panes.push(new Pane(plane, source, [large + gap, top, column, high]));
    top += high + gap;
  }
  return panes;
}
