"""What this machine is, as it says itself."""

import os
from pathlib import Path

import pytest

from edgecv import machine


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to cores")
def test_cores_are_those_that_the_process_may_use() -> None:
    own = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(own)})
    try:
        assert machine.cores() == 1
    finally:
        os.sched_setaffinity(0, own)
    assert machine.cores() == len(own)


def test_the_processor_has_its_own_name_where_the_system_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    said = "processor\t: 0\nmodel name\t: Fast 9000 @ 3.0GHz\n\nprocessor\t: 1\nmodel name\t: Fast 9000 @ 3.0GHz\n"
    monkeypatch.setattr(Path, "read_text", lambda _: said)
    assert machine.processor() == "Fast 9000 @ 3.0GHz"
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    monkeypatch.setattr(Path, "read_text", lambda _: "hart : 1\n")
    assert machine.processor() == "riscv64"
