"""Asking a server as its clients do."""

import sys

import pytest

from pytest_voiceloop.call.servers import connect
from pytest_voiceloop.stack.process import StackError


def test_without_its_library_wyoming_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "wyoming", None)
    with pytest.raises(StackError, match=r"pip install 'pytest-voiceloop\[wyoming\]'"):
        connect("wyoming", ("127.0.0.1", 9))


@pytest.mark.parametrize("protocol", ["wyoming", "openai"])
def test_an_address_where_nobody_listens_is_named(protocol) -> None:
    with pytest.raises(StackError, match=r"nothing answers at 127\.0\.0\.1:9: Connection refused"):
        connect(protocol, ("127.0.0.1", 9))
