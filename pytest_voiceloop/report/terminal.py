"""The report on a terminal: one line per turn while it runs, and a summary. Pure functions of records."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pytest_voiceloop.report import comparison, findings, reading, reliability
from pytest_voiceloop.report.reading import milliseconds, ratio
from pytest_voiceloop.text import cells, clipped, visible, wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MOST_IN_FULL = 24
_LABEL = 13
_STYLES = {"good": "32", "bad": "31;1", "warn": "33", "head": "1", "dim": "2"}

Line = tuple[tuple[str, str], ...]
"""Fragments of a line, each with its style (a key of _STYLES, or empty)."""


def turn_line(
    turn: Mapping[str, Any],
    width: int = 80,
    *,
    scripted: bool = False,
    base: bool = False,
    place: tuple[int, int] | None = None,
) -> str:
    """A turn in one line of at most `width` columns, for live progress.

    Its `place` (which one of how many), status, pace, total, voice-to-voice, transcript and loop WER, id and flags;
    `scripted` and `base` label it so.
    """
    status = "warmup" if turn["warmup"] and turn["status"] == "ok" else turn["status"]
    wer = f"WER {ratio(turn['transcript']['wer'])}/{ratio(turn['heard']['wer'])}"
    if turn["missing"]:
        figures = [f"{turn['missing'][0].upper()} never came"]
    else:
        figures = [
            f"total {milliseconds(turn['ledgers']['complete']['total_ms']):>8}",
            f"v2v {milliseconds(reading.voice_to_voice_ms(turn)):>7}",
            wer,
        ]
    marks = [*turn["flags"], *(["base"] if base else [])]
    flags = f" [{visible(' '.join(marks))}]" if marks else ""
    label = [reading.SCRIPTED] if scripted else []
    if place:
        number, most = place
        label.append(f"{number:>{len(str(most))}}/{most}")
    ahead = "  ".join([" ".join([*label, f"{visible(status):<7}", f"{visible(turn['pace']):<8}"]), *figures, ""])
    if cells(ahead + flags) > width - 12:
        # Too narrow for columns: what is said matters more than where it stands.
        ahead = " ".join(ahead.split()) + " "
    name = visible(turn["utterance"]["id"])
    name = clipped(name, max(width - cells(ahead) - cells(flags), 8))
    return clipped(f"{ahead}{name}{flags}", width)


def turn_markup(turn: Mapping[str, Any]) -> dict[str, bool]:
    """Pytest's markup for a turn's line, which it shows where it shows colours."""
    return {"ok": {}, "void": {"yellow": True}}.get(turn["status"], {"red": True})


def summary_lines(document: Mapping[str, Any], width: int = 80, *, color: bool = False) -> list[str]:
    """The summary of a run in lines of at most `width` columns; the last one is the verdict.

    Budgets that were missed come first, then the turns, then the medians of each corpus and pace. Of more than
    MOST_IN_FULL turns only those that went wrong and the slowest are shown in full.
    """
    return [_painted(line, width, color) for line in _summary(document, width)]


def _summary(document: Mapping[str, Any], width: int) -> Iterator[Line]:
    label = f" - {reading.SCRIPTED}" if reading.is_scripted(document) else ""
    found = reading.verdict(document)
    yield _rule(f"Pipeline Timing Summary{label}", "=", width)
    yield from _budgets(document, width)
    every = list(reading.entries(document))
    full = reading.notable(every, MOST_IN_FULL)
    for entry in every:
        if entry.number in full:
            yield from _turn(entry, label, width)
    yield from _shortened(every, full, label, width)
    for row in document["summary"]:
        yield from _medians(row, label, width)
    for found_change in document.get("comparisons") or ():
        yield _rule(f"Comparison{label}", "-", width)
        failed = found_change["verdict"] in ("regressed", "refused")
        for number, line in enumerate(comparison.lines(found_change, width)):
            yield ((line, ("bad" if failed else "head") if number == 0 else ""),)
    for number, sentence in enumerate(reliability.sentences(document)):
        yield from _folded(sentence.replace("→", "->"), "", width, 3, "warn" if number else "")
    style = {"passed": "good", "failed": "bad"}.get(found.state, "warn")
    yield from _folded(f"voiceloop: {found.sentence}{label}", "", width, 5, style)


def _budgets(document: Mapping[str, Any], width: int) -> Iterator[Line]:
    missed = reading.missed_budgets(document)
    if missed:
        yield (("Budgets not kept:", "head"),)
    for nodeid, _, budget in missed:
        observed, interval, limit = reading.budget_figures(budget)
        style = "bad" if budget["verdict"] == "over" else "warn"
        percentile = f" p{budget['percentile']:g}" if budget.get("percentile") is not None else ""
        yield (
            (f"  {visible(budget['verdict']).upper()}  ", style),
            (f"{visible(budget['metric'])}{percentile} {observed} {interval}".rstrip(), "head"),
            (f", limit {limit}, n={budget['n']}", ""),
        )
        note = f" ({visible(budget['note'])})" if budget.get("note") else ""
        yield from _folded(f"set by {visible(budget['source'])}{note}", "      ", width, 3)
        yield from _folded(visible(nodeid), "      ", width, 3)
    if missed:
        yield ()


def _turn(entry: reading.Entry, label: str, width: int) -> Iterator[Line]:
    turn = entry.turn
    call = f"call {visible(turn['call_id'])}, turn {turn['index'] + 1}"
    yield _rule(f"{visible(turn['utterance']['id'])}, {visible(turn['pace'])}, {call}{label}", "-", width)
    if turn["status"] != "ok":
        yield ((f"  {visible(turn['status']).upper()}", "warn" if turn["status"] == "void" else "bad"),)
    for sentence in turn.get("void_because", ()):
        yield from _folded(visible(sentence), "    ", width, 2)
    for sentence in reading.missing_events(turn):
        yield from _folded(sentence.replace("→", "->"), "    ", width, 3)
    synthetic = f" ({reading.SYNTHETIC})" if turn["utterance"]["synthetic"] else ""
    yield from _words("Said:", turn["utterance"]["text"], "", width)
    for side in ("transcript", "reply", "heard"):
        rate = turn[side].get("wer")
        yield from _words(f"{side.capitalize()}:", turn[side]["text"], reading.wordless(turn, side), width)
        if rate is not None:
            yield ((f"{'':{_LABEL + 2}}WER {ratio(rate)}{synthetic}", "" if rate == 0 else "warn"),)
    yield from _stages(turn, width)
    yield from _facts(turn, width)
    yield ()


def _words(name: str, text: str, wordless: str, width: int) -> Iterator[Line]:
    shown = f'"{visible(text)}"' if text else wordless
    for number, part in enumerate(wrapped(shown, width - _LABEL - 2, 3)):
        yield ((f"  {name if number == 0 else '':<{_LABEL}}", "dim"), (part, ""))


def _stages(turn: Mapping[str, Any], width: int) -> Iterator[Line]:
    ledger = turn["ledgers"]["complete"]
    for stage, value in ledger["stages_ms"].items():
        start, end = (event.split("_")[0].upper() for event in reading.stage_events("complete", stage))
        overlap = "  worked ahead" if value is not None and value < 0 else ""
        yield _stage(f"{visible(stage)} ({end}-{start})", value, stage, turn, overlap)
    unseen = "" if turn["missing"] else reading.why_null(turn, "complete")
    yield _stage("total (T5-T0)", ledger["total_ms"], "total", turn, f"  {unseen}" if unseen else "")
    silence = turn["leading_silence_ms"]
    inside = f"  {milliseconds(silence)} of it leading silence" if silence else ""
    yield _stage("voice to voice", reading.voice_to_voice_ms(turn), "", turn, inside)
    if turn["pace"] == "realtime":
        yield from _folded(reading.NO_TARGET_AT_REALTIME, "  ", width, 3, "dim")


def _stage(title: str, value: float | None, stage: str, turn: Mapping[str, Any], remark: str) -> Line:
    target = reading.target_ms(stage, turn["pace"]) if stage else None
    shown = f"  {title:<28}{milliseconds(value):>9}"
    if target is None:
        return ((f"{shown}{remark}", ""),)
    word, style = _held(value, target)
    return ((f"{shown}  target {target:>5.0f} ms  ", ""), (word, style), (remark, ""))


def _held(value: float | None, target: float) -> tuple[str, str]:
    if value is None:
        return "-", "warn"
    return ("ok", "good") if value <= target else ("above", "warn")


def _facts(turn: Mapping[str, Any], width: int) -> Iterator[Line]:
    facts = [f"reply {reading.plural(turn['reply']['words'], 'word')}, {turn['reply']['audio_s']:.1f} s"]
    if turn["tts_rtf"] is not None:
        facts.append(f"tts real-time factor {turn['tts_rtf']:.2f}")
    if turn["playout"].get("lost"):
        facts.append(f"{reading.plural(turn['playout']['lost'], 'packet')} lost")
    if turn["flags"]:
        facts.append(f"flags: {visible(', '.join(turn['flags']))}")
    if turn.get("faults"):
        facts.append(f"faults injected: {', '.join(map(findings.fault_text, turn['faults']))}")
    yield from _folded("; ".join(facts), "  ", width, 3)


def _shortened(every: Sequence[reading.Entry], full: set[int], label: str, width: int) -> Iterator[Line]:
    short = [entry for entry in every if entry.number not in full]
    if not short:
        return
    warmup = sum(entry.turn["warmup"] for entry in short)
    yield (
        (f"{len(short)} shortened ({warmup} of them warm-up); run.json and the html report have all of each.", "dim"),
    )
    for entry in short:
        yield ((turn_line(entry.turn, width, scripted=bool(label)), ""),)
    yield ()


def _medians(row: Mapping[str, Any], label: str, width: int) -> Iterator[Line]:
    name = visible(reading.corpus_name(row["corpus"]))
    synthetic = f" ({reading.SYNTHETIC})" if row["synthetic"] else ""
    yield _rule(f"Medians: {name}{synthetic}, {visible(row['pace'])}{label}", "-", width)
    counts = [reading.plural(row["turns"], "clean turn")]
    counts += [f"{row[key]} {key}" for key in ("timeout", "failed", "void", "contended") if row[key]]
    if row["cut_off_rate"] is not None:
        counts.append(f"split {row['split_rate']:.0%}, cut off {row['cut_off_rate']:.0%}")
    yield from _folded(", ".join(counts), "  ", width, 2)
    yield ((f"  {'in ms':<16}{'n':>4}{'median':>8}  {'95 % interval':<14}{'p95':>6}{'max':>6}   target", "dim"),)
    complete, first_audio = row["ledgers"]["complete"], row["ledgers"]["first_audio"]
    for stage, spread in complete["stages_ms"].items():
        yield _spread(visible(stage), spread, reading.target_ms(stage, row["pace"]))
    yield _spread("total", complete["total_ms"], reading.target_ms("total", row["pace"]))
    yield _spread("voice to voice", first_audio["total_ms"], None)
    if row["pace"] == "realtime":
        yield from _folded(reading.NO_TARGET_AT_REALTIME, "  ", width, 3, "dim")
    for title, rate, key in (("transcript", "transcript_wer", "transcript"), ("loop", "loop_wer", "heard")):
        basis = row[key]
        interval = "" if basis["low"] is None else f" [{ratio(basis['low'])}, {ratio(basis['high'])}]"
        left_out = f", {basis['left_out']} turns without words left out" if basis["left_out"] else ""
        yield from _folded(
            f"{title} WER {ratio(row[rate])}{interval}{synthetic}, {basis['words']} words{left_out}", "  ", width, 2
        )
    if row["reply_words"] is not None:
        yield (
            (f"  replies: median {reading.plural(row['reply_words'], 'word')}, {row['reply_audio_s'] or 0:.1f} s", ""),
        )
    yield ()


def _spread(title: str, spread: Mapping[str, Any], target: float | None) -> Line:
    # numpy comes with it, and a terminal without figures needs none.
    from pytest_voiceloop.measure.statistics import P95_LEAST_N

    def cell(name: str) -> str:
        value = spread[name]
        if value is not None:
            return f"{value:.0f}"
        # A null among values is a percentile that falls on a turn which never ended; p95 needs 20 values besides.
        return "never" if spread["timed_out"] and (name != "p95" or spread["n"] >= P95_LEAST_N) else "-"

    interval = "" if spread["low"] is None else f"[{cell('low')}, {cell('high')}]"
    shown = (
        f"  {clipped(title, 15):<16}{spread['n']:>4}{cell('p50'):>8}  {interval:<14}{cell('p95'):>6}{cell('max'):>6}"
    )
    if target is None:
        return ((shown, ""),)
    word, style = _held(spread["p50"], target)
    return ((shown, ""), (f"  {target:>5.0f} ", ""), (word, style))


def _rule(title: str, character: str, width: int) -> Line:
    inside = clipped(title, width - 8)
    filling = character * max(width - cells(inside) - 5, 3)
    return ((f"{character * 3} ", "dim"), (inside, "head"), (f" {filling}", "dim"))


def _folded(text: str, indent: str, width: int, most_lines: int, style: str = "") -> Iterator[Line]:
    for line in wrapped(text, width - len(indent), most_lines):
        yield ((indent + line, style),)


def _painted(line: Line, width: int, color: bool) -> str:
    shown = []
    left = width
    for text, style in line:
        part = clipped(text, left)
        left -= cells(part)
        shown.append(f"\x1b[{_STYLES[style]}m{part}\x1b[0m" if color and style and part.strip() else part)
    return "".join(shown).rstrip()
