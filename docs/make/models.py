"""The model table and the model cards, from the checkpoints' own settings."""

from __future__ import annotations

from arietta.checkpoints.registry import ModelEntry, entries

BEGIN, END = "<!-- model table -->", "<!-- /model table -->"
PAGE = """\
# Models

Generated from the checkpoints' settings by `python -m docs.make`. The names are what `arietta.load`
and `--model` take; `arietta models list` shows which of them are on this machine. Each shipped
model has a card: its data, licence, recipe and measured figures.

{table}

Public weights are fetched on first use, checked tensor by tensor and packed once; see
[](../how-to/public-weights.md).

```{{toctree}}
:maxdepth: 1
:caption: Model cards

{cards}
```
"""


def known() -> list[ModelEntry]:
    """Shipped and public models; not those that somebody added on this machine."""
    return [entry for entry in entries() if entry.source in ("shipped", "hub")]


def shipped() -> list[str]:
    """Names of the models that ship with the package."""
    return [entry.name for entry in known() if entry.source == "shipped"]


def table(*, links: bool = False) -> str:
    """Draw one row for each model: what it is for, its size, where it comes from, its licence."""
    rows = ["| name | what it does | parameters | file | licence of the weights |"]
    rows.append("| --- | --- | --- | --- | --- |")
    for entry in known():
        name = f"`{entry.name}`"
        if links and entry.source == "shipped":
            name = f"[{name}](arietta/assets/{entry.name}/README.md)"
        size = "as `aria-medium-gen`" if entry.parameters is None else _millions(entry.parameters)
        rows.append(f"| {name} | {entry.summary} | {size} | {_place(entry)} | {entry.licence} |")
    return "\n".join(rows)


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f} M" if count < 1e8 else f"{count / 1e6:.0f} M"


def _place(entry: ModelEntry) -> str:
    if entry.folder is None:
        return "fetched on first use"
    return f"ships, {(entry.folder / 'model.safetensors').stat().st_size / 1e6:.0f} MB"


def with_table(readme: str) -> str:
    """Return the README with the present table between its marks."""
    before, _, rest = readme.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table(links=True)}\n{END}{after}"


def page() -> str:
    """Write the page of all models."""
    return PAGE.format(table=table(), cards="\n".join(f"/models/{name}" for name in shipped()))


def card(name: str) -> str:
    """Write the page of one shipped model, which includes the card in its folder."""
    return f"```{{include}} ../../arietta/assets/{name}/README.md\n```\n"
