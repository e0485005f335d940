"""docs/configuration.md: its examples are good, and it leaves no key out."""

import re
import shlex
from pathlib import Path

import pytest

from pytest_voiceloop.cli import main
from pytest_voiceloop.config import STARTER, load
from pytest_voiceloop.config.stack import LINK_KEYS, SERVICE_KEYS, STACK_KEYS
from pytest_voiceloop.stack.spec import StackSpec

PAGE = Path(__file__).parents[3] / "docs" / "configuration.md"
EXAMPLES = re.findall(r"^```toml\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"^```console\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]


def stack(folder: Path, example: str) -> StackSpec | None:
    path = folder / ("pyproject.toml" if "tool.voiceloop" in example else "voiceloop.toml")
    path.write_text(example)
    found = load(path)
    for name in found.profiles:
        assert found.profile(name)
    return found.stack()


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_is_good(example: str, tmp_path: Path) -> None:
    stack(tmp_path, example)


def test_the_first_example_is_what_init_writes(tmp_path: Path) -> None:
    of_page, of_init = stack(tmp_path, EXAMPLES[0]), load(STARTER).stack()
    assert of_page is not None
    assert of_init is not None
    assert (of_page.links, of_page.caller, of_page.judge) == (of_init.links, of_init.caller, of_init.judge)
    assert [s.name for s in of_page.services] == [s.name for s in of_init.services]


@pytest.mark.parametrize("key", [*SERVICE_KEYS, *LINK_KEYS])
def test_every_key_of_a_service_and_of_a_link_has_its_row(key: str) -> None:
    assert re.search(rf"^\| `{key}` \|", PAGE.read_text(), re.MULTILINE)


@pytest.mark.parametrize("key", [*STACK_KEYS, "profiles"])
def test_every_table_is_described(key: str) -> None:
    assert re.search(rf"^## `\[+{key}|`{key}( = \"reference\")?`", PAGE.read_text(), re.MULTILINE)


def test_the_commands_are_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    codes = [main(shlex.split(line.removeprefix("$ voiceloop"), comments=True)) for line in COMMANDS]
    # What is written is there to be corrected: doctor says what.
    assert codes == [0, 1]
