"""Measure models: the use cases behind ``arietta evaluate``."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arietta.api.models import CONDITIONED_MODEL, DEFAULT_MODEL, Model, load
from arietta.errors import InputError, UsageError

if TYPE_CHECKING:
    from arietta.evaluation.excerpts import Excerpt
    from arietta.evaluation.likelihood import Recording, ScoredStretches, Stretch
    from arietta.evaluation.rendering import Rendering, TestPiece
    from arietta.generation.measures import Notes
    from arietta.models.executors import Device
    from arietta.models.kernel.packing import Precision
    from arietta.tokenizers.open import Tokenizer

__all__ = [
    "Evaluation",
    "continuations",
    "few_label",
    "likelihood",
    "probe",
    "rendering",
    "retrieval",
    "steering",
]

NGRAM_ORDER = 5
NGRAMS: Mapping[str, tuple[str, bool]] = {
    "5-gram": ("piano", False),
    "5-gram by kind": ("piano", True),
    "5-gram by kind, on waits": ("relative-piano", True),
}
"""Baselines -> vocabulary, and whether they back off to tokens of the kind that comes next."""
Show = Callable[[str], None]
"""Called with a line on the progress of the work."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What an evaluation found.

    Attributes:
        figures: JSON values; each function lists them.
        refused: files that were left out, each with its reason.
    """

    figures: Mapping[str, Any]
    refused: tuple[dict[str, str], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the figures."""
        return dict(self.figures)


def _write_json(path: Path, figures: Mapping[str, Any], *, force: bool) -> None:
    from arietta.output import json_text, whole_file

    with whole_file(path, force=force) as part:
        part.write_text(json_text(figures, indent=2) + "\n", "utf-8")


# ---- likelihood --------------------------------------------------------------------------------


