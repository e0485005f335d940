"""From a test's turns to its outcome, and from all tests' records to the reports. What the hooks call."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_voiceloop import baselines, markers
from pytest_voiceloop.measure.turn import LATENCY_METRICS, Turn, latency_ms
from pytest_voiceloop.report import comparison, document, files, findings, journal, junit, reading, render, terminal
from pytest_voiceloop.report.step_summary import step_summary
from pytest_voiceloop.run import BUDGETS, FAULTS, MAKE_ROOM, MEASURED, RECORD, RUN, Run
from pytest_voiceloop.text import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pytest_voiceloop.measure.budgets import Budget, Verdict


def enforce(item: pytest.Item) -> None:
    """Fail a test whose caller heard nothing, or whose budgets do not hold."""
    measured = item.stash[MEASURED]
    run = item.config.stash[RUN]
    measured.verdicts = markers.judge_turns(item.stash[BUDGETS], measured.turns)
    unanswered = markers.describe_failures(measured.turns)
    failing = ("over", "inconclusive") if run.settings.inconclusive == "fail" else ("over",)
    # Several workers on one machine slow each other down: their latencies are shown and held against nobody.
    over = [
        (budget, verdict)
        for budget, verdict in measured.verdicts
        if verdict.verdict in failing and not (run.contended and budget.unit == "ms")
    ]
    faults = item.stash[FAULTS].given if FAULTS in item.stash else ()
    untold = markers.never_struck(faults, measured.turns)
    messages = [*unanswered, *untold, *(failure_message(*one, measured.turns) for one in over)]
    if messages:
        pytest.fail("\n\n".join(messages), pytrace=False)


def failure_message(budget: Budget, verdict: Verdict, turns: Sequence[Turn]) -> str:
    """What a person needs to know about a budget that was missed: ledger, limit, source, stages and words."""
    counted = [turn for turn in turns if not turn.warmup and turn.status != "void"]
    void = [turn for turn in turns if turn.status == "void"]
    limit = f"its limit of {_amount(budget.limit, budget)} ({budget.source})"
    if void and not counted:
        because = "; ".join(void[-1].void_because)
        return f"{budget.metric} could not be held against {limit}\n  every turn was void: {because}"
    how = "may be over" if verdict.verdict == "inconclusive" else "is over"
    lines = [f"{budget.metric} {how} {limit}"]
    observed = "never measured" if verdict.observed is None else _amount(verdict.observed, budget)
    which = "the worst turn" if budget.percentile is None else f"percentile {budget.percentile:g}"
    lines.append(f"  observed {observed} ({which}; n = {verdict.n}{'; ' + verdict.note if verdict.note else ''})")
    if budget.unit == "ms" and counted:
        worst = max(counted, key=lambda turn: _or_infinite(latency_ms(turn, budget.metric)))
        lines += _ledger_lines(worst, budget)
    elif counted:
        worst = max(counted, key=lambda turn: _errors(turn, budget.metric))
        lines += _word_lines(worst)
    return "\n".join(lines)


def _ledger_lines(turn: Turn, budget: Budget) -> list[str]:
    name = LATENCY_METRICS[budget.metric][0]
    ledger = turn.complete if name == "complete" else turn.first_audio
    title = "complete ledger" if name == "complete" else "first-audio ledger"
    lines = [f"  {title} of {turn.utterance.id or 'the turn'} (call {turn.call_id}, pace {turn.pace}):"]
    excess = {}
    for stage, value in ledger.stages_ms.items():
        target = reading.target_ms(stage, turn.pace)
        shown = "never came" if value is None else f"{value:8.0f} ms"
        lines.append(f"    {stage:<16}{shown}" + (f"  (target {target:g} ms)" if target is not None else ""))
        if value is not None and target is not None and value > target:
            excess[stage] = value - target
    if excess:
        # All of them: on a machine without a GPU a stage can be far over its target without having become slower.
        worst_first = sorted(excess, key=lambda stage: -excess[stage])
        named = ", ".join(f"{stage} by {excess[stage]:.0f} ms" for stage in worst_first)
        lines.append(f"  over their targets: {named}; look at the logs of the services that own them")
    lines += [f"  {line}" for line in injected([turn])]
    return lines + _word_lines(turn)


def injected(turns: Sequence[Turn]) -> list[str]:
    """What was done to the stack on purpose in turns of a test, when, and what does it again."""
    return [
        f"injected into call {turn.call_id}: {findings.fault_text(record)} (at {record['at_ms']:+.0f} ms); "
        f"again: {visible(_again(record['line']))}"
        for turn in turns
        for record in turn.faults
    ]


def _again(line: str) -> str:
    return line if line.startswith("--") else f"@pytest.mark.{line}"


def _word_lines(turn: Turn) -> list[str]:
    record = turn.as_json()
    sides = {side: record[side]["text"] for side in ("transcript", "reply", "heard")}
    # Models wrote them: no terminal shall obey what is in them.
    said = [f"    {side:<12}{visible(text) or reading.wordless(record, side)}" for side, text in sides.items()]
    return [f"    {'said':<12}{visible(turn.utterance.text)}", *said]


def _amount(value: float, budget: Budget) -> str:
    return f"{value:.0f} ms" if budget.unit == "ms" else f"{value:.3f}"


def _or_infinite(value: float | None) -> float:
    return float("inf") if value is None else value


def _errors(turn: Turn, metric: str) -> float:
    if metric == "cut_off_rate":
        return float("cut_off" in turn.flags)
    return (turn.transcript if metric == "transcript_wer" else turn.heard).wer or 0.0


def attach(item: pytest.Item, report: pytest.TestReport) -> None:
    """Put a test's record on its report, and the services' logs with it when it failed."""
    measured = item.stash[MEASURED]
    run = item.config.stash[RUN]
    if not measured.verdicts:
        measured.verdicts = markers.judge_turns(item.stash[BUDGETS], measured.turns) if measured.turns else []
    if report.failed:
        if lines := injected(measured.turns):
            report.sections.append(("voiceloop faults", "\n".join(lines)))
        report.sections += [(f"voiceloop log: {name}", tail) for name, tail in measured.log_tails() if tail]
    record = {
        "nodeid": item.nodeid,
        "outcome": report.outcome if report.when == "call" or report.skipped else "error",
        "budgets": [_budget_json(*one) for one in measured.verdicts],
        "turns": [turn.as_json() for turn in measured.turns],
        "base_turns": [turn.as_json() for turn in measured.base_turns],
        "services": measured.services,
        "message": _message(report),
        "sections": [{"title": title, "text": text} for title, text in report.sections] if report.failed else [],
    }
    setattr(report, RECORD, document.strict(record))
    if run.settings.junit:
        # The XML takes the properties of the tear-down's report, which is made of the item's; others may look at these.
        item.user_properties[:] = junit.with_properties(item.user_properties, getattr(report, RECORD))
        report.user_properties = list(item.user_properties)
    if run.folder.is_dir():
        # On a full disk the report still carries the record to run.json, which says so if it cannot be written either.
        with contextlib.suppress(OSError):
            journal.append(run.journal, "test", getattr(report, RECORD))


def _message(report: pytest.TestReport) -> str:
    """Why a test failed or was skipped."""
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2]
    return str(report.longrepr) if report.longrepr else ""


def _budget_json(budget: Budget, verdict: Verdict) -> dict[str, Any]:
    unit = "_ms" if budget.unit == "ms" else ""
    return {
        "metric": budget.metric,
        "unit": budget.unit,
        f"limit{unit}": budget.limit,
        "percentile": budget.percentile,
        "source": budget.source,
        f"observed{unit}": verdict.observed,
        f"low{unit}": verdict.low,
        f"high{unit}": verdict.high,
        "n": verdict.n,
        "verdict": verdict.verdict,
        "note": verdict.note,
    }


def write(run: Run, *, in_mid_turn: bool = False) -> None:
    """Write run.json and every report that was asked for. What cannot be written is told, and keeps no other one back.

    With `in_mid_turn` the stack still runs, and pytest is about to be ended.
    """
    run.written, run.unwritten = [], []
    lines: list[dict[str, Any]] = []
    try:
        run.prepare_folder()
        lines = journal.read(run.journal)
    except OSError as error:
        run.unwritten.append(f"{run.folder}: {error.strerror}; {MAKE_ROOM}")
    # The journal knows what no report tells: services that served no turn, and the turns of a test without an end.
    known = journal.from_journal(lines)
    told = [*known["services"], *(service for record in run.records for service in record["services"])]
    # By process: two that started equally fast are still two. What ran already has none.
    services = {(service["pid"], service["name"], service["base"]): service for service in told}
    tests = [{key: value for key, value in record.items() if key != "services"} for record in run.records]
    tests += [test for test in known["tests"] if test["outcome"] == journal.UNFINISHED]
    if services and run.calibration and not in_mid_turn:
        with contextlib.suppress(OSError):
            run.calibrate("after_ms")
    run.document = document.build(tests, list(services.values()), **run.facts(), calibration=run.calibration)
    run.document["comparisons"] = comparisons(run)
    for path, form in run.reports:
        _write(run, path, form)
    if run.settings.save:
        _keep(run, baselines.path_of(run.settings.dir, run.settings.save))
    if "GITHUB_STEP_SUMMARY" in os.environ:
        with contextlib.suppress(OSError), Path(os.environ["GITHUB_STEP_SUMMARY"]).open("a", encoding="utf-8") as page:
            page.write(step_summary(run.document))


def _keep(run: Run, path: Path) -> None:
    """Keep the run as a baseline. One without a turn that counts must not take the place of one that has some."""
    assert run.document is not None
    if any(turn["status"] == "ok" and not turn["warmup"] for turn in document.turns_of(run.document, "turns")):
        _write(run, path, "json")
    else:
        run.unwritten.append(f"{path}: no turn of this run counts, so there is nothing to keep; see why, and run again")


def _write(run: Run, path: Path, form: str) -> None:
    assert run.document is not None
    # Audio lies in the results folder, wherever the page goes.
    place = run.settings.dir
    audio_folder = os.path.relpath(place, path.parent)
    try:
        text = render.render(run.document, form, audio_folder=audio_folder, audio_in=place)
        files.write_atomically(path, text)
    except OSError as error:
        cure = f"make it with: voiceloop report {run.journal} --format {form} -o FILE"
        run.unwritten.append(f"{path}: {error.strerror or error}; {cure}")
    else:
        run.written.append(path)


def comparisons(run: Run) -> list[dict[str, Any]]:
    """The document's ``comparisons``: with the baseline, and with the base that was measured turn about."""
    assert run.document is not None
    found = []
    if run.baseline is not None and run.settings.compare is not None:
        name, rule = run.settings.compare
        found.append(comparison.with_baseline(run.baseline, run.document, name, rule))
    if document.turns_of(run.document, "base_turns"):
        found.append(comparison.with_base(run.document, f"base {run.settings.base or '(voiceloop_base_spec)'}"))
    return found


def failed(run: Run) -> bool:
    """Whether what was asked for has to fail the run: a comparison, or a report that could not be written."""
    failing = {"regressed", "refused"} | ({"inconclusive"} if run.settings.inconclusive == "fail" else set())
    return bool(run.unwritten) or any(
        found["verdict"] in failing for found in (run.document or {}).get("comparisons", ())
    )


def show(reporter: pytest.TerminalReporter, run: Run) -> None:
    """Print the summary."""
    assert run.document is not None
    reporter.section("voiceloop", "=")
    writer = reporter.config.get_terminal_writer()
    # Nobody shall take a line of a scripted run for a measurement of models, not even a line that was cut out.
    label = "script| " if reading.is_scripted(run.document) else ""
    for path in run.written:
        reporter.write_line(f"{label}written: {path}")
    for why in run.unwritten:
        reporter.write_line(f"{label}NOT WRITTEN: {why}", red=True)
    width = min(writer.fullwidth, 100) - len(label)
    for line in terminal.summary_lines(run.document, width=width, color=writer.hasmarkup):
        reporter.write_line(label + line)
