// The files that belong to this page: beside it on the host, or inside it where the page is a single file.

const asEmbedded = (name) => [...document.querySelectorAll("script[data-asset]")].find((each) => each.dataset.asset === name);

export const isSingleFile = () => Boolean(asEmbedded("page.json"));

/** Return the bytes of a file, inflated where it is compressed; whether the host inflated it already does not matter. */
export async function readAsset(name) {
  const embedded = asEmbedded(name);
  if (embedded) return inflated(embedded.type === "application/json" ? new TextEncoder().encode(embedded.textContent) : fromBase64(embedded.textContent));
  const address = new URL(name, document.baseURI);
  let answer;
  try {
    answer = await fetch(address);
  } catch {
    throw new Error(location.protocol === "file:"
      ? "Browsers load no files from disk for a page. Serve this folder, such as by “python -m http.server”, or export it as a single file."
      : `${name} cannot be loaded. Is the host still there?`);
  }
  if (!answer.ok) throw new Error(`${name} cannot be loaded: the host answers ${answer.status}.`);
  return inflated(new Uint8Array(await answer.arrayBuffer()));
}

export async function readJson(name) {
  return JSON.parse(new TextDecoder().decode(await readAsset(name)));
}

/** Return an address under which a file can be imported as a module. */
export async function moduleAddress(name) {
  if (!asEmbedded(name)) return new URL(name, document.baseURI).href;
  return URL.createObjectURL(new Blob([await readAsset(name)], { type: "text/javascript" }));
}

async function inflated(bytes) {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

export function fromBase64(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  return Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
}

export function toBase64(bytes) {
  if (bytes.toBase64) return bytes.toBase64();
  const pieces = [];
  for (let begin = 0; begin < bytes.length; begin += 0x8000) {
    pieces.push(String.fromCharCode(...bytes.subarray(begin, begin + 0x8000)));
  }
  return btoa(pieces.join(""));
}
