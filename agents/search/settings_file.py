"""The file of settings that ``samstar tune`` writes and ``--tuner static:FILE`` reads.

It has a table ``[settings]`` and one ``[found]`` that says how they were found; settings of single
frames stand in ``[frames.ID]``, the points of a front in ``[[points]]``.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from samstar_rl.errors import SamstarError
from samstar_rl.settings import Settings, SettingsError
from samstar_rl.tasks.task import toml_value

if TYPE_CHECKING:
    from samstar_rl.agents.search.pareto import ParetoFront


class TunerError(SamstarError):
    """A tuner was asked for that does not exist or does not fit."""


def settings_toml(
    settings: Settings, facts: Mapping[str, Any], by_frame: Mapping[str, Settings] | None = None
) -> str:
    """Settings as TOML.

    Parameters
    ----------
    settings : Settings
    facts : mapping
        How they were found.
    by_frame : mapping of str to Settings, optional
        Settings of single frames, by the frame's id.

    Returns
    -------
    str
    """
    lines = ["# Written by samstar tune; read by --tuner static:FILE."]
    lines += _table("settings", settings.to_dict())[1:]
    lines += _table("found", facts)
    for frame_id, chosen in (by_frame or {}).items():
        lines += _table(f"frames.{toml_value(frame_id)}", chosen.to_dict())
    return "\n".join(lines) + "\n"


def front_toml(front: ParetoFront, picked: int | None, facts: Mapping[str, Any]) -> str:
    """All points of a front as TOML that `--tuner static:FILE` and `static:FILE#NUMBER` read.

    Parameters
    ----------
    front : ParetoFront
    picked : int, optional
        The point, counted from 0, that becomes the settings; None for none.
    facts : mapping
        How the front was found.

    Returns
    -------
    str
    """
    lines = ["# Written by samstar tune --pareto; read by --tuner static:FILE or static:FILE#7."]
    if picked is not None:
        lines += _table("settings", front.points[picked].settings.to_dict())
        facts = {**facts, "point": picked + 1, "mean_score": front.points[picked].score}
    lines += _table("found", facts)
    for point in front.points:
        lines += ["", "[[points]]", f"score = {toml_value(point.score)}"]
        lines += _table("points.terms", point.terms)
        lines += _table("points.settings", point.settings.to_dict())
    return "\n".join(lines) + "\n"


def _table(header: str, values: Mapping[str, Any]) -> list[str]:
    return ["", f"[{header}]", *(f"{name} = {toml_value(value)}" for name, value in values.items())]


def read_static(file: str) -> Settings:
    """Settings from a TOML file that ``samstar tune`` wrote.

    The file has a table ``[settings]``; a Pareto front's file has ``[[points]]`` with such a table
    each, of which ``FILE#7`` is the seventh.

    Raises
    ------
    TunerError
        If the file is missing or holds no such settings.
    """
    name, _, number = file.partition("#")
    try:
        tables = tomllib.loads(Path(name).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise TunerError(f"cannot read static settings from {name}: {error}") from error
    try:
        values = tables["points"][_position(number, name)] if number else tables
        return Settings.from_dict(values["settings"])
    except (KeyError, IndexError, TypeError) as error:
        wanted = f"point {number} with a table [settings]" if number else "a table [settings]"
        raise TunerError(f"{name} has no {wanted}: was it written by `samstar tune`?") from error
    except SettingsError as error:
        raise TunerError(f"{name}: {error}") from error


def read_by_frame(file: str) -> dict[str, Settings]:
    """Settings of single frames from such a file; none if it holds none.

    Raises
    ------
    TunerError
        If they are wrong.
    """
    frames = tomllib.loads(Path(file).read_text(encoding="utf-8")).get("frames", {})
    try:
        return {frame_id: Settings.from_dict(values) for frame_id, values in frames.items()}
    except (AttributeError, SettingsError, TypeError) as error:
        raise TunerError(f"{file}: [frames] must hold settings by frame: {error}") from error


def _position(number: str, name: str) -> int:
    if not number.isdigit() or int(number) < 1:
        raise TunerError(f"{name}#{number}: give the number of a point, from 1")
    return int(number) - 1
