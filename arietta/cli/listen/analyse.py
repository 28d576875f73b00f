"""``arietta listen analyse``: answers of listeners -> preferences, and how far to trust them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from arietta.cli.console import ForceFlag, JsonFlag, emit, note, print_pairs, print_table, say


def analyse(
    answers: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="JSON or CSV files that listeners saved."),
    ],
    key: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="The test's key, or its folder. [default: key.json in FOLDER or above it]",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("-o", "--output", metavar="FILE", help="Write the figures as .json or .csv."),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            help="Leave doubtful listeners out: the headphone check failed, the floor liked as much"
            " as the human, a difference heard in every identical pair."
        ),
    ] = False,
    draws: Annotated[int, typer.Option(metavar="N", help="Of listeners, for intervals.")] = 1000,
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of the draws.")] = 0,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Analyse the answers to a listening test.

    Wins, ties and losses of every two systems; the exact two-sided test without ties, with Holm's
    correction; Wilson's interval, and one that draws whole listeners; strengths of Bradley and
    Terry; repeats, identical pairs, sides, and how far listeners agree. Needs the extra
    arietta[listen].

    \b
    Example:
      arietta listen analyse answers --key test/key.json -o results.json
    """
    from arietta.api.listening import analyse as run

    done = run(answers, output, key=key, draws=draws, seed=seed, strict=strict, force=force)
    if as_json:
        emit(done.to_dict())
        return
    for one in done.refused:
        note(f"left out: {one['reason']}")
    for doubt in done.analysis.doubtful:
        out = "left out" if strict else "counted, though doubtful"
        note(f"listener {doubt['listener']} is {out}: {doubt['reason']}")
    _print(done.analysis)


def _print(found: Any) -> None:
    say(f"{found.listeners} listeners, {found.judgements} judgements")
    say()
    rows = [
        [
            f"{one.system} – {one.other}",
            f"{one.wins}–{one.ties}–{one.losses}",
            _share(one.share),
            _span(one.low, one.high),
            _span(one.low_listeners, one.high_listeners),
            _p(one.p_value),
            _p(one.p_holm),
        ]
        for one in found.comparisons
    ]
    head = ["", "wins–ties–losses", "share", "95 %", "over listeners", "p", "Holm"]
    print_table(head, rows)
    if found.strengths:
        say()
        rows = [
            [
                one.system,
                f"{one.strength:+.2f}",
                "-" if one.low is None else f"{one.low:+.2f} to {one.high:+.2f}",
                f"{one.share_against_human:.0%}",
            ]
            for one in found.strengths
        ]
        print_table(["", "strength", "95 %", "against human"], rows)
    say()
    who = found.reliability
    print_pairs(
        [
            ("repeats", f"{who.repeats_same} of {who.repeats} answered the same way"),
            ("identical pairs", f"{who.identical_same} of {who.identical} heard as no different"),
            ("human against floor", f"{who.anchors_right} of {who.anchors} won by the human"),
            ("sides", f"A {who.left}, B {who.right}, p {_p(who.p_side)}"),
            ("agreement", "-" if who.agreement is None else f"Fleiss' kappa {who.agreement:.2f}"),
            ("headphones", f"{who.headphones_passed} passed, {who.headphones_failed} failed"),
        ]
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _span(low: float | None, high: float | None) -> str:
    return "-" if low is None or high is None else f"{low:.0%} to {high:.0%}"


def _p(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1e}" if value < 0.001 else f"{value:.3f}"
