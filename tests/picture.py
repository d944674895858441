"""What a person would see wrong in a figure: words over words, words cut off, panels with nothing in them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

TOUCH_PX = 1.0
"""Boxes of words have a rim; so much may lie over each other unseen."""


def flaws(figure: Figure) -> list[str]:
    """Each flaw in words; none when the figure can be read."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    words = list(_words(figure, canvas.get_renderer()))
    found = [f"nothing is drawn in {_name(axes)!r}" for axes in figure.axes if not _has_marks(axes)]
    width, height = canvas.get_width_height()
    for text, box in words:
        if (
            box.x0 < -TOUCH_PX
            or box.y0 < -TOUCH_PX
            or box.x1 > width + TOUCH_PX
            or box.y1 > height + TOUCH_PX
        ):
            found.append(f"{text!r} is cut off")
    for (one, a), (other, b) in combinations(words, 2):
        shared = Bbox.intersection(a, b)
        if shared is not None and min(shared.width, shared.height) > TOUCH_PX:
            found.append(f"{one!r} lies over {other!r}")
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            labels = _labels(axis)
            if labels and len(labels) < 2:
                found.append(f"an axis of {_name(axes)!r} is labelled {labels} alone")
    return found


def _words(figure: Figure, renderer: Any) -> Iterator[tuple[str, Bbox]]:
    for axes in figure.axes:
        texts = [
            axes.title,
            axes._left_title,
            axes._right_title,
            axes.xaxis.label,
            axes.yaxis.label,
            *axes.texts,
        ]  # type: ignore[attr-defined]
        legend = axes.get_legend()
        texts += legend.get_texts() if legend is not None else []
        for axis in (axes.xaxis, axes.yaxis):
            texts += [tick.label1 for tick in _shown(axis)]
        for text in texts:
            if text.get_visible() and text.get_text().strip():
                yield text.get_text(), text.get_window_extent(renderer)
    for text in figure.texts:
        yield text.get_text(), text.get_window_extent(renderer)


def _shown(axis: Axis) -> list[Any]:
    low, high = sorted(axis.get_view_interval())
    rim = 1e-9 * (high - low)
    ticks = axis.get_major_ticks() + axis.get_minor_ticks()
    return [tick for tick in ticks if tick.label1.get_visible() and low - rim <= tick.get_loc() <= high + rim]


def _labels(axis: Axis) -> list[str]:
    return [tick.label1.get_text() for tick in _shown(axis) if tick.label1.get_text().strip()]


def _has_marks(axes: Axes) -> bool:
    return bool(axes.lines or axes.patches or axes.collections)


def _name(axes: Axes) -> str:
    return axes.get_title(loc="left") or axes.get_title() or axes.get_ylabel()
