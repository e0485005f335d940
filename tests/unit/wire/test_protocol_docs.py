"""docs/protocols.md against what there is, and the protocol that it gives as an example."""

import importlib
import re
import sys
import tomllib
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from passing import bytewise, fed, in_short, joined

from pytest_voiceloop.wire.protocols import GROUP, Kind, protocol

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "protocols.md").read_text(encoding="utf-8")
SHIPPED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"][GROUP]


def block(language):
    return re.search(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)[1]


def table(heading):
    """The cells of the table that comes first after a text."""
    rows = PAGE.partition(heading)[2].strip().partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


@pytest.fixture(scope="module")
def lines(tmp_path_factory):
    """The example, installed as its page says."""
    site = tmp_path_factory.mktemp("site")
    ((name, where),) = tomllib.loads(block("toml"))["project"]["entry-points"][GROUP].items()
    module = site.joinpath(*where.partition(":")[0].split(".")).with_suffix(".py")
    module.parent.mkdir()
    module.write_text(block("python"), encoding="utf-8")
    (site / "my_package-1.dist-info").mkdir()
    (site / "my_package-1.dist-info" / "METADATA").write_text("Name: my-package\nVersion: 1\n", encoding="utf-8")
    (site / "my_package-1.dist-info" / "entry_points.txt").write_text(
        f"[{GROUP}]\n{name} = {where}\n", encoding="utf-8"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(site)
        yield protocol(name)
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_package"]:
        del sys.modules[name]


def test_every_protocol_that_comes_along_is_described_with_what_it_stamps():
    shipped = {}
    for name, where in SHIPPED.items():
        module, _, attribute = where.partition(":")
        shipped[name] = getattr(importlib.import_module(module), attribute).stamps
    assert {name.strip("`"): stamps for name, _, _, stamps in table("come with the plugin")} == shipped


def test_every_kind_is_described():
    assert [kind.strip("`") for kind, _ in table("something that passed, whole:")] == list(get_args(Kind))


def test_the_example_is_a_protocol(lines):
    said = b'{"text": "One moment."}\n{"text": "It is a plug.", "end": true}\n'
    steps = [("forward", said), ("back", b"ok"), ("forward", b"")]
    expected = [("forward", "text", "One moment."), ("forward", "text", "It is a plug."), ("forward", "end", "")]
    assert in_short(fed(lines, steps)) == expected
    assert in_short(fed(lines, bytewise(steps))) == expected
    assert (lines.stamps, lines.greets) == ("forward", False)


@pytest.mark.parametrize("line", [b"GET / HTTP/1.1", b"3", b"[]", b'{"text": 3}', b"null", b'["text"]'])
def test_the_example_says_what_it_cannot_read(lines, line):
    passed = fed(lines, [("forward", line + b"\n")])
    assert [p.kind for p in passed] == ["garbled"]


def test_the_example_holds_no_endless_line(lines):
    assert [p.kind for p in fed(lines, [("forward", b"x" * 70_000)])] == ["garbled"]


good = st.sampled_from(
    [b'{"text": "One"}\n', b'{"end": true}\n', b'{"text": "One", "end": 1}\n', b"{}\n", b"{", b"[]\n"]
)


@settings(deadline=None)
@given(st.lists(st.one_of(good, st.binary(max_size=5)), max_size=6).map(b"".join), st.integers(1, 9))
def test_nothing_makes_the_example_raise_and_no_cutting_makes_a_difference(lines, data, step):
    def until_garbled(steps):
        passed = fed(lines, steps)
        stop = next((i for i, p in enumerate(passed) if p.kind == "garbled"), len(passed))
        return joined(passed[: stop + 1])

    cut = [("forward", data[i : i + step]) for i in range(0, len(data), step)]
    assert until_garbled(cut) == until_garbled([("forward", data)])
