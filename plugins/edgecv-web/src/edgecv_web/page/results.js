// The list beside the picture. Labels are text and never markup.

import { cssColour } from "./draw.js";
import { percent } from "./text.js";

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

/** Fill the list; `choose` is called with the index of the entry that is pointed at, or null. */
export function listAnswers(list, answer, { plain, choose }) {
  const focused = [...list.children].findIndex((each) => each.contains(document.activeElement));
  list.replaceChildren(...answer.found.map((each, index) => {
    const item = document.createElement("li");
    item.append(entryOf(answer.kind, each, index, plain, choose));
    return item;
  }));
  list.children[focused]?.firstElementChild.focus();
}

function entryOf(kind, each, index, plain, choose) {
  const pointed = kind === "boxes" || kind === "mask";
  const entry = element(pointed ? "button" : "div", pointed ? "" : "plain");
  if (pointed) pointAt(entry, index, choose);
  if (kind === "numbers") {
    entry.append(element("span", "swatch none"), element("span", "label", each.name), element("span", "value", `[${each.shape.join(", ")}]`));
    entry.append(element("span", "detail", `${short(each.least)} … ${short(each.most)}, mean ${short(each.mean)}`));
    return entry;
  }
  const swatch = element("span", kind === "mask" && each.number === plain ? "swatch none" : "swatch");
  if (kind === "mask" && each.number === plain) entry.style.setProperty("--swatch", "var(--muted)");
  else if (kind !== "classes") entry.style.setProperty("--swatch", cssColour(each.number));
  const value = kind === "mask" ? `${percent(each.share)}` : percent(each.score);
  entry.append(kind === "classes" ? element("span", "value", `${index + 1}`) : swatch, element("span", "label", each.label), element("span", "value", value));
  const rail = element("span", "rail");
  const bar = element("span", "");
  bar.style.width = `${100 * Math.min(1, Math.max(0, kind === "mask" ? each.share : each.score))}%`;
  rail.append(bar);
  entry.append(rail);
  if (kind === "mask") entry.append(element("span", "detail", `${each.pixels.toLocaleString("en")} pixels`));
  return entry;
}

function pointAt(entry, index, choose) {
  entry.type = "button";
  for (const event of ["pointerenter", "focus"]) entry.addEventListener(event, () => choose(index));
  for (const event of ["pointerleave", "blur"]) entry.addEventListener(event, () => choose(null));
  entry.addEventListener("click", () => choose(index));
}

const short = (value) => Number(value.toPrecision(4)).toString();
