"""The noun Exporter: the contract of an export format.

An exporter is a frozen, keyword-only dataclass: its fields are its options, checked in ``__post_init__``.
It inherits nothing from edgecv. It is found by its entry point in the group ``edgecv.exporters``, whose
name is the format's name on the command line; the core imports no exporter otherwise.

Fields of plain types are options of ``edgecv export --to NAME``, too (see `edgecv.plugin_options`).

Beside what `Exporter` demands, one may have any of these, which the core looks for:

    missing()                 a static method: says in one line why it cannot run here, with the remedy; else None
    unsupported(deployable)   says in one line why it cannot write that; None where it can. It is asked before the work
    source_options            where ``source`` names an exporter: that one's options; by default it writes float32; see
                              `same_precision`
    runtime                   name of the runtime that opens its artifacts; by default one is found by the suffix,
                              which folders have not
    tolerances                precision → largest relative difference, where stricter than the contract's
    unverified                a clause that says why nothing here can run what it writes, such as "it runs on an NPU
                              alone"; what it starts from is then proven in its place
    converters                distributions that it converts with: metadata state their versions
    calibration, float_layers fields of those that can write int8, see below

An exporter whose ``source`` names another exporter gets that one's `Artifact`, unproven and about to be removed, with
its metadata inside, and the Deployable as its attribute ``deployable``. What is proven is what ships: its own artifact
is run and compared with the Deployable.

What it finds out on the way (memory that is needed, a time that is estimated) goes into `Artifact.findings`; what must
not be, such as no operator on the accelerator, is a `ShortfallError`: the answer is no, and nothing is written.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from edgecv.artifact import Artifact
    from edgecv.deployable import Deployable

__all__ = ["API_VERSION", "Exporter", "Precision", "same_precision"]

API_VERSION = 1

Precision = Literal["float32", "float16", "int8"]


@runtime_checkable
class Exporter(Protocol):
    """What every exporter offers.

    Attributes:
        summary: One line for ``edgecv list``.
        suffix: File suffix with its dot, or empty where it writes a folder; its metadata are then ``edgecv.json``.
        precisions: Values of ``precision`` that it can write.
        source: ``"deployable"``, or the name of the exporter whose artifact it starts from.
        api_version: The version of this contract that it was written for.
        precision: Precision of weights and arithmetic; an option. A plugin of one precision may have it as a plain
            attribute; then size and time are not held against float32.

    One that can write ``int8`` has two more options, which stay unused in other precisions: ``calibration``, a
    `Calibration` or None, whose ``feeds`` it learns ranges from; and ``float_layers``, the paths of layers that it
    leaves in float32, beside `quantizable.joint_layers`. It quantises layers of the network alone: what the names
    of the artifact's tensors call ``pipeline`` stays float.
    """

    summary: ClassVar[str]
    suffix: ClassVar[str]
    precisions: ClassVar[tuple[str, ...]]
    source: ClassVar[str]
    api_version: ClassVar[int]

    @property
    def precision(self) -> str:
        """Precision of weights and arithmetic."""

    def export(self, source: "Deployable | Artifact", path: Path) -> "Artifact":
        """Write ``source`` to ``path``, which appears whole by renaming, and leave ``source`` unchanged.

        The same source gives the same bytes in every process. Metadata, verification and digest are
        added by `edgecv.export`, through the Runtime that opens the suffix.

        A tensor of each of ``source.checkpoints`` stays inside under its name, and the artifact lists them:
        without them a detector cannot be proven.

        Raises:
            UnsupportedLayerError: A layer cannot be converted.
            ConversionError: The converter failed.
            ShortfallError: The artifact would not be what was asked for.
        """


def same_precision(exporter: Exporter) -> dict[str, Any]:
    """Return the ``source_options`` of an exporter whose source writes its precision, from the same pictures."""
    names = ("precision", "calibration", "float_layers") if exporter.precision == "int8" else ("precision",)
    return {name: getattr(exporter, name) for name in names}
