// The page: pictures in, answers out.

import { readAnswer } from "./answers.js";
import { readAsset } from "./assets.js";
import { Camera } from "./camera.js";
import { drawBoxes, drawMask, sharpContext } from "./draw.js";
import { Engine } from "./engine.js";
import { decodePicture, fitPicture, framePicture } from "./picture.js";
import { listAnswers } from "./results.js";
import { factsOf, percent, proofOf, summaryOf } from "./text.js";

const at = (id) => document.getElementById(id);
const settings = globalThis.edgecvSettings ?? {};
// The live region of a moving picture: a reader of screens cannot follow every frame.
const SPOKEN_EVERY = 3000;

const shown = { picture: null, answer: null, chosen: null, spoken: 0, turn: 0 };
let engine;
let camera;

function complain(error) {
  at("problem").textContent = error instanceof Error ? error.message : String(error);
  at("problem").hidden = false;
}

function busy(text) {
  at("busy").hidden = !text;
  at("busy-text").textContent = text;
}

// In a segmenter, class 0 is what is not looked for where it is called so.
const plainClass = () => (/^(_|background|void|other)/i.test(engine.metadata.labels?.[0] ?? "background") ? 0 : null);

async function show(picture, { live = false } = {}) {
  const turn = (shown.turn += 1);
  const { feed, placement } = fitPicture(picture, engine);
  const feeds = { [engine.input.name]: feed };
  const score = engine.metadata.task === "detection" ? Number(at("range").value) : undefined;
  if (engine.optional.has("score_threshold")) feeds.score_threshold = { dtype: "float32", shape: [], data: [score] };
  const { outputs, milliseconds } = await engine.run(feeds);
  // Another picture may have come meanwhile.
  if (turn !== shown.turn) return;
  at("problem").hidden = true;
  Object.assign(shown, { picture, answer: readAnswer(outputs, engine.metadata, placement, { score }), milliseconds });
  for (const each of Object.values(outputs)) each.dispose();
  render(live);
}

