"""The account of what was survived: cases report rows, one JSON line each, and docs/reliability.md shows them.

``python tests/reliability.py ROWS.jsonl docs/reliability.md`` puts the table in place of the one between the marks.
"""

import json
import sys
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

BEGIN, END = "<!-- rows -->", "<!-- end of rows -->"
HEADINGS = ("fault or input", "what happened", "recovered after", "lost", "doubled", "crossed", "leaked")


@dataclass(frozen=True)
class Row:
    """One case. What cannot be counted in it, such as a reply where nobody spoke, is None."""

    part: str
    """Whose case it is: rows of one part stand together, in the order in which they came."""
    case: str
    happened: str
    recovered_s: float | None = None
    """From the fault to the last packet of the next good reply."""
    lost: int | None = None
    """Replies that were never heard, or not whole."""
    doubled: int | None = None
    crossed: int | None = None
    """Replies heard in another call than their own."""
    leaked: int | None = None
    """Threads, descriptors and processes that are left when it is over."""


def write(row, path):
    """Append a row; several processes may do so at once."""
    with Path(path).open("a", encoding="utf-8") as rows:
        rows.write(json.dumps(asdict(row)) + "\n")


def read(path):
    return [Row(**json.loads(line)) for line in Path(path).read_text(encoding="utf-8").splitlines()]


def table(rows):
    """The rows as Markdown, a table for each part."""
    parts = list(dict.fromkeys(row.part for row in rows))
    together = sorted(rows, key=lambda row: parts.index(row.part))
    return "\n\n".join(
        f"### {part}\n\n" + "\n".join([_line(HEADINGS), _line(["---"] * len(HEADINGS)), *map(_cells, group)])
        for part, group in groupby(together, key=lambda row: row.part)
    )


def put_in(document, rows):
    """The document with the rows' table in place of the old one. Raises ValueError where the marks are missing."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"no place for the table: the document needs the lines {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{table(rows)}\n\n{END}{after}"


def _cells(row):
    recovered = "" if row.recovered_s is None else f"{row.recovered_s:.1f} s"
    counted = ("" if count is None else str(count) for count in (row.lost, row.doubled, row.crossed, row.leaked))
    return _line([row.case, row.happened, recovered, *counted])


def _line(cells):
    # A log line may hold what would end a cell or begin a tag.
    return "| " + " | ".join(cell.replace("|", "\\|").replace("<", "&lt;").replace("\n", " ") for cell in cells) + " |"


if __name__ == "__main__":
    rows_path, document_path = map(Path, sys.argv[1:])
    document_path.write_text(put_in(document_path.read_text(encoding="utf-8"), read(rows_path)), encoding="utf-8")
