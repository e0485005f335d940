"""What one pytest run keeps: its settings, its folder, and what was measured so far."""

from __future__ import annotations

import contextlib
import io
import threading
import time
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from pytest_voiceloop.call.faults import Faults
    from pytest_voiceloop.call.line import Capture
    from pytest_voiceloop.call.live import LiveStack
    from pytest_voiceloop.call.replay import Key, Script
    from pytest_voiceloop.measure.budgets import Budget, Verdict
    from pytest_voiceloop.measure.turn import Turn
    from pytest_voiceloop.settings import Settings

RECORD = "voiceloop"
"""Attribute of a test's report that carries its record; xdist passes it on since it is plain JSON."""
KEPT_RUNS = 5
"""Audio and logs of so many runs are kept; voices are personal data, and disks are finite."""
MAKE_ROOM = "make room there, or choose another --voiceloop-dir"


class Say(Protocol):
    """Shows a line as progress, with pytest's markup (``red=True``) where that is shown."""

    def __call__(self, text: str, **markup: bool) -> None:
        """Show `text`."""


@dataclass(slots=True)
class Measured:
    """What a test has measured so far."""

    turns: list[Turn] = field(default_factory=list)
    base_turns: list[Turn] = field(default_factory=list)
    """Those of the version that is compared with, in the same order."""
    verdicts: list[tuple[Budget, Verdict]] = field(default_factory=list)
    services: list[dict[str, Any]] = field(default_factory=list)
    log_tails: Callable[[], list[tuple[str, str]]] = list
    planned: int = 0
    """Turns that are known to be said, each counted once however often it is void."""

    def plan(self, turns: int) -> None:
        """Count further turns, after those that were said and those that others are still saying."""
        self.planned = max(self.planned, said(self.turns)) + turns


