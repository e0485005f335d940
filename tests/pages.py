"""The fenced blocks of the project's pages, for tests that run what is written there."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in ("*.md", "docs/*.md", "data/*.md", "tests/examples/*/*.md")
    for path in ROOT.glob(pattern)
)
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w.-]+\.(?:py|toml))`")
_COMMAND = re.compile(r"^\$ (.*(?:\\\n.*)*)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """What stands between two fences."""

    page: str
    line: int
    language: str
    text: str
    file: str
    """The file that the paragraph before it names last."""

    def __str__(self):
        return f"{self.page}:{self.line}"


def read(page):
    """A page's text."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(language, *pages):
    """The blocks of a language, of all pages or of these."""
    found = []
    for page in pages or PAGES:
        text = read(page)
        for match in _FENCED.finditer(text):
            if match[1] == language:
                before = text[: match.start()]
                named = _FILE.findall(before.rstrip().rpartition("\n\n")[2])
                found.append(Block(page, before.count("\n") + 1, language, match[2], "".join(named[-1:])))
    return found


def commands(*pages):
    """(page, command) of every line with a prompt, comments left out."""
    return [
        (block.page, re.sub(r"\s+# .*", "", line))
        for block in blocks("console", *pages)
        for line in _COMMAND.findall(block.text)
    ]


def table(page, heading):
    """The cells of the table that comes first after a text, row by row."""
    rows = read(page).partition(heading)[2].partition("\n|")[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", row.strip().strip("|"))] for row in rows]
