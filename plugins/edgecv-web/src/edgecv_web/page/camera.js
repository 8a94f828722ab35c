// Frames of a camera: always the latest one, never a queue of them.

const REFUSALS = {
  NotAllowedError: "The camera may not be used: this browser or a person refused it. Allow it in the address bar, and try again.",
  NotFoundError: "There is no camera on this device.",
  NotReadableError: "The camera is in use by another program. Close that one, and try again.",
  OverconstrainedError: "The camera cannot give such a picture.",
};

export class Camera {
  /** `onFrame` gets the video, and may take its time: frames that come meanwhile are left out. */
  constructor(onFrame) {
    this.onFrame = onFrame;
    this.video = Object.assign(document.createElement("video"), { muted: true, playsInline: true });
    this.stream = null;
  }

  get running() {
    return this.stream !== null;
  }

  /** Throws a sentence for people. */
  async start() {
    if (!navigator.mediaDevices?.getUserMedia) {
      throw new Error("This page may not use a camera: browsers allow it on https addresses and on localhost alone.");
    }
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment", width: { ideal: 1280 } }, audio: false });
      this.stream.getTracks()[0].addEventListener("ended", () => this.stop());
      this.video.srcObject = this.stream;
      await this.video.play();
    } catch (error) {
      this.stop();
      throw new Error(REFUSALS[error.name] ?? `The camera does not start (${error.name}).`);
    }
    this.#watch(this.stream);
  }

  stop() {
    for (const track of this.stream?.getTracks() ?? []) track.stop();
    this.video.srcObject = null;
    this.stream = null;
  }

  async #watch(stream) {
    const next = () => new Promise((resolve) => {
      if (this.video.requestVideoFrameCallback) this.video.requestVideoFrameCallback(resolve);
      else requestAnimationFrame(resolve);
    });
    while (this.stream === stream) {
      await next();
      if (this.stream === stream && this.video.videoWidth) await this.onFrame(this.video);
    }
  }
}
