"""Whatever a file says, it is a stack or an error that names its place; nothing else comes out."""

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_voiceloop.config import Config, ConfigError
from pytest_voiceloop.config.stack import LINK_KEYS, SERVICE_KEYS
from pytest_voiceloop.config.table import File, Table

TEXTS = st.sampled_from(
    [
        *(
            "a",
            "b",
            "a.http",
            "b.http",
            "caller",
            "",
            ".",
            "1s",
            "2",
            "SIGINT",
            "t1",
            "t2",
            "tcp",
            "udp",
            "line",
            "x:y",
        ),
        *(
            "{a.http}",
            "{b.http.port}",
            "http://{a.http}/",
            "127.0.0.1:80",
            "(",
            "voiceloop-text",
            "websocket",
            "openai",
        ),
    ]
)
KEYS = st.sampled_from([*SERVICE_KEYS, *LINK_KEYS, "a", "http", "log", "tcp", "call", "send", "expect", "total", "url"])
SCALARS = st.one_of(TEXTS, st.booleans(), st.integers(-1, 70_000), st.floats())
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=6,
)


def table(*keys: str, **good: Any) -> st.SearchStrategy[Any]:
    """A table that is mostly right: each key has a value that fits, or any."""
    return st.fixed_dictionaries(
        {},
        optional={key: st.one_of(good.get(key, TEXTS), VALUES) for key in keys},
    )


PORTS = st.dictionaries(st.sampled_from(["http", "ws"]), st.sampled_from(["tcp", "udp", {"fixed": 80}]), max_size=2)
READY = table("log", "http", "tcp", "call", "send", "expect")
SERVICE = table(
    *SERVICE_KEYS, command=st.lists(TEXTS, max_size=3), ports=PORTS, env=st.dictionaries(KEYS, TEXTS), ready=READY
)
LINK = table(*LINK_KEYS, tap=st.one_of(st.booleans(), st.just(80)))
ROOT = table(
    *("extends", "options", "slots", "services", "links", "caller", "judge", "profiles"),
    extends=st.just("reference"),
    services=st.dictionaries(st.sampled_from(["a", "b", "llama"]), SERVICE, max_size=3),
    links=st.lists(LINK, max_size=3),
    caller=table("protocol", "url", "end_of_reply", "ports"),
    judge=table("protocol", "service", "model"),
    profiles=st.dictionaries(KEYS, st.dictionaries(KEYS, VALUES, max_size=2), max_size=2),
)


@given(ROOT)
def test_any_file_is_a_stack_or_an_error_with_a_place(values: dict[str, Any]) -> None:
    found = Config(Table(values, File(Path("voiceloop.toml"), "")))
    said = ""
    try:
        found.stack()
        for name in found.profiles:
            found.profile(name)
    except ConfigError as error:
        said = str(error)
    assert not said or said.startswith("voiceloop.toml: ")
