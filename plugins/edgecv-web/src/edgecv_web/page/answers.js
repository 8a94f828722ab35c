// From the network's outputs to answers, and back to where they lie in the picture.

import { suppress } from "./suppress.js";

const array = (outputs, name) => (outputs[name] ? outputs[name].data : null);

/** Return `{kind, …}`: classes, boxes, a mask, or a summary of numbers. */
export function readAnswer(outputs, metadata, placement, { top = 5, score } = {}) {
  const names = Object.keys(outputs);
  const labels = metadata.labels ?? [];
  const labelOf = (number) => labels[number] ?? `class ${number}`;
  const { task } = metadata;
  if (task === "classification" && names.length <= 2) return { kind: "classes", found: bestClasses(outputs, top).map((each) => ({ ...each, label: labelOf(each.number) })) };
  if (task === "detection" && outputs.boxes && outputs.scores) {
    const rows = outputs.count ? rowsOf(outputs) : suppress(outputs, { ...metadata.postprocess?.nms, ...(score === undefined ? {} : { score_threshold: score }) });
    const found = rows.filter((each) => score === undefined || each.score > score);
    return { kind: "boxes", found: found.map((each) => ({ ...each, box: boxInPicture(each.box, placement), label: labelOf(each.number) })) };
  }
  if (task === "localisation" && outputs.box) {
    const scores = outputs.probabilities ? { probabilities: outputs.probabilities } : { logits: outputs.logits };
    const [best] = bestClasses(scores, 1);
    const found = { ...best, box: boxInPicture([...array(outputs, "box").subarray(0, 4)], placement), label: labelOf(best.number) };
    if (outputs.objectness) found.objectness = outputs.objectness.data[0];
    return { kind: "boxes", found: [found] };
  }
  if (task === "segmentation" && outputs.mask) return maskAnswer(outputs.mask, labelOf, placement);
  return { kind: "numbers", found: names.map((name) => summary(name, outputs[name])) };
}

function bestClasses(outputs, top) {
  if (outputs.classes) {
    const [scores, numbers] = [array(outputs, "scores"), array(outputs, "classes")];
    const count = Math.min(top, outputs.classes.dims.at(-1));
    return Array.from({ length: count }, (_, place) => ({ score: Number(scores[place]), number: Number(numbers[place]) }));
  }
  const [{ data, dims }] = Object.values(outputs);
  const scores = [...data.subarray(0, dims.at(-1))].map(Number);
  // The sort is stable: equal scores come in the order of their classes.
  return scores.map((score, number) => ({ score, number })).sort((one, other) => other.score - one.score).slice(0, top);
}

function rowsOf(outputs) {
  const [boxes, scores, classes, [count]] = ["boxes", "scores", "classes", "count"].map((name) => array(outputs, name));
  return Array.from({ length: count }, (_, row) => (
    { box: [...boxes.subarray(4 * row, 4 * row + 4)], score: scores[row], number: Number(classes[row]) }
  ));
}

function boxInPicture(box, { taken, filled, size, picture }) {
  return box.map((side, index) => {
    const axis = index % 2;
    const place = (side * size[axis] - filled[axis]) * (taken[axis + 2] / filled[axis + 2]) + taken[axis];
    return Math.min(picture[axis], Math.max(0, place));
  });
}

function maskAnswer({ data, dims }, labelOf, placement) {
  const [height, width] = dims.slice(-2);
  const mask = { data: data.subarray(0, height * width), width, height };
  const counts = new Map();
  const columns = nearestPlaces(placement, 0);
  const rows = nearestPlaces(placement, 1);
  for (const row of rows) {
    for (const column of columns) {
      const number = mask.data[row * width + column];
      counts.set(number, (counts.get(number) ?? 0) + 1);
    }
  }
  const found = [...counts].map(([number, pixels]) => ({ number, pixels, label: labelOf(number), share: pixels / (rows.length * columns.length) }));
  found.sort((one, other) => other.pixels - one.pixels || one.number - other.number);
  return { kind: "mask", found, mask, rows, columns, placement };
}

/** Along one axis, the pixel of the input that each pixel of the picture's seen part lies in. */
function nearestPlaces({ taken, filled, picture }, axis) {
  const [start, length, offset, inside] = [taken[axis], taken[axis + 2], filled[axis], filled[axis + 2]];
  let first = Math.ceil(start - 0.5);
  let end = Math.ceil(start + length - 0.5);
  if (end <= first) {
    first = Math.floor(start + length / 2);
    end = first + 1;
  }
  const places = [];
  for (let pixel = Math.max(0, first); pixel < Math.min(picture[axis], end); pixel += 1) {
    const place = Math.floor(((pixel + 0.5 - start) * inside) / length);
    places.push(offset + Math.min(inside - 1, Math.max(0, place)));
  }
  return places;
}

function summary(name, { data, dims }) {
  const values = Array.from(data, Number);
  const sum = values.reduce((one, other) => one + other, 0);
  const [least, most] = values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [Infinity, -Infinity]);
  return { name, shape: [...dims], least, most, mean: sum / values.length };
}
