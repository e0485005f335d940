"""docs/configuration.md leaves no key out. That its examples are good is seen by tests/unit/docs."""

import re
import shlex
from pathlib import Path

import pages
import pytest

from pytest_voiceloop.cli import main
from pytest_voiceloop.config import STARTER, ConfigError, load
from pytest_voiceloop.config.stack import LINK_KEYS, SERVICE_KEYS, STACK_KEYS

PAGE = "docs/configuration.md"
TEXT = pages.read(PAGE)


def written(folder: Path, example: str) -> Path:
    path = folder / "voiceloop.toml"
    path.write_text(example)
    return path


def test_the_first_example_is_what_init_writes(tmp_path: Path) -> None:
    example = pages.blocks("toml", PAGE)[0]
    of_page, of_init = load(written(tmp_path, example.text)).stack(), load(STARTER).stack()
    assert of_page is not None
    assert of_init is not None
    assert (of_page.links, of_page.caller, of_page.judge) == (of_init.links, of_init.caller, of_init.judge)
    assert [s.name for s in of_page.services] == [s.name for s in of_init.services]


@pytest.mark.parametrize("key", [*SERVICE_KEYS, *LINK_KEYS])
def test_every_key_of_a_service_and_of_a_link_has_its_row(key: str) -> None:
    assert re.search(rf"^\| `{key}` \|", TEXT, re.MULTILINE)


@pytest.mark.parametrize("key", [*STACK_KEYS, "profiles"])
def test_every_table_is_described(key: str) -> None:
    assert re.search(rf"^## `\[+{key}|`{key}( = \"reference\")?`", TEXT, re.MULTILINE)


def test_the_message_that_it_shows_is_said(tmp_path: Path) -> None:
    example, (shown,) = pages.blocks("toml", PAGE)[0], pages.blocks("", PAGE)
    path = written(tmp_path, example.text.replace('to = "llama.http"', 'to = "lama.http"'))
    with pytest.raises(ConfigError) as info:
        load(path).stack()
    assert str(info.value).removeprefix(f"{tmp_path}/") == shown.text.strip()


def test_the_commands_are_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    codes = [main(shlex.split(line.removeprefix("voiceloop"))) for _, line in pages.commands(PAGE)]
    # What is written is there to be corrected: doctor says what.
    assert codes == [0, 1]
