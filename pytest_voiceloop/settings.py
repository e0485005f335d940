"""Options, environment and ini become one frozen Settings. An option goes over the environment, that over the ini."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pytest

from pytest_voiceloop.report.render import FORMATS as REPORT_FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from pytest_voiceloop.config import Config
    from pytest_voiceloop.measure.budgets import Budget
    from pytest_voiceloop.measure.comparing import Rule


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """A report asked for: its format, and where it goes (None: into the results folder)."""

    format: str
    path: Path | None


@dataclass(frozen=True, slots=True)
class Settings:
    """What a run was asked to do."""

    reports: tuple[ReportRequest, ...]
    dir: Path
    config: Path | None
    """The voiceloop.toml that was named; None where the one beside the ini file is meant, if any."""
    profile: str | None
    """Name of the budgets that every test which phones has to keep."""
    corpus: Path | None
    ports: Literal["auto", "fixed"]
    pace: Literal["asap", "realtime"]
    trials: int
    warmup: int
    seed: int
    require: bool
    save: str | None
    """Name under which the run is kept as a baseline."""
    compare: tuple[str, Rule | None] | None
    """Name or path of a baseline, and what counts as a regression against it."""
    base: Path | None
    """Checkout whose services are the base of an interleaved comparison."""
    replay: str | None
    """Name or path of a run whose transcripts and replies are passed on instead of the live ones."""
    inconclusive: Literal["warn", "fail", "extend"]
    junit: bool
    """Whether a test's figures become properties of its case in JUnit's XML."""
    slow: Mapping[str, float]
    """Service → ms by which every frame into it is held back."""


@dataclass(frozen=True, slots=True)
class _Option:
    name: str
    parse: Callable[[str, Path], Any]
    default: str
    help: str
    env: bool = False
    metavar: str | None = None
    flag: bool = False

    @property
    def key(self) -> str:
        return f"voiceloop_{self.name}"


def _choice(*allowed: str) -> Callable[[str, Path], str]:
    def parse(text: str, _: Path) -> str:
        if text not in allowed:
            raise ValueError(f"write one of {', '.join(allowed)}")
        return text

    return parse


def _number(least: int) -> Callable[[str, Path], int]:
    def parse(text: str, _: Path) -> int:
        if not text.isdigit() or int(text) < least:
            raise ValueError(f"write a whole number of at least {least}")
        return int(text)

    return parse


def _path(text: str, base: Path) -> Path | None:
    return base / Path(text).expanduser() if text else None


def _folder(text: str, base: Path) -> Path:
    if not text:
        raise ValueError("write a folder")
    return base / Path(text).expanduser()


def _boolean(text: str, _: Path) -> bool:
    values = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if text.lower() not in values:
        raise ValueError("write true or false")
    return values[text.lower()]


def _name(text: str, _: Path) -> str | None:
    if text and not re.fullmatch(r"[\w][\w.-]*", text):
        raise ValueError("write a name of letters, digits, dots, dashes and underscores")
    return text or None


def _new_name(text: str, base: Path) -> str | None:
    """A baseline's name, as it is found again: what ends in .json is a path there."""
    if text.endswith(".json"):
        raise ValueError(f"write a name, such as {text[: -len('.json')] or 'main'}; it is kept as baselines/NAME.json")
    return _name(text, base)


def _run(text: str, base: Path) -> str | None:
    """A baseline's name, or the path of a JSON document."""
    return str(base / Path(text).expanduser()) if text.endswith(".json") else _name(text, base)


def _compare(text: str, base: Path) -> tuple[str, Rule | None] | None:
    name, colon, rule = text.partition(":")
    run = _run(name, base)
    if not run or not colon:
        return (run, None) if run else None
    from pytest_voiceloop.measure.comparing import parse_rule

    return run, parse_rule(rule)


def _report(text: str, base: Path) -> ReportRequest:
    form, _, path = text.partition(":")
    if form not in REPORT_FORMATS:
        raise ValueError(f"write a format ({', '.join(REPORT_FORMATS)}), or format:path, such as html:out/voice.html")
    return ReportRequest(form, _path(path, base))


def _slow(text: str, _: Path) -> tuple[str, float]:
    from pytest_voiceloop.measure.durations import parse_ms

    service, equals, duration = text.partition("=")
    if not equals or not service:
        raise ValueError("write service=duration, such as kokoro=1s")
    return service, parse_ms(duration, service)


