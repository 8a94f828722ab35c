"""`edgecv new-exporter NAME [DIR]`: the beginning of a plugin."""

import shlex
from pathlib import Path

import click

__all__ = ["new_exporter"]


@click.command("new-exporter")
@click.argument("exporter", metavar="NAME")
@click.argument("folder", metavar="[DIR]", required=False, type=click.Path(path_type=Path))
def new_exporter(exporter: str, folder: Path | None) -> None:
    """Write a new plugin for the format NAME into DIR, by default edgecv-NAME.

    It is a whole distribution, an ONNX file in a zip to begin with: it installs, and passes `edgecv check-exporter`.
    docs/writing-an-exporter.md tells how to go on.
    """
    from edgecv.scaffold import NewExporter, write_exporter

    plugin = NewExporter(name=exporter)
    folder = folder or Path(plugin.distribution)
    for file in write_exporter(plugin, folder):
        click.echo(folder / file)
    shown = shlex.quote(str(folder) if folder.is_absolute() else f"./{folder}")  # a bare name is one of an index to pip
    click.echo(f"Next: pip install -e {shown} && edgecv check-exporter {exporter}", err=True)
