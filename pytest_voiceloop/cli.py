"""The console script ``voiceloop``. Each command is a thin shell around what the plugin or the services can do."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_voiceloop.report.render import FORMATS

if TYPE_CHECKING:
    from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="voiceloop", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    demo = commands.add_parser("demo", help="a whole run on a scripted stack, without any model, and its report")
    demo.add_argument("--dir", type=Path, default=Path("voiceloop-demo"), help="where the report goes")

    init = commands.add_parser("init", help="write a commented voiceloop.toml for a stack of your own")
    init.add_argument("file", nargs="?", type=Path, default=Path("voiceloop.toml"), help="default: %(default)s")

    doctor = commands.add_parser("doctor", help="what a stack needs and what is missing, one cure a line")
    doctor.add_argument(
        "file",
        nargs="?",
        type=Path,
        help="a voiceloop.toml or pyproject.toml (default: the one in this folder, else the reference stack)",
    )
    doctor.add_argument("--json", action="store_true")

    selftest = commands.add_parser("selftest", help="how far the harness itself is off on this machine; 45 seconds")
    selftest.add_argument("--json", action="store_true")
    selftest.add_argument("--busy", action="store_true", help="keep every core busy meanwhile, to see what that does")

    report = commands.add_parser("report", help="any report again, from a run.json or a journal.jsonl; 2 if unreadable")
    report.add_argument("run", type=Path, metavar="RUN", help="a run.json, or a journal.jsonl of a run that crashed")
    report.add_argument("--format", choices=FORMATS, required=True, help="summary is Markdown, as for a CI job")
    report.add_argument("-o", "--output", type=Path, metavar="FILE", help="where it goes (default: standard output)")

    compare = commands.add_parser("compare", help="two runs: exit 0 same or better, 1 regressed, 125 cannot tell")
    for name in ("base", "head"):
        compare.add_argument(name, type=Path, help="a run.json, a baseline, or a journal.jsonl")
    compare.add_argument("--rule", default=None, help="what a change has to exceed, such as 10%%,25ms")
    compare.add_argument("--json", action="store_true")

    models = commands.add_parser("models", help="list, pull or verify the reference stack's models", add_help=False)
    models.add_argument("rest", nargs=argparse.REMAINDER)

    corpus = commands.add_parser("corpus", help="fetch a corpus of human speech")
    corpus.add_argument("action", choices=["pull"])
    corpus.add_argument("name", choices=["osr"])
    corpus.add_argument("--to", type=Path, default=None, metavar="DIR", help="folder to put it in (default: the cache)")

    # argparse keeps options out of REMAINDER, so what belongs to the models' own command line is split off first.
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["models"]:
        return subprocess.call([sys.executable, "-m", "voiceloop_services.models", *given[1:]])
    options = parser.parse_args(given)
    if options.command == "demo":
        return _demo(options.dir.absolute())
    if options.command == "doctor":
        from pytest_voiceloop.doctor import run_doctor

        return run_doctor(options.file, as_json=options.json)
    if options.command == "init":
        return _init(options.file)
    if options.command == "selftest":
        from pytest_voiceloop.call.selftest import run_self_test

        return run_self_test(as_json=options.json, busy=options.busy)
    if options.command == "report":
        return _report(options)
    if options.command == "compare":
        return _compare(options)
    from pytest_voiceloop.call.osr import pull_osr

    return pull_osr(options.to)


def _init(path: Path) -> int:
    from pytest_voiceloop.config import STARTER, ConfigError, find

    try:
        there = find([path.parent])
        if there is not None:
            print(f"voiceloop init: {there} is there already; change that one, or remove it first", file=sys.stderr)
            return 2
        with path.open("x", encoding="utf-8") as file:
            file.write(STARTER.read_text(encoding="utf-8"))
    except (ConfigError, OSError) as error:
        print(f"voiceloop init: {error}", file=sys.stderr)
        return 2
    print(f"{path} is written. Correct its commands and addresses, then: voiceloop doctor {path}")
    return 0


def _report(options: argparse.Namespace) -> int:
    from pytest_voiceloop.report import files, saved

    try:
        text = saved.report(options.run, options.format, options.output)
        if options.output:
            files.write_atomically(options.output, text)
        else:
            # A page names UTF-8 as its encoding, whatever the terminal's is.
            sys.stdout.buffer.write(text.encode("utf-8", "backslashreplace"))
    except saved.SavedError as error:
        print(f"voiceloop report: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"voiceloop report: {options.output or 'standard output'} cannot be written: {error}", file=sys.stderr)
        return 2
    return 0


def _compare(options: argparse.Namespace) -> int:
    from pytest_voiceloop.measure.comparing import parse_rule
    from pytest_voiceloop.report import comparison, saved

    try:
        found = saved.compared(options.base, options.head, parse_rule(options.rule) if options.rule else None)
    except ValueError as error:
        print(f"voiceloop compare: {error}", file=sys.stderr)
        return 2
    print(json.dumps(found, indent=1) if options.json else "\n".join(comparison.lines(found)))
    return {"same": 0, "better": 0, "regressed": 1}.get(found["verdict"], 125)


def _demo(folder: Path) -> int:
    tests = Path(__file__).parent / "demo"
    # What the shell asks of other runs is not meant for this one, which is scripted and needs no model.
    of_others = ("VOICELOOP_REQUIRE", "VOICELOOP_CONFIG", "PYTEST_ADDOPTS")
    env = {key: value for key, value in os.environ.items() if key not in of_others}
    return subprocess.call(
        [
            *(sys.executable, "-m", "pytest", str(tests), f"--rootdir={tests}", "-c", str(tests / "pytest.ini")),
            *("-p", "no:cacheprovider", f"--voiceloop-dir={folder}", "--voiceloop-report=html"),
        ],
        env=env,
    )


if __name__ == "__main__":
    sys.exit(main())
