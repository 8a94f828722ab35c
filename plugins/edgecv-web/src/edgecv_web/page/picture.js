// From a file or a camera's frame to what the network takes, by the rules that the metadata give.

import { resample } from "./resample.js";

const GREY = 114;

/** Decode a file, upright and on white; throws a sentence for people. */
export async function decodePicture(blob, name) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(blob, { imageOrientation: "from-image", colorSpaceConversion: "none" });
  } catch {
    throw new Error(`“${name}” is no picture that this browser can read. Try a JPEG, PNG or WebP file.`);
  }
  const picture = framePicture(bitmap, bitmap.width, bitmap.height);
  bitmap.close();
  return picture;
}

/** Take what can be drawn as a picture: RGB pixels, and a canvas to show. */
export function framePicture(source, width, height, canvas = document.createElement("canvas")) {
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: true, colorSpace: "srgb" });
  context.fillStyle = "#fff";
  context.fillRect(0, 0, width, height);
  context.drawImage(source, 0, 0, width, height);
  const { data } = context.getImageData(0, 0, width, height);
  const pixels = new Uint8Array(width * height * 3);
  for (let from = 0, to = 0; from < data.length; from += 4, to += 3) {
    pixels[to] = data[from];
    pixels[to + 1] = data[from + 1];
    pixels[to + 2] = data[from + 2];
  }
  return { width, height, pixels, canvas };
}

// Python's round: halves go to the even number.
function roundedToEven(value) {
  const low = Math.floor(value);
  if (value - low !== 0.5) return Math.round(value);
  return low % 2 === 0 ? low : low + 1;
}

/** Say which part of a picture lies where in the network's input; both as left, top, width, height. */
export function placePicture(fit, { width, height }, [inputWidth, inputHeight]) {
  let taken = [0, 0, width, height];
  let filled = [0, 0, inputWidth, inputHeight];
  if (fit.mode === "crop") taken = centreOf(width, height, inputWidth, inputHeight, fit.fraction);
  if (fit.mode === "letterbox") {
    const scale = Math.min(inputHeight / height, inputWidth / width);
    const newHeight = Math.max(1, Math.min(inputHeight, roundedToEven(height * scale)));
    const newWidth = Math.max(1, Math.min(inputWidth, roundedToEven(width * scale)));
    filled = [Math.floor((inputWidth - newWidth) / 2), Math.floor((inputHeight - newHeight) / 2), newWidth, newHeight];
  }
  return { taken, filled, size: [inputWidth, inputHeight], picture: [width, height] };
}

// Not rounded to pixels: the resize takes fractions of them.
function centreOf(width, height, inputWidth, inputHeight, fraction) {
  const scale = Math.min(height / inputHeight, width / inputWidth) * fraction;
  const [partWidth, partHeight] = [inputWidth * scale, inputHeight * scale];
  return [(width - partWidth) / 2, (height - partHeight) / 2, partWidth, partHeight];
}

function luminance(pixels) {
  const grey = new Uint8Array(pixels.length / 3);
  for (let to = 0, from = 0; to < grey.length; to += 1, from += 3) {
    grey[to] = (pixels[from] * 19595 + pixels[from + 1] * 38470 + pixels[from + 2] * 7471 + 0x8000) >> 16;
  }
  return grey;
}

/** Bring a picture to the engine's input: `{feed, placement}`. */
export function fitPicture(picture, { input, metadata }) {
  const [batch, inputHeight, inputWidth, channels] = input.shape;
  const scaling = metadata.preprocess;
  // Where the graph resizes, pictures go in as they are.
  const fit = metadata.graph_resize ? { mode: "stretch", filter: "bilinear" } : { mode: "stretch", fraction: 1, filter: "bilinear", ...scaling.resize };
  const size = [inputWidth ?? picture.width, inputHeight ?? picture.height];
  const placement = placePicture(fit, picture, size);
  const pixels = channels === 1 ? luminance(picture.pixels) : picture.pixels;
  const [x, y, width, height] = placement.filled;
  const part = resample(pixels, [picture.width, picture.height], channels, placement.taken, [width, height], fit.filter);
  const whole = new Uint8Array(size[0] * size[1] * channels).fill(GREY);
  for (let row = 0; row < height; row += 1) {
    whole.set(part.subarray(row * width * channels, (row + 1) * width * channels), ((y + row) * size[0] + x) * channels);
  }
  const one = input.dtype === "uint8" ? whole : scaled(whole, channels, scaling);
  const count = batch ?? 1;
  const data = new one.constructor(one.length * count);
  for (let index = 0; index < count; index += 1) data.set(one, index * one.length);
  return { feed: { dtype: input.dtype, shape: [count, size[1], size[0], channels], data }, placement };
}

/** Do the scaling for a bare network, which takes its own numbers: (x − mean) × scale, after turning the channels. */
function scaled(pixels, channels, { order, mean, scale }) {
  const values = new Float32Array(pixels.length);
  for (let place = 0; place < pixels.length; place += 1) {
    const channel = place % channels;
    const from = order === "bgr" ? place - 2 * channel + 2 : place;
    const centred = Math.fround(pixels[from] - Math.fround(mean[mean.length === 1 ? 0 : channel]));
    values[place] = centred * Math.fround(scale[scale.length === 1 ? 0 : channel]);
  }
  return values;
}
