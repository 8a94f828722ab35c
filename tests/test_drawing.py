"""What is drawn on pictures can be read."""

import numpy as np
import pytest

from edgecv.drawing import Font, font_of


def drawn(letter: str, font: Font) -> bytes:
    mask = font.getmask(letter)
    return bytes(np.array(mask).tobytes()) + repr(mask.size).encode()


@pytest.mark.parametrize("letter", "äöüßéñçåøŠłГΩ…")
def test_letters_of_many_languages_are_no_boxes(letter: str) -> None:
    font = font_of(20)
    assert drawn(letter, font) != drawn("\U0010fffe", font)  # no font has this one: its box


def test_without_any_font_of_the_system_there_is_pillows_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgecv.drawing._fonts", lambda: ["no-such-font.ttf"])
    font_of.cache_clear()
    try:
        assert font_of(20).getlength("cat") > 0
    finally:
        font_of.cache_clear()
