"""Corpus -> token files: ``python -m arietta.training.prepare CORPUS -o OUT``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

from arietta.data.corpus import CorpusRow, read_corpus
from arietta.data.tokens import TokenPieces
from arietta.errors import AriettaError
from arietta.midi.notes import Piece
from arietta.midi.reader import read_bytes
from arietta.tokenizers.aria import AriaTokenizer
from arietta.tokenizers.vocabulary import COMPOSERS


def described(piece: Piece, row: CorpusRow) -> Piece:
    """The piece with the composer and genre that the manifest gives."""
    last = row.composer.split()[-1].lower() if row.composer.split() else ""
    tags: dict[str, str] = {}
    # Only Johann Sebastian is meant by the vocabulary's "bach".
    if last in COMPOSERS and (last != "bach" or row.composer.startswith("Johann Sebastian")):
        tags["composer"] = last
    if row.style in ("jazz", "classical"):
        tags["genre"] = row.style
    return piece.with_metadata(**tags)


def tokenise_split(root: Path, split: str, tokenizer: AriaTokenizer) -> TokenPieces:
    """Tokenise every performance of a split; ``<D>`` stands about 100 tokens before the end.

    A file that cannot be read is reported on stderr and left out.
    """
    rng = np.random.default_rng(0)
    bodies, prefixes, names, sources, groups = [], [], [], [], []
    for row in read_corpus(root, frozenset({split})):
        try:
            piece = described(read_bytes(row.data, source=row.id), row)
            ids = tokenizer.encode(piece, eos=False, dim=True, rng=rng)
        except AriettaError as error:
            sys.stderr.write(f"left out: {error}\n")
            continue
        start = int(np.flatnonzero(ids == tokenizer.bos)[0])
        bodies.append(ids[start + 1 :].astype(np.uint16))
        prefixes.append(tuple(sorted(int(i) for i in ids[:start])))
        names.append(row.id)
        sources.append(row.source)
        groups.append(row.piece_id or row.id)
    return TokenPieces(
        tokenizer=tokenizer.name,
        ids=np.concatenate(bodies),
        offsets=np.concatenate(([0], np.cumsum([len(b) for b in bodies]))).astype(np.int64),
        prefixes=tuple(prefixes),
        names=tuple(names),
        sources=tuple(sources),
        groups=tuple(groups),
    )


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("corpus", type=Path, help="folder with manifest.csv and its shards")
    parser.add_argument("-o", "--out", type=Path, required=True, help="folder for the token files")
    parser.add_argument("--splits", nargs="+", default=["train", "valid", "test"])
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    tokenizer = AriaTokenizer("piano")
    for split in arguments.splits:
        pieces = tokenise_split(arguments.corpus, split, tokenizer)
        pieces.save(arguments.out / f"{split}.npz")
        sys.stderr.write(f"{split}: {len(pieces)} pieces, {len(pieces.ids)} tokens\n")


if __name__ == "__main__":
    main()
