"""``arietta evaluate likelihood``: how well models predict unheard music."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from arietta.cli.console import (
    ForceFlag,
    JsonFlag,
    ProgressLine,
    clock,
    emit,
    note,
    print_table,
    say,
)
from arietta.cli.options import Device, DeviceOption, Precision, PrecisionOption
from arietta.errors import InputError, UsageError

if TYPE_CHECKING:
    from arietta.evaluation.likelihood import ScoredStretches, Stretch
    from arietta.models.executors import Device
    from arietta.models.kernel.packing import Precision

NGRAM_ORDER = 5


def likelihood(
    music: Annotated[
        list[Path],
        typer.Argument(metavar="DATASET|FILES…", help="A dataset, or MIDI files and folders."),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|PATH",
            help="What to evaluate; give it once for each. All see the same notes, and the others"
            " are compared with the first. [default: small]",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Split of a dataset, or all. [default: test]"),
    ] = None,
    windows: Annotated[
        int,
        typer.Option(
            metavar="N",
            min=0,
            help="Windows to score: one a recording first, then by length; 0 for all there are.",
        ),
    ] = 1000,
    length: Annotated[
        int, typer.Option(metavar="N", help="Tokens a window, in the absolute piano vocabulary.")
    ] = 1024,
    by: Annotated[
        str,
        typer.Option(
            metavar="NAMES",
            help="Also split the figures by these, separated by commas: kind (of token), source,"
            " or what the dataset's metadata has, such as genre; none for nothing.",
        ),
    ] = "kind,source",
    ngram: Annotated[
        Path | None,
        typer.Option(
            metavar="DATASET|FOLDER",
            help="Beside the models: a Kneser-Ney 5-gram counted on this dataset's train split, or"
            " on these MIDI files.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Decides the windows.")] = 0,
    precision: PrecisionOption = Precision.int8,
    device: DeviceOption = Device.cpu,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write the figures as JSON."),
    ] = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Nats per token and bits per note of unheard music, with 95 % intervals.

    Windows of each recording are read like a prompt and every token is scored given those before
    it. Nats per token compare models of one vocabulary; bits per note compare any two. Intervals
    resample groups of recordings (the dataset's composition groups, or files). Files that cannot be
    read are named and left out.

    \b
    Examples:
      arietta evaluate likelihood my-midi/ another.mid
      arietta evaluate likelihood dataset --split valid --windows 300 --by kind,source,genre
      arietta evaluate likelihood dataset --model small --model mine --ngram dataset -o f.json
    """
    from arietta.api import DEFAULT_MODEL
    from arietta.evaluation.likelihood import (
        backend_scorer,
        compare,
        draw_stretches,
        evaluate,
    )
    from arietta.evaluation.recordings import is_dataset, recordings
    from arietta.models.aria.checkpoint import load
    from arietta.models.executors import open_backend
    from arietta.output import check_output, whole_file
    from arietta.tokenizers.open import tokenizer_named

    labels = [name.strip() for name in by.split(",") if name.strip() not in ("", "none")]
    if output is not None:
        check_output(output, force=force)
    names = list(dict.fromkeys(model or [DEFAULT_MODEL]))
    checkpoints = {name: load(name) for name in names}
    for checkpoint in checkpoints.values():
        checkpoint.require("lm", "conditioned")
        if length > checkpoint.config.max_seq_len:
            raise UsageError(
                f"--length {length} exceeds the context of {checkpoint.name}, which is"
                f" {checkpoint.config.max_seq_len}"
            )
    if split is None and is_dataset(music[0]):
        split = "test"
    wanted = None if split == "all" else split
    refused: list[dict[str, str]] = []

    def refuse(path: Path, error: InputError) -> None:
        refused.append({"file": str(path), "reason": str(error)})

    with ProgressLine(quiet=as_json) as progress:
        stretches = draw_stretches(
            _counted(recordings(music, wanted, refuse), progress), length, windows or None, seed
        )
        for one in refused if not as_json else []:
            note(f"left out: {one['reason']}")
        if not stretches:
            raise InputError(f"{music[0]}: nothing to score: no recording with piano notes")
        scored: dict[str, ScoredStretches] = {}
        vocabularies: dict[str, str] = {}
        described: dict[str, dict[str, Any]] = {}
        for name, checkpoint in checkpoints.items():
            backend = open_backend(checkpoint, device.value, precision.value)
            scored[name] = _score(
                name,
                stretches,
                tokenizer_named(checkpoint.tokenizer),
                backend_scorer(backend),
                progress,
            )
            vocabularies[name] = checkpoint.tokenizer
            described[name] = {
                "sha256": checkpoint.sha256,
                "parameters": checkpoint.config.parameter_count(),
                "precision": precision.value if device is Device.cpu else "float32",
            }
        if ngram is not None:
            name = f"{NGRAM_ORDER}-gram"
            tokenizer = tokenizer_named("piano")
            counted = _ngram(ngram, progress)
            scored[name] = _score(name, stretches, tokenizer, counted, progress)
            vocabularies[name], described[name] = "piano", {"trained_on": str(ngram)}
    figures: dict[str, Any] = {
        "music": [str(path) for path in music],
        "split": split,
        "window_tokens": length,
        "windows": len(stretches),
        "seed": seed,
        "refused": refused,
        "models": {},
    }
    first = next(iter(scored.values()))
    for name, found in scored.items():
        table = evaluate(found, by=[b for b in labels if b != "kind"])
        if "kind" not in labels:
            del table["by_kind"]
        figures["models"][name] = {"vocabulary": vocabularies[name], **described[name], **table}
        if found is not first:
            figures["models"][name]["against_first"] = compare(found, first)
    if output is not None:
        with whole_file(output, force=force) as part:
            part.write_text(json.dumps(figures, indent=2, ensure_ascii=False) + "\n", "utf-8")
    if as_json:
        emit(figures)
    else:
        _print(figures, labels)


