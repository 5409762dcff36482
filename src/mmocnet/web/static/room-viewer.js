/** NiiVue with this room's panes: one canvas, each pane with its own zoom, 16-bit slices. */

import { Grid, PLANES, Pane, RENDER } from "./geometry.js";
import { SLICE_SHADER } from "./shader.js";

const { Niivue, NVImage } = globalThis.niivue;
const UNIT = { image: 12, phase: 13, slab: 14 };
const RENDER_SIZE = 144;
const GEOMETRY_SIZE = 8;

/** @param {ArrayBuffer} file - A NIfTI file. @param {string} name @returns {Promise<Object>} NVImage */
export async function parse(file, name) {
  const volume = await NVImage.new(file, name, "gray", 1);
  if (!(volume.img instanceof Int16Array)) throw new Error("The view of this study is not of 16-bit values.");
  return volume;
}

/**
 * A NIfTI file of 16-bit values.
 * @param {number[]} shape @param {number[][]} affine - Its first three rows.
 * @returns {{file: ArrayBuffer, values: Int16Array}} Fill `values`, first axis fastest.
 */
function nifti(shape, affine) {
  const file = new ArrayBuffer(352 + 2 * shape[0] * shape[1] * shape[2]);
  const header = new DataView(file);
  const spacing = shape.map((_, axis) => Math.hypot(...affine.map((row) => row[axis])));
  header.setInt32(0, 348, true);
  [3, ...shape, 1, 1, 1, 1].forEach((n, at) => header.setInt16(40 + 2 * at, n, true));
  header.setInt16(70, 4, true);
  header.setInt16(72, 16, true);
  [1, ...spacing].forEach((mm, at) => header.setFloat32(76 + 4 * at, mm, true));
  header.setFloat32(108, 352, true);
  header.setFloat32(112, 1, true);
  header.setInt16(254, 1, true);
  affine.forEach((row, n) => row.forEach((value, axis) => header.setFloat32(280 + 16 * n + 4 * axis, value, true)));
  new Uint8Array(file).set([0x6e, 0x2b, 0x31, 0], 344);
  return { file, values: new Int16Array(file, 352) };
}

/**
 * A coarse copy that fills the same box, for NiiVue's geometry and its 3D rendering.
 * @param {Object} volume @param {number} most - Largest side in voxels.
 * @returns {Promise<Object>}
 */
async function coarse(volume, most) {
  const shape = [1, 2, 3].map((n) => Math.max(1, volume.hdr.dims[n]));
  const small = shape.map((n) => Math.min(n, most));
  const step = shape.map((n, axis) => n / small[axis]);
  const affine = volume.hdr.affine.slice(0, 3).map((row) => {
    // The first coarse voxel's centre lies half a coarse step from the box's corner.
    const shift = step.reduce((sum, s, axis) => sum + (row[axis] * (s - 1)) / 2, row[3]);
    return [...step.map((s, axis) => row[axis] * s), shift];
  });
  const { file, values } = nifti(small, affine);
  const nearest = small.map((n, axis) => Array.from({ length: n }, (_, at) => Math.floor((at + 0.5) * step[axis])));
  let at = 0;
  for (const k of nearest[2]) {
    for (const j of nearest[1]) {
      const row = shape[0] * (j + shape[1] * k);
      for (const i of nearest[0]) values[at++] = volume.img[row + i];
    }
  }
  return parse(file, "coarse.nii");
}

/** NiiVue's scene, coordinates and 3D rendering; this room's panes, values and slice shader. */
export class RoomViewer extends Niivue {
  constructor() {
    super({
      isRadiologicalConvention: true,
      sagittalNoseLeft: true,
      isSliceMM: false,
      interactive: false,
      dragAndDropEnabled: false,
      isResizeCanvas: false,
      forceDevicePixelRatio: -1,
      meshThicknessOn2D: 0,
      show3Dcrosshair: false,
      isOrientationTextVisible: false,
      isOrientCube: false,
      loadingText: "",
      backColor: [0, 0, 0, 1],
      logLevel: "silent",
    });
    /** @type {import("./geometry.js").Pane[]} */
    this.panes = [];
    this.grid = null;
    this.linear = true;
    this.sources = {};
    this.renderVersion = 0;
  }

