"""Browsers for edgecv: the exporter. A page with the ONNX artifact, its engine and everything else inside."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from edgecv.artifact import Artifact
from edgecv.errors import OptionError
from edgecv.exporter import same_precision
from edgecv.extras import missing_any, require
from edgecv.files import replace_whole

if TYPE_CHECKING:
    from edgecv.calibration import Calibration
    from edgecv.deployable import Deployable

__all__ = ["WebExporter"]

_LONGEST_TITLE = 200


@dataclass(frozen=True, kw_only=True)
class WebExporter:
    """A page that shows a network at work: a folder for any static host, or one HTML file.

    Attributes:
        precision: Precision of the ONNX file inside.
        single_file: Write one HTML file that opens from disk.
        title: Heading of the page; the network's name where empty.
        sample: Pictures that the page offers; those of edgecv where empty.
        calibration: Pictures from which int8 takes the ranges of activations.
        float_layers: Paths of layers that int8 leaves in float32.
    """

    summary: ClassVar[str] = "a page for browsers, with the network inside"
    suffix: ClassVar[str] = ""
    precisions: ClassVar[tuple[str, ...]] = ("float32", "float16", "int8")
    source: ClassVar[str] = "onnx"
    runtime: ClassVar[str] = "web"
    converters: ClassVar[tuple[str, ...]] = ("tf2onnx", "onnx")
    api_version: ClassVar[int] = 1

    precision: str = "float32"
    single_file: bool = field(default=False, metadata={"help": "Write one HTML file, which opens from disk, too."})
    title: str = field(default="", metadata={"help": "Heading of the page.", "example": "Cats & <dogs>"})
    sample: tuple[str, ...] = field(
        default=(),
        metadata={"help": "Picture that the page offers to try; may be given several times.", "example": None},
    )
    calibration: "Calibration | None" = None
    float_layers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.precision not in self.precisions:
            raise OptionError(f"web writes {', '.join(self.precisions)}, not {self.precision!r}.")
        if self.precision == "int8" and self.calibration is None:
            raise OptionError("web in int8 needs real pictures to calibrate on. Give --calibration DIR.")
        if len(self.title) > _LONGEST_TITLE or not self.title.isprintable():
            raise OptionError(f"title must be a line of at most {_LONGEST_TITLE} characters, got {self.title[:40]!r}.")
        if self.single_file:
            object.__setattr__(self, "suffix", ".html")

    @staticmethod
    def missing() -> str | None:
        """Say what is missing, with the remedy; None where exporting can run."""
        return missing_any(("onnx",), extra="export") or missing_any(("onnxruntime",), extra="onnx") or _not_built()

    @property
    def source_options(self) -> Mapping[str, Any]:
        """The options of the ONNX file inside."""
        return same_precision(self)

    def export(self, source: "Deployable | Artifact", path: Path) -> Artifact:
        """Write ``source``, an ONNX artifact, as a page.

        Raises:
            MissingExtraError: onnx is not installed.
            OptionError: A sample is no picture.
            OutputError: ``path`` cannot be written.
        """
        require("onnx", extra="export", purpose="Exporting a page")
        if not isinstance(source, Artifact):
            raise OptionError("web starts from an ONNX artifact, not from a Deployable.")
        from edgecv.runtimes import onnx_container

        from edgecv_web.network import network_of_page
        from edgecv_web.samples import sample_pictures
        from edgecv_web.site import Site, engine_version, write_folder, write_single

        document = onnx_container.read_metadata(source.path)
        content, optional = network_of_page(source.path)
        site = Site(
            title=self.title or str(document["model"]),
            model=f"{source.path.stem}.onnx",
            content=content,
            optional=optional,
            samples=sample_pictures(self.sample, document),
        )
        with replace_whole(path) as temporary:
            (write_single if self.single_file else write_folder)(site, temporary)
        return dataclasses.replace(
            source,
            path=path,
            optional_inputs=tuple(each["name"] for each in optional),
            details={**source.details, "page": {"engine": engine_version()}},
        )


def _not_built() -> str | None:
    from edgecv_web.site import ENGINE_FILES, vendored

    if all((vendored() / name).is_file() for name in ENGINE_FILES):
        return None
    return "edgecv-web was installed without ONNX Runtime Web. Run: pip install --force-reinstall --no-deps edgecv-web"
