"""docs/run.schema.json: it fits what is written, notices what does not fit, and leaves nothing undescribed."""

import copy
import re

import jsonschema
import pytest
from report_documents import document
from whole_document import CALIBRATION, FACTS, SERVICE, whole, whole_turn

from pytest_voiceloop.report import journal
from pytest_voiceloop.report.comparison import with_baseline
from pytest_voiceloop.report.document import build

UNITS = {"ms": "ms", "s": "s", "mib": "MiB", "hz": "Hz", "db": "dB", "percent": "percent", "bytes": "bytes"}


def objects(schema, path=""):
    """Every schema of an object in `schema`, with the path to it."""
    if isinstance(schema, dict):
        if "properties" in schema and schema.get("type") in ("object", ["object", "null"]):
            yield path, schema
        for key, item in schema.items():
            yield from objects(item, f"{path}/{key}")
    elif isinstance(schema, list):
        for number, item in enumerate(schema):
            yield from objects(item, f"{path}/{number}")


def described(schema):
    for path, found in objects(schema):
        for name, key in found["properties"].items():
            yield f"{path}/{name}", name, key


def at(value, path):
    for key in path:
        value = value[key]
    return value


def test_is_a_schema(schema):
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_fits_a_document_that_has_every_key(schema_problems):
    assert schema_problems(whole()) == []


def test_fits_a_run_in_which_nothing_was_measured(schema_problems):
    assert schema_problems(build([], [], **FACTS, calibration={})) == []


def test_fits_what_a_journal_makes(tmp_path, schema_problems):
    path = tmp_path / "journal.jsonl"
    for kind, record in (
        ("run", FACTS),
        ("service", SERVICE),
        ("calibration", CALIBRATION),
        ("turn", {"nodeid": "t.py::a", "base": False, **whole_turn()}),
        ("test", whole()["tests"][0]),
    ):
        journal.append(path, kind, record)
    assert schema_problems(journal.from_journal(journal.read(path))) == []


def test_fits_what_a_journal_without_a_beginning_makes(schema_problems):
    assert schema_problems(journal.from_journal([])) == []


@pytest.mark.parametrize("slower_ms", [0, 400])
def test_fits_a_comparison(schema_problems, slower_ms):
    def run(slower_ms):
        turns = [whole_turn(f"u{number}", slower_ms=slower_ms) for number in range(14)]
        test = {"nodeid": "t.py::a", "outcome": "passed", "budgets": [], "turns": turns}
        return build([test], [SERVICE], **FACTS, calibration={})

    head = run(slower_ms)
    head["comparisons"] = [with_baseline(run(0), head, "main"), with_baseline(document(), head, "other")]
    assert [found["verdict"] for found in head["comparisons"]] == ["regressed" if slower_ms else "same", "refused"]
    assert schema_problems(head) == []


def documented(schema):
    """(path in the whole document, whether it has to be there) of each documented key, once for each object's kind."""
    seen = set()

    def walk(value, found, path):
        while "$ref" in found:
            found = at(schema, found["$ref"].split("/")[1:])
        if isinstance(value, dict):
            branches = (found, found.get("then", {}), found.get("else", {}))
            needed = {key for branch in branches for key in branch.get("required", ())}
            known = found.get("properties", {})
            for key, item in value.items():
                if key in known and (id(found), key) not in seen:
                    seen.add((id(found), key))
                    yield (*path, key), key in needed
                below = known.get(key, found.get("additionalProperties"))
                if isinstance(below, dict):
                    yield from walk(item, below, (*path, key))
        elif isinstance(value, list) and "items" in found:
            for number, item in enumerate(value):
                yield from walk(item, found["items"], (*path, number))

    return list(walk(whole(), schema, ()))


def test_the_whole_document_has_every_documented_key(schema):
    assert {path[-1] for path, _ in documented(schema)} == {name for _, name, _ in described(schema)}


def test_notices_every_key_that_is_missing(schema):
    validator, changed = jsonschema.Draft202012Validator(schema), whole()
    for path, needed in documented(schema):
        there = at(changed, path[:-1])
        left_out = there.pop(path[-1])
        assert validator.is_valid(changed) is not needed, f"{path} may be left out: {not needed}"
        there[path[-1]] = left_out


def test_notices_every_value_of_a_wrong_type(schema):
    validator, changed = jsonschema.Draft202012Validator(schema), whole()
    for path, _ in documented(schema):
        there = at(changed, path[:-1])
        # A list of booleans is no value of any key.
        right, there[path[-1]] = there[path[-1]], [True]
        assert not validator.is_valid(changed), f"{path} may be anything"
        there[path[-1]] = right


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("schema_version",), 2),
        (("tests", 0, "outcome"), "xfailed"),
        (("tests", 0, "turns", 1, "status"), "slow"),
        (("tests", 0, "turns", 1, "reply", "words"), 6.5),
        (("tests", 0, "turns", 1, "playout", "reordered"), "0"),
        (("tests", 0, "turns", 1, "counters", "llama_tokens"), None),
        (("tests", 0, "turns", 1, "missing"), ["t9"]),
        (("tests", 0, "budgets", 0, "limit_ms"), None),
        (("summary", 0, "cut_off_rate"), 1.5),
    ],
)
def test_notices_a_value_that_cannot_be(schema_problems, path, value):
    changed = whole()
    assert schema_problems(changed) == []
    at(changed, path[:-1])[path[-1]] = value
    (problem,) = schema_problems(changed)
    assert str(path[-1]) in problem


def test_a_budget_has_the_keys_of_its_unit(schema_problems):
    changed = whole()
    changed["tests"][0]["budgets"][0]["unit"] = "ratio"
    assert schema_problems(changed)


def test_readers_ignore_what_they_do_not_know_and_we_document_what_we_write(schema, schema_problems):
    for path, _ in objects(schema):
        assert "unevaluatedProperties" not in path
    grown = copy.deepcopy(whole())
    grown["tests"][0]["turns"][0]["new"] = 1
    assert schema_problems(grown, strictly=False) == []
    assert schema_problems(grown, strictly=True)


def test_no_object_is_closed(schema):
    assert [path for path, found in objects(schema) if found.get("additionalProperties") is False] == []


def test_every_key_has_a_type_and_says_what_it_is(schema):
    bare = [
        path
        for path, _, key in described(schema)
        if not (key.keys() & {"type", "$ref", "enum", "const"} and key.get("description", "").endswith("."))
    ]
    assert bare == []


def test_every_key_with_a_unit_in_its_name_has_it_in_its_description(schema):
    wrong = []
    for path, name, key in described(schema):
        unit = UNITS.get(name.rpartition("_")[2]) if "_" in name else None
        if unit and name != "chars_per_s" and not re.search(rf"\b{unit}\b", key["description"]):
            wrong.append(path)
    assert wrong == []


def test_what_can_be_null_is_called_null_or_is_a_figure(schema):
    """A reader of the description learns why a text, a count or an object can be null."""
    unsaid = []
    for path, _, key in described(schema):
        types = key.get("type")
        nullable = (isinstance(types, list) and "null" in types) or key.get("$ref") == "#/$defs/nullable_string"
        if nullable and "null" not in key["description"].lower():
            unsaid.append(path)
    allowed = {"cpu", "cores", "memory_mib", "engine", "device", "version", "settings"}
    assert {path.rpartition("/")[2] for path in unsaid} <= allowed