def likelihood(
    music: Sequence[str | PathLike[str]],
    output: str | PathLike[str] | None = None,
    *,
    models: Sequence[str | PathLike[str]] = (DEFAULT_MODEL,),
    split: str | None = None,
    windows: int = 1000,
    length: int = 1024,
    by: Sequence[str] = ("kind", "source"),
    ngram: str | PathLike[str] | None = None,
    seed: int = 0,
    precision: Precision = "int8",
    device: Device = "cpu",
    per_piece: str | PathLike[str] | None = None,
    force: bool = False,
    show: Show = lambda _: None,
    refused: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Measure how well models predict music that they were not trained on.

    Args:
        music: a dataset, or MIDI files and folders.
        output: file for the figures, as JSON.
        models: names or paths; the others are compared with the first.
        split: of a dataset, or ``all``; ``test`` by default.
        windows: how many to score; 0 for all.
        length: tokens of a window, in the absolute piano vocabulary.
        by: also split the figures by these.
        ngram: dataset or files to count 5-grams on, as baselines: over all tokens, backing off
            within the kind of token that comes next, and so on waits instead of onsets.
        seed: decides the windows.
        precision, device: of the models.
        per_piece: file for the bits of every recording, ``.parquet`` or ``.csv``.
        force: replace files that exist.
        show: called with a line of progress.
        refused: called before the scoring with the reason of each file that is left out.

    Returns:
        Figures: ``models``, each with ``nats_per_token``, ``bits_per_note`` and their intervals.

    Raises:
        CheckpointError: a model does not generate.
        InputError: there is nothing to score.
        OutputError: the file exists or cannot be written.
        UsageError: the windows are longer than a model's context.
    """
    from arietta.evaluation.intervals import check_rows, write_rows
    from arietta.evaluation.likelihood import (
        backend_scorer,
        compare,
        draw_stretches,
        evaluate,
        piece_rows,
    )
    from arietta.evaluation.recordings import is_dataset, recordings
    from arietta.models.aria.checkpoint import load as load_checkpoint
    from arietta.models.executors import open_backend
    from arietta.output import check_output
    from arietta.tokenizers.open import tokenizer_named

    target = None if output is None else check_output(output, force=force)
    rows_file = None if per_piece is None else Path(per_piece)
    check_rows(rows_file, force=force)
    paths = [Path(path) for path in music]
    checkpoints = {str(name): load_checkpoint(name) for name in models}
    for checkpoint in checkpoints.values():
        checkpoint.require("lm", "conditioned")
        if length > checkpoint.config.max_seq_len:
            raise UsageError(
                f"`length` {length} exceeds the context of {checkpoint.name}, which is"
                f" {checkpoint.config.max_seq_len}"
            )
    if split is None and is_dataset(paths[0]):
        split = "test"
    left_out: list[dict[str, str]] = []
    found = recordings(
        paths,
        None if split == "all" else split,
        lambda path, error: left_out.append({"file": str(path), "reason": str(error)}),
    )
    stretches = draw_stretches(_counted(found, show), length, windows or None, seed)
    for one in left_out:
        refused(one["reason"])
    if not stretches:
        raise InputError(f"{paths[0]}: nothing to score: no recording with piano notes")
    scored: dict[str, ScoredStretches] = {}
    described: dict[str, dict[str, Any]] = {}
    for name, checkpoint in checkpoints.items():
        scorer = backend_scorer(open_backend(checkpoint, device, precision))
        tokenizer = tokenizer_named(checkpoint.tokenizer)
        scored[name] = _score(name, stretches, tokenizer, scorer, show)
        described[name] = {
            "vocabulary": checkpoint.tokenizer,
            "sha256": checkpoint.sha256,
            "parameters": checkpoint.config.parameter_count(),
            "precision": precision if device == "cpu" else "float32",
        }
    if ngram is not None:
        for name, (vocabulary, by_kind) in NGRAMS.items():
            tokenizer = tokenizer_named(vocabulary)
            counted = _ngram(Path(ngram), tokenizer, show, by_kind=by_kind)
            scored[name] = _score(name, stretches, tokenizer, counted, show)
            described[name] = {"vocabulary": vocabulary, "trained_on": str(ngram)}
    tables: dict[str, Any] = {}
    first = next(iter(scored.values()))
    for name, result in scored.items():
        table = evaluate(result, by=[label for label in by if label != "kind"])
        if "kind" not in by:
            del table["by_kind"]
        tables[name] = {**described[name], **table}
        if result is not first:
            tables[name]["against_first"] = compare(result, first)
    figures = {
        "music": [str(path) for path in paths],
        "split": split,
        "window_tokens": length,
        "windows": len(stretches),
        "seed": seed,
        "refused": left_out,
        "models": tables,
    }
    if target is not None:
        _write_json(target, figures, force=force)
    if rows_file is not None:
        rows = [{"model": name, **row} for name in scored for row in piece_rows(scored[name])]
        write_rows(rows_file, rows, force=force)
    return Evaluation(figures, tuple(left_out))


def _counted(found: Iterable[Recording], show: Show) -> Iterator[Recording]:
    for number, recording in enumerate(found, start=1):
        yield recording
        show(f"{number:,} recordings read")


def _score(
    name: str, stretches: Sequence[Stretch], tokenizer: Any, scorer: Any, show: Show
) -> ScoredStretches:
    from arietta.evaluation.likelihood import score_stretches

    left = _Remaining()
    return score_stretches(
        stretches,
        tokenizer,
        scorer,
        report=lambda done, total: show(
            f"{name}: {done:,} of {total:,} windows, {left.text(done, total)} left"
        ),
    )


class _Remaining:
    """The time that work of equal steps will still take."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def text(self, done: int, total: int) -> str:
        """Return the time left, as 12.3 s, 3:05 min or 1:02:03 h."""
        seconds = (time.monotonic() - self._began) / max(done, 1) * (total - done)
        if seconds < 60:
            return f"{seconds:.1f} s"
        whole = round(seconds)
        if whole < 3600:
            return f"{whole // 60}:{whole % 60:02d} min"
        return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d} h"


def _ngram(music: Path, tokenizer: Tokenizer, show: Show, *, by_kind: bool) -> Any:
    """Return the scorer of a 5-gram of the train split, or of all files."""
    import numpy as np

    from arietta.evaluation.ngram import NgramModel, follows_of
    from arietta.evaluation.recordings import is_dataset, recordings

    split = "train" if is_dataset(music) else None
    rows = []
    for recording in _counted(recordings([music], split, lambda *_: None), show):
        rows.append(tokenizer.encode_columns(*recording.notes).astype(np.uint16))
    if not rows:
        raise InputError(f"{music}: nothing to count: no recording with piano notes")
    show(f"counting {NGRAM_ORDER}-grams")
    follows = follows_of(tokenizer.vocabulary) if by_kind else None
    return NgramModel(np.concatenate(rows), NGRAM_ORDER, tokenizer.vocab_size, follows).nats


# ---- probe -------------------------------------------------------------------------------------


