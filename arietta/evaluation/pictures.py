"""Draw a piano roll coloured by a value, or a confusion matrix, as PNG (extra ``plot``)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from arietta.arrays import AnyFloatArray, AnyIntArray
from arietta.errors import MissingExtraError
from arietta.midi.piece import Piece

_MAX_ROWS = 12
_ROW_SECONDS = 25.0
_COLOURS = "inferno_r"
_NAME = 24  # letters of a class name that are shown
_PAPER, _BLACK_KEYS, _LINES, _MARK = "#ffffff", "#f1f1f4", "#c9c9d2", "#0072b2"


def draw_notes(
    path: Path,
    piece: Piece,
    values: AnyFloatArray,
    *,
    title: str,
    label: str,
    marked: Sequence[int] = (),
    caption: str = "",
) -> None:
    """Draw a piece in rows of time; notes last as long as the key is down, without the pedal.

    Args:
        path: PNG to write.
        piece: n >= 1 notes.
        values: (n,) values of the colours, from the 2nd to the 99.5th percentile; dark is high.
        title: title over the picture.
        label: label of the colour bar.
        marked: notes to mark with a ring and a number, in this order.
        caption: caption under the picture, with the meaning of the numbers.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.cm import ScalarMappable
        from matplotlib.collections import LineCollection
        from matplotlib.colors import ListedColormap, Normalize
        from matplotlib.figure import Figure
        from matplotlib.patheffects import withStroke
        from matplotlib.ticker import MaxNLocator
    except ImportError:
        raise MissingExtraError("drawing", "plot") from None
    start = piece.onset_ms / 1000
    # A key pressed for 10 ms has to be visible, too.
    end = start + np.maximum(piece.duration_ms / 1000, 0.04)
    pitch = piece.notes.pitch.astype(np.float64)
    first, last = float(start.min()), float(end.max())
    rows = min(_MAX_ROWS, max(1, math.ceil((last - first) / _ROW_SECONDS)))
    width = max((last - first) / rows, 1.0)
    low, high = int(pitch.min()) - 2, int(pitch.max()) + 2
    lowest, highest = np.quantile(values, (0.02, 0.995)).tolist()
    colours = Normalize(lowest, max(highest, lowest + 1e-6), clip=True)
    # Without the palest part of the scale, which is hard to see on paper.
    shades = ListedColormap(colormaps[_COLOURS](np.linspace(0.1, 1.0, 256)))
    height = 1.1 + rows * max(1.0, (high - low) * 0.032)
    figure = Figure(figsize=(13, height), dpi=110, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    axes: list[Any] = list(
        figure.subplots(rows, 1, squeeze=False, gridspec_kw={"hspace": 0.22})[:, 0]
    )
    thickness = max(2.0, 72 * (height - 1.1) / rows * 0.8 / (high - low))
    halo = [withStroke(linewidth=2.5, foreground=_PAPER)]
    # Notes of low values first, so that high values lie on top.
    order = np.argsort(values, kind="stable")
    lines = np.stack(
        [np.column_stack((start, pitch)), np.column_stack((end, pitch))], axis=1
    )  # (n, 2, 2)
    for number, ax in enumerate(axes):
        left = first + number * width
        right = left + width
        for key in range(low, high + 1):
            if key % 12 in (1, 3, 6, 8, 10):
                ax.axhspan(key - 0.5, key + 0.5, color=_BLACK_KEYS, linewidth=0)
        here = order[(end[order] > left) & (start[order] < right)]
        ax.add_collection(
            LineCollection(
                list(lines[here]),
                array=values[here],
                cmap=shades,
                norm=colours,
                linewidths=thickness,
                capstyle="butt",
            )
        )
        for rank, i in enumerate(marked, start=1):
            if left <= start[i] < right:
                ax.plot(
                    start[i] + 0.004 * width,
                    pitch[i],
                    "o",
                    markersize=11,
                    markerfacecolor="none",
                    markeredgecolor=_MARK,
                    markeredgewidth=1.5,
                    path_effects=halo,
                    clip_on=False,
                )
                ax.annotate(
                    str(rank),
                    (start[i] + 0.004 * width, pitch[i]),
                    xytext=(6, 5),
                    textcoords="offset points",
                    color=_MARK,
                    fontsize=9,
                    fontweight="bold",
                    annotation_clip=False,
                    path_effects=halo,
                )
        ax.set_xlim(left, right)
        ax.set_ylim(low - 0.5, high + 0.5)
        octaves = [key for key in range(low, high + 1) if key % 12 == 0]
        ax.set_yticks(octaves, [f"C{key // 12 - 1}" for key in octaves], fontsize=8)
        ax.grid(axis="y", color=_LINES, linewidth=0.6)
        ax.set_axisbelow(True)
        ticks = _round_times(left, right)
        ax.set_xticks(ticks, [_clock(t) for t in ticks], fontsize=8)
        ax.tick_params(length=2, color=_LINES)
        for side in ax.spines.values():
            side.set_color(_LINES)
    inch = 1 / height
    figure.subplots_adjust(left=0.045, right=0.925, top=1 - 0.5 * inch, bottom=0.55 * inch)
    figure.suptitle(title, x=0.045, y=1 - 0.16 * inch, ha="left", va="top", fontsize=13)
    if caption:
        figure.text(0.045, 0.1 * inch, caption, fontsize=9, color="#55555f")
    tall = min(height - 1.05, 4.5) * inch
    bar = figure.add_axes((0.94, 1 - 0.5 * inch - tall, 0.012, tall))
    figure.colorbar(ScalarMappable(colours, shades), cax=bar, extend="both")
    bar.yaxis.set_major_locator(MaxNLocator(7, integer=True))
    bar.set_ylabel(label, fontsize=9)
    bar.tick_params(labelsize=8)
    figure.savefig(path, format="png", metadata={"Software": "arietta"})


def _round_times(left: float, right: float) -> list[float]:
    """Return about a dozen whole times at equal distances between two times."""
    step = next(
        (s for s in (0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300) if (right - left) / s <= 16), 600
    )
    return [t * step for t in range(math.ceil(left / step), math.floor(right / step) + 1)]


def _clock(seconds: float) -> str:
    whole = f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
    return whole if seconds == int(seconds) else f"{whole}.{int(seconds * 10) % 10}"


def draw_confusion(
    path: Path,
    confusion: AnyIntArray,
    classes: Sequence[str],
    *,
    title: str,
    caption: str = "",
) -> None:
    """Draw a confusion matrix: rows are the truth, columns the predictions.

    Args:
        path: PNG to write.
        confusion: (C, C) pieces; the colour shows the share of the row.
        classes: (C,) names.
        title: title over the picture.
        caption: caption under the picture.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.colors import ListedColormap
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("drawing", "plot") from None
    size = len(classes)
    truth = confusion.sum(axis=1)
    shares = confusion / truth.clip(1)[:, None]
    names = [name if len(name) <= _NAME else f"{name[: _NAME - 1]}…" for name in classes]
    # Inches: cells for three digits, margins for the longest name.
    cell = float(np.clip(9 / size, 0.3, 0.75))
    letters = max(map(len, names))
    left, low, high, right = 0.95 + 0.082 * letters, 0.85 + 0.064 * letters, 0.85, 1.1
    width, height = left + size * cell + right, low + size * cell + high
    width = max(width, 0.3 + 0.105 * len(title), 0.3 + 0.075 * len(caption))
    figure = Figure(figsize=(width, height), dpi=110, facecolor=_PAPER)
    FigureCanvasAgg(figure)
    box = (left / width, low / height, size * cell / width, size * cell / height)
    ax = figure.add_axes(box)
    shades = ListedColormap(colormaps["Blues"](np.linspace(0.0, 0.95, 256)))
    drawn = ax.imshow(shares, cmap=shades, vmin=0, vmax=1)
    for row, column in zip(*np.nonzero(confusion), strict=True):
        ax.text(
            column,
            row,
            f"{confusion[row, column]:,}",
            ha="center",
            va="center",
            fontsize=10 if cell > 0.4 else 7.5,
            color=_PAPER if shares[row, column] > 0.55 else "#1b1b22",
            fontweight="bold" if row == column else "normal",
        )
    ax.set_xticks(range(size), names, fontsize=9)
    if 0.09 * letters > cell:
        ax.tick_params(axis="x", rotation=45)
        for text in ax.get_xticklabels():
            text.set(ha="right", rotation_mode="anchor")
    ax.set_yticks(
        range(size), [f"{n} ({t:,})" for n, t in zip(names, truth, strict=True)], fontsize=9
    )
    ax.set_xticks(np.arange(size + 1) - 0.5, minor=True)
    ax.set_yticks(np.arange(size + 1) - 0.5, minor=True)
    ax.grid(which="minor", color=_LINES, linewidth=0.6)
    ax.tick_params(which="both", length=0)
    for side in ax.spines.values():
        side.set_color(_LINES)
    ax.set_ylabel("the truth (pieces)", fontsize=10)
    ax.set_xlabel("taken for", fontsize=10)
    tall = min(size * cell, 4.0) / height
    bar = figure.add_axes(
        (
            (left + size * cell + 0.25) / width,
            (low + size * cell) / height - tall,
            0.15 / width,
            tall,
        )
    )
    figure.colorbar(drawn, cax=bar).outline.set_edgecolor(_LINES)
    bar.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"], fontsize=8)
    bar.tick_params(length=0)
    bar.set_title("of row", fontsize=8, loc="left")
    figure.text(0.15 / width, 1 - 0.2 / height, title, fontsize=13, va="top")
    if caption:
        figure.text(0.15 / width, 0.12 / height, caption, fontsize=9, color="#55555f")
    figure.savefig(path, format="png", metadata={"Software": "arietta"})
