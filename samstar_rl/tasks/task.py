"""Task: what a sample should look like, which settings may move, and the best that stand still.

A task is a TOML file. Lengths carry the task's unit in their names: with ``length_unit = "nm"`` the
file says ``median_diameter_nm``, and a name with another unit is an error, not a guess.

    name = "particles"
    length_unit = "nm"              # px, nm, or frame: a share of the frame's short side

    [sample]                        # what all terms may know of the particles
    contrast = "either"             # bright, dark or either
    min_diameter_nm = 5.0

    [terms.size]                    # one table a term: its weight and its target
    weight = 1.0
    distribution = "lognormal"
    median_diameter_nm = 20.0
    geometric_std = 1.2

    [settings.n_prompts]            # settings that may move, within these bounds
    low = 12
    high = 375

    [settings.zoom]
    ladder = [1, 2, 3, 4]

    [settings.pred_iou_thresh]
    low = 0.0
    high = 0.95

    [static]                        # the best settings when nothing adapts
    n_prompts = 256
    pred_iou_thresh = 0.7
"""

from __future__ import annotations

import dataclasses
import functools
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    GetPydanticSchema,
    InstanceOf,
    ValidationError,
    field_validator,
    model_validator,
)
from typing_extensions import TypedDict

from samstar_rl._io import atomic
from samstar_rl.errors import SamstarError
from samstar_rl.foreground.sample import DENSITY, LENGTH, Quantities, Sample
from samstar_rl.frames.frame import Frame
from samstar_rl.rewards.registry import TARGETS
from samstar_rl.rewards.target import Target
from samstar_rl.settings import SETTINGS, Bound, Settings, SettingsError, SettingsSpace
from samstar_rl.tasks.shipped import TaskError, task_path

LengthUnit = Literal["px", "nm", "frame"]

#: How a number per area is written in a task file, and its size in 1 / (length unit squared).
DENSITY_SUFFIXES: dict[str, tuple[str, float]] = {
    "px": ("per_mpx", 1e-6),
    "nm": ("per_um2", 1e-6),
    "frame": ("per_frame", 1.0),
}

KeyPath = tuple[str, ...]


#: The terms that a task may have, each with its own kind of target.
Terms: Any = TypedDict("Terms", dict(TARGETS), total=False)  # type: ignore[misc]
Terms.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]


