"""Does finetuning on the recordings of one artist improve the included model for that artist?

    python -m benchmarks.finetune_folder CORPUS [--artists "Dick Hyman" "Art Tatum"] [--known N]

``arietta train finetune-folder`` runs on a folder of the recordings of an artist. Recordings of
other compositions, outside all training data, are scored before and after, by the model tuned on
this artist and by the models tuned on the other artists.

By default the folder holds about 60 % of the recordings outside the train split of the corpus, and
the other 40 % are held out. With ``--known N`` it holds N recordings of the train split, which the
included model was trained on among thousands of others, and all recordings outside are held out.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import tarfile
import tempfile
import time
from pathlib import Path
from typing import Any

import zstandard

from arietta.api import train
from arietta.evaluation.likelihood import (
    ScoredStretches,
    Stretch,
    backend_scorer,
    compare,
    draw_stretches,
    evaluate,
    score_stretches,
)
from arietta.evaluation.recordings import recordings_of_files
from arietta.models.aria.checkpoint import load
from arietta.models.executors import cpu_backend
from arietta.tokenizers.open import tokenizer_named
from benchmarks.common import file_result

HELD_OUT_SHARE = 0.4


def recordings_of(
    corpus: Path, artists: list[str], *, train: bool, most: int | None = None
) -> dict[str, dict[str, tuple[str, bytes]]]:
    """Read recordings inside or outside the train split.

    Return artist -> path -> (composition, MIDI bytes).
    """
    with (corpus / "manifest.csv").open(encoding="utf8", newline="") as file:
        rows = [
            r
            for r in csv.DictReader(file)
            if r["performer"] in artists and (r["split"] == "train") == train and not r["dup_of"]
        ]
    rows.sort(key=lambda r: r["sha256"])
    rows = [r for a in artists for r in [r for r in rows if r["performer"] == a][:most]]
    found: dict[str, dict[str, tuple[str, bytes]]] = {artist: {} for artist in artists}
    for shard in sorted({r["shard"] for r in rows}):
        wanted = {r["path"]: r for r in rows if r["shard"] == shard}
        with (corpus / shard).open("rb") as raw:
            stream = zstandard.ZstdDecompressor(max_window_size=1 << 28).stream_reader(raw)
            with tarfile.open(fileobj=io.BufferedReader(stream), mode="r|") as tar:
                for member in tar:
                    row = wanted.get(member.name)
                    content = tar.extractfile(member) if row else None
                    if row and content:
                        found[row["performer"]][row["path"]] = (row["piece_id"], content.read())
    return found


def part(
    pieces: dict[str, tuple[str, bytes]], known: dict[str, tuple[str, bytes]], folder: Path
) -> tuple[Path, Path, int]:
    """Write the recordings to ``heard`` and ``held-out``; a composition lies in one of them."""
    order = sorted(
        {group for group, _ in pieces.values()}, key=lambda g: hashlib.sha256(g.encode()).digest()
    )
    out = set(order if known else order[: round(len(order) * HELD_OUT_SHARE)])
    known = {name: row for name, row in known.items() if row[0] not in out}
    for name, (group, data) in {**pieces, **known}.items():
        place = folder / ("held-out" if group in out else "heard")
        place.mkdir(parents=True, exist_ok=True)
        (place / name.replace("/", "_")).write_bytes(data)
    return folder / "heard", folder / "held-out", len(out)


def scored(model: str, stretches: list[Stretch]) -> ScoredStretches:
    """Score stretches by a model in int8, its default precision."""
    checkpoint = load(model)
    backend = cpu_backend(checkpoint, "int8")
    return score_stretches(
        stretches, tokenizer_named(checkpoint.tokenizer), backend_scorer(backend)
    )


def main() -> None:
    """Measure, print, file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--artists", nargs="+", default=["Dick Hyman", "Art Tatum"])
    parser.add_argument("--known", type=int, metavar="N")
    parser.add_argument("--model", default="small")
    parser.add_argument("--set", nargs="*", default=[], help="changes of the recipe")
    arguments = parser.parse_args()
    figures: dict[str, Any] = {"model": arguments.model, "changes": arguments.set}
    corpus, artists = arguments.corpus, arguments.artists
    pieces = recordings_of(corpus, artists, train=False)
    known: dict[str, dict[str, tuple[str, bytes]]] = {artist: {} for artist in artists}
    if arguments.known:
        known = recordings_of(corpus, artists, train=True, most=arguments.known)
    with tempfile.TemporaryDirectory() as place:
        tuned: dict[str, str] = {arguments.model: arguments.model}
        held: dict[str, list[Stretch]] = {}
        for artist in arguments.artists:
            folder = Path(place) / artist.replace(" ", "-")
            train_folder, out, groups = part(pieces[artist], known[artist], folder)
            held[artist] = draw_stretches(
                recordings_of_files([out], lambda path, error: print(path, error)), 1024, 60
            )
            began = time.monotonic()
            changes = [f"init={arguments.model}", *arguments.set]
            train("finetune-folder", train_folder, folder / "run", changes=changes, say=print)
            tuned[f"tuned on {artist}"] = str(folder / "run" / "model")
            figures[artist] = {
                "recordings_heard": len(list(train_folder.iterdir())),
                "recordings_held_out": len(list(out.iterdir())),
                "compositions_held_out": groups,
                "training_s": round(time.monotonic() - began),
            }
        for artist, stretches in held.items():
            before = scored(arguments.model, stretches)
            for name, model in tuned.items():
                found = before if model == arguments.model else scored(model, stretches)
                figures[artist][name] = evaluate(found)
                if found is not before:
                    figures[artist][name]["change"] = compare(found, before)
                print(artist, "|", name, figures[artist][name], flush=True)
    file_result("finetune_folder_known" if arguments.known else "finetune_folder", figures)


if __name__ == "__main__":
    main()
