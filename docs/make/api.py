"""The API reference: every public name of ``arietta``, then the modules behind it."""

from __future__ import annotations

import arietta

HEAD = """\
# Python API

Generated from `arietta.__all__` by `python -m docs.make`. `import arietta` loads nothing heavy:
names are resolved on first use.

```python
import arietta

model = arietta.load("small")
out = model.generate(arietta.read("a.mid"), seconds=30, seed=0)
out.save("b.mid")
```
"""
MODULES = {
    "Use cases": (
        "arietta.api.generation", "arietta.api.filling", "arietta.api.inspection",
        "arietta.api.evaluate", "arietta.api.data",
    ),
    "Files and pieces": (
        "arietta.midi.piece", "arietta.midi.notes", "arietta.midi.tempo", "arietta.midi.reader",
        "arietta.notation.reader", "arietta.notation.score_notes",
    ),
    "Tokens": (
        "arietta.tokenizers.aria", "arietta.tokenizers.pianist", "arietta.tokenizers.grammar",
    ),
    "Generation": (
        "arietta.generation.sampling", "arietta.generation.engine",
        "arietta.generation.continuation",
    ),
    "Rendering": ("arietta.rendering.render", "arietta.rendering.controls"),
    "Vectors": (
        "arietta.vectors.embedding", "arietta.vectors.classification", "arietta.vectors.index",
    ),
    "Evaluation": (
        "arietta.evaluation.inspection", "arietta.evaluation.likelihood",
        "arietta.evaluation.retrieval", "arietta.evaluation.steering", "arietta.api.few_label",
    ),
    "Datasets": ("arietta.data.shards", "arietta.data.tables", "arietta.data.card"),
    "Sound and notebooks": ("arietta.sound.files", "arietta.sound.sampler", "arietta.display"),
    "Errors": ("arietta.errors",),
}  # fmt: skip


def page() -> str:
    """Write the whole page."""
    parts = [HEAD, "## `arietta`\n"]
    for name in arietta.__all__:
        value = getattr(arietta, name)
        if isinstance(value, str):
            continue
        kind = "autoclass" if isinstance(value, type) else "autofunction"
        options = "\n:members:\n:undoc-members:" if isinstance(value, type) else ""
        parts.append(f"```{{eval-rst}}\n.. {kind}:: arietta.{name}{_indent(options)}\n```\n")
    for title, modules in MODULES.items():
        parts.append(f"## {title}\n")
        for module in modules:
            parts.append(f"### `{module}`\n")
            parts.append(f"```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n```\n")
    return "\n".join(parts)


def _indent(options: str) -> str:
    return options.replace("\n", "\n   ")
