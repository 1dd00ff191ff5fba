"""The Hangul of the page travels with it: a reader's machine need not have a Korean font."""

from __future__ import annotations

import base64
import io
from typing import Final

from fontTools import subset
from fontTools.ttLib import TTFont

from training.plotting import hangul_font
from training.report.html import Markup

FAMILY: Final = "Report Hangul"
_HANGUL: Final = ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7A3))  # letters, compatibility letters, syllables


def font_face(text: str) -> Markup:
    """The CSS rule of a font with just the Hangul of that text, as data; empty where there is none."""
    used = {ord(sign) for sign in text if any(first <= ord(sign) <= last for first, last in _HANGUL)}
    if not used:
        return Markup("")
    options = subset.Options(flavor="woff", layout_features=[], notdef_outline=True)
    with TTFont(hangul_font().get_file()) as font:
        subsetter = subset.Subsetter(options)
        subsetter.populate(unicodes=used)
        subsetter.subset(font)
        buffer = io.BytesIO()
        font.flavor = "woff"
        font.save(buffer)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    ranges = ", ".join(f"U+{first:X}-{last:X}" for first, last in _HANGUL)
    return Markup(
        f'@font-face {{ font-family: "{FAMILY}"; src: url(data:font/woff;base64,{data}) format("woff"); '
        f"unicode-range: {ranges}; }}\n"
    )