class Task(BaseModel):
    """What the sample should look like and which settings may move.

    Parameters
    ----------
    name : str
        Lower-case letters, digits and underscores.
    description : str
        For people.
    experimental : bool
        Whether figures for this task are not to be relied on yet.
    length_unit : {"px", "nm", "frame"}
        Unit of all lengths: "frame" is the short side of the frame, whatever its pixel size.
    combination : {"geometric", "arithmetic"}
        How the terms make one score.
    sample : Sample
        What all terms may know of the particles.
    terms : dict of str to Target
        Terms with targets and weights.
    settings : dict of str to Bound
        Settings that may move, with bounds.
    static : Settings
        The best choice when nothing adapts; also the values of the settings that may not move.

    Raises
    ------
    pydantic.ValidationError
        `load_task` and `Task.from_dict` turn it into a `TaskError` that names file, line and key.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    description: str = ""
    experimental: bool = False
    length_unit: LengthUnit
    combination: Literal["geometric", "arithmetic"] = "geometric"
    sample: Sample = Sample()
    terms: Annotated[
        dict[str, Target], GetPydanticSchema(lambda _, handler: handler(Terms)), Field(min_length=1)
    ]
    settings: Annotated[dict[str, Bound], Field(min_length=1)]
    static: InstanceOf[Settings] = Settings()

    @field_validator("static", mode="before")
    @classmethod
    def _read_static(cls, value: Any) -> Settings:
        return value if isinstance(value, Settings) else Settings.from_dict(value)

    @field_validator("settings")
    @classmethod
    def _check_bounds(cls, free: dict[str, Bound]) -> dict[str, Bound]:
        for name, setting in free.items():
            if name not in SETTINGS:
                raise SamstarError(f"settings.{name}: is no setting; known: {', '.join(SETTINGS)}")
            try:
                # a zoom by itself means nothing; whether there are prompts for it, `space` says
                SettingsSpace({name: setting}, Settings(n_prompts=4 if name == "zoom" else None))
            except SettingsError as error:
                problem = str(error).removeprefix(name).lstrip(": ")
                raise SamstarError(f"settings.{name}: {problem}") from error
        return free

    @model_validator(mode="after")
    def _check_static(self) -> Self:
        for name, setting in self.settings.items():
            value = getattr(self.static, name)
            if value is None:
                raise SamstarError(
                    f"static.{name}: is missing, settings.{name} allows {_allowed(setting)}"
                )
            if not setting.allows(name, value):
                raise SamstarError(
                    f"static.{name}: lies outside settings.{name}, which allows "
                    f"{_allowed(setting)}, got {value:g}"
                )
        _ = self.space  # its own errors should show when the task is read, not when it is used
        return self

    @model_validator(mode="after")
    def _share_sample(self) -> Self:
        for name, target in self.terms.items():
            if target.sample != self.sample:
                self.terms[name] = target.model_copy(update={"sample": self.sample})
        return self

    @functools.cached_property
    def space(self) -> SettingsSpace:
        """The settings that may move as a vector; the others stand at the static ones."""
        return SettingsSpace(self.settings, base=self.static)

    def length_unit_px(self, frame: Frame) -> float:
        """One unit of length of this task in px of the frame.

        Raises
        ------
        SamstarError
            If the unit is nm and the frame has no pixel size.
        """
        if self.length_unit == "px":
            return 1.0
        if self.length_unit == "frame":
            return float(frame.short_side_px)
        if frame.pixel_size_nm is None:
            raise SamstarError(
                f"task {self.name!r} gives lengths in nm, but frame {frame.id!r} has no pixel "
                "size; give pixel_size_nm, or use a task whose length_unit is frame or px"
            )
        return 1.0 / frame.pixel_size_nm

    @staticmethod
    def target_vector_names() -> tuple[str, ...]:
        """Names of the numbers in `target_vector`, the same for all tasks."""
        names = ["sample.contrast", "sample.min_diameter", "sample.max_diameter"]
        names += ["sample.mixed_sizes", "sample.overlapping"]
        for name, kind in TARGETS.items():
            names += [f"{name}.weight", *(f"{name}.{field}" for field in kind.vector_names())]
        return tuple(names)

    def target_vector(self, frame: Frame | None = None) -> tuple[float, ...]:
        """Weights and targets of all terms that exist, as numbers of fixed length and order.

        Lengths become shares of the frame's short side, so that tasks in different units compare;
        a term that the task lacks is all zeros.

        Parameters
        ----------
        frame : Frame, optional
            Needed unless the unit is ``frame``.

        Returns
        -------
        tuple of float
            Named by `Task.target_vector_names`.
        """
        unit = 1.0
        if self.length_unit != "frame":
            if frame is None:
                raise SamstarError(
                    f"task {self.name!r} gives lengths in {self.length_unit}: target_vector needs "
                    "the frame that they are to be compared with"
                )
            unit = self.length_unit_px(frame) / frame.short_side_px
        total = sum(target.weight for target in self.terms.values())
        numbers = list(_sample_numbers(self.sample.scaled(unit)))
        for name, kind in TARGETS.items():
            target = self.terms.get(name)
            if target is None:
                numbers += [0.0] * (1 + len(kind.vector_names()))
            else:
                numbers += [target.weight / total, *target.scaled(unit).vector()]
        return tuple(numbers)

    def with_targets(self, **targets: Mapping[str, Any]) -> Task:
        """The same task with some targets changed.

        Parameters
        ----------
        **targets : mapping of str to value
            For "sample" or a term, the fields to change: ``size={"median_diameter": 12.0}``.

        Raises
        ------
        TaskError
            If a term, a field or a value is not allowed.
        """
        data = self.to_dict()
        for name, changes in targets.items():
            table = data["sample"] if name == "sample" else data["terms"].setdefault(name, {})
            kind = Sample if name == "sample" else TARGETS.get(name, Target)
            table.update(_written(kind, dict(changes), self.length_unit))
        return Task.from_dict(data)

    def with_static(self, static: Settings) -> Task:
        """The same task with other static settings."""
        return Task.from_dict(self.to_dict() | {"static": static.to_dict()})

    def to_dict(self) -> dict[str, Any]:
        """The task as a task file would say it, of plain types."""
        data = self.model_dump(
            mode="json", exclude_none=True, exclude={"terms", "static", "sample"}
        )
        data["sample"] = _written(
            Sample, self.sample.model_dump(mode="json", exclude_none=True), self.length_unit
        )
        data["terms"] = {
            name: _written(
                TARGETS[name],
                target.model_dump(mode="json", exclude_none=True, exclude={"sample"}),
                self.length_unit,
            )
            for name, target in self.terms.items()
        }
        data["static"] = self.static.to_dict()
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Task:
        """Read a task as `to_dict` writes it.

        Raises
        ------
        TaskError
            If a key or a value is not allowed.
        """
        return _validated(data, "task", "")


def load_task(name_or_path: str | Path) -> Task:
    """Load a task that ships with the package, or one from a TOML file.

    Parameters
    ----------
    name_or_path : str or path
        A name of `task_names()`, or a path that ends in .toml.

    Raises
    ------
    TaskError
        If there is no such task, or its file is wrong: with file, line, key, the value given and
        what is allowed.
    """
    path = task_path(name_or_path)
    try:
        text = path.read_text("utf-8")
        data = tomllib.loads(text)
    except OSError as error:
        raise TaskError(f"cannot read task file {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TaskError(f"{path}: no valid TOML: {error}") from error
    data.setdefault("name", path.stem)
    return _validated(data, str(path), text)


def write_static(path: Path, static: Settings) -> None:
    """Rewrite only the [static] table of a task file, leaving all else, comments too, as it is.

    Only settings that differ from their defaults or that the task lets move are written.

    Raises
    ------
    TaskError
        If the file is no valid task, before or with the new settings; it is then left untouched.
    """
    task = load_task(path)
    text = path.read_text("utf-8")
    defaults = Settings().to_dict()
    table = "".join(
        f"{name} = {toml_value(value)}\n"
        for name, value in static.to_dict().items()
        if name in task.settings or value != defaults[name]
    )
    text = _with_table(text, "static", table)
    _validated({"name": path.stem, **tomllib.loads(text)}, str(path), text)
    atomic.write_text(path, text)


def task_toml(task: Task, comment: str = "") -> str:
    """The task as the text of a task file.

    Parameters
    ----------
    task : Task
    comment : str
        Put at the top, each line behind a number sign.
    """
    data = task.to_dict()
    lines = [f"# {line}" for line in comment.splitlines()]
    tables: dict[str, Any] = {"sample": data.pop("sample")}
    tables |= {f"terms.{name}": table for name, table in data.pop("terms").items()}
    tables |= {f"settings.{name}": table for name, table in data.pop("settings").items()}
    defaults = Settings().to_dict()
    tables["static"] = {
        name: value
        for name, value in data.pop("static").items()
        if name in task.settings or value != defaults[name]
    }
    lines += [f"{key} = {toml_value(value)}" for key, value in data.items()]
    for header, table in tables.items():
        lines += ["", f"[{header}]"]
        lines += [f"{key} = {toml_value(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """A bool, number, string or list of these as TOML."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    if isinstance(value, list | tuple):
        return f"[{', '.join(toml_value(entry) for entry in value)}]"
    if isinstance(value, float):
        return repr(round(value, 6)) if math.isfinite(value) else str(value)
    return str(value)


