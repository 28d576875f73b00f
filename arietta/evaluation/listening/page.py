"""The page of a listening test: one HTML file with all sound in it.

It holds ids of clips alone: neither systems nor items nor names of files.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from arietta.evaluation.listening.plan import Plan
from arietta.paths import assets_dir

TITLE = "Which do you prefer?"
QUESTION = "Which of the two would you rather go on listening to?"
CONSENT = (
    "You will hear pairs of short pieces of piano music and say which of the two you prefer. There"
    " are no right or wrong answers, and some pairs may sound alike.\n\n"
    "Taking part is voluntary: you can stop at any time by closing the page, and what you have"
    " answered is kept in this browser only. The page sends nothing. At the end you save a file"
    " with your listener number, your answers and their times, and send it yourself; it holds"
    " nothing else about you."
)
LEAST_SECONDS = 5.0


@dataclass(frozen=True)
class Texts:
    """What the page says and asks.

    Attributes:
        title: heading of the first page.
        question: heading of every pair.
        consent: what a listener agrees to.
        headphones: whether the headphone check is made.
        least_seconds: how much of each clip has to be heard before an answer.
    """

    title: str = TITLE
    question: str = QUESTION
    consent: str = CONSENT
    headphones: bool = True
    least_seconds: float = LEAST_SECONDS


def write_page(
    path: Path, plan: Plan, texts: Texts, clips: Iterable[tuple[str, bytes]], mime: str
) -> None:
    """Write the page, one clip after the other.

    Args:
        path: where to.
        plan: of the test.
        texts: what the page says.
        clips: (id, file) in any order.
        mime: type of the files.
    """
    page = (assets_dir() / "listening" / "page.html").read_text("utf-8")
    head, rest = page.split("<!--SETTINGS-->")
    middle, tail = rest.split("<!--CLIPS-->")
    settings = {
        "test": plan.test,
        "title": texts.title,
        "question": texts.question,
        "consent": texts.consent,
        "headphones": texts.headphones,
        "least_seconds": texts.least_seconds,
        "mime": mime,
        "forms": [[[one.left, one.right] for one in form] for form in plan.forms],
    }
    # In a script element only "</script" and "<!--" could end the text early.
    text = json.dumps(settings, ensure_ascii=False).replace("<", "\\u003c")
    with path.open("w", encoding="utf-8") as out:
        out.write(head + text + middle)
        for name, data in clips:
            code = b64encode(data).decode("ascii")
            out.write(f'<script type="text/plain" id="clip-{name}">{code}</script>\n')
        out.write(tail)