@dataclass(slots=True)
class Run:
    """One pytest run, or one xdist worker of it. `records` are the controller's: one per test that was reported."""

    settings: Settings
    id: str
    worker: str
    say: Say
    started_at: str
    baseline: Mapping[str, Any] | None = None
    """The document that this run is to be compared with."""
    scripts: Mapping[Key, Script] = field(default_factory=dict)
    """What is replayed."""
    records: list[dict[str, Any]] = field(default_factory=list)
    document: dict[str, Any] | None = None
    written: list[Path] = field(default_factory=list)
    """The reports, run.json first."""
    unwritten: list[str] = field(default_factory=list)
    """Those that could not be written, each with the reason and the cure."""
    calibration: dict[str, float | None] = field(default_factory=dict)
    """``before_ms`` and ``after_ms``: what a fixed piece of work took before the first boot and at the end."""
    _keeping: threading.Lock = field(default_factory=threading.Lock)

    @property
    def folder(self) -> Path:
        """Where this run's journal, audio and logs go."""
        return self.settings.dir / self.id

    @property
    def contended(self) -> bool:
        """Whether other workers measure on this machine at the same time."""
        return bool(self.worker)

    def prepare_folder(self) -> Path:
        """Make the run's folder, keep git out of it, and drop those of runs long past."""
        from pytest_voiceloop.report.journal import append

        self.settings.dir.mkdir(parents=True, exist_ok=True)
        # Who makes the folder begins the journal: of several workers, one.
        with contextlib.suppress(FileExistsError):
            self.folder.mkdir()
            (self.settings.dir / ".gitignore").write_text("*\n")
            _prune(self.settings.dir)
            # Where this run is killed, nobody shall take an earlier one's reports for its own.
            for path, _ in self.reports:
                with contextlib.suppress(OSError):
                    path.unlink()
            append(self.journal, "run", self.facts())
        return self.folder

    def facts(self) -> dict[str, Any]:
        """What the JSON document says of the run itself."""
        from importlib.metadata import version

        from pytest_voiceloop.report.document import environment

        return {
            "tool_version": version("pytest-voiceloop"),
            "started_at": self.started_at,
            "environment": environment(),
            "settings": self.settings_json(),
        }

    @property
    def reports(self) -> list[tuple[Path, str]]:
        """Where each report of this run goes, and its format; run.json first."""
        from pytest_voiceloop.report.render import SUFFIXES

        folder = self.settings.dir
        asked = [(one.path or folder / f"report.{SUFFIXES[one.format]}", one.format) for one in self.settings.reports]
        return [(folder / "run.json", "json"), *asked]

    @property
    def journal(self) -> Path:
        """Every turn is appended here as soon as it is measured."""
        return self.folder / "journal.jsonl"

    def logs(self, name: str) -> Path:
        """A folder for the logs of a stack that is to be booted; one boot's logs do not overwrite another's."""
        folder = self.prepare_folder() / "logs"
        base = f"{self.worker}-{name}" if self.worker else name
        number = sum(1 for _ in folder.glob(f"{base}-*")) + 1 if folder.is_dir() else 1
        return folder / f"{base}-{number}"

    def calibrate(self, key: Literal["before_ms", "after_ms"]) -> None:
        """Time a fixed piece of work, once for each key, while no stack runs. Workers would time each other."""
        from pytest_voiceloop.call.machine import calibrate
        from pytest_voiceloop.report.journal import append

        if self.contended or key in self.calibration:
            return
        self.calibration[key] = calibrate()
        append(self.journal, "calibration", {key: self.calibration[key]})

    def settings_json(self) -> dict[str, Any]:
        """The settings as they stand in the JSON document."""
        s = self.settings
        return {
            "pace": s.pace,
            "ports": s.ports,
            "trials": s.trials,
            "warmup": s.warmup,
            "seed": s.seed,
            "replay": s.replay,
            "base": str(s.base) if s.base else None,
            "require": s.require,
            "corpus": str(s.corpus) if s.corpus else None,
            "slow_ms": dict(s.slow),
        }

    def keep(self, item: pytest.Item, live: LiveStack, turn: Turn, capture: Capture, *, base: bool = False) -> Turn:
        """Keep a turn: its audio as files, itself in the journal and with its test; show it as progress.

        With `base` it is one of the version that is compared with, and no budget judges it. Raises OSError where the
        results folder cannot be written to.
        """
        from dataclasses import replace

        from pytest_voiceloop.report.journal import append
        from pytest_voiceloop.report.terminal import turn_line, turn_markup

        measured = item.stash[MEASURED]
        if self.contended:
            turn = replace(turn, flags=(*turn.flags, "contended"))
        # A test may let several callers speak at once, each in a thread of its own.
        with self._keeping:
            turns = measured.base_turns if base else measured.turns
            which = f"base-{len(turns) + 1}" if base else f"{len(turns) + 1}"
            # Before anything is written: on a full disk the test fails, and its turn still stands in its record.
            turns.append(turn)
            if not base:
                measured.services = services_json(live)
                measured.log_tails = live.running.log_tails
            try:
                audio, placed = self._write_audio(item, which, capture)
                turns[-1] = turn = replace(turn, audio=audio, playout={**turn.playout, **placed})
                record = turn.as_json()
                append(self.journal, "turn", {"nodeid": item.nodeid, "base": base, **record})
            except OSError as error:
                raise OSError(error.errno, f"{error.strerror}; {MAKE_ROOM}", str(self.folder)) from None
            number = said(turns)
            place = (number, measured.planned) if number <= measured.planned else item.stash.get(PLACE, None)
            line = turn_line(record, scripted=live.spec.scripted, base=base, place=place)
            self.say(line, **turn_markup(record))
        return turn

    def _write_audio(self, item: pytest.Item, which: str, capture: Capture) -> tuple[dict[str, str], dict[str, Any]]:
        """Where the files lie, and of the reply's when it begins (ms after T0) and where it pauses (ms of the file)."""
        import soundfile

        from pytest_voiceloop.call.corpus import RATE_HZ
        from pytest_voiceloop.measure.playout import playout, with_pauses

        folder = self.prepare_folder() / "audio"
        folder.mkdir(exist_ok=True)
        stem = f"{_slug(item.nodeid)}-{which}"
        places = {}
        heard = playout(capture.arrivals)
        reply, pauses = with_pauses(heard)
        for name, samples, rate_hz in (
            ("caller", capture.clip.samples, RATE_HZ),
            ("reply", reply, heard.rate_hz),
        ):
            if len(samples):
                path = folder / f"{stem}-{name}.wav"
                # Not by libsndfile itself, which has no error for a full disk.
                wave = io.BytesIO()
                soundfile.write(wave, samples, rate_hz, format="WAV", subtype="PCM_16")
                path.write_bytes(wave.getbuffer())
                places[name] = str(path.relative_to(self.settings.dir))
        if not len(heard.play_ns):
            return places, {}
        return places, {
            "begins_ms": round((int(heard.play_ns[0]) - capture.t0_ns) / 1e6, 3),
            "pauses_ms": [[round(1000 * at / heard.rate_hz, 3) for at in pause] for pause in pauses],
        }


