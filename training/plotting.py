"""Pictures with Hangul in them: matplotlib's own fonts have none, and its global state stays untouched.

The font is the NanumGothic that the package koreanize_matplotlib carries; importing that package would change every
later figure of the process, so only its files are used.
"""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties

FONT_PACKAGE: Final = "koreanize_matplotlib"
FONT_FAMILY: Final = "NanumGothic"
EMERGENCY_COLOUR: Final = "#d1495b"
NORMAL_COLOUR: Final = "#2e6f95"
PNG_DPI: Final = 120
_STYLE: Final[Any] = {  # matplotlib types the keys by name
    "font.family": FONT_FAMILY,
    "text.parse_math": False,  # a name from a manifest may hold dollars; no picture needs a formula
    "axes.unicode_minus": False,  # NanumGothic has no U+2212
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "svg.fonttype": "path",  # the reader need not have the font
    "svg.hashsalt": "wigeup",  # the same figure gives the same file
}


@cache
def hangul_font() -> FontProperties:
    """NanumGothic, registered with matplotlib in all its weights; raises FileNotFoundError where it is missing."""
    found = importlib.util.find_spec(FONT_PACKAGE)
    if found is None or found.origin is None:
        raise FileNotFoundError(f"package {FONT_PACKAGE} is not installed; it carries the Hangul font of every picture")
    folder = Path(found.origin).parent / "fonts"
    for path in sorted(folder.glob("*.ttf")):
        font_manager.fontManager.addfont(path)
    return FontProperties(fname=folder / f"{FONT_FAMILY}.ttf")


@contextmanager
def figure_style() -> Iterator[None]:
    """Figures made, filled and saved within have Hangul and one look; afterwards all settings are as before."""
    hangul_font()
    with mpl.rc_context(_STYLE):
        yield


def new_figure(width_in: float, height_in: float) -> Figure:
    """An empty figure with a canvas of its own: pyplot's list of open figures never sees it."""
    figure = Figure(figsize=(width_in, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def png_bytes(figure: Figure) -> bytes:
    """The figure as a PNG file."""
    return _render(figure, "png", dpi=PNG_DPI)


def svg_text(figure: Figure) -> str:
    """The figure as an SVG element for an HTML page: letters as outlines, without prolog."""
    svg = _render(figure, "svg", metadata={"Date": None}).decode("utf-8")
    return svg[svg.index("<svg") :]


def _render(figure: Figure, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    with figure_style():
        figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()