def _sample_numbers(sample: Sample) -> tuple[float, ...]:
    sign = {"bright": 1.0, "dark": -1.0, "either": 0.0}[sample.contrast]
    mixed, overlapping = float(sample.sizes == "mixed"), float(sample.arrangement == "overlapping")
    return sign, sample.min_diameter or 0.0, sample.max_diameter or 1.0, mixed, overlapping


def _allowed(setting: Bound) -> str:
    if setting.low is None:
        return f"one of {list(setting.ladder or ())}"
    return f"{setting.low:g} to {setting.high:g}"


# Reading: units leave the names, what is wrong is said with file, line and key.


def _validated(data: Mapping[str, Any], source: str, text: str) -> Task:
    problems: list[tuple[KeyPath, str]] = []
    unit = data.get("length_unit")
    plain: dict[str, Any] = dict(data)
    if unit not in DENSITY_SUFFIXES:
        given = "" if unit is None else f", got {unit!r}"
        problems.append((("length_unit",), f"must be one of px, nm, frame{given}"))
    else:
        plain["sample"] = _read_units(Sample, data.get("sample", {}), unit, ("sample",), problems)
        plain["terms"] = dict(data.get("terms", {}))
        for name, kind in TARGETS.items():
            if name in plain["terms"]:
                table = plain["terms"][name]
                plain["terms"][name] = _read_units(kind, table, unit, ("terms", name), problems)
    try:
        if not problems:
            return Task.model_validate(plain)
    except ValidationError as error:
        problems += [_problem(entry, unit) for entry in error.errors()]
    raise TaskError("\n".join(_located(path, message, source, text) for path, message in problems))


def _read_units(
    kind: type[Quantities],
    table: Any,
    unit: str,
    path: KeyPath,
    problems: list[tuple[KeyPath, str]],
) -> Any:
    """A table with the units taken off its keys; a missing or another unit is a problem."""
    if not isinstance(table, Mapping):
        return table
    written = {_written_name(kind, field, unit): field for field in kind.model_fields}
    plain: dict[str, Any] = {}
    for key, value in table.items():
        field = written.get(key)
        if field is not None:
            plain[field] = _read_density(kind, field, value, unit)
        elif stem := _stem(kind, key):
            expected = _written_name(kind, stem, unit)
            problems.append(
                ((*path, key), f"with length_unit = {unit!r} this key must be {expected}")
            )
        else:
            plain[key] = value
    return plain