  // Letters and lines are drawn on the overlay, in the page's own type.
  async loadDefaultFont() {}
  async loadDefaultMatCap() {}
  drawLoadingText() {}
  drawCrosshairs3D() {}

  /**
   * Show a scan.
   * @param {Object} volume - NVImage of the scan.
   * @param {import("./geometry.js").Grid} grid
   * @param {() => boolean} wanted - Whether it still is, once it is ready.
   * @returns {Promise<boolean>} Whether it is shown.
   */
  async show(volume, grid, wanted) {
    const small = await coarse(volume, GEOMETRY_SIZE);
    if (!wanted()) return false;
    Object.assign(this, { grid, small });
    this.volumes = [];
    this.addVolume(volume);
    if (!this.customSliceShader) this.setCustomSliceShader(SLICE_SHADER);
    this.upload("image", volume.img);
    this.release("phase");
    return true;
  }

  /** @param {"image"|"phase"|"slab"} source @param {Int16Array} values - On the scan's grid. */
  upload(source, values) {
    const gl = this.gl;
    const shape = this.grid.shape;
    const known = this.sources[source];
    gl.activeTexture(gl.TEXTURE0 + UNIT[source]);
    if (!known || known.shape.join() !== shape.join()) {
      this.release(source);
      const texture = gl.createTexture();
      gl.bindTexture(gl.TEXTURE_3D, texture);
      for (const name of [gl.TEXTURE_MIN_FILTER, gl.TEXTURE_MAG_FILTER]) {
        gl.texParameteri(gl.TEXTURE_3D, name, gl.NEAREST);
      }
      gl.texStorage3D(gl.TEXTURE_3D, 1, gl.R16I, ...shape);
      this.sources[source] = { texture, shape: [...shape], window: [0, 1], version: 0 };
    }
    gl.bindTexture(gl.TEXTURE_3D, this.sources[source].texture);
    gl.pixelStorei(gl.UNPACK_ALIGNMENT, 1);
    gl.texSubImage3D(gl.TEXTURE_3D, 0, 0, 0, 0, ...shape, gl.RED_INTEGER, gl.SHORT, values);
    this.sources[source].version++;
  }

  /** Give a source's memory back. @param {"image"|"phase"|"slab"} source */
  release(source) {
    if (this.sources[source]) this.gl.deleteTexture(this.sources[source].texture);
    delete this.sources[source];
  }

  /** Make the 3D rendering's texture; it is small, and made only when asked for. */
  async prepareRender() {
    this.small = await coarse(this.volumes[0], RENDER_SIZE);
    this.small.cal_min = this.sources.image.window[0];
    this.small.cal_max = this.sources.image.window[1];
    this.renderVersion++;
    this.updateGLVolume();
  }

  // NiiVue would copy the scan into 8-bit colours and compute its gradients. The coarse copy fills
  // the same box, so that NiiVue's geometry comes out the same.
  refreshLayers(volume, layer) {
    if (layer !== 0 || !this.small) return;
    const { matRAS, dims, dimsRAS, pixDimsRAS } = volume;
    super.refreshLayers(this.small, 0);
    Object.assign(this.back, { matRAS, dims: dimsRAS ?? dims, pixDims: pixDimsRAS });
    const { volScale, vox } = this.sliceScale(true);
    this.volScale = volScale;
    this.vox = vox;
  }

  /** @param {number} plane - NiiVue asks what of it the pane being drawn shows. */
  screenFieldOfViewExtendedVox(plane) {
    const whole = super.screenFieldOfViewExtendedVox(plane);
    const [left, bottom, right, top] = this.drawing.window(this.grid);
    whole.mnMM = [left, bottom, whole.mnMM[2]];
    whole.mxMM = [right, top, whole.mxMM[2]];
    whole.fovMM = [right - left, top - bottom, whole.fovMM[2]];
    return whole;
  }

