"""`edgecv build NAME -o FILE.keras`."""

from pathlib import Path
from typing import Any

import click

from edgecv.cli.common import emit_json, json_option, status, warn
from edgecv.cli.model_options import import_modules, parse_size, weights_options

__all__ = ["build"]


@click.command()
@click.argument("name")
@click.option("-o", "--output", required=True, type=click.Path(path_type=Path), help="A .keras file.")
@weights_options
@click.option(
    "--input-size", type=parse_size, metavar="HxW", help="Height and width in pixels. Default: the architecture's."
)
@json_option
def build(name: str, output: Path, input_size: tuple[int, int] | None, as_json: bool, **options: Any) -> None:
    """Build an architecture and save it as a .keras file that carries its preprocessing and labels."""
    from edgecv.errors import OptionError
    from edgecv.files import writable_folder
    from edgecv.models import build as build_network
    from edgecv.models import save_model

    if output.suffix != ".keras":
        raise OptionError(f"The output must end in .keras, got {output.name!r}.")
    writable_folder(output)
    import_modules(options["imports"])
    with status(f"building {name}"):
        network = build_network(
            name,
            weights=options["weights"],
            seed=options["seed"],
            input_size=input_size,
            classes=options["classes"],
        )
        for note in network.edgecv_info.notes:
            warn(note)
        save_model(network, output)
    parameters = network.count_params()
    if as_json:
        emit_json(
            {
                "path": str(output),
                "model": name,
                "parameters": parameters,
                "weights": network.edgecv_info.weights_source,
                "bytes": output.stat().st_size,
            }
        )
    else:
        click.echo(f"{output}  {parameters:,} parameters  weights: {network.edgecv_info.weights_source}")
