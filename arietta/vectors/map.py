"""A collection on a plane: like pieces lie together (the paper's Figure 1, for anybody's music).

t-SNE of the pieces' vectors (openTSNE where it is installed, else the exact form), drawn as one
page that needs nothing but a browser, and as a picture. The page holds the start of every piece, so
that a click plays it and shows its roll.

Shapes: n pieces, D width of the vectors.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from arietta.arrays import BoolArray, FloatArray
from arietta.errors import MissingExtraError
from arietta.midi.pedal import pedal_offsets
from arietta.midi.piece import Piece
from arietta.output import json_text
from arietta.paths import assets_dir
from arietta.vectors.collection import Collection, Entry
from arietta.vectors.index import Space

PERPLEXITY = 30.0
_LEAST = 8  # fewer points have no neighbourhoods worth a t-SNE
_MOST_EXACT = 3000  # pieces whose every pair is looked at without openTSNE
_COLOURS = 18  # kinds that get a colour of their own
_NAMED = 30  # pieces whose titles have room in a picture
_MAX_KINDS = 200
_NO_COLOURS = frozenset(
    ["title", "path", "file", "sha256", "id", "shard", "dup_of", "work_keys", "note"]
)
_LONGEST_STEPS = 1_000
_PLACE = "/*DATA*/null"


@dataclass(frozen=True)
class Start:
    """The first notes of a piece, for ears and eyes.

    Attributes:
        notes: base64 of rows of 6 bytes: onset and length in steps of 10 ms (uint16, little
            endian), pitch, velocity.
    """

    notes: str

    @classmethod
    def of(cls, piece: Piece, seconds: float = 30.0) -> Start:
        """Return the notes that begin in the seconds behind the first, as long as they sound."""
        if not len(piece):
            return cls("")
        onset = piece.onset_ms - piece.onset_ms.min()
        chosen = onset < min(seconds, 600.0) * 1000
        rows = np.zeros(int(chosen.sum()), np.dtype("<u2,<u2,u1,u1"))
        rows["f0"] = onset[chosen] / 10
        until_ms = piece.tempo.ms_at(pedal_offsets(piece))[chosen]
        rows["f1"] = np.clip((until_ms - piece.onset_ms[chosen]) / 10, 1, _LONGEST_STEPS)
        rows["f2"] = piece.notes.pitch[chosen]
        rows["f3"] = piece.notes.velocity[chosen]
        return cls(base64.b64encode(rows.tobytes()).decode())


def layout(collection: Collection, seed: int = 0) -> FloatArray:
    """(n, 2) in -1..1: t-SNE by cosine, started from the principal axes; those alone for a few.

    Raises:
        MissingExtraError: openTSNE is not installed, and there are too many pieces to do without.
    """
    vectors = collection.vectors
    space = Space.of(vectors, str(collection.about.get("pooling", "end")))
    return on_plane(space.place(vectors).astype(np.float64), seed)


def on_plane(placed: FloatArray, seed: int = 0) -> FloatArray:
    """(n, 2) in -1..1 of vectors (n, D) of length 1; see ``layout``.

    Raises:
        MissingExtraError: openTSNE is not installed, and there are too many pieces to do without.
    """
    if len(placed) < _LEAST:
        return _fitted(_axes(placed))
    try:
        from openTSNE import TSNE
    except ImportError:
        if len(placed) > _MOST_EXACT:
            raise MissingExtraError(f"a map of over {_MOST_EXACT:,} pieces", "search") from None
        from arietta.vectors.tsne import exact_tsne

        return _fitted(exact_tsne(placed, _axes(placed), PERPLEXITY))
    # Of unit vectors the Euclidean order is that of the cosine.
    tsne = TSNE(
        perplexity=min(PERPLEXITY, (len(placed) - 1) / 3),
        initialization="pca",
        random_state=seed,
        n_jobs=1,
    )
    return _fitted(np.asarray(tsne.fit(placed), np.float64))


def _axes(placed: FloatArray) -> FloatArray:
    centred = placed - placed.mean(axis=0)
    u, s, _ = np.linalg.svd(centred, full_matrices=False)
    axes = np.zeros((len(placed), 2))
    axes[:, : min(2, len(s))] = (u * s)[:, :2]
    return axes


def _fitted(places: FloatArray) -> FloatArray:
    low, high = places.min(axis=0), places.max(axis=0)
    span = float((high - low).max()) or 1.0
    fitted: FloatArray = (places - (low + high) / 2) / span * 2
    return fitted


def columns(entries: Sequence[Entry]) -> dict[str, list[str]]:
    """Return what points can be coloured by: metadata with several values, folders, lengths.

    Returns:
        Name -> (n,) values; those with more than ``_MAX_KINDS`` kinds only if they are numbers.
    """
    found: dict[str, list[str]] = {}
    names = dict.fromkeys(name for entry in entries for name in entry.metadata)
    for name in names:
        values = [str(entry.metadata.get(name, "")) for entry in entries]
        kinds = set(values) - {""}
        few = 1 < len(kinds) <= _MAX_KINDS
        if name not in _NO_COLOURS and (few or numeric(values)):
            found[name] = values
    folders = [str(Path(entry.path).parent) for entry in entries]
    if 1 < len(set(folders)) <= _MAX_KINDS:
        found["folder"] = folders
    found["minutes"] = [f"{entry.seconds / 60:.2f}" for entry in entries]
    found["notes per second"] = [f"{entry.notes / max(entry.seconds, 1):.2f}" for entry in entries]
    return found


def numeric(values: Sequence[str]) -> bool:
    """Whether all values that are there are numbers, and measures rather than a few names."""
    given = {value for value in values if value}
    try:
        for value in given:
            float(value)
    except ValueError:
        return False
    return len(given) > _COLOURS or any("." in value for value in given)


def preferred(names: Mapping[str, Sequence[str]], wanted: str | None) -> str:
    """Return the column to begin with: the one asked for, else what usually tells most."""
    if wanted is not None:
        return wanted
    for name in ("composer", "performer", "genre", "style", "label", "folder"):
        if name in names:
            return name
    return "notes per second"


def page(
    collection: Collection,
    places: FloatArray,
    starts: Mapping[str, Start],
    *,
    title: str,
    piano: Mapping[str, Any],
    colour: str | None = None,
) -> str:
    """Return the page as HTML; it asks nothing of any server.

    Args:
        collection: n pieces.
        places: (n, 2).
        starts: path -> its first notes; pieces without are shown, but make no sound.
        title: of the page.
        piano: what plays them; see ``arietta.sound.keys``.
        colour: column to begin with.
    """
    entries = list(collection.entries.values())
    table = columns(entries)
    coded: dict[str, dict[str, Any]] = {}
    for name, values in table.items():
        if numeric(values):
            coded[name] = {"numbers": [float(v) if v else None for v in values]}
        else:
            kinds = [kind for kind, _ in Counter(v for v in values if v).most_common()]
            number = {kind: i for i, kind in enumerate(kinds)}
            coded[name] = {"kinds": kinds, "of": [number.get(v, -1) for v in values]}
    data = {
        "title": title,
        "model": str(collection.about.get("model", "")),
        "x": np.round(places[:, 0], 4).tolist(),
        "y": np.round(places[:, 1], 4).tolist(),
        "titles": [entry.title for entry in entries],
        "paths": [entry.path for entry in entries],
        "seconds": [round(entry.seconds) for entry in entries],
        "starts": [starts[e.path].notes if e.path in starts else "" for e in entries],
        "columns": coded,
        "colour": preferred(table, colour),
        "piano": dict(piano),
    }
    template = (assets_dir() / "map.html").read_text(encoding="utf-8")
    # Inside a script element, nothing may look like its end.
    text = json_text(data).replace("</", "<\\/").replace("<!--", "<\\!--")
    assert template.count(_PLACE) == 1
    return template.replace(_PLACE, text)


def picture(
    path: Path,
    collection: Collection,
    places: FloatArray,
    *,
    title: str,
    colour: str | None = None,
) -> None:
    """Draw the map as a PNG; of a few pieces it tells the titles.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    try:
        from matplotlib import colormaps
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError("drawing", "plot") from None
    entries = list(collection.entries.values())
    table = columns(entries)
    name = preferred(table, colour)
    values = table[name]
    figure = Figure(figsize=(11, 8), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    size = float(np.clip(6_000 / len(entries), 6, 60))

    def dots(chosen: BoolArray, **look: Any) -> Any:
        return axes.scatter(
            places[chosen, 0], places[chosen, 1], sizes=[size], linewidths=0, **look
        )

    if numeric(values):
        numbers = np.array([float(v) if v else np.nan for v in values])
        low, high = np.nanquantile(numbers, (0.02, 0.98))
        known = np.isfinite(numbers)
        drawn = dots(known, c=numbers[known], cmap="viridis", vmin=low, vmax=high)
        figure.colorbar(drawn, ax=axes, label=name, shrink=0.6)
    else:
        kinds = [kind for kind, _ in Counter(v for v in values if v).most_common(_COLOURS)]
        rest = np.array([value not in kinds for value in values])
        if rest.any():
            dots(rest, color="#c8c8cc", label="other")
        for i, kind in enumerate(kinds):
            chosen = np.array([value == kind for value in values])
            # Strong colours first, their pale twins when those are used up.
            dots(chosen, color=colormaps["tab20"](2 * i % 20 + 2 * i // 20), label=kind)
        legend = axes.legend(
            loc="center left",
            bbox_to_anchor=(1, 0.5),
            frameon=False,
            fontsize=8,
            markerscale=max(1.0, (40 / size) ** 0.5),
            title=name,
        )
        for text in legend.get_texts():
            text.set_parse_math(False)
    if len(entries) <= _NAMED:
        for entry, place in zip(entries, places, strict=True):
            axes.annotate(
                entry.title,
                tuple(place.tolist()),
                (0, 7),
                textcoords="offset points",
                ha="center",
                fontsize=8,
                parse_math=False,  # dollars of a title are dollars
            )
    axes.set_title(title, parse_math=False)
    axes.set_axis_off()
    axes.set_aspect("equal")
    figure.savefig(path, bbox_inches="tight")


def starts_of(
    collection: Collection, read: Callable[[str], Piece | None], seconds: float = 30.0
) -> dict[str, Start]:
    """Path -> first notes, of every piece that can be read again."""
    found = {}
    for path in collection.entries:
        piece = read(path)
        if piece is not None:
            found[path] = Start.of(piece, seconds)
    return found
