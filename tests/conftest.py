"""What unit and integration tests share: the published schema, which every document of theirs is held against.

And the account of what was survived, into which cases write a row each.
"""

import json
import os
from pathlib import Path

import jsonschema
import pytest
import reliability

SCHEMA = Path(__file__).parents[1] / "docs" / "run.schema.json"


def closed(schema):
    """`schema` as one that knows no key besides those it documents, except where it says so."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    shut = {key: closed(item) for key, item in schema.items()}
    # A key that is itself called "properties" would be a description's, and none is.
    if schema.get("type") == "object" and "properties" in schema:
        shut.setdefault("additionalProperties", False)
    return shut


@pytest.fixture(autouse=True)
def _no_job_summary(monkeypatch):
    """The pytest runs that tests start have no business on the summary page of the CI job that runs the tests."""
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)


@pytest.fixture(scope="session")
def schema():
    return json.loads(SCHEMA.read_text(encoding="utf-8"))


@pytest.fixture(scope="session")
def schema_problems(schema):
    """A function: a document → what the schema says against it, in sentences.

    With `strictly` a key that nobody documented is a problem too. Readers have to ignore those, and we have to document
    what we write.
    """
    as_published = jsonschema.Draft202012Validator(schema)
    without_others = jsonschema.Draft202012Validator(closed(schema))

    def problems(document, *, strictly=True):
        validator = without_others if strictly else as_published
        return [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(document)]

    return problems


@pytest.fixture(scope="session")
def account():
    """A function: the fields of a reliability.Row → that row, written where VOICELOOP_SOAK says."""
    # Asked once: tests take our variables away, so that pytest's runs in them do not see them.
    path = os.environ.get("VOICELOOP_SOAK")

    def report(part, case, happened, **counted):
        row = reliability.Row(part, case, happened, **counted)
        if path:
            reliability.write(row, path)
        return row

    return report


@pytest.fixture(scope="session")
def soaking():
    """Whether this is `make soak`: everything a thousand times, not a few dozen."""
    return bool(os.environ.get("VOICELOOP_SOAK"))
