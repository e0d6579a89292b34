"""Try every hostile input, each in a new folder and a process of its own, and print what happened."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.hostile.data import DATA, SHOWN
from tests.hostile.place import Hostile, honest_runs, judge
from tests.hostile.runs import CHECKPOINTS, FOLDERS

INPUTS = [*CHECKPOINTS, *FOLDERS, *DATA, *SHOWN]
HARM = ("EXECUTED", "CHANGED", "SECRET")


def main(wanted: str = "") -> int:
    """Try the inputs whose names contain `wanted`. Return 1 if one was answered wrongly, 2 if there is none."""
    cases = [case for case in INPUTS if wanted in case.what]
    if not cases:
        print(f"no hostile input has {wanted!r} in its name; there are {len(INPUTS)}, such as {INPUTS[0].what!r}")
        return 2
    with tempfile.TemporaryDirectory() as folder:
        return run(cases, Path(folder))


def run(cases: list[Hostile], folder: Path) -> int:
    """Try `cases` in a folder; print the wrong answers, and one line of figures."""
    honest_runs(folder / "runs")
    answers = []
    for number, case in enumerate(cases):
        answer = judge(case, folder / str(number), folder / "runs")
        last = answer.text.strip().splitlines()[-1:] or [""]
        if answer.complaints:
            what = f"{case.what[:60]!a}: {', '.join(answer.complaints)}"
            print(f"WRONG {what}; exit {answer.code}; {last[0][:200]!a}", flush=True)
        answers.append(answer)
    counts = [sum(name in answer.complaints for answer in answers) for name in HARM]
    wrong = sum(bool(answer.complaints) for answer in answers)
    slowest, slow = max((answer.seconds, case.what) for case, answer in zip(cases, answers, strict=True))
    largest, large = max((answer.megabytes, case.what) for case, answer in zip(cases, answers, strict=True))
    print(
        f"{len(cases)} hostile inputs: {counts[0]} executed, {counts[1]} files of the user changed, {counts[2]} secrets "
        f"found, {wrong} wrong answers; at most {slowest:.1f} s of CPU ({slow}) and {largest:.0f} MB ({large})"
    )
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:]))
