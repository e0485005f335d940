"""Whatever is wrong in a configuration is said once: file, line, key, and what to do about it."""

import re
from pathlib import Path

import pytest

from pytest_voiceloop.config import ConfigError, find, load

# A stack that fits, with one place left for what does not.
EAR = """\
[services.ear]
command = ["ear", "--port", "{ear.http.port}"]
ports = { http = "tcp" }
"""
BRAIN = """\
[services.brain]
address = { http = "127.0.0.1:9000" }
"""
LINK = """\
[[links]]
from = "ear"
to = "brain.http"
protocol = "voiceloop-text"
stamps = "t2"
"""
WRONG = {
    "no TOML": (
        "[services.ear\n",
        ":1:14: this is no TOML: Expected ']' at the end of a table declaration; correct it",
    ),
    "unknown table": (
        "[service.ear]\n",
        ":1: service: there is no such key; did you mean 'services'? There are caller, extends, judge, links",
    ),
    "unknown key": (
        EAR + 'colt_start = "3s"\n',
        ":4: services.ear.colt_start: there is no such key; did you mean 'cold_start'? There are address, cold_start,",
    ),
    "no service": ("[[links]]\n", ":1: links: it stands here without a service; add [services.NAME], or extends ="),
    "wrong type": (EAR + "cwd = 3\n", ":4: services.ear.cwd: 3 will not do; write a text in quotes"),
    "wrong type of a table": ("services = 3\n", ":1: services: 3 will not do; write a table"),
    "wrong type in a list": (
        '[services.ear]\ncommand = ["ear", 3]\n',
        ":2: services.ear.command: 3 is in the list; write a text in quotes",
    ),
    "wrong type in the environment": (
        EAR + "env = { THREADS = 4 }\n",
        ":4: services.ear.env.THREADS: 4 will not do; write a text in quotes",
    ),
    "links as a table": (EAR + '[links]\nfrom = "ear"\n', ":4: links: {'from': 'ear'} will not do; write a list"),
    "no command": (
        "[services.ear]\n",
        ":1: services.ear: ear has neither a command nor an address; add the one by which it is started",
    ),
    "empty command": ("[services.ear]\ncommand = []\n", ":2: services.ear.command: it is empty; write a list of words"),
    "open quote": (
        '[services.ear]\ncommand = "ear \'a b"\n',
        ":2: services.ear.command: it cannot be cut into words (No closing quotation); close the quote, or",
    ),
    "command and address": (
        EAR + 'address = { http = "127.0.0.1:1" }\n',
        ":2: services.ear.command: ear has an address, so it runs already; take command away, or the address",
    ),
    "bad address": (
        '[services.ear]\naddress = { http = "http://127.0.0.1" }\n',
        ":2: services.ear.address.http: 'http://127.0.0.1' is no address; write host:port, such as 127.0.0.1:8080",
    ),
    "bad name": ('[services.Ear]\ncommand = "ear"\n', ":1: services.Ear: 'Ear' is no name for a service; take lower"),
    "bad port": (
        '[services.ear]\ncommand = "ear"\nports = { http = { fixed = 70_000 } }\n',
        ":3: services.ear.ports.http.fixed: 70000 is no port; write a number from 1 to 65535",
    ),
    "bad transport": (
        '[services.ear]\ncommand = "ear"\nports = { http = "http" }\n',
        ":3: services.ear.ports.http: 'http' is none of its values; there are tcp, udp",
    ),
    "two services on one port": (
        EAR.replace('"tcp" }', "{ fixed = 8080 } }")
        + '[services.brain]\ncommand = "b"\nports = { rpc = { fixed = 8080 } }\n',
        ":6: services.brain.ports.rpc: brain.rpc is at tcp 127.0.0.1:8080, and so is ear.http; give one of them",
    ),
    "two services at one address": (
        BRAIN + '[services.mouth]\naddress = { http = "127.0.0.1:9000" }\n',
        ":4: services.mouth.address.http: mouth.http is at tcp 127.0.0.1:9000, and so is brain.http; give one of them",
    ),
    "a tap on a service's port": (
        EAR + BRAIN + LINK + "tap = 9000\n",
        ":11: links[1].tap: the tap before brain.http is at tcp 127.0.0.1:9000, and so is brain.http; give one of them",
    ),
    "placeholder of nothing": (
        '[services.ear]\ncommand = "ear {brain.http}"\n',
        ":2: services.ear.command: the command of ear asks for {brain.http}, which nothing declares; there are",
    ),
    "placeholder of half a thing": (
        EAR + 'env = { AT = "{ear.http.prot}" }\n',
        ":4: services.ear.env.AT: the environment of ear asks for {ear.http.prot}; an address has two halves",
    ),
    "bad duration": (
        EAR + 'cold_start = "2 minutes"\n',
        ":4: services.ear.cold_start: '2 minutes' is no duration; write a number with its unit, such as \"2s\"",
    ),
    "duration without a unit": (
        EAR + "grace = 2\n",
        ':4: services.ear.grace: 2 has no unit; write "2s" or "2ms"',
    ),
    "bad signal": (
        EAR + 'stop_signal = "INT"\n',
        ":4: services.ear.stop_signal: 'INT' is no signal; write one such as SIGINT",
    ),
    "bad regular expression": (
        EAR + 'ready = { log = "listening (on" }\n',
        ":4: services.ear.ready.log: 'listening (on' is no regular expression (missing ), unterminated subpattern",
    ),
    "readiness of no kind": (
        EAR + 'ready = "port"\n',
        ":4: services.ear.ready: 'port' is none of its values; there are line",
    ),
    "readiness of two kinds": (
        EAR + 'ready = { log = "up", http = "http://{ear.http}/" }\n',
        ':4: services.ear.ready: it has to say one thing to look at; write "line", or one of log, http, tcp and call',
    ),
    "an open port as readiness": (
        EAR + 'ready = { tcp = "{ear.http}" }\n',
        ":4: services.ear.ready.expect: nothing is expected of it, and an open port is no sign that a service",
    ),
    "the log of what runs already": (
        BRAIN + 'ready = { log = "up" }\n',
        ":3: services.brain.ready: brain runs already, so it has no log here; ask it by http, tcp or call",
    ),
    "no URL": (
        EAR + 'ready = { http = "{ear.http}/" }\n',
        ":4: services.ear.ready.http: '{ear.http}/' is no URL; write",
    ),
    "no function": (
        EAR + 'ready = { call = "mymodule" }\n',
        ":4: services.ear.ready.call: 'mymodule' is no function; write module:function",
    ),
    "link to nowhere": (
        EAR + BRAIN + LINK.replace("brain.http", "brian.http"),
        ":8: links[1].to: no service is called 'brian'; did you mean 'brain'? There are brain, ear",
    ),
    "link from nowhere": (
        EAR + BRAIN + LINK.replace('"ear"', '"nose"'),
        ":7: links[1].from: no service is called 'nose'; there are brain, ear",
    ),
    "link to no port": (
        EAR + BRAIN + LINK.replace("brain.http", "brain"),
        ":8: links[1].to: 'brain' names no port; write service.port, such as brain.http",
    ),
    "link to another's port": (
        EAR + BRAIN + LINK.replace("brain.http", "brain.htp"),
        ":8: links[1].to: brain has no port 'htp'; did you mean 'http'? There are http",
    ),
    "link over UDP": (
        EAR.replace('"tcp"', '"udp"') + BRAIN + LINK.replace("brain.http", "ear.http").replace('"ear"', '"brain"'),
        ":8: links[1].to: the link llm_tts (brain → ear) goes to port 'http', which is UDP; a link is a TCP connection",
    ),
    "a circle": (
        EAR + BRAIN + LINK + LINK.replace("brain.http", "ear.http").replace('"ear"', '"brain"').replace("t2", "t3"),
        "the links go round, ",
    ),
    "a service that feeds itself": (
        EAR + LINK.replace("brain.http", "ear.http"),
        ":4: links[1]: the links go round, ear → ear, so that a turn would never end; a link goes from the one",
    ),
    "unknown protocol": (
        EAR + BRAIN + LINK.replace("voiceloop-text", "voiceloop-txt"),
        ":9: links[1].protocol: 'voiceloop-txt' is none of its values; did you mean 'voiceloop-text'? There are",
    ),
    "no protocol": (
        EAR + BRAIN + LINK.replace('protocol = "voiceloop-text"\n', ""),
        ":6: links[1]: it has no 'protocol'; add one: a text in quotes",
    ),
    "unknown event": (
        EAR + BRAIN + LINK.replace('"t2"', '"t4"'),
        ":10: links[1].stamps: 't4' is none of its values; there are t1, t2, t3",
    ),
    "an event twice": (
        EAR + BRAIN + LINK + 'also = "t2"\n',
        ":10: links[1].stamps: the link llm_tts (ear → brain): two links have the same role; each of stt_llm (T1),",
    ),
    "two taps in one place": (
        EAR + BRAIN + LINK + LINK.replace("t2", "t3"),
        ":11: links[2].tap: the link tts_out (ear → brain) is the second with a tap before brain.http; one can stand",
    ),
    "a tap of no kind": (
        EAR + BRAIN + LINK + 'tap = "yes"\n',
        ":11: links[1].tap: 'yes' will not do; write true, false, or the port at which the tap has to listen",
    ),
    "unknown caller": (
        EAR + '[caller]\nprotocol = "sip"\n',
        ":5: caller.protocol: 'sip' is none of its values; there are ",
    ),
    "a caller without what it needs": (
        EAR + '[caller]\nprotocol = "websocket"\n',
        ":4: caller: a caller over websocket needs 'url'; add it",
    ),
    "a caller with what it does not take": (
        EAR + '[caller]\nprotocol = "websocket"\nurl = "ws://{ear.http}/"\nrate = 8000\n',
        ":7: caller.rate: there is no such key; did you mean 'rate_hz'? There are codec, end_message, end_of_reply,",
    ),
    "a caller with an option of another type": (
        EAR + '[caller]\nprotocol = "websocket"\nurl = "ws://{ear.http}/"\nrate_hz = "8000"\n',
        ":7: caller.rate_hz: '8000' will not do; write a whole number",
    ),
    "a caller of nobody": (
        EAR + '[caller]\nprotocol = "websocket"\nurl = "ws://{agent.ws}/"\n',
        ":6: caller.url: the caller's url asks for {agent.ws}, which nothing declares; there are {ear.http}",
    ),
    "unknown end of the reply": (
        EAR + '[caller]\nprotocol = "voiceloop"\nend_of_reply = "silence"\n',
        ":6: caller.end_of_reply: 'silence' is none of its values; ",
    ),
    "unknown judge": (
        EAR + '[judge]\nprotocol = "whisper"\n',
        ":5: judge.protocol: 'whisper' is none of its values; there are none, openai, voiceloop, wyoming",
    ),
    "a judge that asks nobody": (
        EAR + '[judge]\nprotocol = "openai"\n',
        ":4: judge.service: the judge asks nobody; name a port: there are ear.http",
    ),
    "a judge that asks for nothing": (
        EAR + '[judge]\nprotocol = "openai"\nservice = "ear.htp"\n',
        ":6: judge.service: the judge asks 'ear.htp', which nothing declares; did you mean 'ear.http'?",
    ),
    "no slots": (EAR + "[slots]\ncount = 0\n", ":4: slots: the call slots 151:0:1 are none; first is at least 0"),
    "unknown stack to extend": (
        'extends = "refrence"\n',
        ":1: extends: 'refrence' is none of its values; did you mean 'reference'?",
    ),
    "options of nobody": (
        EAR + '[options]\near = ["-v"]\n',
        ":4: options: they are the reference stack's; add extends",
    ),
    "options of another": (
        'extends = "reference"\n[options]\nwisper = ["-v"]\n',
        ":3: options.wisper: there is no such key; did you mean 'whisper'? There are kokoro, llama, outbound, whisper",
    ),
}


