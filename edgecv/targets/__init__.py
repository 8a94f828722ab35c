"""Does an artifact go on a target? Every operator, type and version, by tables; neither target nor engine is needed.

`check` answers for ``edgecv check``, and for exporters that write for a target.
"""

from edgecv.targets.check import check
from edgecv.targets.checked import Checked, Obstacle
from edgecv.targets.registered import target_names

__all__ = ["Checked", "Obstacle", "check", "target_names"]