def _read_density(kind: type[Quantities], field: str, value: Any, unit: str) -> Any:
    if kind.dimension_of(field) != DENSITY:
        return value
    factor = DENSITY_SUFFIXES[unit][1]
    if isinstance(value, list):
        return [entry * factor if isinstance(entry, int | float) else entry for entry in value]
    return value * factor if isinstance(value, int | float) else value


def _written(kind: type[Quantities], fields: dict[str, Any], unit: str) -> dict[str, Any]:
    """A table with the units put on its keys."""
    written: dict[str, Any] = {}
    for field, value in fields.items():
        if kind.dimension_of(field) == DENSITY:
            factor = DENSITY_SUFFIXES[unit][1]
            value = [v / factor for v in value] if isinstance(value, list) else value / factor
        written[_written_name(kind, field, unit)] = value
    return written


def _written_name(kind: type[Quantities], field: str, unit: str) -> str:
    match kind.dimension_of(field):
        case "length":
            return f"{field}_{unit}"
        case "density":
            return f"{field}_{DENSITY_SUFFIXES[unit][0]}"
        case _:
            return field


def _stem(kind: type[Quantities], key: str) -> str | None:
    """The field that a key means which has no unit or a wrong one."""
    bare = re.sub(r"_(px|nm|frame|per_mpx|per_um2|per_frame)$", "", key)
    return bare if kind.dimension_of(bare) in (LENGTH, DENSITY) else None


def _problem(error: Any, unit: Any) -> tuple[KeyPath, str]:
    path = tuple(str(part) for part in error["loc"])
    if len(path) >= 3 and path[0] == "terms" and path[1] in TARGETS and unit in DENSITY_SUFFIXES:
        path = (*path[:2], _written_name(TARGETS[path[1]], path[2], unit), *path[3:])
    message = error["msg"].removeprefix("Value error, ")
    # Checks across keys put the key they blame in front of their message.
    if blamed := re.match(r"((?:settings|static)\.\w+): ", message):
        return tuple(blamed[1].split(".")), message[blamed.end() :]
    if error["type"] == "extra_forbidden":
        return path, f"unknown key; known here: {', '.join(_known_keys(path[:-1], unit))}"
    if error["type"] == "missing":
        return path, "is missing"
    given = error["input"]
    if isinstance(given, str | int | float | bool | list):
        message += f", got {given!r}"
    return path, message[0].lower() + message[1:]


def _known_keys(path: KeyPath, unit: Any) -> Iterator[str]:
    if path == ():
        yield from Task.model_fields
    elif path[0] == "settings":
        yield from (entry.name for entry in dataclasses.fields(Bound))
    elif path == ("terms",):
        yield from TARGETS
    else:
        kind: type[BaseModel] = TARGETS[path[1]] if path[0] == "terms" else Sample
        for field in kind.model_fields:
            if not (path[0] == "terms" and field == "sample"):
                known_unit = unit in DENSITY_SUFFIXES and issubclass(kind, Quantities)
                yield _written_name(kind, field, unit) if known_unit else field  # type: ignore[arg-type]


def _located(path: KeyPath, message: str, source: str, text: str) -> str:
    line = _line_of(path, text)
    where = f"{source}, line {line}" if line else source
    return f"{where}: {'.'.join(path)}: {message}" if path else f"{where}: {message}"


def _line_of(path: KeyPath, text: str) -> int | None:
    """The line of a key, or else of the nearest table around it; None if neither is found."""
    table: KeyPath = ()
    best: tuple[int, int] | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if header := re.match(r"\s*\[\s*([\w.\-]+)\s*\]", line):
            table = tuple(header[1].split("."))
            found = table
        elif key := re.match(r"\s*([\w.\-]+)\s*=", line):
            found = (*table, *key[1].split("."))
        else:
            continue
        depth = len(found)
        if path[:depth] == found and (best is None or depth > best[0]):
            best = (depth, number)
    return best[1] if best else None


def _with_table(text: str, name: str, body: str) -> str:
    """The text with the entries of a table replaced; comments around the table stay."""
    lines = text.splitlines(keepends=True)
    header = re.compile(rf"\s*\[\s*{re.escape(name)}\s*\]")
    start = next((i for i, line in enumerate(lines) if header.match(line)), None)
    if start is None:
        return f"{text.rstrip()}\n\n[{name}]\n{body}"
    stop = start + 1
    last = start
    while stop < len(lines) and not re.match(r"\s*\[", lines[stop]):
        if re.match(r"\s*[\w\"]", lines[stop]):
            last = stop
        stop += 1
    comments = [line for line in lines[start + 1 : last + 1] if line.lstrip().startswith("#")]
    return "".join([*lines[: start + 1], *comments, body, *lines[last + 1 :]])
