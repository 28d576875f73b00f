"""Embed, index, search and map: the use cases that compare pieces by vectors."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from arietta.errors import CheckpointError, InputError, MissingExtraError, UsageError

if TYPE_CHECKING:
    from arietta.midi.piece import Piece
    from arietta.models.kernel.packing import Precision
    from arietta.vectors.collection import Collection
    from arietta.vectors.embedding import Embedder
    from arietta.vectors.index import Changes, Hit
    from arietta.vectors.stores import Kind, Sense

SHORT_MS = 45_000.0
"""Queries below are compared with passages, where nothing else is wanted."""

Paths = Sequence[str | PathLike[str]]
Refused = Callable[[str, InputError], None]
Counted = Callable[[int, float], None]
"""Called with the pieces that are done, and the seconds since the start."""


def open_embedder(
    model: str | PathLike[str] | None = None,
    precision: Precision = "int8",
    *,
    full: bool = False,
) -> Embedder:
    """Return the embedder of a model, the shipped one by default.

    Args:
        model: name or path.
        precision: of the weights.
        full: give longer vectors; see ``Model.embed``.
    """
    from arietta.models.aria.checkpoint import load
    from arietta.vectors.embedding import Embedder, default_model

    return Embedder(load(model or default_model()), precision=precision, full=full)


@dataclass(frozen=True, eq=False)
class EmbedResult:
    """What ``embed`` made.

    Attributes:
        collection: vectors, and what is known of each piece.
        output: the file, if one was wanted.
        refused: files that were left out, each with its reason.
        resumed: whether a run that was stopped went on.
        seconds: how long it took.
    """

    collection: Collection
    output: Path | None
    refused: tuple[dict[str, str], ...]
    resumed: bool
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "output": None if self.output is None else str(self.output),
            "pieces": len(self.collection),
            **self.collection.about,
            "refused": list(self.refused),
            "seconds": round(self.seconds, 3),
        }


def embed(
    files: Paths,
    output: str | PathLike[str] | None = None,
    *,
    model: str | PathLike[str] | None = None,
    chunks: bool = False,
    full: bool = False,
    transposed: int = 0,
    update: str | PathLike[str] | None = None,
    any_program: bool = False,
    precision: Precision = "int8",
    force: bool = False,
    refused: Refused = lambda *_: None,
    report: Counted = lambda *_: None,
) -> EmbedResult:
    """Make a vector of every piece; the same call goes on after a stop.

    Args:
        files: MIDI files, folders, archives or datasets.
        output: ``.npz`` to write.
        model: what embeds.
        chunks: also write the vector of every chunk.
        full: make longer vectors.
        transposed: also embed each piece in another register, up to so many semitones away.
        update: older ``.npz``, from which unchanged pieces are taken.
        any_program: take every instrument but drums as a piano.
        precision: of the weights.
        force: replace a file that exists.
        refused: called with a file that is left out, and why.
        report: called after every piece.

    Raises:
        InputError: not one file can be used.
        OutputError: the file exists or cannot be written.
        UsageError: the output has another suffix, or ``update`` was made in another way.
    """
    from arietta.output import check_output
    from arietta.vectors.collection import Collection, about, build

    target = None if output is None else Path(output)
    same = update is not None and target is not None and Path(update).resolve() == target.resolve()
    if target is not None:
        if target.suffix.lower() != ".npz":
            raise UsageError(f"`output` {target}: vectors are written as .npz")
        if not same:
            check_output(target, force=force)
    embedder = open_embedder(model, precision, full=full)
    known = {}
    if update is not None:
        old = Collection.load(Path(update))
        if old.about != about(embedder, None):
            raise UsageError(
                f"`update` {update}: made by {old.about.get('model')} or in another way; its"
                " vectors cannot stand beside new ones"
            )
        # Without its chunks an old row could not give them.
        if not chunks or all(len(e.embedding.chunks.vectors) for e in old.entries.values()):
            known = old.by_content()
    journal = None if target is None else target.with_name(f".{target.name}.part.npz")
    left_out: list[dict[str, str]] = []

    def refuse(path: str, error: InputError) -> None:
        left_out.append({"file": path, "reason": str(error)})
        refused(path, error)

    began = time.monotonic()
    resumed = journal is not None and journal.is_file()
    collection = build(
        [Path(file) for file in files],
        embedder,
        journal=journal,
        any_program=any_program,
        transposed=transposed,
        known=known,
        refused=refuse,
        report=lambda so_far, tokens: report(len(so_far), time.monotonic() - began),
    )
    if not len(collection):
        if journal is not None:
            journal.unlink(missing_ok=True)
        raise InputError(f"{files[0]}: nothing to embed: {len(left_out)} files, none can be used")
    if target is not None and journal is not None:
        collection.save(target, force=force or same, chunks=chunks)
        journal.unlink(missing_ok=True)
    return EmbedResult(collection, target, tuple(left_out), resumed, time.monotonic() - began)


@dataclass(frozen=True, eq=False)
class IndexResult:
    """What ``index`` did.

    Attributes:
        index: where it is.
        pieces: all that it holds now.
        changes: what was added, replaced, removed and left out.
    """

    index: str
    pieces: int
    changes: Changes

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {"index": self.index, "pieces": self.pieces, **self.changes.__dict__}


def index(
    files: Paths,
    output: str,
    *,
    model: str | PathLike[str] | None = None,
    passages: float = 20.0,
    remove: Sequence[str] = (),
    prune: bool = False,
    any_program: bool = False,
    report: Counted = lambda *_: None,
) -> IndexResult:
    """Make files searchable, or bring an index up to date.

    Args:
        files: MIDI files, folders, archives or datasets to add.
        output: folder of the index, or the address of a database; see ``vectors.stores``.
        model: what embeds; an index keeps the model that it was begun with.
        passages: seconds of the passages that can be found, one every half of it; 0 for none.
        remove: pieces to take out, by path.
        prune: take out pieces whose files are gone.
        any_program: take every instrument but drums as a piano.
        report: called after every piece.

    Raises:
        InputError: the index does not exist, or a path in it does not.
        UsageError: there is nothing to do.
    """
    from arietta.vectors.embedding import Passages, default_model
    from arietta.vectors.index import Changes, Index

    if not (files or remove or prune):
        raise UsageError("nothing to do: give FILES to add, or `remove` PATH, or `prune`")
    began = time.monotonic()
    found = Index(output)
    changes = Changes()
    try:
        gone = list(remove)
        if prune:
            # What came out of an archive has no file of its own.
            gone += [p for p in found.contents() if _was_file(p) and not Path(p).is_file()]
        if gone:
            changes.removed = found.remove(dict.fromkeys(gone)).removed
        elif remove or prune:
            found.about  # noqa: B018  # an index that is not there is a mistake
        if files:
            # An index goes on with the model it was begun with.
            name = str(model or (found.about["source"] if found.exists() else default_model()))
            if Path(name).exists():
                name = str(Path(name).resolve())
            windows = Passages(passages, passages / 2) if passages else None
            done = found.update(
                [Path(file) for file in files],
                open_embedder(name),
                passages=found.passages() if found.exists() else windows,
                any_program=any_program,
                source=name,
                report=lambda pieces, tokens: report(pieces, time.monotonic() - began),
            )
            done.removed = changes.removed
            changes = done
        return IndexResult(output, len(found.contents()), changes)
    finally:
        found.close()


def _was_file(path: str) -> bool:
    from arietta.data.sources import MIDI_SUFFIXES

    return ":" not in path and path.lower().endswith(MIDI_SUFFIXES)


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What ``search`` found.

    Attributes:
        query: the file.
        by: ``piece`` or ``passage``: what was compared.
        sense: ``likeness``, or ``notes`` where the keys struck were compared.
        hits: the best first.
    """

    query: Path
    by: Kind
    sense: Sense
    hits: tuple[Hit, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        from dataclasses import asdict

        return {
            "query": str(self.query),
            "by": self.by,
            "sense": self.sense,
            "hits": [asdict(hit) for hit in self.hits],
        }


def search(
    query: str | PathLike[str],
    where: str,
    *,
    count: int = 10,
    by: Literal["piece", "passage", "notes"] | None = None,
    itself: bool = False,
) -> SearchResult:
    """Find music that is like a file.

    Args:
        query: a MIDI file.
        where: an index.
        count: how many hits.
        by: compare whole pieces, passages, or the keys struck in every transposition; passages
            for queries below ``SHORT_MS``, else pieces, by default.
        itself: list the query's own file as well.

    Raises:
        CheckpointError: the index was made by another version of its model.
        InputError: the query cannot be read, or there is no such index.
    """
    from arietta.data.sources import Item
    from arietta.vectors.collection import read_item
    from arietta.vectors.index import Index

    query = Path(query)
    piece, sha256 = read_item(Item(str(query), "", str(query), file=query))
    store = Index(where)
    try:
        made = store.about
        embedder = open_embedder(made["source"])
        if embedder.checkpoint.sha256 != made["model_sha256"]:
            raise CheckpointError(
                f"{where}: made by another version of {made['model']}; build the index again"
            )
        found = embedder.embed(piece, any_program=True, passages=store.passages())
        short = piece.end_ms - float(piece.onset_ms.min()) < SHORT_MS
        part: Kind = "passage" if short and store.passages() else "piece"
        sense: Sense = "likeness"
        if by == "notes":
            sense = "notes"
        elif by is not None:
            part = by
        hits = store.search(found, count, by=part, sense=sense, without=None if itself else sha256)
    finally:
        store.close()
    return SearchResult(query, part, sense, tuple(hits))


@dataclass(frozen=True, eq=False)
class MapResult:
    """What ``draw_map`` wrote.

    Attributes:
        collection: the pieces and their vectors.
        written: page, and picture if one was wanted.
        columns: of the metadata, by which the page can colour.
        colour: the column that it colours by at first.
        refused: files that were left out, each with its reason.
        seconds: how long it took.
    """

    collection: Collection
    written: tuple[Path, ...]
    columns: tuple[str, ...]
    colour: str | None
    refused: tuple[dict[str, str], ...]
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "written": [str(path) for path in self.written],
            "pieces": len(self.collection),
            "colour": self.colour,
            "columns": list(self.columns),
            "model": self.collection.about.get("model"),
            "refused": list(self.refused),
        }


