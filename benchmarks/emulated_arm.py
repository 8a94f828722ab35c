"""edgecv on emulated ARM Linux, 64 and 32 bits, beside this machine: `python benchmarks/emulated_arm.py`.

QEMU's user mode runs the programs of an unpacked Debian 12 in one folder: no root, no chroot, nothing is installed. On
64 bits the engines are the wheels of LiteRT and ONNX Runtime, on 32 bits that of tflite-runtime with Debian's own NumPy
and Pillow, as on a Raspberry Pi. `edgecv predict` and `edgecv verify` run there, and `edgecv predict` here, on the same
artifacts and photos; their answers are compared.

Like for like: where the 32-bit engine has no XNNPACK kernels for int8, this machine answers by its plain kernels, too;
those are written for each processor and may differ by some steps of int8, so TensorFlow's reference kernels, which are
the same on both, are run beside them. Milliseconds are those of the emulation and say nothing of a real device.

Needed are apt, dpkg-deb and Debian's archive keyring, as on any Debian or Ubuntu with debian-archive-keyring. What is
fetched and made lies in `--folder`: a later run starts from there.
"""

import argparse
import functools
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).resolve().parent.parent
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
# The Python of Debian 12 is one that the engines have wheels for. Its QEMU 7.2 crashes where they look at the CPU.
_SUITE, _QEMU_SUITE = "bookworm", "trixie"
_PURE = ("click", "rich")
_TAGS_64 = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux_2_17_aarch64", "manylinux2014_aarch64")
_NETWORKS = {
    "efficientnet_lite0": ("float32", "int8"),
    "ssd_tiny": ("float32",),
    "ssd_mobilenet_v2": ("float32", "int8"),
}
_SIDES = (320, 640)
# What ssd_tiny has learnt to find.
_SCENES = _ROOT / "plugins" / "edgecv-weights-ssd-tiny" / "scenes"


@dataclass(frozen=True, kw_only=True)
class Target:
    """An emulated machine.

    Attributes:
        name: Of the architecture, as Debian has it.
        emulator: QEMU's program.
        cpu: The processor to emulate: with its default, all that QEMU knows, int8 kernels answer wrongly.
        packages: Debian's packages.
        tags: Platforms of wheels.
        wheels: Packages with compiled code that come as wheels.
        formats: What its engines open.
        int8_kernels: Whether its engine for TFLite has XNNPACK's kernels for int8.
    """

    name: str
    emulator: str
    cpu: str
    packages: tuple[str, ...]
    tags: tuple[str, ...]
    wheels: tuple[str, ...]
    formats: tuple[str, ...]
    int8_kernels: bool


_BASE = ("python3-minimal", "libpython3.11-stdlib", "libstdc++6")
_TARGETS = (
    Target(
        name="arm64",
        emulator="qemu-aarch64",
        cpu="cortex-a72",
        packages=_BASE,
        tags=_TAGS_64,
        wheels=("numpy", "pillow", "ai-edge-litert", "onnxruntime"),
        formats=("onnx", "tflite"),
        int8_kernels=True,
    ),
    Target(
        name="armhf",
        emulator="qemu-arm",
        cpu="cortex-a7",
        packages=(*_BASE, "python3-numpy", "python3-pil", "libatomic1"),
        tags=("manylinux_2_34_armv7l",),
        wheels=("tflite-runtime",),
        formats=("tflite",),
        int8_kernels=False,
    ),
)


