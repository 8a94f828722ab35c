// Resizing as Pillow (13) does it for edgecv: a filter that grows with the reduction, one axis after the other, in whole
// numbers. The browser's own resizing reads other pixels, and a network would answer differently.

// 8 bits of a pixel, and 2 to spare for filters that overshoot.
const BITS = 22;
const HALF = 1 << (BITS - 1);

const FILTERS = {
  bilinear: { reach: 1, at: (x) => (x < 1 ? 1 - x : 0) },
  // Keys' cubic convolution with a = −½.
  bicubic: { reach: 2, at: (x) => (x < 1 ? (1.5 * x - 2.5) * x * x + 1 : x < 2 ? (((x - 5) * x + 8) * x - 4) * -0.5 : 0) },
};

/**
 * Resize a part of a picture.
 *
 * pixels: Uint8Array of width × height × channels; box: left, top, width, height of the part; size: width and height of
 * what is returned.
 */
export function resample(pixels, [width, height], channels, box, [newWidth, newHeight], filter) {
  const [left, top, partWidth, partHeight] = box;
  const whole = left === 0 && top === 0 && partWidth === width && partHeight === height;
  if (whole && newWidth === width && newHeight === height) return pixels.slice();
  let current = pixels;
  let [currentWidth, currentHeight] = [width, height];
  const across = () => {
    if (newWidth === width && left === 0 && partWidth === width) return;
    current = alongRows(current, width, currentHeight, channels, weightsOf(width, left, partWidth, newWidth, FILTERS[filter]));
    currentWidth = newWidth;
  };
  const down = () => {
    if (newHeight === height && top === 0 && partHeight === height) return;
    current = alongColumns(current, currentWidth * channels, weightsOf(height, top, partHeight, newHeight, FILTERS[filter]));
    currentHeight = newHeight;
  };
  // Between the two, pixels are rounded: their order shows. Pillow begins with the axis that saves the other one work.
  const downFirst = newHeight < height && height - newHeight > 2 * (width - newWidth);
  for (const step of downFirst ? [down, across] : [across, down]) step();
  return current;
}

/** Return, for each place of the result, where its pixels begin and what each weighs; the part's ends are float32. */
function weightsOf(side, from, length, count, { reach, at }) {
  const begin = Math.fround(from);
  const scale = Math.fround(Math.fround(from + length) - begin) / count;
  const grown = Math.max(scale, 1);
  const support = reach * grown;
  return Array.from({ length: count }, (_, place) => {
    const centre = begin + (place + 0.5) * scale;
    const first = Math.max(0, Math.trunc(centre - support + 0.5));
    const end = Math.min(side, Math.trunc(centre + support + 0.5));
    const weights = Array.from({ length: end - first }, (_, index) => at(Math.abs((index + first - centre + 0.5) * (1 / grown))));
    const sum = weights.reduce((one, other) => one + other, 0);
    const whole = Int32Array.from(weights, (weight) => {
      const exact = (sum ? weight / sum : weight) * (1 << BITS);
      return Math.trunc(exact < 0 ? exact - 0.5 : exact + 0.5);
    });
    return { first, weights: whole };
  });
}

const clipped = (sum) => Math.min(255, Math.max(0, sum >> BITS));

function alongRows(pixels, width, height, channels, places) {
  const result = new Uint8Array(places.length * height * channels);
  let to = 0;
  for (let row = 0; row < height; row += 1) {
    for (const { first, weights } of places) {
      for (let channel = 0; channel < channels; channel += 1) {
        let sum = HALF;
        let from = (row * width + first) * channels + channel;
        for (let index = 0; index < weights.length; index += 1, from += channels) sum += pixels[from] * weights[index];
        result[to] = clipped(sum);
        to += 1;
      }
    }
  }
  return result;
}

function alongColumns(pixels, stride, places) {
  const result = new Uint8Array(places.length * stride);
  let to = 0;
  for (const { first, weights } of places) {
    for (let column = 0; column < stride; column += 1) {
      let sum = HALF;
      let from = first * stride + column;
      for (let index = 0; index < weights.length; index += 1, from += stride) sum += pixels[from] * weights[index];
      result[to] = clipped(sum);
      to += 1;
    }
  }
  return result;
}