  /** Attach to a canvas that keeps what was drawn, so that panes that did not change stay. */
  async attach(canvas) {
    canvas.getContext("webgl2", { alpha: false, antialias: false, preserveDrawingBuffer: true });
    await this.attachToCanvas(canvas, false);
    await this.warm();
  }

  /** Draw something small, so that the first scan does not wait for shaders to be compiled. */
  async warm() {
    const { file } = nifti([4, 4, 4], [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0]]);
    const volume = await parse(file, "warm.nii");
    await this.show(volume, new Grid(volume), () => true);
    this.panes = [0, 1, 2].map((plane) => new Pane(plane, "image", [0, 0, 16, 16]));
    this.drawScene();
    this.clear();
  }

  /** Forget the scan. */
  clear() {
    this.volumes = [];
    this.panes = [];
    this.release("image");
    this.release("phase");
    this.release("slab");
    this.drawScene();
  }

  /** What a pane shows: a slab's minimum, where there is one, in place of the slices as acquired. */
  sourceOf(pane) {
    return pane === this.panes[0] && this.sources.slab ? "slab" : pane.source;
  }

  // NiiVue waits here until the graphics are done; the browser waits well enough by itself.
  drawScene() {
    this.drawSceneCore();
  }

  drawSceneCore() {
    if (!this.initialized) return;
    if (!this.volumes.length || !this.sources.image) {
      this.clearBounds();
      this.screenSlices = [];
      return;
    }
    this.bindTextures();
    // NiiVue's list of what is where on the canvas: one entry a pane.
    this.screenSlices = this.panes.map((pane) => this.drawPane(pane)).filter(Boolean);
  }

  /** Draw a pane if anything of it changed. @returns {?Object} NiiVue's record of it. */
  drawPane(pane) {
    if (pane.plane !== RENDER && !this.sources[pane.source]) return null;
    const look = this.lookOf(pane);
    if (pane.drawn?.look === look) return pane.drawn.record;
    this.drawing = pane;
    this.screenSlices = [];
    this.clearBounds(this.gl.COLOR_BUFFER_BIT | this.gl.DEPTH_BUFFER_BIT, [...pane.rect]);
    if (pane.plane === RENDER) {
      this.draw3D([...pane.rect]);
    } else {
      this.aim(pane);
      this.draw2DMain([...pane.rect], pane.plane, NaN);
    }
    pane.drawn = { look, record: this.screenSlices.at(-1) };
    return pane.drawn.record;
  }

  /** All that a pane's picture depends on. */
  lookOf(pane) {
    if (pane.plane === RENDER) {
      const { renderAzimuth, renderElevation, volScaleMultiplier } = this.scene;
      return [renderAzimuth, renderElevation, volScaleMultiplier, this.renderVersion].join();
    }
    const { window } = this.sources[pane.source];
    const shown = this.sourceOf(pane);
    const { version } = this.sources[shown];
    const depth = this.scene.crosshairPos[PLANES[pane.plane].depth];
    return [shown, depth, pane.window(this.grid), window, version, this.linear].join();
  }

  /** Point the slice shader at a pane's values. @param {import("./geometry.js").Pane} pane */
  aim(pane) {
    const gl = this.gl;
    const { program } = this.customSliceShader;
    const at = (name) => gl.getUniformLocation(program, name);
    const unit = (ras) => [0, 1, 2].map((axis) => Number(this.grid.axis[ras] === axis));
    const shown = this.sourceOf(pane);
    const { texture } = this.sources[shown];
    const { window } = this.sources[pane.source];
    const plane = PLANES[pane.plane];
    gl.useProgram(program);
    gl.activeTexture(gl.TEXTURE0 + UNIT[shown]);
    gl.bindTexture(gl.TEXTURE_3D, texture);
    gl.uniform1i(at("values"), UNIT[shown]);
    gl.uniformMatrix4fv(at("toVoxel"), false, this.grid.matrix());
    gl.uniform3iv(at("size"), this.grid.shape);
    gl.uniform3iv(at("stepU"), unit(plane.across));
    gl.uniform3iv(at("stepV"), unit(plane.up));
    gl.uniform2fv(at("window"), window);
    gl.uniform1i(at("linear"), Number(this.linear));
  }
}
