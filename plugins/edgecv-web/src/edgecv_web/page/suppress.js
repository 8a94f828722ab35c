// Non-maximum suppression for networks that were exported without: greedy, by the settings in the metadata.

/** Return the detections among `boxes` [1, anchors, 4] and `scores` [1, anchors, classes], best first. */
export function suppress({ boxes, scores }, nms) {
  const settings = {
    score_threshold: 0.25, iou_threshold: 0.6, max_detections: 100, pre_nms_top_k: 1000,
    multi_label: true, class_agnostic: false, soft_sigma: null, ...nms,
  };
  let left = candidates(boxes.data, scores.data, scores.dims.at(-1), settings);
  const chosen = [];
  while (chosen.length < settings.max_detections && left.length) {
    const best = left.reduce((one, other) => (other.score > one.score ? other : one));
    if (!(best.score > settings.score_threshold)) break;
    chosen.push(best);
    left = left.filter((each) => each !== best && weakened(each, best, settings));
  }
  return chosen;
}

function candidates(boxes, scores, classes, { score_threshold: threshold, multi_label: several, pre_nms_top_k: most }) {
  const found = [];
  for (let anchor = 0; anchor * classes < scores.length; anchor += 1) {
    const box = [...boxes.subarray(4 * anchor, 4 * anchor + 4)];
    if (!box.every(Number.isFinite)) continue;
    const pairs = [];
    for (let number = 0; number < classes; number += 1) {
      const score = scores[anchor * classes + number];
      if (score > threshold && Number.isFinite(score)) pairs.push({ box, score, number });
    }
    if (several) found.push(...pairs);
    else if (pairs.length) found.push(pairs.reduce((one, other) => (other.score > one.score ? other : one)));
  }
  return found.sort((one, other) => other.score - one.score).slice(0, most);
}

/** Say whether a rival stays; soft suppression lowers its score instead. */
function weakened(rival, best, { class_agnostic: all, iou_threshold: threshold, soft_sigma: sigma }) {
  if (!all && rival.number !== best.number) return true;
  const overlap = overlapOf(rival.box, best.box);
  if (sigma === null) return overlap <= Math.fround(threshold);
  rival.score = Math.fround(rival.score * Math.exp(-(overlap ** 2) / sigma));
  return true;
}

function overlapOf(one, other) {
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  const common = Math.max(width, 0) * Math.max(height, 0);
  const area = (box) => Math.max(box[2] - box[0], 0) * Math.max(box[3] - box[1], 0);
  return common > 0 ? Math.fround(common / (area(one) + area(other) - common)) : 0;
}
