"""A repository whose every run can be found again, with all that it started."""

import json
import sys
import uuid
from pathlib import Path

import pytest
import remains

MANNERS = Path(__file__).with_name("manners.py")
AS = """spec = dataclasses.replace(spec, services=tuple(
        dataclasses.replace(s, command=(s.command[0], {manners!r}, {manner!r}, *s.command[1:]), grace_s={grace_s})
        if s.name == {name!r} else s for s in spec.services))"""


@pytest.fixture
def watch(monkeypatch):
    mark = uuid.uuid4().hex
    monkeypatch.setenv(remains.MARK, mark)
    yield remains.Watch(mark)
    remains.clear(mark)


@pytest.fixture
def ill_mannered(repository):
    """A function: have a service of the stack behave in one of the ways of manners.py."""

    def make(name, manner, *, grace_s=1.0, then="pass"):
        line = AS.format(manners=str(MANNERS), manner=manner, name=name, grace_s=grace_s)
        repository.stack(then=f"{line}\n    {then}")

    return make


@pytest.fixture
def told_by_journal(repository):
    """A function: what `voiceloop report` makes of the journal of a run that wrote no reports."""

    def told():
        (journal,) = repository.found("run-*/journal.jsonl")
        command = (sys.executable, "-m", "pytest_voiceloop.cli", "report", journal, "--format", "json")
        made = repository.pytester.run(*command)
        assert made.ret == 0
        return json.loads(made.stdout.str())

    return told
