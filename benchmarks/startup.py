"""How long the command line takes to start."""

from __future__ import annotations

import sys
from subprocess import run

from vidrepro.cost.speed import Record, Task, in_turns, machine, summary


def measure_startup(rounds: int = 5) -> list[Record]:
    """How often a second ``vidrepro --help`` starts and ends, and the seconds it takes, beside Python doing nothing."""
    commands = {"python -c pass": ["-c", "pass"], "vidrepro --help": ["-m", "vidrepro", "--help"]}

    def start(arguments: list[str]) -> Task:
        def task() -> int:
            run([sys.executable, *arguments], check=True, capture_output=True)
            return 1

        return task

    rates = in_turns({name: start(arguments) for name, arguments in commands.items()}, rounds)
    return [
        {**record, "seconds": 1 / record["per_second"], "unit": "starts/s", **machine("cpu", None)}
        for record in summary(rates, "python -c pass")
    ]