def _counted(found: Any, progress: ProgressLine) -> Any:
    for number, recording in enumerate(found, start=1):
        yield recording
        progress.show(f"{number:,} recordings read")


def _score(
    name: str,
    stretches: Sequence[Stretch],
    tokenizer: Any,
    scorer: Any,
    progress: ProgressLine,
) -> ScoredStretches:
    from arietta.evaluation.likelihood import score_stretches

    began = time.monotonic()

    def report(done: int, total: int) -> None:
        left = (time.monotonic() - began) / done * (total - done)
        progress.show(f"{name}: {done:,} of {total:,} windows, {clock(left)} left")

    return score_stretches(stretches, tokenizer, scorer, report=report)


def _ngram(music: Path, progress: ProgressLine) -> Any:
    """Scorer of a 5-gram of the train split, or of all files."""
    import numpy as np

    from arietta.evaluation.ngram import NgramModel
    from arietta.evaluation.recordings import is_dataset, recordings
    from arietta.tokenizers.aria import AriaTokenizer

    tokenizer = AriaTokenizer("piano")
    split = "train" if is_dataset(music) else None
    rows = []
    for recording in _counted(recordings([music], split, lambda *_: None), progress):
        rows.append(tokenizer.encode_columns(*recording.notes).astype(np.uint16))
    if not rows:
        raise InputError(f"{music}: nothing to count: no recording with piano notes")
    progress.show(f"counting {NGRAM_ORDER}-grams")
    return NgramModel(np.concatenate(rows), NGRAM_ORDER, tokenizer.vocab_size).nats


def _print(figures: dict[str, Any], labels: Sequence[str]) -> None:
    models: dict[str, Any] = figures["models"]
    names = list(models)
    one = models[names[0]]
    where = f"{figures['split']} split of " if figures["split"] else ""
    say(
        f"{where}{', '.join(figures['music'])}: {one['windows']:,} windows of"
        f" {figures['window_tokens']:,} tokens, {one['notes']:,} notes, {one['groups']:,} groups"
    )
    say()
    rows = []
    for name, table in models.items():
        row = [name, _figure(table, "nats_per_token", 3), _figure(table, "bits_per_note", 2)]
        if "against_first" in table:
            row.append(_figure(table["against_first"], "bits_per_note", 3))
        rows.append(row)
    head = ["model", "nats/token", "bits/note", "more bits/note than the first"]
    print_table(head[: len(rows[-1])], [row + [""] * (len(rows[-1]) - len(row)) for row in rows])
    if len({table["vocabulary"] for table in models.values()}) > 1:
        say("Their vocabularies differ: compare bits per note, not nats per token.")
    for label in labels:
        key = f"by_{label}"
        head = ["token" if label == "kind" else label]
        for name in names:
            ours = f"{name}: " if len(names) > 1 else ""
            head += [f"{ours}nats/token", f"{ours}bits/note"]
        rows = []
        for value in dict.fromkeys(v for name in names for v in models[name][key]):
            row = [value]
            for name in names:
                table = models[name][key].get(value, {})
                row += [_figure(table, "nats_per_token", 3), _figure(table, "bits_per_note", 2)]
            rows.append(row)
        if label != "kind":
            head.append("windows")
            for row in rows:
                row.append(f"{one[key][row[0]]['windows']:,}")
        say()
        print_table(head, rows)


def _figure(table: dict[str, Any], name: str, digits: int) -> str:
    """A number with its interval, as far as there is one."""
    if table.get(name) is None:
        return "-"
    text = f"{table[name]:.{digits}f}"
    if table.get(f"{name}_95"):
        low, high = table[f"{name}_95"]
        text += f" ({low:.{digits}f}–{high:.{digits}f})"
    return text
