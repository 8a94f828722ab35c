// The network in ONNX Runtime Web: what it takes, what it gives, and one run of it.

import { fromBase64, isSingleFile, moduleAddress, readAsset, readJson, toBase64 } from "./assets.js";

const ARRAYS = {
  float32: Float32Array, float64: Float64Array, uint8: Uint8Array, int8: Int8Array, uint16: Uint16Array, int16: Int16Array,
  uint32: Uint32Array, int32: Int32Array, uint64: BigUint64Array, int64: BigInt64Array, bool: Uint8Array,
  float16: globalThis.Float16Array ?? Uint16Array,
};
const MOST_THREADS = 4;

export class Engine {
  /** Load the network. `settings` may have `threads`, and `append`: bytes that add outputs to the file, in base64. */
  static async open(settings = {}) {
    if (typeof WebAssembly !== "object") {
      throw new Error("This browser has no WebAssembly, or it is turned off: the network cannot run here. Try a current one.");
    }
    // A program that only asks for outputs may open a page before it has its metadata.
    const [page, metadata] = await Promise.all([readJson("page.json"), settings.quiet ? {} : readJson("edgecv.json")]);
    const [ort, wasm, file] = await Promise.all([
      moduleAddress("onnxruntime/ort.wasm.bundle.min.js").then((address) => import(address)),
      readAsset("onnxruntime/ort-wasm-simd-threaded.wasm.gz"),
      readAsset(page.model),
    ]);
    const threads = settings.threads ?? Math.min(MOST_THREADS, Math.ceil((navigator.hardwareConcurrency || 1) / 2));
    ort.env.logLevel = "fatal";
    ort.env.wasm.numThreads = globalThis.crossOriginIsolated && !isSingleFile() ? threads : 1;
    ort.env.wasm.wasmBinary = wasm;
    const session = await ort.InferenceSession.create(joined(file, fromBase64(settings.append ?? "")), { executionProviders: ["wasm"] });
    return new Engine(ort, session, page, metadata, file.length);
  }

  constructor(ort, session, page, metadata, bytes) {
    Object.assign(this, { ort, session, page, metadata, bytes });
    this.threads = ort.env.wasm.numThreads;
    this.optional = new Map(page.optional.map((each) => [each.name, each]));
    this.input = described(session.inputMetadata).find((each) => !this.optional.has(each.name));
  }

  /** What the file takes and gives. */
  describe() {
    return {
      inputs: described(this.session.inputMetadata).filter((each) => !this.optional.has(each.name)),
      outputs: described(this.session.outputMetadata),
      threads: this.threads,
      version: this.ort.env.versions?.web ?? "",
    };
  }

  /** Run it on `{name: {dtype, shape, data}}`; what may be left out has its default. */
  async run(feeds) {
    const given = {};
    for (const [name, each] of this.optional) given[name] = this.#tensor(each.dtype, each.shape, each.default);
    for (const [name, each] of Object.entries(feeds)) given[name] = this.#tensor(each.dtype, each.shape, each.data);
    const begin = performance.now();
    const outputs = await this.session.run(given);
    const milliseconds = performance.now() - begin;
    for (const each of Object.values(given)) each.dispose();
    return { outputs, milliseconds };
  }

  /** The same for a program outside of the page: arrays come and go as base64. */
  async answer({ feeds }) {
    const arrays = {};
    for (const [name, { dtype, shape, data }] of Object.entries(feeds)) {
      arrays[name] = { dtype, shape, data: new ARRAYS[dtype](fromBase64(data).slice().buffer) };
    }
    const { outputs, milliseconds } = await this.run(arrays);
    const given = {};
    for (const [name, { type, dims, data }] of Object.entries(outputs)) {
      given[name] = { dtype: type, shape: [...dims], data: toBase64(new Uint8Array(data.buffer, data.byteOffset, data.byteLength)) };
      outputs[name].dispose();
    }
    return { outputs: given, milliseconds };
  }

  #tensor(dtype, shape, data) {
    const array = ArrayBuffer.isView(data) ? data : ARRAYS[dtype].from(data);
    return new this.ort.Tensor(dtype, array, shape);
  }
}

const described = (tensors) => tensors.map(({ name, type, shape }) => (
  { name, dtype: type, shape: shape.map((side) => (typeof side === "number" && side >= 0 ? side : null)) }
));

function joined(file, more) {
  if (!more.length) return file;
  const whole = new Uint8Array(file.length + more.length);
  whole.set(file);
  whole.set(more, file.length);
  return whole;
}