def draw_map(
    files: Paths,
    output: str | PathLike[str] = "map.html",
    *,
    png: bool = True,
    colour: str | None = None,
    seconds: float = 30.0,
    seed: int = 0,
    model: str | PathLike[str] | None = None,
    any_program: bool = False,
    force: bool = False,
    refused: Refused = lambda *_: None,
    report: Counted = lambda *_: None,
    laying_out: Callable[[], None] = lambda: None,
) -> MapResult:
    """Lay a collection out on a plane, as a page to look at and to listen to, and as a picture.

    Args:
        files: MIDI files, folders, archives or datasets; or one ``.npz`` of ``embed``.
        output: ``.html`` to write.
        png: also write the picture beside it.
        colour: column of the metadata to colour by at first.
        seconds: how much of each piece the page plays.
        seed: of the layout.
        model: what embeds.
        any_program: take every instrument but drums as a piano.
        force: replace files that exist.
        refused: called with a file that is left out, and why.
        report: called after every piece.
        laying_out: called when the layout begins.

    Raises:
        InputError: there is no piece to draw.
        MissingExtraError: the picture needs matplotlib.
        OutputError: a file exists or cannot be written.
        UsageError: the output has another suffix, or there is no such column.
    """
    from arietta.output import check_output, whole_file
    from arietta.sound.keys import for_a_page
    from arietta.vectors.collection import Collection
    from arietta.vectors.map import columns, layout, page, picture, preferred, starts_of

    paths, page_file = [Path(file) for file in files], Path(output)
    if page_file.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"`output` {page_file}: the page is written as .html")
    if png and find_spec("matplotlib") is None:
        raise MissingExtraError("drawing", "plot")
    written = (page_file, page_file.with_suffix(".png"))[: 1 + png]
    for target in written:
        check_output(target, force=force)
    began = time.monotonic()
    left_out: list[dict[str, str]] = []

    def refuse(path: str, error: InputError) -> None:
        left_out.append({"file": path, "reason": str(error)})
        refused(path, error)

    if [path.suffix.lower() for path in paths] == [".npz"]:
        collection = Collection.load(paths[0])
        starts = starts_of(collection, _read_again, seconds)
    else:
        collection, starts = _embedded(
            paths, open_embedder(model), seconds, any_program, refuse, report
        )
    if not len(collection):
        raise InputError(f"{paths[0]}: no piece to draw")
    table = columns(list(collection.entries.values()))
    if colour is not None and colour not in table:
        raise UsageError(f"`colour` {colour!r} is not one of {', '.join(table)}")
    laying_out()
    places = layout(collection, seed)
    title = f"{paths[0].resolve().stem}: a map of its music"
    text = page(collection, places, starts, title=title, piano=for_a_page(), colour=colour)
    with whole_file(page_file, force=force) as part:
        part.write_text(text, encoding="utf-8")
    for image in written[1:]:
        with whole_file(image, force=force) as part:
            picture(part, collection, places, title=title, colour=colour)
    return MapResult(
        collection,
        written,
        tuple(table),
        preferred(table, colour),
        tuple(left_out),
        time.monotonic() - began,
    )


