"""The tables of measured figures, from the filed results."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[2] / "benchmarks" / "results"
MARKS = {
    "speed": ("<!-- speed, from benchmarks/results -->", "<!-- /speed -->"),
    "models": ("<!-- models, from benchmarks/results -->", "<!-- /models -->"),
}


@cache
def _figures(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))["figures"]


def figure(name: str, *keys: str | int) -> Any:
    """Return one figure of a filed result, by the keys that lead to it."""
    found = _figures(name)
    for key in keys:
        found = found[key]
    return found


def with_tables(page: str) -> str:
    """Return the page with the present figures between its marks."""
    for name, (begin, end) in MARKS.items():
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        lines = speed() if name == "speed" else models()
        page = f"{before}{begin}\n" + "\n".join(lines) + f"\n{end}{after}"
    return page


def speed() -> list[str]:
    """Return the table of speeds."""
    readers = figure("read_speed", "readers")
    tokens = figure("tokenize_speed")
    start, medium = figure("startup"), figure("decode_speed_medium", "native int8")
    duet = figure("duet_real_time")
    faults = figure("duet", "sessions")
    score = figure("render_speed_pianist-135m")
    build = figure("dataset_build", "passes")
    big = build["16x exact"]
    row = figure("loader_speed_grid", "rows", 0)
    serving = figure("serving_small", "median_of_runs")
    embed = figure("embed_speed_big")
    plain = f"{tokens['bytes_to_ids_plain_python_notes_per_s'] / 1e6:.1f} M without a compiler"
    bad = sum(faults[f"faults_{kind}"] for kind in ("hanging", "dropped", "past"))
    return _table(
        ("", "Arietta", "beside it, same run"),
        (
            "read a MIDI file, files/s on one core",
            f"{readers['arietta, C twin']['files_per_s']:,.0f}"
            f" ({readers['arietta, pure Python']['files_per_s']:,.0f} without a compiler)",
            f"symusic {readers['symusic']['files_per_s']:,.0f},"
            f" mido {readers['mido']['files_per_s']:,.0f}",
        ),
        (
            "file bytes to token ids, notes/s on one core",
            f"{tokens['bytes_to_ids_compiled_notes_per_s'] / 1e6:.1f} M ({plain})",
            f"MidiTok TSD {tokens['miditok_tsd_bytes_to_ids_notes_per_s'] / 1e3:.0f} k",
        ),
        (
            "first note of the shipped model after the process starts",
            f"{start['first_note_first_run_seconds']['median']:.1f} s",
            "",
        ),
        (
            "the shipped model against the clock",
            f"{start['real_time_factor_30_s']['median']:.0f} × real time",
            "",
        ),
        (
            "the duet: from the end of a pause to the plan of its answer, 95 of 100, ms",
            f"{duet['pause']['handover_to_plan_ms_p95']:.1f}",
            "",
        ),
        (
            "the same at a takeover that finds no answer ready, median and 95 of 100, ms",
            f"{duet['takeover']['handover_to_plan_ms_median']:.0f}"
            f" and {duet['takeover']['handover_to_plan_ms_p95']:.0f}",
            "",
        ),
        (
            "from a key of yours to the last release of its answer, 95 of 100, ms",
            f"{duet['pause']['yield_ms_p95']:.1f}",
            "",
        ),
        (
            f"hanging, dropped or past notes in {faults['sessions']:,} scripted duets",
            f"{bad}",
            "",
        ),
        (
            "the public 650 M architecture, int8, tokens/s",
            f"{medium['decode_tokens_per_s']:.0f}, 8 variations {medium['batch_tokens_per_s']:.0f}",
            f"the memory allows {medium['roofline_tokens_per_s']:.0f}",
        ),
        (
            "a score of 3,000 notes by the public 135 M rendering architecture, int8, notes/s",
            f"{score['scores']['3000']['notes_per_s']:.0f}",
            f"the public code {score['published_code_notes_per_s']:.1f}",
        ),
        (
            f"a file of {embed['notes']} notes as a vector, public 632 M architecture, int8,"
            " seconds",
            f"{embed['int8']['seconds']:.1f}",
            f"torch in bf16 {embed['torch bf16']['seconds']:.1f}",
        ),
        (
            "files to a filtered dataset without duplicates, files/s on both cores",
            f"{build['1x exact']['files_per_s']:.0f}; at {big['files']:,} files"
            f" {big['driver_mib']:.0f} MiB and {big['worker_mib']:.0f} MiB a worker",
            "",
        ),
        (
            "training rows from a dataset, augmentation on, tokens/s on one core",
            f"{row['million_tokens_per_s']:.1f} M",
            "",
        ),
        (
            f"{serving['listeners']} listeners of the HTTP server at once: tokens a second each;"
            " 95 of 100 first notes, seconds",
            f"{serving['tokens_per_second_each']:.1f}; {serving['first_note_seconds']['p95']:.2f}",
            "real time is 28",
        ),
    )


def models() -> list[str]:
    """Return the table of what the shipped models do."""
    test = figure("likelihood_test", "test")
    pairs, steered = figure("steering", "pairs"), figure("steering", "strengths", "2.5")
    pianists = {
        row["vectors"]: row["accuracy"]["mean"]
        for row in reversed(figure("probe_pijama30", "pijama30", "rows"))
        if row["probe"] == "logistic"
    }
    floor = next(value for name, value in pianists.items() if name.startswith("floor"))
    composers = figure("classifier_composer_name", "systems")
    played = figure("rendering_quality_sizes", "systems")
    rows = {
        "small": f"{test['small int8 native']['nats_per_token']:.2f} nats a token on unheard"
        f" pieces, a 5-gram {test['5-gram']['nats_per_token']:.2f}",
        "small-conditioned": f"{round(steered['nearer_share'] * pairs)} of {pairs} continuations"
        " came nearer to their reference",
        "small-embedding": "thirty jazz pianists told apart at"
        f" {100 * pianists['small-embedding, full']:.0f} % by full vectors, histograms"
        f" {100 * floor:.0f} %",
        "small-composers": f"{_accuracy(composers['head'])} of recordings of works it has not"
        f" learned from, fourteen composers; histograms {_accuracy(composers['floor'])}",
        "performer": f"agreement with people {_aligned(played['performer'])} in velocity, tempo and"
        f" touch; the published system {_aligned(played['published'])}",
    }
    cells = ((f"`{name}`", text, f"[card](models/{name}.md)") for name, text in rows.items())
    return _table(("model", "measured", "where"), *cells)


def _accuracy(system: Any) -> str:
    return f"{100 * system['accuracy']['mean']:.0f} %"


def _aligned(system: Any) -> str:
    names = ("velocity", "tempo", "articulation")
    return " / ".join(f"{system['aligned'][name]:.2f}".removeprefix("0") for name in names)


def _table(head: tuple[str, ...], *rows: tuple[str, ...]) -> list[str]:
    lines = [head, ("---",) * len(head), *rows]
    return ["| " + " | ".join(cells) + " |" for cells in lines]
