"""Whether a run measured what it should have: ``python check_run.py run.json``. Says what is wrong, and exits 1."""

import json
import sys
from pathlib import Path


def problems(document):
    """What is wrong with a run, in sentences."""
    tests = document["tests"]
    turns = [turn for test in tests for turn in test["turns"]]
    found = [f"{test['nodeid']} {test['outcome']}" for test in tests if test["outcome"] != "passed"]
    if not turns:
        found.append("no turn was measured")
    for turn in turns:
        name = f"turn {turn['index']} of call {turn['call_id']}"
        # A machine that is busy makes a turn void; what was measured is there all the same.
        if turn["status"] not in ("ok", "void"):
            found.append(f"{name} is {turn['status']}")
        judged = turn["judge"] != "none"
        if judged and not turn["heard"]["text"]:
            found.append(f"{name}: nothing was heard")
        for ledger_name, ledger in turn["ledgers"].items():
            stages, total = ledger["stages_ms"], ledger["total_ms"]
            # Without a judge the complete ledger has no end.
            if None in stages.values() or (total is None and (judged or ledger_name != "complete")):
                found.append(f"{name}: its ledger {ledger_name} has holes: {stages}, {total}")
            elif total is not None and abs(sum(stages.values()) - total) > 0.01:
                found.append(f"{name}: the stages of {ledger_name} sum to {sum(stages.values())}, not {total}")
    if any(service.get("engine") == "scripted" for service in document["services"]):
        found.append("an engine was scripted")
    return found


if __name__ == "__main__":
    run = json.loads(Path(sys.argv[1]).read_text())
    wrong = problems(run)
    print("\n".join(wrong) or f"{sum(len(test['turns']) for test in run['tests'])} turns, each with its ledgers")
    sys.exit(bool(wrong))
