"""Writes the beginning of a plugin: a distribution with an exporter and its runtime, which pass the kit."""

import keyword
import re
from dataclasses import dataclass
from importlib import metadata, resources, util
from pathlib import Path
from string import Template

import edgecv
from edgecv.errors import OptionError, OutputError
from edgecv.exporter import API_VERSION
from edgecv.files import replace_whole

__all__ = ["NewExporter", "check_folder", "write_exporter"]

_NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_LONGEST = 40
# Suffixes that mean something to edgecv already, beside those of artifacts and pictures.
_OTHERS = (".keras", ".h5", ".json", ".html", ".csv", ".txt", ".zip", ".py", ".mp4", ".avi", ".mov", ".mkv")
# What an exporter may start from, beside the names of exporters.
_NO_EXPORTERS = ("deployable",)
# Where each template goes.
_FILES = {
    "pyproject.toml.txt": "pyproject.toml",
    "README.md.txt": "README.md",
    "exporter.py.txt": "src/$module/__init__.py",
    "runtime.py.txt": "src/$module/runtime.py",
    "test_conformance.py.txt": "tests/test_conformance.py",
}


@dataclass(frozen=True, kw_only=True)
class NewExporter:
    """The names of a plugin to be.

    Attributes:
        name: Of the format on the command line, such as ``my-format``.
    """

    name: str

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name) or len(self.name) > _LONGEST:
            raise OptionError(
                f"{self.name!r} is no name for a format: it takes small letters, digits and single dashes, a letter "
                f"first, at most {_LONGEST}. Choose one such as my-format."
            )
        for what, taken in (("exporter", _taken("exporters")), ("runtime", _taken("runtimes"))):
            if self.name.replace("_", "-") in {each.replace("_", "-") for each in taken}:
                raise OptionError(f"There is an installed {what} {self.name!r} already. Choose another name.")
        if self.name in _NO_EXPORTERS:
            raise OptionError(f"{self.name!r} means something else to exporters. Choose another name.")
        if self.suffix in _suffixes():
            raise OptionError(f"{self.suffix} files are something else already. Choose another name.")
        if util.find_spec(self.module) is not None or keyword.iskeyword(self.module):
            raise OptionError(f"There is an installed package {self.module!r} already. Choose another name.")

    @property
    def distribution(self) -> str:
        """What pip calls it."""
        return f"edgecv-{self.name.replace('_', '-')}"

    @property
    def module(self) -> str:
        """What Python imports."""
        return f"edgecv_{self.name.replace('-', '_')}"

    @property
    def suffix(self) -> str:
        """Of the files that it writes."""
        return f".{self.name}"

    def names(self) -> dict[str, str]:
        """Return what stands for what in the templates."""
        words = "".join(part.capitalize() for part in re.split("[-_]", self.name))
        major, minor = edgecv.__version__.split(".")[:2]
        return {
            "name": self.name,
            "distribution": self.distribution,
            "module": self.module,
            "suffix": self.suffix,
            "exporter": f"{words}Exporter",
            "runtime": f"{words}Runtime",
            "edgecv": f"edgecv>={major}.{minor},<{f'{major}.{int(minor) + 1}' if major == '0' else int(major) + 1}",
            "api_version": str(API_VERSION),
        }


def write_exporter(plugin: NewExporter, folder: Path) -> list[Path]:
    """Write a plugin into a new or empty folder; it appears whole or not at all.

    Returns:
        The files, within the folder.

    Raises:
        OutputError: There is something in the folder, or it cannot be written.
    """
    check_folder(folder)
    names = plugin.names()
    templates = resources.files(__package__) / "templates"
    texts = {
        Path(Template(place).substitute(names)): Template((templates / file).read_text("utf-8")).substitute(names)
        for file, place in _FILES.items()
    }
    texts[Path("src") / plugin.module / "py.typed"] = ""
    with replace_whole(folder) as temporary:
        for place, text in texts.items():
            (temporary / place).parent.mkdir(parents=True, exist_ok=True)
            (temporary / place).write_text(text, encoding="utf-8")
    return sorted(texts)


def check_folder(folder: Path) -> None:
    """Refuse a folder that cannot be replaced by a new one.

    Raises:
        OutputError: There is something in it, it is a file, or it is the current folder.
    """
    if folder.is_file() or folder.is_symlink():
        raise OutputError(f"Cannot write {str(folder)!r}: it is a file or a link. Name a new folder.")
    if folder.is_dir() and any(folder.iterdir()):
        raise OutputError(f"Cannot write {str(folder)!r}: the folder is not empty. Name a new one.")
    if folder.exists() and folder.resolve() == Path.cwd():
        raise OutputError(f"Cannot write {str(folder)!r}: it is the current folder. Name a new one.")


def _taken(kind: str) -> set[str]:
    return set(metadata.entry_points(group=f"edgecv.{kind}").names)


def _suffixes() -> set[str]:
    from edgecv.pictures import PICTURE_SUFFIXES
    from edgecv.session import known_suffixes

    return {*_OTHERS, *PICTURE_SUFFIXES, *known_suffixes()}