def undecided(run: Run, measured: Measured, budgets: Sequence[Budget]) -> bool:
    """Whether a budget cannot be told yet, or how what the test has measured so far compares."""
    from pytest_voiceloop.markers import judge_turns
    from pytest_voiceloop.measure.comparing import BASELINE, INTERLEAVED, compare
    from pytest_voiceloop.report.document import turns_of

    if any(verdict.verdict == "inconclusive" for _, verdict in judge_turns(budgets, measured.turns)):
        return True
    turns = [turn.as_json() for turn in measured.turns]
    said = {(turn["utterance"]["corpus"], turn["utterance"]["id"], turn["pace"]) for turn in turns}
    # Of a kept run what other tests have said is theirs.
    kept = [
        turn
        for turn in (turns_of(run.baseline, "turns") if run.baseline else ())
        if (turn["utterance"]["corpus"], turn["utterance"]["id"], turn["pace"]) in said
    ]
    rule = (run.settings.compare and run.settings.compare[1]) or BASELINE
    sides = ((kept, rule), ([turn.as_json() for turn in measured.base_turns], INTERLEAVED))
    return any(before and compare(before, turns, how).verdict == "inconclusive" for before, how in sides)


RUN = pytest.StashKey[Run]()
MEASURED = pytest.StashKey[Measured]()
BUDGETS: pytest.StashKey[Sequence[Budget]] = pytest.StashKey()
FAULTS: pytest.StashKey[Faults] = pytest.StashKey()
PLACE = pytest.StashKey[tuple[int, int]]()
"""Which test it is of those that say the corpus, one utterance each, and how many these are."""


def said(turns: Iterable[Turn]) -> int:
    """How many turns, each counted once however often it was void."""
    return sum(not turn.repeat for turn in turns)


def services_json(live: LiveStack, *, base: bool = False) -> list[dict[str, Any]]:
    """The document's ``services[]``: what each service said when it was ready, and whether it is the base's.

    Of one that ran already only its addresses are known.
    """
    started = [
        {
            "name": process.name,
            "pid": process.popen.pid,
            "base": base,
            **{key: value for key, value in process.facts.items() if key != "ready"},
            "cold_start_ms": round(process.cold_start_ms, 1),
            "restarts": live.running.restarts.count(process.name),
        }
        for process in live.running.processes
    ]
    there = [
        {
            "name": service.name,
            "pid": None,
            "base": base,
            "address": {name: f"{port.host}:{port.seed}" for name, port in service.ports.items()},
            "cold_start_ms": None,
            "restarts": 0,
        }
        for service in live.spec.services
        if not service.command
    ]
    return started + there


def new_run(settings: Settings, worker: str, run_id: str | None, say: Say) -> Run:
    """A run that begins now. Workers take the controller's id.

    Raises pytest.UsageError for a baseline that cannot be used: it would be a pity to learn that after measuring.
    """
    import os

    now = time.time()
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime(now))
    started_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now))
    run = Run(settings, run_id or f"run-{stamp}-{os.getpid()}", worker, say, started_at)
    if settings.compare and not worker:
        run.baseline = _kept(settings, settings.compare[0], "--voiceloop-compare")
    if settings.replay:
        from pytest_voiceloop.call.replay import scripts
        from pytest_voiceloop.report.document import turns_of

        run.scripts = scripts(turns_of(_kept(settings, settings.replay, "--voiceloop-replay")))
        if not run.scripts:
            raise pytest.UsageError(f"--voiceloop-replay: {settings.replay} holds no whole turn that could be replayed")
    return run


def _kept(settings: Settings, name: str, option: str) -> dict[str, Any]:
    from pytest_voiceloop import baselines
    from pytest_voiceloop.report.saved import SavedError

    try:
        return baselines.kept(settings.dir, name)
    except SavedError as error:
        raise pytest.UsageError(f"{option}: {error}") from None


def _prune(folder: Path) -> None:
    import shutil

    runs = sorted(path for path in folder.glob("run-*") if path.is_dir())
    for path in runs[:-KEPT_RUNS]:
        shutil.rmtree(path, ignore_errors=True)


def _slug(nodeid: str) -> str:
    """A file name that a person recognises, and that no other test has."""
    name = "".join(c if c.isascii() and c.isalnum() else "-" for c in nodeid)[-100:].strip("-")
    return f"{name}-{zlib.crc32(nodeid.encode()):08x}"


class Collector:
    """The controller's ear for reports: one record per test, the same with and without xdist."""

    def __init__(self, run: Run) -> None:
        self._run = run

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the record that a report carries."""
        record = getattr(report, RECORD, None)
        if record is not None:
            self._run.records = [r for r in self._run.records if r["nodeid"] != record["nodeid"]] + [record]
