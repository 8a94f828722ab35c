"""The options of an exporter as a user gives them: its fields of plain types, with their defaults and what they do.

A field is an option where its type is bool, int, float, str, a Literal of texts, one of these or None, or a tuple of
them; its text for people is ``field(metadata={"help": "…"})``. Other fields are for Python alone. ``metadata={"flag":
"for"}`` gives it another name on the command line, such as a word that Python keeps for itself.

``metadata={"example": value}`` gives the conformance kit (`edgecv.testing`) a value to try, which other bytes have to
show; None says that they cannot. Without it a bool is flipped, and all choices are tried.
"""

import dataclasses
import inspect
import sys
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["COMMON", "PluginOption", "plugin_options"]

# Fields that all exporters share: the core sets them.
COMMON = ("precision", "calibration", "float_layers")
_PLAIN = (bool, int, float, str)


@dataclass(frozen=True, kw_only=True)
class PluginOption:
    """An option of an exporter.

    Attributes:
        name: Of its field.
        flag: Its name on the command line, without dashes in front.
        kind: ``bool``, ``int``, ``float`` or ``str``.
        choices: All values that it may have; empty where any.
        many: It takes several values.
        default: What it is where it is not given.
        help: What it does, in a sentence.
    """

    name: str
    kind: type
    flag: str = ""
    choices: tuple[str, ...] = ()
    many: bool = False
    default: Any = None
    help: str = ""


def plugin_options(exporter: Callable[..., Any]) -> list[PluginOption]:
    """Return the options of an exporter's class, without those that all exporters share, in their order."""
    found = []
    for field in dataclasses.fields(exporter):  # type: ignore[arg-type]
        kind = _kind(field.type, exporter)
        if field.name in COMMON or not field.init or kind is None:
            continue
        default = None if field.default is dataclasses.MISSING else field.default
        text = str(field.metadata.get("help", ""))
        flag = str(field.metadata.get("flag", field.name)).replace("_", "-")
        found.append(dataclasses.replace(kind, name=field.name, flag=flag, default=default, help=text))
    return found


def _kind(annotation: Any, exporter: Callable[..., Any]) -> PluginOption | None:
    """Return what an annotation says; None where it is of no plain type."""
    if isinstance(annotation, str):
        names = vars(sys.modules[exporter.__module__]) if exporter.__module__ in sys.modules else {}
        try:
            annotation = eval(annotation, {**vars(typing), **names})  # the plugin's own code, imported already
        except Exception:  # a name that only type checkers import: such a type is no plain one
            return None
    origin, arguments = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (typing.Union, types.UnionType):
        rest = [each for each in arguments if each is not type(None)]
        return _kind(rest[0], exporter) if len(rest) == 1 else None
    if origin is Literal and all(isinstance(each, str) for each in arguments):
        return PluginOption(name="", kind=str, choices=arguments)
    if origin is tuple and len(arguments) == 2 and arguments[1] is Ellipsis:
        each = _kind(arguments[0], exporter)
        return dataclasses.replace(each, many=True) if each is not None and not each.many else None
    return PluginOption(name="", kind=annotation) if inspect.isclass(annotation) and annotation in _PLAIN else None
