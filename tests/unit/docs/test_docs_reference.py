"""docs/reference.md against what there is: nothing is left out, and nothing stands there that is gone."""

import argparse
import inspect
import json
import re

import pages
import pytest

from pytest_voiceloop import cli, factories, fixtures, markers, settings
from pytest_voiceloop.config.stack import STACK_KEYS

PAGE = "docs/reference.md"


def named(cell):
    """What stands in backticks at the beginning of each part of a cell."""
    return re.findall(r"`([^`]+)`", cell)


class Understood(Exception):  # noqa: N818 (it is none)
    """What `main` raises in place of doing what it was asked."""


@pytest.fixture
def parser(monkeypatch):
    """The console script's parser."""

    def caught(self, _given):
        raise Understood(self)

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", caught)
    with pytest.raises(Understood) as info:
        cli.main([])
    return info.value.args[0]


def commands_of(parser):
    (found,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return found.choices


def test_every_option_has_its_row_and_says_whether_the_environment_sets_it():
    options = [(named(row[0])[0], "(env)" in row[0]) for row in pages.table(PAGE, "## Options")]
    declared = [(f"--voiceloop-{option.name}", option.env) for option in (*settings._SINGLE, *settings._REPEATED)]
    assert sorted(options) == sorted(declared)


def test_what_an_option_allows_is_written():
    rows = {named(row[0])[0]: row[1] for row in pages.table(PAGE, "## Options")}
    for name in ("ports", "pace", "inconclusive"):
        option = next(one for one in settings._SINGLE if one.name == name)
        for value in named(rows[f"--voiceloop-{name}"]):
            assert option.parse(value, pages.ROOT) == value
        assert option.default in named(rows[f"--voiceloop-{name}"])


def test_every_fixture_has_its_row_with_its_scope():
    rows = {named(row[0])[0]: row[1] for row in pages.table(PAGE, "## Fixtures")}
    scopes = {name: getattr(fixtures, name)._fixture_function_marker.scope for name in fixtures.__all__}
    assert rows == scopes


def test_every_marker_has_its_row(pytester):
    rows = {re.match(r"\w+", named(row[0])[0])[0] for row in pages.table(PAGE, "## Markers")}
    config = pytester.parseconfigure("-p", "no:xdist")
    ours = {"pipeline", "latency", "quality"}
    registered = {re.match(r"\w+", line)[0] for line in config.getini("markers")}
    assert rows == ours
    # Whatever else is registered is pytest's or another plugin's.
    assert {name for name in registered if name in ours} == ours


@pytest.mark.parametrize("metric", [*markers.LATENCY_METRICS, *markers.QUALITY_METRICS])
def test_every_limit_can_be_found(metric):
    # Those of the second ledger are named by one of them.
    shown = re.sub("^first_audio_.*", "first_audio_stt", metric)
    assert re.search(rf"`[^`]*\b{shown}\b[^`]*`", pages.read(PAGE).partition("## Markers")[2].partition("\n## ")[0])


def test_every_factory_has_its_row_with_its_parameters():
    rows = {re.search(r"factories\.(\w+)", row[0])[1]: row for row in pages.table(PAGE, "## Factories")}
    made = {
        name: function
        for name, function in vars(factories).items()
        if inspect.isfunction(function) and function.__module__ == factories.__name__
    }
    assert set(rows) == set(made)
    for name, function in made.items():
        assert set(inspect.signature(function).parameters) <= set(re.findall(r"\w+", " ".join(rows[name])))


def test_every_command_has_its_row_with_its_options(parser):
    rows = {}
    for row in pages.table(PAGE, "## The console script"):
        usage = named(row[0])[0]
        rows[usage.split()[1]] = usage
    found = commands_of(parser)
    assert set(rows) == set(found)
    for name, command in found.items():
        options = [action.option_strings for action in command._actions if action.option_strings]
        for strings in options:
            assert "--help" in strings or set(strings) & set(re.findall(r"--?[\w-]+", rows[name])), (name, strings)


def test_every_key_of_the_document_has_its_row():
    rows = [named(row[0])[0] for row in pages.table(PAGE, "### run.json")]
    schema = json.loads((pages.ROOT / "docs" / "run.schema.json").read_text(encoding="utf-8"))
    assert rows == list(schema["properties"])


def test_every_table_of_a_voiceloop_toml_is_named():
    section = pages.read(PAGE).partition("## voiceloop.toml")[2].partition("\n## ")[0]
    assert {*STACK_KEYS, "profiles"} <= set(named(section))