def message(folder: Path, text: str) -> str:
    path = folder / "voiceloop.toml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(path).stack()
    found = str(caught.value)
    assert found.startswith(f"{path}:")
    return found.removeprefix(str(path))


@pytest.mark.parametrize("what", WRONG)
def test_what_is_wrong_is_said_with_its_place_and_its_remedy(what: str, tmp_path: Path) -> None:
    text, wanted = WRONG[what]
    found = message(tmp_path, text)
    print(found)
    assert found.startswith(wanted) if wanted.startswith(":") else wanted in found
    assert re.match(r":\d+(:\d+)?: ", found)
    assert "; " in found
    assert "\n" not in found


def test_a_table_of_a_pyproject_is_named_as_it_stands_there(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text('[project]\nname = "x"\n\n[tool.voiceloop.services.ear]\ncommand = 3\n')
    with pytest.raises(ConfigError) as caught:
        load(path).stack()
    assert str(caught.value) == (f"{path}:5: tool.voiceloop.services.ear.command: 3 will not do; write a list")


@pytest.mark.parametrize(
    ("name", "content", "wanted"),
    [
        ("voiceloop.toml", None, "it cannot be read (No such file or directory); correct the path, or write it with"),
        ("voiceloop.toml", b"\xff\xfe", "it is no UTF-8 (invalid start byte at byte 0); save it as UTF-8"),
        ("pyproject.toml", b"[project]\n", "it has no [tool.voiceloop]; add that table, or name a voiceloop.toml"),
    ],
)
def test_a_file_that_cannot_be_read(name: str, content: bytes | None, wanted: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: {wanted}")


def test_a_pyproject_whose_table_is_none(tmp_path: Path) -> None:
    path = tmp_path / "pyproject.toml"
    path.write_text("[tool]\nvoiceloop = 3\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{path}:2: tool.voiceloop: 3 will not do; write a table"


def test_two_configurations_in_one_folder_are_one_too_many(tmp_path: Path) -> None:
    (tmp_path / "voiceloop.toml").touch()
    (tmp_path / "pyproject.toml").write_text("[tool.voiceloop]\n")
    with pytest.raises(ConfigError, match=r"pyproject.toml has a \[tool.voiceloop\] too; keep one of them"):
        find([tmp_path])
