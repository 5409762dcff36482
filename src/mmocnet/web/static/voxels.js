/** Sets of voxels: flat indices in C order over (I, J, K), sorted and unique, as the server has them. */

/** @param {string} text - Base64 of little-endian uint32. @returns {Uint32Array} */
export function decode(text) {
  const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const view = new DataView(bytes.buffer);
  return Uint32Array.from({ length: bytes.length / 4 }, (_, n) => view.getUint32(4 * n, true));
}

/** @param {Iterable<number>} voxels @returns {string} Base64 of little-endian uint32, sorted. */
export function encode(voxels) {
  const sorted = Uint32Array.from(voxels).sort();
  const view = new DataView(new ArrayBuffer(4 * sorted.length));
  sorted.forEach((voxel, n) => view.setUint32(4 * n, voxel, true));
  let text = "";
  for (const byte of new Uint8Array(view.buffer)) text += String.fromCharCode(byte);
  return btoa(text);
}

/** @param {number[]} voxel @param {number[]} shape @returns {number} */
export const flat = ([i, j, k], shape) => (i * shape[1] + j) * shape[2] + k;

/** @param {number[]} voxel @param {number[]} shape @returns {number[]} Flat indices of it and what touches it. */
export function around(voxel, shape) {
  const [is, js, ks] = voxel.map((n, axis) => [n - 1, n, n + 1].filter((at) => at >= 0 && at < shape[axis]));
  return is.flatMap((i) => js.flatMap((j) => ks.map((k) => flat([i, j, k], shape))));
}

/** @param {number} index @param {number[]} shape @returns {number[]} */
function unravel(index, shape) {
  const k = index % shape[2];
  const row = (index - k) / shape[2];
  const j = row % shape[1];
  return [(row - j) / shape[1], j, k];
}

/** Voxels of one finding, grouped by slice of each axis when first asked for. */
export class VoxelSet {
  /** @param {Uint32Array} indices - Sorted. @param {number[]} shape */
  constructor(indices, shape) {
    this.indices = indices;
    this.shape = shape;
    this.slices = [null, null, null];
    this.members = null;
  }

  /** @param {number} index @returns {boolean} */
  has(index) {
    this.members ??= new Set(this.indices);
    return this.members.has(index);
  }

  /**
   * @param {number} axis - The scan's own axis.
   * @returns {Map<number, number[][]>} Slice number to its voxels.
   */
  bySlice(axis) {
    if (!this.slices[axis]) {
      const found = new Map();
      for (const index of this.indices) {
        const voxel = unravel(index, this.shape);
        if (!found.has(voxel[axis])) found.set(voxel[axis], []);
        found.get(voxel[axis]).push(voxel);
      }
      this.slices[axis] = found;
    }
    return this.slices[axis];
  }

  /** @param {Iterable<number>} added @param {Iterable<number>} removed @returns {VoxelSet} */
  changed(added, removed) {
    const members = new Set(this.indices);
    for (const index of added) members.add(index);
    for (const index of removed) members.delete(index);
    return new VoxelSet(Uint32Array.from(members).sort(), this.shape);
  }
}

/**
 * Edges between the voxels of one slice and what is not in the set, in voxel units.
 * @param {number[][]} voxels - Voxels of one slice.
 * @param {number} u - Axis across.
 * @param {number} v - Axis along.
 * @returns {number[][]} Segments [u0, v0, u1, v1]; a voxel n reaches from n - 0.5 to n + 0.5.
 */
export function edges(voxels, u, v) {
  const key = (a, b) => a * 65536 + b;
  const inside = new Set(voxels.map((voxel) => key(voxel[u], voxel[v])));
  const segments = [];
  for (const voxel of voxels) {
    const [a, b] = [voxel[u], voxel[v]];
    if (!inside.has(key(a - 1, b))) segments.push([a - 0.5, b - 0.5, a - 0.5, b + 0.5]);
    if (!inside.has(key(a + 1, b))) segments.push([a + 0.5, b - 0.5, a + 0.5, b + 0.5]);
    if (!inside.has(key(a, b - 1))) segments.push([a - 0.5, b - 0.5, a + 0.5, b - 0.5]);
    if (!inside.has(key(a, b + 1))) segments.push([a - 0.5, b + 0.5, a + 0.5, b + 0.5]);
  }
  return segments;
}