function render(live) {
  const { answer, milliseconds } = shown;
  at("latency").textContent = `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
  at("latency").title = "One run of the network in this browser";
  at("latency").hidden = false;
  shown.chosen = null;
  layOut();
  listAnswers(at("answers"), answer, { plain: plainClass(), choose });
  const text = summaryOf(answer);
  at("canvases").setAttribute("aria-label", `Picture. ${text}`);
  at("summary").textContent = text;
  if (live && performance.now() - shown.spoken < SPOKEN_EVERY) return;
  shown.spoken = performance.now();
  at("spoken").textContent = text;
}

function choose(index) {
  if (shown.chosen === index || !shown.answer) return;
  shown.chosen = index;
  [...at("answers").children].forEach((each, place) => each.firstElementChild.classList.toggle("chosen", place === index));
  draw();
}

/** Show the picture as large as there is room for; small ones grow, so that what is found in them can be seen. */
function layOut() {
  const { picture } = shown;
  if (!picture) return;
  const frame = at("frame");
  frame.classList.remove("empty");
  at("invitation").hidden = true;
  at("canvases").hidden = false;
  const room = { width: frame.clientWidth, height: Math.max(260, Math.min(innerHeight * 0.68, 720)) };
  const scale = Math.min(room.width / picture.width, room.height / picture.height, 5);
  at("canvases").style.width = `${Math.round(picture.width * scale)}px`;
  at("canvases").style.height = `${Math.round(picture.height * scale)}px`;
  at("canvases").classList.toggle("small", scale > 2.5);
  const canvas = at("picture");
  if (canvas.width !== picture.width || canvas.height !== picture.height) Object.assign(canvas, { width: picture.width, height: picture.height });
  canvas.getContext("2d").drawImage(picture.canvas, 0, 0);
  draw();
}

function draw() {
  const { answer, chosen, picture } = shown;
  if (answer.kind === "boxes") drawBoxes(at("overlay"), answer.found, picture, chosen);
  else if (answer.kind === "mask") drawMask(at("overlay"), answer, plainClass(), Number(at("range").value), chosen === null ? null : answer.found[chosen].number);
  else sharpContext(at("overlay"));
}

async function open(blob, name) {
  camera.stop();
  pressed(false);
  busy("Looking …");
  try {
    // Lets the browser show that it is at work.
    await new Promise((resolve) => { setTimeout(resolve, 20); });
    await show(await decodePicture(blob, name));
  } catch (error) {
    complain(error);
  } finally {
    busy("");
  }
}

function pressed(on) {
  at("camera").setAttribute("aria-pressed", String(on));
  at("camera").textContent = on ? "Stop the camera" : "Use the camera";
}

async function switchCamera() {
  if (camera.running) {
    camera.stop();
    pressed(false);
    return;
  }
  markSample(null);
  try {
    await camera.start();
    pressed(true);
  } catch (error) {
    pressed(false);
    complain(error);
  }
}

let frameCanvas;

async function lookAt(video) {
  frameCanvas ??= document.createElement("canvas");
  try {
    await show(framePicture(video, video.videoWidth, video.videoHeight, frameCanvas), { live: true });
  } catch (error) {
    camera.stop();
    pressed(false);
    complain(error);
  }
}

function markSample(chosen) {
  for (const each of at("samples").children) each.setAttribute("aria-current", String(each === chosen));
}

async function offerSamples(samples) {
  for (const { file, label } of samples) {
    const button = Object.assign(document.createElement("button"), { type: "button", title: label });
    const blob = new Blob([await readAsset(file)], { type: "image/png" });
    button.append(Object.assign(document.createElement("img"), { src: URL.createObjectURL(blob), alt: `Sample: ${label}` }));
    button.addEventListener("click", () => {
      markSample(button);
      open(blob, label);
    });
    at("samples").append(button);
  }
  at("samples").hidden = samples.length === 0;
}

function given(files) {
  const file = [...files][0];
  if (!file) return;
  markSample(null);
  open(file, file.name || "The picture");
}

function listenForPictures() {
  at("choose").addEventListener("click", () => at("file").click());
  at("file").addEventListener("change", () => {
    given(at("file").files);
    at("file").value = "";
  });
  at("camera").addEventListener("click", switchCamera);
  addEventListener("paste", (event) => given(event.clipboardData.files));
  addEventListener("dragover", (event) => {
    event.preventDefault();
    at("frame").classList.add("over");
  });
  addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) at("frame").classList.remove("over");
  });
  addEventListener("drop", (event) => {
    event.preventDefault();
    at("frame").classList.remove("over");
    given(event.dataTransfer.files);
  });
  new ResizeObserver(() => shown.answer && layOut()).observe(at("frame"));
}

/** The slider: the score threshold of a detector, how much of a segmenter's colours one sees. */
function prepareSlider() {
  const { task, postprocess } = engine.metadata;
  const range = at("range");
  const tell = () => { at("range-value").textContent = task === "detection" ? Number(range.value).toFixed(2) : percent(Number(range.value)); };
  if (task === "detection") {
    const baked = postprocess?.nms?.score_threshold ?? 0.25;
    // Where the threshold is no input, only a higher one can be had.
    const free = engine.optional.has("score_threshold") || !engine.session.outputNames.includes("count");
    Object.assign(range, { min: free ? Math.min(0.05, baked) : baked, max: Math.max(0.95, baked), step: 0.01 });
    range.value = baked;
  } else {
    at("range-label").textContent = "Strength of the colours";
    Object.assign(range, { min: 0, max: 1, step: 0.05 });
    range.value = 0.55;
  }
  tell();
  range.addEventListener("input", () => {
    tell();
    if (task !== "detection") draw();
    else if (shown.picture && !camera.running) show(shown.picture).catch(complain);
  });
  at("slider").hidden = !["detection", "segmentation"].includes(task);
}

async function showLicences() {
  at("texts-text").textContent ||= new TextDecoder().decode(await readAsset("licences.txt"));
  at("texts").showModal();
}

/** The first run compiles what it needs: it is made before anybody waits for it. */
async function warmUp() {
  const [, height, width] = engine.input.shape;
  const canvas = document.createElement("canvas");
  const { feed } = fitPicture(framePicture(canvas, width ?? 64, height ?? 64, canvas), engine);
  const { outputs } = await engine.run({ [engine.input.name]: feed });
  for (const each of Object.values(outputs)) each.dispose();
}

async function start() {
  engine = await Engine.open(settings);
  if (settings.quiet) return engine.describe();
  camera = new Camera(lookAt);
  const { metadata, page } = engine;
  at("facts").textContent = factsOf(engine, engine.bytes);
  at("version").textContent = metadata.edgecv_version;
  at("proof").textContent = proofOf(metadata);
  at("proof").hidden = !at("proof").textContent;
  prepareSlider();
  await warmUp();
  listenForPictures();
  await offerSamples(page.samples);
  for (const id of ["choose", "camera"]) at(id).disabled = false;
  busy("");
  return engine.describe();
}

at("licences").addEventListener("click", () => showLicences().catch(complain));
at("texts-close").addEventListener("click", () => at("texts").close());
const ready = start();
ready.catch((error) => {
  busy("");
  at("facts").textContent = "";
  complain(error);
});
// For programs, and for people at the console.
globalThis.edgecv = { ready, shown, answer: (request) => engine.answer(request) };