_SINGLE = (
    _Option("dir", _folder, "voiceloop-results", "folder for journal, run.json, reports, audio and logs", env=True),
    _Option("config", _path, "", "a voiceloop.toml, or a pyproject.toml (default: beside the ini file)", env=True),
    _Option("profile", _name, "", "hold every test that phones against the budgets of a profile", metavar="NAME"),
    _Option("corpus", _path, "", "folder of the corpus to say (default: the plugin's own)", env=True),
    _Option("ports", _choice("auto", "fixed"), "auto", "auto: free ports; fixed: the seed's plan", env=True),
    _Option(
        "pace", _choice("asap", "realtime"), "asap", "how outbound sends: as fast as audio is made, or as a line does"
    ),
    _Option("trials", _number(1), "5", "how often measure() says each utterance", metavar="N"),
    _Option("warmup", _number(0), "1", "turns that measure() says first, reports, and leaves out", metavar="N"),
    _Option("seed", _number(0), "0", "the language model's seed", metavar="N"),
    _Option("save", _new_name, "", "keep this run as a baseline under a name", metavar="NAME"),
    _Option(
        "compare",
        _compare,
        "",
        "fail when this run is worse than a baseline (its name, or a .json) by more than the rule allows",
        metavar="NAME[:RULE]",
    ),
    _Option(
        "base", _path, "", "another checkout of the stack: say everything to both, turn about, and compare", env=True
    ),
    _Option("replay", _run, "", "pass on the texts of a recorded run (a baseline's name, or a .json)", metavar="NAME"),
    _Option(
        "inconclusive",
        _choice("warn", "fail", "extend"),
        "warn",
        "what an interval that spans a limit does: say so, fail, or let measure() go on for up to twice as many rounds",
    ),
    _Option(
        "junit", _boolean, "true", "false: no figures as properties of the test cases in --junit-xml", metavar="BOOL"
    ),
    _Option("require", _boolean, "false", "a missing model or binary fails instead of skipping", env=True, flag=True),
)
_REPEATED = (
    _Option(
        "report",
        _report,
        "",
        "write a report: html, json, summary or text, or format:path; repeatable",
        metavar="FORMAT[:PATH]",
    ),
    _Option("slow", _slow, "", "slow a service down at its tap, to see a gate fail", metavar="SERVICE=DURATION"),
)


def add_options(parser: pytest.Parser) -> None:
    """Declare every option and its ini twin."""
    group = parser.getgroup("voiceloop", "voiceloop: boot a voice stack, phone it, measure it")
    for option in (*_SINGLE, *_REPEATED):
        repeated = option in _REPEATED
        how: dict[str, Any] = {"action": "append"} if repeated else {"action": "store"}
        if option.flag:
            how = {"action": "store_const", "const": "true"}
        else:
            how["metavar"] = option.metavar
        shown = f"{option.help} (default: {option.default})" if option.default and not option.flag else option.help
        group.addoption(f"--voiceloop-{option.name}", dest=option.key, default=None, help=shown, **how)
        kind: Literal["linelist", "string"] = "linelist" if repeated else "string"
        parser.addini(option.key, option.help, type=kind, default=None)


def read(config: pytest.Config) -> Settings:
    """The settings of a run. Raises pytest.UsageError that names the source of a bad value."""
    single = {option.name: _single(config, option) for option in _SINGLE}
    repeated = {option.name: _repeated(config, option) for option in _REPEATED}
    return Settings(**single, reports=tuple(repeated["report"]), slow=dict(repeated["slow"]))


def configuration(config: pytest.Config, named: Path | None) -> Config | None:
    """The configuration that was named, or that lies beside the ini file, or in the rootdir. Raises ConfigError."""
    from pytest_voiceloop.config import find, load

    path = named or find(dict.fromkeys((_ini_folder(config), config.rootpath)))
    return load(path) if path else None


def profile(config: pytest.Config, asked: Settings) -> tuple[Budget, ...]:
    """The budgets of the profile that was asked for; none where none was. Raises pytest.UsageError.

    The stack of the configuration is looked at too, so that whatever is wrong with it stops the run once.
    """
    from pytest_voiceloop.config import NAME, ConfigError

    try:
        found = configuration(config, asked.config)
        if found:
            found.stack(asked.pace, asked.seed)
            return found.profile(asked.profile) if asked.profile else ()
    except ConfigError as error:
        raise pytest.UsageError(str(error)) from None
    if asked.profile:
        raise pytest.UsageError(
            f"--voiceloop-profile={asked.profile}: there is no {NAME} in {_ini_folder(config)}; write one "
            "(voiceloop init), or name it with --voiceloop-config"
        )
    return ()


def _single(config: pytest.Config, option: _Option) -> Any:
    given = config.getoption(option.key)
    variable = option.key.upper()
    if given is not None:
        return _parsed(option, str(given), f"--voiceloop-{option.name}", config.invocation_params.dir)
    if option.env and os.environ.get(variable):
        return _parsed(
            option, os.environ[variable], f"the environment variable {variable}", config.invocation_params.dir
        )
    written = config.getini(option.key)
    if written not in (None, ""):
        return _parsed(option, str(written), _ini_source(config, option), _ini_folder(config))
    return _parsed(option, option.default, "the default", config.invocation_params.dir)


def _repeated(config: pytest.Config, option: _Option) -> list[Any]:
    given = config.getoption(option.key)
    if given is not None:
        return [_parsed(option, one, f"--voiceloop-{option.name}", config.invocation_params.dir) for one in given]
    return [
        _parsed(option, one, _ini_source(config, option), _ini_folder(config))
        for one in config.getini(option.key) or ()
    ]


def _parsed(option: _Option, text: str, source: str, base: Path) -> Any:
    try:
        return option.parse(text, base)
    except ValueError as error:
        raise pytest.UsageError(f"{source}: {text!r} will not do; {error}") from None


def _ini_source(config: pytest.Config, option: _Option) -> str:
    return f"{option.key} in {config.inipath}"


def _ini_folder(config: pytest.Config) -> Path:
    return config.inipath.parent if config.inipath else config.rootpath
