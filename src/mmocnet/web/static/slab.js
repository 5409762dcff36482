/** Minimum intensity over a slab of slices, computed beside the page. */

/** Asks a worker for the sliding minimum; only the last question is answered. */
export class Slab {
  constructor() {
    this.worker = null;
    this.asked = 0;
    this.shownMm = 0;
    /** Of the slices that were asked for, in words. */
    this.thickness = "";
  }

  /**
   * Take a scan.
   * @param {Int16Array} values - First axis fastest, as NIfTI stores it.
   * @param {number[]} shape @param {number} axis - Across slices.
   */
  source(values, shape, axis) {
    this.clear();
    this.scan = { values, shape, axis };
  }

  /** Forget the scan, and end the worker with its copy. */
  clear() {
    this.worker?.terminate();
    this.worker = null;
    this.scan = null;
    this.shownMm = 0;
    this.asked++;
  }

  /**
   * @param {number} slices - Thickness of the slab; the slice itself is its middle.
   * @returns {Promise<?Int16Array>} Null where another question came meanwhile.
   */
  minimum(slices) {
    if (!this.worker) {
      this.worker = new Worker("/static/slab.worker.js");
      this.worker.postMessage({ scan: this.scan });
    }
    const number = ++this.asked;
    return new Promise((resolve) => {
      const answer = ({ data }) => {
        if (data.number !== number) return;
        this.worker?.removeEventListener("message", answer);
        resolve(number === this.asked ? data.values : null);
      };
      this.worker.addEventListener("message", answer);
      this.worker.postMessage({ slices, number });
    });
  }
}
