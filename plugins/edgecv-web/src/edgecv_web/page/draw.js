// What is found, drawn over the picture.

const GOLDEN = 0.618034;

/** The colour of a class as [red, green, blue]: the one that edgecv draws it in. */
export function classColour(number) {
  const hue = ((number * GOLDEN) % 1) * 6;
  const part = Math.floor(hue);
  const [high, low] = [0.95, 0.95 * 0.25];
  const falling = 0.95 * (1 - 0.75 * (hue - part));
  const rising = 0.95 * (1 - 0.75 * (1 - (hue - part)));
  const colour = [[high, rising, low], [falling, high, low], [low, high, rising], [low, falling, high], [rising, low, high], [high, low, falling]][part];
  return colour.map((each) => Math.round(255 * each));
}

export const cssColour = (number, alpha = 1) => `rgb(${classColour(number).join(" ")} / ${alpha})`;

const inkOn = ([red, green, blue]) => (0.299 * red + 0.587 * green + 0.114 * blue > 140 ? "#10141a" : "#fff");

/** Fit a canvas to the box that it is shown in, so that lines are sharp; return its context in CSS pixels. */
export function sharpContext(canvas) {
  const ratio = globalThis.devicePixelRatio || 1;
  const { clientWidth: width, clientHeight: height } = canvas;
  Object.assign(canvas, { width: Math.round(width * ratio), height: Math.round(height * ratio) });
  const context = canvas.getContext("2d");
  context.scale(canvas.width / Math.max(1, width), canvas.height / Math.max(1, height));
  context.clearRect(0, 0, width, height);
  return { context, width, height };
}

/** Draw boxes; `chosen` is the index of the one that stands out, or null. */
export function drawBoxes(canvas, found, picture, chosen) {
  const { context, width, height } = sharpContext(canvas);
  const [across, down] = [width / picture.width, height / picture.height];
  context.lineJoin = "round";
  const size = width < 420 ? 12 : 14;
  context.font = `600 ${size}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  // The best last: they lie on top.
  const tags = [...found.entries()].reverse().map(([index, each]) => {
    const [x1, y1, x2, y2] = each.box;
    const faint = chosen !== null && chosen !== index;
    const place = [x1 * across, y1 * down, (x2 - x1) * across, (y2 - y1) * down];
    context.globalAlpha = faint ? 0.25 : 1;
    outline(context, place, each.number, chosen === index);
    return { each, place, faint };
  });
  // Tags last: no line of another box runs through them.
  for (const { each, place, faint } of tags) {
    context.globalAlpha = faint ? 0.25 : 1;
    tag(context, each, place, [width, height], size);
  }
}

function outline(context, [x, y, wide, high], number, thick) {
  const line = thick ? 4 : 2.5;
  context.beginPath();
  context.roundRect(x, y, Math.max(1, wide), Math.max(1, high), Math.min(6, wide / 6, high / 6));
  // One alone is filled: many that overlap would hide the picture.
  if (thick) {
    context.fillStyle = cssColour(number, 0.22);
    context.fill();
  }
  // A dark edge on both sides keeps the line visible on a background of its own colour.
  context.strokeStyle = "rgb(0 0 0 / .45)";
  context.lineWidth = line + 2;
  context.stroke();
  context.strokeStyle = cssColour(number);
  context.lineWidth = line;
  context.stroke();
}

function tag(context, { label, score, number }, [x, y], [width, height], size) {
  const text = shortened(context, label, width * 0.6);
  const percent = `${Math.round(100 * score)} %`;
  const high = size + 8;
  const [textWide, percentWide] = [context.measureText(text).width, context.measureText(percent).width];
  const wide = textWide + percentWide + 20;
  const left = Math.max(0, Math.min(x - 1, width - wide));
  const top = y - high - 2 >= 0 ? y - high - 2 : Math.min(y + 3, height - high);
  const colour = classColour(number);
  context.fillStyle = `rgb(${colour.join(" ")})`;
  context.beginPath();
  context.roundRect(left, top, wide, high, 5);
  context.fill();
  context.fillStyle = inkOn(colour);
  context.fillText(text, left + 7, top + high / 2 + 0.5);
  context.globalAlpha *= 0.75;
  context.fillText(percent, left + 13 + textWide, top + high / 2 + 0.5);
}

function shortened(context, text, most) {
  if (context.measureText(text).width <= most) return text;
  let cut = text;
  while (cut.length > 1 && context.measureText(`${cut}…`).width > most) cut = cut.slice(0, -1);
  return `${cut}…`;
}

/** Lay the colours of a mask's classes over the picture; class 0 stays as it is where it is the background. */
export function drawMask(canvas, { mask, rows, columns, placement }, plain, opacity, chosen) {
  const [width, height] = placement.picture;
  const image = new ImageData(width, height);
  const left = Math.max(0, Math.ceil(placement.taken[0] - 0.5));
  const top = Math.max(0, Math.ceil(placement.taken[1] - 0.5));
  const colours = new Map();
  rows.forEach((row, downwards) => {
    let to = 4 * ((top + downwards) * width + left);
    for (const column of columns) {
      const number = mask.data[row * mask.width + column];
      if (number !== plain) {
        if (!colours.has(number)) colours.set(number, [...classColour(number), 255 * opacity * (chosen === null || chosen === number ? 1 : 0.25)]);
        image.data.set(colours.get(number), to);
      }
      to += 4;
    }
  });
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(image, 0, 0);
}
