// What the page says in words.

export const percent = (score) => `${(100 * score).toFixed(score < 0.0995 || score > 0.9995 ? 2 : 1)} %`;

/** Say in one sentence what was found. */
export function summaryOf(answer) {
  const { kind, found } = answer;
  if (kind === "classes") return found.length ? `Best: ${found[0].label}, ${percent(found[0].score)}.` : "Nothing was found.";
  if (kind === "mask") return `${found.map((each) => `${each.label} ${percent(each.share)}`).slice(0, 4).join(", ")} of the picture.`;
  if (kind === "numbers") return `${found.length} output${found.length === 1 ? "" : "s"} of numbers.`;
  if (!found.length) return "Nothing is above the threshold.";
  const counts = new Map();
  for (const { label } of found) counts.set(label, (counts.get(label) ?? 0) + 1);
  const told = [...counts].map(([label, count]) => (count > 1 ? `${label} (${count})` : label));
  const more = told.length > 8 ? " and more" : "";
  return `${found.length} found: ${told.slice(0, 8).join(", ")}${more}.`;
}

const TASKS = { classification: "Classifier", detection: "Detector", segmentation: "Segmenter", localisation: "Localiser" };

/** Say what the network is. */
export function factsOf({ metadata, input }, bytes) {
  const [, height, width] = input.shape;
  const labels = metadata.labels?.length ?? 0;
  return [
    TASKS[metadata.task] ?? "Network",
    labels ? `${labels} ${labels === 1 ? "label" : "labels"}` : "",
    height && width ? `${width} × ${height} pixels` : "pictures of any size",
    metadata.precision,
    bytes ? `${(bytes / 1e6).toFixed(1)} MB` : "",
  ].filter(Boolean).join(" · ");
}

/** Say how the network was proven; empty where it was not. */
export function proofOf({ verification, precision }) {
  if (!verification?.passed) return "";
  const worst = Math.max(...(verification.checks ?? []).map((each) => each.relative_diff ?? NaN));
  return Number.isFinite(worst) && precision === "float32" ? `Proven in a browser, to ${worst.toExponential(1)}` : "Proven in a browser";
}
