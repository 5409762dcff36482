/** Sliding minimum along one axis of a volume, in time that does not grow with the slab. */

const CHUNK = 2048;
let scan = null;

/**
 * van Herk's minimum of `many` columns side by side: minima forward and backward within blocks as
 * long as the window, then one comparison a value. A window of n reaches from floor((n - 1) / 2)
 * slices before to floor(n / 2) after, cut off at the ends.
 */
function columns(values, out, { base, step, length, many, window, forward, backward }) {
  for (let n = 0; n < length; n++) {
    const start = n % window === 0;
    for (let p = 0, at = n * many, from = base + n * step; p < many; p++, at++, from++) {
      const value = values[from];
      forward[at] = start || value < forward[at - many] ? value : forward[at - many];
    }
  }
  for (let n = length - 1; n >= 0; n--) {
    const end = n === length - 1 || (n + 1) % window === 0;
    for (let p = 0, at = n * many, from = base + n * step; p < many; p++, at++, from++) {
      const value = values[from];
      backward[at] = end || value < backward[at + many] ? value : backward[at + many];
    }
  }
  for (let n = 0; n < length; n++) {
    const first = n - Math.floor((window - 1) / 2);
    const last = Math.min(length - 1, n + Math.floor(window / 2));
    const cut = last - first + 1 < window;
    // Cut off within one block, only the minimum that starts or ends there counts.
    const alone = first < 0 || (cut && Math.floor(first / window) === Math.floor(last / window));
    const a = (first < 0 ? forward : backward).subarray((first < 0 ? last : first) * many);
    const b = alone ? a : forward.subarray(last * many);
    for (let p = 0, to = base + n * step; p < many; p++, to++) out[to] = a[p] < b[p] ? a[p] : b[p];
  }
}

function slidingMinimum(values, shape, axis, window) {
  const length = shape[axis];
  const inner = shape.slice(0, axis).reduce((product, n) => product * n, 1);
  const outer = shape.slice(axis + 1).reduce((product, n) => product * n, 1);
  const out = new Int16Array(values.length);
  const forward = new Int16Array(length * Math.min(CHUNK, inner));
  const backward = new Int16Array(forward.length);
  for (let o = 0; o < outer; o++) {
    for (let p = 0; p < inner; p += CHUNK) {
      const many = Math.min(CHUNK, inner - p);
      const base = o * length * inner + p;
      columns(values, out, { base, step: inner, length, many, window, forward, backward });
    }
  }
  return out;
}

self.addEventListener("message", ({ data }) => {
  if (data.scan) {
    scan = data.scan;
    return;
  }
  const values = slidingMinimum(scan.values, scan.shape, scan.axis, data.slices);
  self.postMessage({ number: data.number, values }, [values.buffer]);
});
