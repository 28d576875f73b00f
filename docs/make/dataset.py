"""The columns of datasets, from the schema that writes them."""

from __future__ import annotations

from arietta.data.tables import Form, described_fields, schema_of

HEAD = """\
# Columns of a dataset

Generated from the schema by `python -m docs.make`. One row a piece; columns of lists have an entry
for each note or event of the piece, and those of one table (notes, pedal, tempo, …) are of equal
length. Unit and description stand in the metadata of the Parquet fields as well.
"""
TABLE = ("| column | type | unit | what it is |", "| --- | --- | --- | --- |")
FORMS: dict[Form, str] = {
    "pieces": "everything that a MIDI file holds",
    "grid": "piano notes as token models see them",
}


def page() -> str:
    """Write the page: a table for each form."""
    parts = [HEAD]
    for form, what in FORMS.items():
        schema = schema_of(form)
        rows = [
            f"| `{name}` | {_plain(str(schema.field(name).type))} | {unit or 'text'} | {text} |"
            for name, (unit, text) in described_fields(form).items()
        ]
        parts.append(f"## `--form {form}`: {what}\n")
        parts.append(
            "\n".join(
                ["| column | type | unit | what it is |", "| --- | --- | --- | --- |", *rows, ""]
            )
        )
    return "\n".join(parts)


def _plain(kind: str) -> str:
    """Return a type as people write it: list<int64>."""
    return kind.replace("element: ", "").replace(" not null", "")
