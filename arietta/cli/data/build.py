"""``arietta data build``: folders of MIDI -> datasets."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
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
from arietta.cli.options import Group, with_groups
from arietta.data.settings import BuildSettings
from arietta.errors import UsageError

if TYPE_CHECKING:
    from arietta.data.build import BuildProgress as State
    from arietta.data.build import BuildReport


@with_groups
def build(
    sources: Annotated[
        list[Path],
        typer.Argument(
            metavar="SOURCES...",
            help="Folders, archives (.tar, .tar.zst, .tar.gz, .zip), datasets, or a folder with"
            " manifest.csv and the archives it names.",
        ),
    ],
    out: Annotated[Path, typer.Option("-o", "--out", metavar="DATASET", help="Folder to make.")],
    preset: Annotated[
        str,
        typer.Option(
            metavar="NAME",
            help="pretrain: the published filters and caps. finetune: stricter, one file a work."
            " none: whatever can be read.",
        ),
    ] = "pretrain",
    *,
    chosen: Annotated[dict[str, Any], Group(BuildSettings, first=("form", "dedup"), unset=None)],
    metadata: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="CSV or JSON about the files; the metadata.json of Aria-MIDI is understood."
            " [default: metadata.json or metadata.csv in a folder]",
        ),
    ] = None,
    filters: Annotated[
        list[str] | None,
        typer.Option(
            "--filter",
            metavar="NAME=VALUE",
            help="Change a rule: length=30:7200, max_programs=off; may be repeated.",
        ),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE", help="Leave out files with this metadata; may be repeated."
        ),
    ] = None,
    per_work: Annotated[
        int | None,
        typer.Option(metavar="N", help="Keep at most N files a work; 0: all. [default: preset]"),
    ] = None,
    splits: Annotated[
        str | None,
        typer.Option(metavar="NAME=SHARE,...", help="[default: train=0.94,valid=0.03,test=0.03]"),
    ] = None,
    engine: Annotated[
        str, typer.Option(metavar="local|ray", help="Where the work is done.")
    ] = "local",
    workers: Annotated[
        int | None,
        typer.Option(metavar="N", min=1, help="Processes of the local engine. [default: cores]"),
    ] = None,
    ray_address: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Of the Ray cluster. [default: start one here]"),
    ] = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Build a dataset; run the same command again to go on after an interruption.

    The result does not depend on the number of processes, the engine or interruptions. Every input
    file gets a row in manifest.parquet: kept or refused, the rule, and all measured values.

    \b
    Examples:
      arietta data build my-midi -o dataset --preset none
      arietta data build my-midi jazz.zip -o piano --form grid --exclude kind=score
      arietta data build my-midi -o strict --filter length=60:600 --filter max_programs=1
      arietta data build my-midi -o dataset --engine ray --ray-address auto
    """
    from arietta.api.data import build as run
    from arietta.api.data import settings_of

    settings = settings_of(
        preset,
        filters=filters or (),
        exclude=tuple(_pair("--exclude", text) for text in exclude or ()),
        per_work=per_work,
        fractions=None if splits is None else _fractions(splits),
        **chosen,
    )
    with ProgressLine(quiet=as_json) as progress:
        try:
            done = run(
                sources,
                out,
                settings=settings,
                metadata=metadata,
                engine=engine,
                workers=workers,
                ray_address=ray_address,
                force=force,
                report=_stages(progress),
            )
        except KeyboardInterrupt:
            progress.clear()
            note("what is done so far is kept; run the same command again to go on")
            raise
    if as_json:
        emit({"dataset": str(out), **asdict(done)})
    else:
        _summary(out, done)


def _summary(out: Path, done: BuildReport) -> None:
    """Print what was kept, by split, and what was refused, by rule."""
    say(f"{out}: {done.kept:,} of {done.inputs:,} files")
    splits: dict[str, list[int]] = {}
    for shard in done.shards:
        counts = splits.setdefault(shard.split, [0, 0, 0])
        for i, value in enumerate((shard.rows, shard.notes, 1)):
            counts[i] += value
    print_table(
        ("split", "pieces", "notes", "shards"),
        [(name, *(f"{value:,}" for value in counts)) for name, counts in splits.items()],
    )
    for rule, count in sorted(done.refused.items(), key=lambda item: -item[1]):
        say(f"refused by {rule}: {count:,}")


def _stages(progress: ProgressLine) -> Callable[[State], None]:
    """Return what shows a build's progress, with the speed of the stage that it is in."""
    began = time.monotonic()
    first: State | None = None

    def report(now: State) -> None:
        nonlocal began, first
        if first is None or now.stage != first.stage:
            began, first = time.monotonic(), now
        if progress.due():
            progress.show(_progress_text(now, first, time.monotonic() - began))

    return report


def _progress_text(now: State, first: State, seconds: float) -> str:
    """Return what is done, how fast since ``first``, and how long the stage will take."""
    unit = "shards" if now.stage == "writing" else "files"
    text = f"{now.stage} {now.done:,} {unit}"
    if now.share is None or first.share is None:
        return text
    text += f", {now.share:.0%}"
    gained = now.share - first.share
    if gained > 0 and seconds > 0:
        if now.done > first.done and unit == "files":
            text += f", {(now.done - first.done) / seconds:,.0f} files/s"
        text += f", {clock(seconds * (1 - now.share) / gained)} left"
    return text


def _pair(flag: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise UsageError(f"{flag} {text}: write FIELD=VALUE")
    return name, value


def _fractions(text: str) -> dict[str, float]:
    fractions = {}
    for part in text.split(","):
        name, share = _pair("--splits", part.strip())
        try:
            fractions[name] = float(share)
        except ValueError:
            raise UsageError(f"--splits {part}: {share!r} is not a number") from None
    return fractions
