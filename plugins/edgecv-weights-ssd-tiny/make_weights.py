"""Make the weights file again: ``python make_weights.py RUN_DIR``.

RUN_DIR is the run ``FOLDER/ssd_tiny`` of ``python benchmarks/detectors.py ssd --runs FOLDER``, which composes the
scenes and trains on them (about a quarter of an hour on two cores). On the same machine and versions it gives the same
bytes.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from edgecv.models import open_model
from edgecv.weights.packaged import write_arrays

__all__ = ["weights_of"]

_FOLDER = Path(__file__).parent / "src" / "edgecv_weights_ssd_tiny"


def weights_of(run: Path) -> dict[str, Any]:
    """Return the weights of a run: path of the variable → float32 array."""
    network = open_model(str(run))
    return {variable.path: np.asarray(variable) for variable in network.weights}


def main(arguments: Sequence[str] | None = None) -> None:
    """Write ``ssd_tiny-SHA.npz``; SHA is the start of its sha256."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("run", type=Path, help="RUN_DIR of the training")
    parser.add_argument("-o", "--output", type=Path, default=_FOLDER, help="Folder. Default: the package's.")
    options = parser.parse_args(arguments)
    arrays = weights_of(options.run)
    path = write_arrays(arrays, options.output, "ssd_tiny")
    print(f"{path}  {len(arrays)} arrays, {sum(array.size for array in arrays.values()):,} numbers")


if __name__ == "__main__":
    main()
