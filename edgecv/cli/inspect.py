"""``edgecv inspect``: what an artifact says of itself, read without its engine."""

from pathlib import Path
from typing import Any

import click

from edgecv.cli.common import emit, emit_json, json_option, say
from edgecv.printable import short

__all__ = ["inspect"]


@click.command()
@click.argument("artifact", type=click.Path(path_type=Path))
@json_option
def inspect(artifact: Path, as_json: bool) -> None:
    """Show an artifact's metadata and operators; exit 1 where its digest disagrees."""
    document = _describe(artifact)
    if as_json:
        emit_json(document)
    else:
        from edgecv.runtimes.container import making_sense

        with making_sense(artifact, "its metadata"):
            rows = _rows(document)
        for name, value in rows.items():
            emit(f"{name:<17} {value}")
    if not document["intact"]:
        say(f"Error: {str(artifact)!r} is damaged: its digest disagrees. Export it again.")
        raise click.exceptions.Exit(1)


def _describe(artifact: Path) -> dict[str, Any]:
    from edgecv import metadata
    from edgecv.errors import DigestError
    from edgecv.runtimes.container import size_of
    from edgecv.session import runtime_of

    _, runtime = runtime_of(artifact)
    document = runtime.read_metadata(artifact)
    operators = runtime.operators(artifact)
    custom = runtime.custom_operators(artifact)
    try:
        metadata.check_digest(artifact, document)
        intact = True
    except DigestError:
        intact = False
    size = size_of(artifact)
    return {**document, "ops": operators, "custom_ops": custom, "bytes": size, "intact": intact}


def _rows(document: dict[str, Any]) -> dict[str, str]:
    """Return what people read, line by line."""
    from edgecv.findings import finding_rows

    labels = document.get("labels") or []
    some = ", ".join(short(str(label)) for label in labels[:3])
    return {
        "model": f"{short(document['model'])} ({short(document['task'])})",
        "written by": f"edgecv {document['edgecv_version']}",
        "weights": str((document.get("weights") or {}).get("source", "unknown")),
        "input": _tensor(document["input"]),
        "outputs": "; ".join(map(_tensor, document["outputs"])),
        "preprocess": _pairs(document["preprocess"]),
        "postprocess": _pairs(document.get("postprocess") or {}),
        "precision": str(document.get("precision")),
        **_quantization(document.get("quantization") or {}),
        **dict(finding_rows(document.get("findings") or {})),
        "labels": f"{len(labels)}: {some}{', …' if len(labels) > 3 else ''}",
        "verified": _verified(document),
        "operators": ", ".join(f"{name} {count}" for name, count in document["ops"].items()),
        "custom operators": ", ".join(document["custom_ops"]) or "none",
        "size": f"{document['bytes']:,} bytes",
        "digest": "agrees" if document["intact"] else "disagrees",
    }


def _verified(document: dict[str, Any]) -> str:
    """Say what was proven: the artifact, or only what it was made of."""
    verification, source = document.get("verification"), document.get("source_verification")
    if verification:
        return "passed" if verification.get("passed") else "failed"
    return f"no; its source {'passed' if source.get('passed') else 'failed'}" if source else "no"


def _quantization(document: dict[str, Any]) -> dict[str, str]:
    """Return the rows of an int8 artifact."""
    if not document:
        return {}
    calibration = document.get("calibration") or {}
    rows = {"calibrated on": f"{calibration.get('pictures')} pictures, sha256 {calibration.get('sha256')}"}
    if document.get("metric") is not None:
        budget = document.get("max_drop")
        kept = "" if budget is None else f", budget {budget:g} {'kept' if document.get('met') else 'MISSED'}"
        rows["judged by"] = (
            f"{document['metric']} {document.get('int8')} of {document.get('float')} on {document.get('pictures')} "
            f"pictures: {document.get('judged_on')}{kept}"
        )
    layers = [str(each.get("layer")) for each in document.get("float_layers") or ()]
    return {**rows, "float layers": ", ".join(layers) or "none given back"}


def _tensor(info: dict[str, Any]) -> str:
    sides = ", ".join("N" if side is None else str(side) for side in info["shape"])
    return f"{info['name']} {info['dtype']} [{sides}]"


def _pairs(document: dict[str, Any]) -> str:
    parts = (
        f"{key} ({_pairs(value)})" if isinstance(value, dict) else f"{key} {value}" for key, value in document.items()
    )
    return ", ".join(parts)
