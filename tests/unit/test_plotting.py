"""Pictures show Hangul, and nothing global is changed by drawing them."""

from __future__ import annotations

import subprocess
import sys

import matplotlib as mpl
import pytest

from training.plotting import figure_style, hangul_font, new_figure, png_bytes, svg_text


def settings() -> dict[str, object]:
    """All of matplotlib's, without the backend: looking at that one sets it."""
    return {name: value for name, value in dict.items(mpl.rcParams) if name != "backend"}


def test_hangul_is_drawn_without_missing_glyphs_and_settings_stay() -> None:
    before = settings()
    with figure_style():
        figure = new_figure(4, 2)
        axes = figure.add_subplot()
        axes.bar(["강제추행(성범죄)", "태풍-강풍"], [1, -2])
        axes.set_title("뷁 힣 가스사고", fontweight="bold")

    png, svg = png_bytes(figure), svg_text(figure)  # matplotlib warns of a missing glyph, and warnings are errors

    assert png.startswith(b"\x89PNG")
    assert svg.startswith("<svg")
    assert settings() == before


def test_dollars_in_names_are_no_formula() -> None:
    """Every place that a name may stand in: ticks, title, legend, notes."""
    name = r"$\frac{$ 5$ \$"
    with figure_style():
        figure = new_figure(4, 2)
        axes = figure.add_subplot()
        axes.barh([name], [1], label=name)
        axes.set(title=name, xlabel=name)
        axes.annotate(name, (0, 0))
        axes.legend()
        figure.suptitle(name)

    assert png_bytes(figure).startswith(b"\x89PNG")
    assert svg_text(figure).startswith("<svg")


def test_without_the_font_hangul_has_no_glyphs() -> None:
    figure = new_figure(2, 1)
    figure.text(0.1, 0.5, "가스사고")

    with pytest.warns(UserWarning, match="missing from font"):
        figure.canvas.draw()


def test_the_same_figure_is_the_same_svg() -> None:
    texts = set()
    for _ in range(2):
        with figure_style():
            figure = new_figure(2, 1)
            figure.add_subplot().plot([1, 2])
        texts.add(svg_text(figure))

    assert len(texts) == 1


def test_the_font_is_taken_without_the_package_that_changes_all_figures() -> None:
    code = "import sys; from training.plotting import new_figure, png_bytes; png_bytes(new_figure(1, 1)); "
    code += "assert 'koreanize_matplotlib' not in sys.modules and 'matplotlib.pyplot' not in sys.modules"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
    assert hangul_font().get_name() == "NanumGothic"