def probe(
    benchmark: str,
    folder: str | PathLike[str] | None = None,
    output: str | PathLike[str] | None = None,
    *,
    models: Sequence[str | None] = (None,),
    splits: int = 20,
    limit: int | None = None,
    seed: int = 0,
    cache: str | PathLike[str] | None = None,
    force: bool = False,
    show: Show = lambda _: None,
    refused: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Train a linear classifier on embeddings, and test it on works that it has not seen.

    Args:
        benchmark: name of one, or a CSV of path,label and, if wanted, group,split.
        folder: where the benchmark's files are.
        output: ``.md`` or ``.json``; both are written.
        models: whose embeddings; None for the shipped one, ``none`` for the baseline alone.
        splits: random splits, five folds each.
        limit: files of each class.
        seed: deals the splits.
        cache: folder that keeps embeddings.
        force: replace files that exist.
        show: called with a line of progress.
        refused: called with the reason of each file that is left out.

    Returns:
        Figures as ``evaluation.probe.evaluate`` gives them.

    Raises:
        InputError: the benchmark's files cannot be used.
        OutputError: a file exists or cannot be written.
        UsageError: there is no such benchmark, or it needs a folder.
    """
    from arietta.api.vectors import open_embedder
    from arietta.evaluation.labels import gather_table, named
    from arietta.evaluation.probe import baseline_alone, compared, evaluate, markdown
    from arietta.evaluation.probe_vectors import baseline_vectors, limited, model_vectors
    from arietta.output import check_output, json_text, whole_file

    report = None if output is None else Path(output)
    if report is not None:
        if report.suffix.lower() not in (".md", ".json"):
            raise UsageError(f"`output` {report}: the report is written as .md and .json")
        for suffix in (".md", ".json"):
            check_output(report.with_suffix(suffix), force=force)
    known = None if benchmark.lower().endswith(".csv") else named(benchmark)
    began = time.monotonic()
    if known is None:
        examples = gather_table(Path(benchmark))
    elif folder is None:
        raise UsageError(f"{benchmark} needs a FOLDER: {known.folder}")
    else:
        examples = known.gather(Path(folder))
    examples, baseline, left_out = baseline_vectors(
        limited(examples, limit),
        lambda done, total: show(f"reading: {done:,} of {total:,} files"),
    )
    for one in left_out:
        refused(one["reason"])
    vectors = baseline_alone(baseline)
    for name in dict.fromkeys(models):
        if name != "none":
            embedder = open_embedder(name, full=True)
            left = _Remaining()

            def embedded(done: int, total: int, left: _Remaining = left) -> None:
                show(f"embedding: {done:,} of {total:,} files, {left.text(done, total)} left")

            x = model_vectors(examples, embedder, None if cache is None else Path(cache), embedded)
            vectors += compared(embedder.checkpoint.name, x, embedder.short_size, baseline)
    figures = evaluate(
        known or Path(benchmark).stem,
        examples,
        vectors,
        splits=splits,
        seed=seed,
        report=lambda what: show(f"training: {what}"),
    )
    figures = {**figures, "seed": seed, "refused": left_out}
    figures["seconds"] = round(time.monotonic() - began, 1)
    if report is not None:
        for suffix, text in (
            (".md", markdown(figures)),
            (".json", json_text(figures, indent=2) + "\n"),
        ):
            with whole_file(report.with_suffix(suffix), force=force) as part:
                part.write_text(text, encoding="utf-8")
    return Evaluation(figures, tuple(left_out))


# ---- continuations -----------------------------------------------------------------------------

PEOPLE, OTHERS, SHUFFLED = "people", "other people", "people shuffled"


def continuations(
    dataset: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    *,
    systems: Mapping[str, Mapping[str, Any]] | None = None,
    split: str = "test",
    prompts: int = 40,
    seed: int = 1,
    force: bool = False,
    show: Show = lambda _: None,
) -> Evaluation:
    """Measure continuations beside those of people: do they degenerate, keep time, key, texture?

    Args:
        dataset: folder of a dataset.
        output: file for the figures, as JSON.
        systems: name -> keywords of ``Model.generate`` and ``model``; the shipped model by
            default.
        split: that prompts are drawn from.
        prompts: how many, each from another group of compositions.
        seed: of the prompts.
        force: replace a file that exists.
        show: called with a line of progress.

    Returns:
        Figures: ``systems``, each with ``mean_overlap``, ``statistics`` and ``musicality``, as
        ``evaluation.excerpts.evaluate`` gives them: people, others (as many continuations of
        other performances), people with the times between their onsets in random order, then
        the systems, also with ``metronome``: quarters a minute -> share of the onsets of 12 takes
        within 30 ms of an eighth, behind eight bars of even quarters; all, those of the first
        4 s, and chance.

    Raises:
        CheckpointError: a model does not generate.
        InputError: the dataset has fewer prompts.
        OutputError: the file exists or cannot be written.
        UsageError: a keyword is unknown or out of range.
    """
    from arietta.evaluation.excerpts import draw_excerpts, evaluate, shuffled
    from arietta.output import check_output

    target = None if output is None else check_output(output, force=force)
    if prompts < 2:
        raise UsageError(f"`prompts` must be at least 2, not {prompts}")
    systems = {DEFAULT_MODEL: {}} if systems is None else systems
    loaded: dict[str, Model] = {}
    models: dict[str, Model] = {}
    for name, options in systems.items():
        wanted = str(options.get("model", DEFAULT_MODEL))
        if wanted not in loaded:
            loaded[wanted] = load(wanted)
            loaded[wanted].checkpoint.require("lm", "conditioned")
        models[name] = loaded[wanted]
    show("drawing prompts")
    excerpts = draw_excerpts(Path(dataset), split, prompts, seed)
    others = draw_excerpts(Path(dataset), split, prompts, seed + 1)
    found = {
        PEOPLE: evaluate([e.human for e in excerpts], excerpts),
        OTHERS: evaluate([e.human for e in others], excerpts),
        SHUFFLED: evaluate([shuffled(e.human, i) for i, e in enumerate(excerpts)], excerpts),
    }
    for name, options in systems.items():
        keywords = {key: value for key, value in options.items() if key != "model"}
        played = _continued(name, models[name], excerpts, keywords, show)
        found[name] = {
            "model": models[name].name,
            "model_sha256": models[name].checkpoint.sha256,
            **evaluate(played, excerpts),
            "metronome": _on_eighths(models[name], keywords),
        }
    figures = {
        "dataset": str(dataset),
        "split": split,
        "prompts": len(excerpts),
        "seed": seed,
        "systems": found,
    }
    if target is not None:
        _write_json(target, figures, force=force)
    return Evaluation(figures)


def _continued(
    name: str, model: Model, excerpts: Sequence[Excerpt], options: Mapping[str, Any], show: Show
) -> list[Notes]:
    """Return the notes of one continuation of every prompt."""
    from arietta.evaluation.excerpts import FOLLOW_MS
    from arietta.generation.measures import notes_of

    left = _Remaining()
    found = []
    for number, excerpt in enumerate(excerpts):
        keywords: dict[str, Any] = {**options, "seconds": FOLLOW_MS / 1000, "seed": number}
        found.append(notes_of(model.generate(excerpt.prompt, **keywords).new))
        done = number + 1
        show(
            f"{name}: {done:,} of {len(excerpts):,} prompts, {left.text(done, len(excerpts))} left"
        )
    return found


def _on_eighths(model: Model, options: Mapping[str, Any]) -> dict[str, list[float | None]]:
    """Return the shares of the metronome test, see ``continuations``."""
    from arietta.evaluation.musicality import METRONOMES, TOLERANCE_MS

    takes = 12
    found: dict[str, list[float | None]] = {}
    for test in METRONOMES:
        keywords = {**options, "seconds": 16.0, "seed": 3, "variations": takes, "of": takes}
        rows = [
            take.place_ms + take.new.onset_ms.astype(float)
            for take in model.generate_many(test.prompt(), **keywords)
        ]
        shares = []
        for first_ms in (None, 4_000.0):
            each = [test.share(onset_ms, first_ms) for onset_ms in rows]
            known = [share for share in each if share is not None]
            shares.append(sum(known) / len(known) if known else None)
        found[f"{test.bpm:g}"] = [*shares, 2 * TOLERANCE_MS / test.eighth_ms]
    return found


# ---- rendering ---------------------------------------------------------------------------------

WRITTEN, HUMANS = "score as is", "human vs human"
"""Names of the score without a player and of people among the systems of ``rendering``."""


def rendering(
    music: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    *,
    pairs: str | PathLike[str] | None = None,
    models: Sequence[str | PathLike[str]] = ("rules", "performer"),
    renderings: Mapping[str, str | PathLike[str]] | None = None,
    variations: int = 1,
    seed: int = 0,
    force: bool = False,
    show: Show = lambda _: None,
) -> Evaluation:
    """Measure how close performances of scores come to those of people.

    Args:
        music: pairs of scores and takes, or a folder with ``score/P.mid`` and ``human/P-K.mid``.
        output: file for the figures, as JSON.
        pairs: for a folder: where its takes are aligned.
        models: who plays: ``rules``, or names or paths of rendering models.
        renderings: finished renderings ``P.mid`` of others: a folder for each name.
        variations: renderings of each score by each model.
        seed: decides the renderings.
        force: replace a file that exists.
        show: called with a line of progress.

    Returns:
        Figures: ``systems``, each as ``evaluation.rendering.evaluate`` describes it; takes that
        are left out as ``refused``.

    Raises:
        CheckpointError: there is no such model, or it renders nothing.
        InputError: there is nothing to compare, or a file cannot be read.
        OutputError: the file exists or cannot be written.
    """
    from arietta.evaluation.rendering import evaluate, evaluate_humans
    from arietta.evaluation.testsets import load_test_set
    from arietta.output import check_output

    target = None if output is None else check_output(output, force=force)
    left_out: list[dict[str, str]] = []
    show("reading the test set")
    pieces = load_test_set(
        Path(music),
        None if pairs is None else Path(pairs),
        lambda name, reason: left_out.append({"take": name, "reason": reason}),
    )
    if not any(piece.takes for piece in pieces):
        reason = f"; {left_out[0]['take']}: {left_out[0]['reason']}" if left_out else ""
        raise InputError(f"{music}: no human takes to compare with{reason}")
    systems: dict[str, Any] = {
        WRITTEN: evaluate(pieces, {piece.name: [piece.as_written()] for piece in pieces})
    }
    for model in models:
        rendered = _rendered(model, pieces, variations, seed, show)
        systems[str(model)] = evaluate(pieces, rendered)
    for name, folder in (renderings or {}).items():
        show(f"reading {name}")
        systems[name] = evaluate(pieces, _finished(pieces, Path(folder)))
    show("comparing the humans")
    systems[HUMANS] = evaluate_humans(pieces)
    figures = {
        "music": str(music),
        "pieces": len(pieces),
        "takes": sum(len(piece.takes) for piece in pieces),
        "distinct_takes": sum(len(piece.distinct()) for piece in pieces),
        "variations": variations,
        "seed": seed,
        "systems": systems,
    }
    if target is not None:
        _write_json(target, figures, force=force)
    return Evaluation(figures, tuple(left_out))


def _rendered(
    model: str | PathLike[str], pieces: Sequence[TestPiece], variations: int, seed: int, show: Show
) -> dict[str, list[Rendering]]:
    """Return the renderings of every score by a model."""
    from arietta.evaluation.testsets import rendering_of
    from arietta.rendering.render import open_player, render
    from arietta.rendering.settings import BlockSettings

    player = open_player(model, BlockSettings(seed=seed))
    rendered: dict[str, list[Rendering]] = {}
    for done, piece in enumerate(pieces, start=1):
        takes = render(piece.score, player, variations=range(variations))
        rendered[piece.name] = [rendering_of(piece.score, take.performed) for take in takes]
        show(f"{model}: {done:,} of {len(pieces):,} scores")
    return rendered


def _finished(pieces: Sequence[TestPiece], folder: Path) -> dict[str, list[Rendering]]:
    """Return the renderings that lie in a folder.

    Raises:
        InputError: none lies there.
    """
    from arietta.evaluation.testsets import rendering_file

    files = {piece.name: folder / f"{piece.name}.mid" for piece in pieces}
    found = {
        piece.name: [rendering_file(piece.score, files[piece.name])]
        for piece in pieces
        if files[piece.name].is_file()
    }
    if not found:
        raise InputError(f"{folder}: none of {len(pieces)} renderings is there")
    return found


# ---- retrieval ---------------------------------------------------------------------------------


def retrieval(
    music: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    *,
    models: Sequence[str | PathLike[str] | None] = (None,),
    split: str | None = None,
    performances: int = 1,
    scores: int | None = None,
    seed: int = 0,
    per_piece: str | PathLike[str] | None = None,
    force: bool = False,
    show: Show = lambda _: None,
    refused: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Measure whether search finds the performances of a score, also from 20 s or in another key.

    Args:
        music: one folder for each work with ``score.mid`` and performances, or a corpus; see
            ``evaluation.retrieval.works_of``.
        output: file for the figures, as JSON.
        models: whose embeddings; None for the shipped one. The others are compared with the first.
        split: of a corpus; all by default.
        performances: of each work in the gallery.
        scores: at most so many queries.
        seed: draws excerpts and keys.
        per_piece: file for the rank of every query, ``.parquet`` or ``.csv``.
        force: replace files that exist.
        show: called with a line of progress.
        refused: called with the reason of each file that is left out.

    Returns:
        Figures: ``by``, for each system (two baselines first) and each of four tasks
        ``recall_at_1``, ``recall_at_10`` (shares of the queries), their intervals and the
        ``median_rank``.

    Raises:
        CheckpointError: a model does not embed.
        InputError: there is nothing to find.
        OutputError: a file exists or cannot be written.
    """
    from arietta.api.vectors import open_embedder
    from arietta.evaluation.intervals import check_rows, write_rows
    from arietta.evaluation.retrieval import (
        ANY_KEY,
        HISTOGRAM,
        figures,
        queries_of,
        ranks_of,
        works_of,
    )
    from arietta.output import check_output

    target = None if output is None else check_output(output, force=force)
    rows_file = None if per_piece is None else Path(per_piece)
    check_rows(rows_file, force=force)
    embedders = {}
    for name in dict.fromkeys(models):
        opened = open_embedder(name)
        embedders[opened.checkpoint.name if name is None else str(name)] = opened
    left_out: list[dict[str, str]] = []

    def refuse(name: str, reason: str) -> None:
        left_out.append({"file": name, "reason": reason})
        refused(reason)

    show("reading scores and performances")
    works = works_of(
        Path(music), split=split, performances=performances, scores=scores, refuse=refuse
    )
    queries = queries_of(works.scores, seed)
    tables: dict[str, Any] = {}
    rows: list[dict[str, Any]] = []
    first: dict[str, Any] = {}
    for name in (HISTOGRAM, ANY_KEY, *embedders):
        show(f"searching by {name}")
        found = ranks_of(works, queries, name, embedders.get(name))
        if name in embedders and not first:
            first = found
        differ = first if name in embedders and found is not first else {}
        tables[name] = {task: figures(rank, differ.get(task)) for task, rank in found.items()}
        for task, rank in found.items():
            rows += [
                {"system": name, "task": task, "piece": work, "rank": place}
                for work, place in zip(works.names, rank.tolist(), strict=True)
            ]
    described = {
        "music": str(music),
        "split": split,
        "queries": len(works.names),
        "gallery": len(works.gallery),
        "seed": seed,
        "models": {name: one.checkpoint.sha256 for name, one in embedders.items()},
        "by": tables,
        "refused": left_out,
    }
    if target is not None:
        _write_json(target, described, force=force)
    if rows_file is not None:
        write_rows(rows_file, rows, force=force)
    return Evaluation(described, tuple(left_out))


# ---- steering ----------------------------------------------------------------------------------


def steering(
    dataset: str | PathLike[str],
    output: str | PathLike[str] | None = None,
    *,
    model: str | PathLike[str] = CONDITIONED_MODEL,
    plain: str | PathLike[str] = DEFAULT_MODEL,
    pairs: int = 48,
    strengths: Sequence[float] = (1, 1.5, 2.5, 4),
    split: str = "test",
    seed: int = 5,
    per_piece: str | PathLike[str] | None = None,
    force: bool = False,
    show: Show = lambda _: None,
) -> Evaluation:
    """Measure whether continuations come to resemble an example, and how far.

    Args:
        dataset: folder of a dataset.
        output: file for the figures, as JSON.
        model: a conditioned model.
        plain: a model that judges whether it is still music.
        pairs: prompts and references, each of another group of compositions.
        strengths: of guidance; 0, to compare with, is always among them.
        split: that prompts and references are drawn from.
        seed: of the draw.
        per_piece: file for the figures of every continuation, ``.parquet`` or ``.csv``.
        force: replace files that exist.
        show: called with a line of progress.

    Returns:
        Figures: ``passage_of_the_reference``, and ``strengths``, each as
        ``evaluation.steering.figures`` gives them.

    Raises:
        CheckpointError: the model is not conditioned.
        InputError: the dataset has fewer pairs.
        OutputError: a file exists or cannot be written.
        UsageError: fewer than two pairs.
    """
    from arietta.evaluation import steering as measure
    from arietta.evaluation.excerpts import draw_excerpts
    from arietta.evaluation.intervals import check_rows, interval, write_rows
    from arietta.output import check_output

    target = None if output is None else check_output(output, force=force)
    rows_file = None if per_piece is None else Path(per_piece)
    check_rows(rows_file, force=force)
    if pairs < 2:
        raise UsageError(f"`pairs` must be at least 2, not {pairs}")
    steered, judge = load(model), load(plain)
    embedder = steered.likeness
    show("drawing prompts and references")
    excerpts = draw_excerpts(Path(dataset), split, pairs, seed)
    references = measure.draw_references(Path(dataset), split, pairs, seed + 1)
    goals = [embedder.embed(piece).vector for piece in references]
    aim, near, start = (
        measure.columns(found)
        for found in (
            [measure.description(piece) for piece in references],
            measure.passages(references),
            [measure.description(excerpt.prompt) for excerpt in excerpts],
        )
    )
    described: dict[str, Any] = {
        "dataset": str(dataset),
        "model": steered.name,
        "model_sha256": steered.checkpoint.sha256,
        "plain": judge.name,
        "plain_sha256": judge.checkpoint.sha256,
        "split": split,
        "pairs": len(excerpts),
        "seed": seed,
        "passage_of_the_reference": {
            f"{name}_distance": interval(abs(near[name] - aim[name])) for name in measure.STATISTICS
        },
        "strengths": {},
    }
    found: dict[float, dict[str, Any]] = {}
    rows: list[dict[str, Any]] = []
    for strength in sorted({0.0, *map(float, strengths)}):
        columns = _steered(steered, judge, excerpts, goals, strength, show)
        found[strength] = columns
        described["strengths"][f"{strength:g}"] = measure.figures(columns, found[0.0], aim, start)
        rows += [
            {
                "strength": strength,
                "pair": i,
                **{name: float(values[i]) for name, values in columns.items()},
                **{f"{name}_wanted": float(values[i]) for name, values in aim.items()},
            }
            for i in range(len(excerpts))
        ]
    if target is not None:
        _write_json(target, described, force=force)
    if rows_file is not None:
        write_rows(rows_file, rows, force=force)
    return Evaluation(described)


def _steered(
    model: Model,
    judge: Model,
    excerpts: Sequence[Excerpt],
    goals: Sequence[Any],
    strength: float,
    show: Show,
) -> dict[str, Any]:
    """Continue every prompt towards its goal; measures and statistics (n,), NaN where silent."""
    import numpy as np

    from arietta.evaluation import steering as measure
    from arietta.evaluation.excerpts import FOLLOW_MS

    embedder = model.likeness
    # A full vector begins with the short one; distances use the short one.
    short = slice(embedder.checkpoint.config.embedding_size)
    centre = np.mean(goals, axis=0)[short]
    found = {
        name: np.full(len(excerpts), np.nan) for name in (*measure.MEASURES, *measure.STATISTICS)
    }
    left = _Remaining()
    for i, excerpt in enumerate(excerpts):
        out = model.generate(
            excerpt.prompt,
            seconds=FOLLOW_MS / 1000,
            seed=i,
            guidance_vector=goals[i],
            guidance=strength,
        )
        show(
            f"strength {strength:g}: {i + 1:,} of {len(excerpts):,} pairs,"
            f" {left.text(i + 1, len(excerpts))} left"
        )
        if not len(out.new):
            continue
        vector = embedder.embed(out.new).vector[short] - centre
        found["cosine"][i] = measure.cosine(vector, goals[i][short] - centre)
        other = goals[(i + 1) % len(goals)][short] - centre
        found["cosine_other"][i] = measure.cosine(vector, other)
        bits = -judge.logprobs(out.piece).per_note / np.log(2)
        found["bits_per_note"][i] = bits[-len(out.new) :].mean()
        got = measure.description(out.new, FOLLOW_MS)
        for name in measure.STATISTICS:
            found[name][i] = getattr(got, name)
    return found


# ---- few labels --------------------------------------------------------------------------------


def few_label(
    benchmark: str,
    folder: str | PathLike[str] | None = None,
    output: str | PathLike[str] | None = None,
    *,
    sizes: Sequence[int | None] = (25, 50, 100, 200, None),
    in_total: bool = False,
    draws: int = 1,
    model: str | PathLike[str] | None = None,
    finetune: str | PathLike[str] | None = None,
    init: str | None = None,
    epochs: float | None = None,
    most_tokens: float | None = None,
    changes: Sequence[str] = (),
    cpu: bool = False,
    cache: str | PathLike[str] | None = None,
    limit: int | None = None,
    per_piece: str | PathLike[str] | None = None,
    force: bool = False,
    show: Show = lambda _: None,
    refused: Callable[[str], None] = lambda _: None,
) -> Evaluation:
    """Measure how many labelled pieces a classifier needs: a baseline, probes, and finetuning.

    Args:
        benchmark: name of one of ``probe``, or a CSV of path,label and, if wanted, group.
        folder: where the benchmark's files are.
        output: file for the figures, as JSON.
        sizes: numbers of labelled pieces of each class; None for all there are.
        in_total: count the pieces of all classes together.
        draws: choices of pieces for each size.
        model: whose embeddings are probed; the shipped one by default.
        finetune: folder of the finetunings, which need torch; None for none of them.
        init: model to finetune; the shipped embedding model by default.
        epochs, most_tokens: of a finetuning; the recipe's and no limit by default.
        changes: of the recipe ``classify-folder``, ``key=value`` each.
        cpu: finetune on the processor.
        cache: folder that keeps embeddings.
        limit: use only so many files of each class at all.
        per_piece: file for the prediction of every test piece, ``.parquet`` or ``.csv``.
        force: replace files that exist.
        show: called with a line of progress.
        refused: called with the reason of each file that is left out.

    Returns:
        Figures as ``api.few_label.compare`` gives them: ``rows``, one for each size and system,
        with ``accuracy``, ``macro_f1`` and their intervals.

    Raises:
        InputError: the files cannot be used.
        MissingExtraError: scikit-learn is not installed, or torch, to finetune.
        OutputError: a file exists or cannot be written.
        UsageError: there is no such benchmark, or it needs a folder.
    """
    from arietta.api.few_label import Finetuning, compare
    from arietta.api.vectors import open_embedder
    from arietta.evaluation.intervals import check_rows, write_rows
    from arietta.evaluation.labels import gather_table, named
    from arietta.evaluation.probe_vectors import baseline_vectors, limited, model_vectors
    from arietta.output import check_output
    from arietta.vectors.embedding import default_model

    target = None if output is None else check_output(output, force=force)
    rows_file = None if per_piece is None else Path(per_piece)
    check_rows(rows_file, force=force)
    if any(size is not None and size < 1 for size in sizes):
        raise UsageError("`sizes` are numbers of pieces from 1 on")
    if benchmark.lower().endswith(".csv"):
        examples = gather_table(Path(benchmark))
    elif folder is None:
        raise UsageError(f"{benchmark} needs a FOLDER: {named(benchmark).folder}")
    else:
        examples = named(benchmark).gather(Path(folder))
    examples, baseline, left_out = baseline_vectors(
        limited(examples, limit),
        lambda done, total: show(f"reading: {done:,} of {total:,} files"),
    )
    for one in left_out:
        refused(one["reason"])
    embedder, left = open_embedder(model, full=True), _Remaining()
    full = model_vectors(
        examples,
        embedder,
        None if cache is None else Path(cache),
        lambda done, total: show(
            f"embedding: {done:,} of {total:,} files, {left.text(done, total)} left"
        ),
    )
    start = init or default_model()

    def tuned(*about: Any) -> Finetuning:
        assert finetune is not None
        return Finetuning(
            Path(finetune),
            *about,
            init=start,
            epochs=epochs,
            most_tokens=most_tokens,
            changes=changes,
            cpu=cpu,
        )

    def done(row: Mapping[str, Any]) -> None:
        show(f"{row['n']} labelled: {row['system']} {100 * row['accuracy']['mean']:.1f} %")

    found, single = compare(
        examples,
        {"floor": baseline, "embedding": full[:, : embedder.short_size], "full embedding": full},
        sizes,
        draws=draws,
        in_total=in_total,
        finetuning=None if finetune is None else tuned,
        found_row=done,
    )
    figures = {
        "benchmark": Path(benchmark).stem,
        "model": embedder.checkpoint.name,
        "model_sha256": embedder.checkpoint.sha256,
        "init": None if finetune is None else start,
        "epochs": epochs,
        "most_tokens": most_tokens,
        "changes": list(changes),
        "refused": len(left_out),
        **found,
    }
    if target is not None:
        _write_json(target, figures, force=force)
    if rows_file is not None:
        write_rows(rows_file, single, force=force)
    return Evaluation(figures, tuple(left_out))
