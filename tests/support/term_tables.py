"""Tables of docs/tasks.md, derived from the shipped tasks and the terms' docstrings.

    python tests/support/term_tables.py

writes them between their marks; a test compares.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from samstar_rl.rewards.registry import TERMS
from samstar_rl.tasks.shipped import task_names
from samstar_rl.tasks.task import Task, load_task

PAGE = Path(__file__).parents[2] / "docs" / "tasks.md"
#: Terms made of the plausibility that a network learned from labelled micrographs.
LEARNED = ("plausibility", "expected_f1")


def shipped_tasks() -> list[Task]:
    """The shipped tasks, the experimental ones last."""
    return sorted((load_task(name) for name in task_names()), key=lambda task: task.experimental)


def shares(task: Task) -> dict[str, float]:
    """Each term's share of the score's weight, the greatest first."""
    total = sum(target.weight for target in task.terms.values())
    pairs = [(name, target.weight / total) for name, target in task.terms.items()]
    return dict(sorted(pairs, key=lambda pair: -pair[1]))


def learned_share(task: Task) -> float:
    """The share of the score's weight that is learned plausibility."""
    return sum(share for name, share in shares(task).items() if name in LEARNED)


def weights_table() -> str:
    """What the score of each shipped task is made of."""
    rows = ["| task | learned plausibility | all else | made of |", "|---|---:|---:|---|"]
    for task in shipped_tasks():
        learned = round(100 * learned_share(task))
        parts = ", ".join(f"`{name}` {100 * share:.0f} %" for name, share in shares(task).items())
        label = f"`{task.name}`" + (" (experimental)" if task.experimental else "")
        rows.append(f"| {label} | {learned} % | {100 - learned} % | {parts} |")
    return "\n".join(rows)


def terms_table() -> str:
    """What each term asks, and which shipped task has it, or the sample it is for."""
    rows = ["| term | what it asks for | in the tasks |", "|---|---|---|"]
    for name, term in TERMS.items():
        asks, for_whom = describe(name)
        used_by = [task.name for task in shipped_tasks() if name in task.terms]
        used = ", ".join(f"`{task}`" for task in used_by) or f"none shipped. {for_whom}"
        rows.append(f"| `{name}` | {asks} | {used} |")
        assert for_whom or used_by, (
            f"{term.__module__}: say in the docstring which sample it is for"
        )
    return "\n".join(rows)


def describe(name: str) -> tuple[str, str]:
    """What a term asks, and the sample it is for ("" where its module does not say)."""
    module = inspect.getmodule(TERMS[name])
    heading, _, rest = (inspect.getdoc(module) or "").partition("\n\n")
    asks = heading.partition(": ")[2].rstrip(".")
    return asks, " ".join(rest.split()) if rest.startswith("For ") else ""


TABLES = {"weights": weights_table, "terms": terms_table}


def with_tables(page: str) -> str:
    """The page with its tables written anew."""
    for name, table in TABLES.items():
        start, end = (
            f"<!-- {name}: written by tests/support/term_tables.py -->",
            f"<!-- /{name} -->",
        )
        page = re.sub(
            f"({re.escape(start)}\n).*?({re.escape(end)})",
            lambda found, table=table: f"{found[1]}\n{table()}\n\n{found[2]}",
            page,
            flags=re.DOTALL,
        )
    return page


if __name__ == "__main__":
    PAGE.write_text(with_tables(PAGE.read_text("utf-8")), "utf-8")
