"""Measure how well models predict music that they were not trained on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arietta.api.evaluate.report import Evaluation, Remaining, Report, Show
from arietta.api.models import DEFAULT_MODEL
from arietta.errors import InputError, UsageError

if TYPE_CHECKING:
    from arietta.evaluation.likelihood import Recording, ScoredStretches, Stretch
    from arietta.models.executors import Device
    from arietta.models.kernel.packing import Precision
    from arietta.tokenizers.open import Tokenizer

NGRAM_ORDER = 5
NGRAMS: Mapping[str, tuple[str, bool]] = {
    "5-gram": ("piano", False),
    "5-gram by kind": ("piano", True),
    "5-gram by kind, on waits": ("relative-piano", True),
}
"""Baselines -> vocabulary, and whether they back off to tokens of the kind that comes next."""


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
    from arietta.tokenizers.open import tokenizer_named

    report = Report(output, per_piece, force=force)
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
    rows = ({"model": name, **row} for name in scored for row in piece_rows(scored[name]))
    return report.write(figures, rows, left_out)


def _counted(found: Iterable[Recording], show: Show) -> Iterator[Recording]:
    for number, recording in enumerate(found, start=1):
        yield recording
        show(f"{number:,} recordings read")


def _score(
    name: str, stretches: Sequence[Stretch], tokenizer: Any, scorer: Any, show: Show
) -> ScoredStretches:
    from arietta.evaluation.likelihood import score_stretches

    left = Remaining()
    return score_stretches(
        stretches,
        tokenizer,
        scorer,
        report=lambda done, total: show(
            f"{name}: {done:,} of {total:,} windows, {left.text(done, total)} left"
        ),
    )


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
