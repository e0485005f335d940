"""Every report of one document, letter by letter; of the page what a small one says, without its style and script.

Renew the files after a change that was meant with ``VOICELOOP_GOLDEN=renew pytest tests/unit/report/test_golden.py``,
and read the difference before it is committed.
"""

import json
import os
import re
from pathlib import Path

import pytest
from report_documents import budget, document, one_test, turn
from whole_document import whole

from pytest_voiceloop.measure.turn import Words
from pytest_voiceloop.report.junit import properties
from pytest_voiceloop.report.render import FORMATS, SUFFIXES, render

GOLDEN = Path(__file__).parent / "golden"
RENEWING = os.environ.get("VOICELOOP_GOLDEN") == "renew"


def held_against(name, text):
    path = GOLDEN / name
    if RENEWING:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8"), f"{name} has changed; see the top of {Path(__file__).name}"


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "html"])
def test_report(form):
    held_against(f"report.{SUFFIXES[form]}", render(whole(), form))


def test_page():
    lost = turn(
        heard=Words("a canoe slides on planks", 1, 6, 5, 29), faults=({"kind": "delay", "into": "llama", "ms": 5.0},)
    )
    failed = one_test(lost, outcome="failed", budgets=[budget()], message="total is over its limit")
    page = render(document(failed), "html")
    held_against("report.html", re.sub(r"(?s)(<(style|script)>).*?(?=</\2>)|'sha256-[^']*'", r"\1", page))


def test_junit_properties():
    told = {test["nodeid"]: properties(test) for test in whole()["tests"]}
    held_against("junit.json", json.dumps(list(told.values()), indent=1) + "\n")


def test_a_report_is_a_function_of_the_document_alone(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("FORCE_COLOR", "1")
    for form in FORMATS:
        assert render(whole(), form) == render(json.loads(render(whole(), "json")), form)