class Machine:
    """An emulated machine in a folder, set up where it is not."""

    def __init__(self, target: Target, folder: Path, mirror: str) -> None:
        self.target = target
        self._folder = folder / target.name
        self._root, self._site = self._folder / "root", self._folder / "site"
        self._emulator = folder / "qemu" / "usr" / "bin" / target.emulator
        if not self._emulator.exists():
            with _apt(folder / "apt-qemu", mirror, _QEMU_SUITE, "amd64") as apt:
                _unpack(apt, ("qemu-user",), folder / "qemu", alone=True)
        if not (self._folder / "done").exists():
            shutil.rmtree(self._folder, ignore_errors=True)
            self._set_up(mirror)
            (self._folder / "done").touch()
        self._install_edgecv()

    def _set_up(self, mirror: str) -> None:
        with _apt(self._folder / "apt", mirror, _SUITE, self.target.name) as apt:
            _unpack(apt, self.target.packages, self._root)
        for library in self._root.glob("usr/lib/*/*/lib*.so.3"):  # Debian links these when it installs
            if library.name in ("libblas.so.3", "liblapack.so.3"):
                (library.parent.parent / library.name).symlink_to(f"{library.parent.name}/{library.name}")
        tags = [part for tag in self.target.tags for part in ("--platform", tag)]
        binary = ["--only-binary=:all:", "--python-version", "3.11", *tags]
        own = [] if "numpy" in self.target.wheels else ["--no-deps"]  # Debian has the others
        _pip("install", "--target", str(self._site), *binary, *own, *self.target.wheels)
        _pip("install", "--target", str(self._site), "--only-binary=:all:", *_PURE)

    def _install_edgecv(self) -> None:
        for old in self._site.glob("edgecv*"):
            shutil.rmtree(old)
        _pip("install", "--target", str(self._site), "--no-deps", str(_ROOT))

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python there."""
        paths = [self._site, self._root / "usr/lib/python3/dist-packages"]
        command = [str(self._emulator), "-cpu", self.target.cpu, "-L", str(self._root)]
        command += ["-E", f"PYTHONPATH={os.pathsep.join(map(str, paths))}", str(self._root / "usr/bin/python3.11")]
        # NumPy 1.24 finds that the emulation rounds the smallest numbers to zero, as the processor's vectors do.
        command += ["-W", "ignore::UserWarning"]
        return subprocess.run([*command, *arguments], check=False, capture_output=True, text=True)

    @functools.cached_property
    def _doctor(self) -> list[str]:
        """What `edgecv doctor` prints there: emulated, each start takes seconds."""
        return self.run("-m", "edgecv.cli", "doctor").stdout.splitlines()

    def engine(self, form: str) -> str:
        """Return name and version of the engine that opens a format there."""
        wanted = ("onnxruntime",) if form == "onnx" else ("ai-edge-litert", "tflite-runtime")
        for line in self._doctor:
            if line.split()[:1] and line.split()[0] in wanted:
                return " ".join(line.split())
        raise SystemExit(f"{self.target.name} has no engine for {form}")


class _apt:  # noqa: N801 - reads as a function
    """APT on another architecture, with all of its files in a folder that goes away."""

    def __init__(self, folder: Path, mirror: str, suite: str, architecture: str) -> None:
        self._folder, self._mirror, self._suite, self.architecture = folder, mirror, suite, architecture

    def __enter__(self) -> "_apt":
        self.archives = self._folder / "archives"
        for each in (self._folder / "lists" / "partial", self.archives / "partial"):
            each.mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        source = f"deb [arch={self.architecture} signed-by={_KEYRING}] {self._mirror} {self._suite} main\n"
        (self._folder / "sources.list").write_text(source)
        settings = {
            "Dir::Etc::sourcelist": self._folder / "sources.list",
            "Dir::Etc::sourceparts": "-",
            "Dir::State::lists": self._folder / "lists",
            "Dir::State::status": self._folder / "status",
            "Dir::Cache": self._folder,
            "Dir::Cache::archives": self.archives,
            "APT::Architecture": self.architecture,
            "APT::Install-Recommends": "0",
            "APT::Sandbox::User": "root",
            "Debug::NoLocking": "1",
        }
        text = "".join(f'{name} "{value}";\n' for name, value in settings.items())
        (self._folder / "conf").write_text(text + f'APT::Architectures {{ "{self.architecture}"; }};\n')
        self.get("update")
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder)

    def get(self, *arguments: str) -> None:
        environment = {**os.environ, "APT_CONFIG": str(self._folder / "conf")}
        _call(["apt-get", "-q", "-y", *arguments], env=environment, cwd=self.archives)


def _unpack(apt: _apt, packages: Sequence[str], root: Path, *, alone: bool = False) -> None:
    """Unpack packages, with all that they depend on unless they stand alone."""
    apt.get(*(("download",) if alone else ("--download-only", "install")), *packages)
    root.mkdir(parents=True, exist_ok=True)
    for package in sorted(apt.archives.glob("*.deb")):
        _call(["dpkg-deb", "-x", str(package), str(root)])


def _pip(*arguments: str) -> None:
    _call([sys.executable, "-m", "pip", "--disable-pip-version-check", "-q", *arguments])


def _call(command: Sequence[str], **options: Any) -> None:
    result = subprocess.run(command, check=False, capture_output=True, text=True, **options)
    if result.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{result.stdout[-1000:]}{result.stderr[-2000:]}")


def _mirror() -> str:
    """Return the address that this machine's own packages come from."""
    command = ["apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)", "Created-By: Packages"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found = [line.split()[0] for line in lines if line.endswith(" main") and "/debian/" in line]
    if not found:
        raise SystemExit("This machine's packages are not Debian's. Give --mirror, the address of a Debian archive.")
    return found[0]


def _artifacts(folder: Path, calibration: Path) -> Iterator[tuple[str, str, str, Path]]:
    """Yield network, format, precision and artifact; made where they are not there."""
    for name, precisions in _NETWORKS.items():
        for precision in precisions:
            for form in ("onnx", "tflite"):
                path = folder / f"{name}-{precision}.{form}"
                if not path.exists():
                    command = [sys.executable, "-m", "edgecv.cli", "export", name, "--to", form, "-o", str(path)]
                    command += ["--precision", precision]
                    command += ["--calibration", str(calibration)] if precision == "int8" else []
                    _call(command)
                yield name, form, precision, path


def _reference_difference(machine: Machine, path: Path, photos: Sequence[str]) -> str:
    """Return how far the first output of the reference kernels there is from that here, at most."""
    import numpy as np

    outputs = []
    for side in ("there", "here"):
        target = path.with_name(f"{path.stem}.{machine.target.name}.{side}.npy")
        arguments = [__file__, "--reference", str(path), str(target), *photos]
        done = (
            machine.run(*arguments)
            if side == "there"
            else subprocess.run([sys.executable, *arguments], check=False, capture_output=True, text=True)
        )
        if done.returncode:
            raise SystemExit(f"reference kernels of {path.name}: {done.stderr}")
        outputs.append(np.load(target))
    return f"{np.abs(outputs[0] - outputs[1]).max():.1e}"


def _write_reference(path: Path, target: Path, photos: Sequence[str]) -> None:
    """Run an artifact by TensorFlow's reference kernels, in whatever interpreter is installed."""
    import numpy as np

    from edgecv import load
    from edgecv.pictures import read_picture

    try:
        from ai_edge_litert import interpreter as engine
    except ImportError:
        from tflite_runtime import interpreter as engine
    session = load(path, threads=1)
    runner = engine.Interpreter(str(path), experimental_op_resolver_type=engine.OpResolverType.BUILTIN_REF)
    runner.allocate_tensors()
    found = []
    for photo in photos:
        runner.set_tensor(runner.get_input_details()[0]["index"], session.feed([read_picture(photo)]))
        runner.invoke()
        found.append(runner.get_tensor(runner.get_output_details()[0]["index"]))
    np.save(target, np.concatenate(found))


def _answers_here(path: Path, photos: Sequence[str], *, plain_kernels: bool) -> list[dict[str, Any]]:
    """Answer as `edgecv predict --json` does; possibly by LiteRT's plain kernels, for which there is no option."""
    if not plain_kernels:
        command = [sys.executable, *_predict(path, photos)]
        return list(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    from edgecv.runtimes.litert import LiteRtRuntime
    from edgecv.session import Session

    runtime = LiteRtRuntime()
    runner = runtime.open(path, threads=1, delegate=False)
    session = Session(path, runtime.read_metadata(path), runner, runtime_name="litert")
    answers = []
    for photo in photos:
        begin = time.perf_counter()
        results = session.predict(photo, top_k=1)
        answers.append({"results": results, "milliseconds": 1e3 * (time.perf_counter() - begin)})
    return answers


def _predict(path: Path, photos: Sequence[str]) -> list[str]:
    return ["-m", "edgecv.cli", "predict", str(path), *photos, "--json", "--threads", "1", "--top-k", "1"]


def _compared(there: Sequence[Mapping[str, Any]], here: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return how far answers are apart: classes in their order, scores, boxes in pixels of the photo."""
    same, scores, pixels = 0, [0.0], []
    for one, other in zip(there, here, strict=True):
        ours, theirs = one["results"], other["results"]
        agree = [each["class"] for each in ours] == [each["class"] for each in theirs]
        same += agree
        for a, b in zip(ours, theirs, strict=True) if agree else ():
            scores.append(abs(a["score"] - b["score"]))
            pixels += [abs(x - y) for x, y in zip(a.get("box", ()), b.get("box", ()), strict=True)]
    return {
        "same_classes": same,
        "largest_score_difference": f"{max(scores):.1e}",
        "largest_box_difference_px": f"{max(pixels):.1e}" if pixels else None,
    }


def _proof(machine: Machine, path: Path) -> dict[str, Any]:
    done = machine.run("-m", "edgecv.cli", "verify", str(path), "--json")
    if done.returncode not in (0, 1):
        raise SystemExit(f"edgecv verify {path.name} on {machine.target.name}: {done.stderr}")
    report = json.loads(done.stdout)
    worst = max(check["relative_diff"] for check in report["checks"])
    return {"verified": report["passed"], "relative_difference": f"{worst:.1e}"}


def _row(machine: Machine, photos: Sequence[str], made: tuple[str, str, str, Path]) -> dict[str, Any]:
    name, form, precision, path = made
    done = machine.run(*_predict(path, photos))
    if done.returncode:
        raise SystemExit(f"edgecv predict {path.name} on {machine.target.name}: {done.stderr}")
    there = json.loads(done.stdout)
    plain = precision == "int8" and form == "tflite" and not machine.target.int8_kernels
    here = _answers_here(path, photos, plain_kernels=plain)
    return {
        "emulated": f"{machine.target.name} ({machine.target.cpu})",
        "engine": machine.engine(form),
        "network": name,
        "format": form,
        "precision": precision,
        **_proof(machine, path),
        "photos": len(photos),
        **_compared(there, here),
        "kernels_here": "plain" if plain else "default",
        "reference_kernels_difference": _reference_difference(machine, path, photos) if plain else None,
        "emulated_ms": round(min(each["milliseconds"] for each in there)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, default=Path("build/emulated_arm"))
    parser.add_argument("--only", action="append", choices=[target.name for target in _TARGETS])
    parser.add_argument("--photos", type=int, default=4)
    parser.add_argument("--calibration", type=Path, help="Real pictures for int8. Default: crops of photos.")
    parser.add_argument("--mirror", help="Address of a Debian archive. Default: the one of this machine's packages.")
    parser.add_argument("--reference", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.reference:
        artifact, target, *photos = options.reference
        _write_reference(Path(artifact), Path(target), photos)
        return
    sys.path.insert(0, str(Path(__file__).parent))
    from measuring import update_csv
    from photos import crops

    folder = options.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    mirror = functools.cache(lambda: options.mirror or _mirror())
    crops(folder / "photos", options.photos, sides=_SIDES)
    if options.calibration is None:
        crops(folder / "calibration", 100)
    photos = sorted(str(path) for path in (folder / "photos").iterdir())[: options.photos]
    scenes = sorted(str(path) for path in _SCENES.glob("*.png"))[: options.photos]
    artifacts = list(_artifacts(folder, options.calibration or folder / "calibration"))
    for emulated in _TARGETS:
        if options.only and emulated.name not in options.only:
            continue
        machine = Machine(emulated, folder, mirror())
        rows = []
        for made in artifacts:
            if made[1] in emulated.formats:
                rows.append(_row(machine, scenes if made[0] == "ssd_tiny" else photos, made))
                print(rows[-1], flush=True)
        update_csv(Path(__file__).with_suffix(".csv"), rows, ("emulated", "network", "format", "precision"))


if __name__ == "__main__":
    main()
