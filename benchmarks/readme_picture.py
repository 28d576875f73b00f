"""What does a continuation look like? The picture at the top of the README.

    python -m benchmarks.readme_picture [PROMPT.mid] [--seed N] [-o OUT.svg]

Not a measurement: it draws what ``make demo`` plays, a nocturne and what the shipped model adds.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import arietta
from arietta.display import roll_svg

ROOT = Path(__file__).resolve().parent.parent
PROMPT = ROOT / "arietta" / "assets" / "prompts" / "nocturne.mid"
PICTURE = ROOT / "docs" / "images" / "continuation.svg"


def draw(prompt: Path, seed: int, prompt_seconds: float, seconds: float) -> str:
    """Continue a prompt with the shipped model and draw both as SVG."""
    made = arietta.load().generate(
        prompt, prompt_seconds=prompt_seconds, seconds=seconds, seed=seed
    )
    piece = made.piece
    return roll_svg(
        piece.onset_ms.tolist(),
        piece.duration_ms.tolist(),
        piece.notes.pitch.tolist(),
        piece.notes.velocity.tolist(),
        seconds=piece.end_ms / 1000,
        seam_ms=made.seam_ms,
        title=f"A prompt of {prompt_seconds:g} s (blue) and what the model adds to it (red)",
    )


def main() -> None:
    """Draw and write the picture."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("prompt", type=Path, nargs="?", default=PROMPT)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--prompt-seconds", type=float, default=15)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("-o", "--output", type=Path, default=PICTURE)
    args = parser.parse_args()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    picture = draw(args.prompt, args.seed, args.prompt_seconds, args.seconds)
    args.output.write_text(picture, encoding="utf-8")
    print(f"wrote {args.output.name}, {len(picture) / 1000:.0f} kB")


if __name__ == "__main__":
    main()
