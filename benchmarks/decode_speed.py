"""How fast does the published 650 M architecture, or ours, decode on this processor?

python benchmarks/decode_speed.py [--preset medium] [--context 512]
"""

from __future__ import annotations

import argparse

from arietta.evaluation.decode_speed import decode, table
from benchmarks.common import file_result


def main() -> None:
    """Measure, print a table, file the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="medium")
    parser.add_argument("--context", type=int, default=512)
    parser.add_argument("--threads", type=int)
    args = parser.parse_args()
    figures = decode(preset=args.preset, context=args.context, threads=args.threads, report=print)
    rows = table(figures)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    file_result(f"decode_speed_{args.preset}", figures)


if __name__ == "__main__":
    main()
