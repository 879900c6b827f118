"""The tasks that ship, a TOML file each, and where a task's file lies.

Nothing heavy is imported here, so that a command can refuse a mistyped name at once.
"""

from __future__ import annotations

from pathlib import Path

from samstar_rl.errors import SamstarError

_FOLDER = Path(__file__).parent


class TaskError(SamstarError):
    """A task file is wrong; the message names the file, the line, the key and the cure."""


def task_names() -> tuple[str, ...]:
    """Names of the tasks that ship with the package, experimental ones among them."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def task_path(name_or_path: str | Path) -> Path:
    """Where the file of a task lies, given by its name or path.

    Raises
    ------
    TaskError
        If no task has that name.
    """
    given = str(name_or_path)
    if given.endswith(".toml"):
        return Path(given)
    if given in task_names():
        return _FOLDER / f"{given}.toml"
    raise TaskError(
        f"no task is called {given!r}; known: {', '.join(task_names())}; "
        "or give the path of a .toml file"
    )
