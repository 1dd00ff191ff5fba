from __future__ import annotations

import base64
import io
import re

from fontTools.ttLib import TTFont

from training.report.font import font_face


def embedded(face: str) -> TTFont:
    data = re.search(r"base64,([^)]+)\)", face)
    assert data is not None
    return TTFont(io.BytesIO(base64.b64decode(data[1])))


def test_the_font_draws_every_syllable_of_the_text_and_no_other():
    font = embedded(font_face("화재 (fire), 갇힘"))

    glyphs, names = font.getGlyphSet(), font.getBestCmap()
    assert set(names) == set(map(ord, "화재갇힘"))
    assert all(font["glyf"][names[code]].numberOfContours > 0 for code in names)
    assert len(glyphs) <= 5


def test_a_text_without_hangul_has_no_font():
    assert font_face("fire") == ""