def _embedded(
    files: Sequence[Path],
    embedder: Embedder,
    seconds: float,
    any_program: bool,
    refused: Refused,
    report: Counted,
) -> tuple[Collection, dict[str, Any]]:
    """Embed files, and read the starts that a page plays of them."""
    from arietta.vectors.collection import Collection, build, music_items, read_item
    from arietta.vectors.map import starts_of

    began = time.monotonic()
    collection = build(
        files,
        embedder,
        any_program=any_program,
        refused=refused,
        report=lambda so_far, tokens: report(len(so_far), time.monotonic() - began),
    )
    # Read once more: the music of a big collection does not stay in memory.
    starts: dict[str, Any] = {}
    for item in _items(music_items(files) if seconds else (), collection):
        alone = Collection({}, {item.id: collection.entries[item.id]})
        starts |= starts_of(alone, lambda _, item=item: read_item(item)[0], seconds)  # type: ignore[misc]
    return collection, starts


def _items(items: Iterable[Any], collection: Collection) -> Iterable[Any]:
    return (item for item in items if item.id in collection.entries)


def _read_again(path: str) -> Piece | None:
    """Return a piece by the path that an .npz gives, if it still lies there."""
    from arietta.midi.reader import read

    try:
        return read(path)
    except InputError:
        return None
