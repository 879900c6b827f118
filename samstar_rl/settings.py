"""Settings of the mask generator, declared once, and the space in which they may move.

`SETTINGS` is the declaration: names, defaults, limits, scales and units. The `Settings` dataclass
repeats names and defaults so that editors and type checkers know them; a test holds both together.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from itertools import pairwise, product
from typing import Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from samstar_rl.errors import SamstarError

Scale = Literal["linear", "log", "ladder"]
Kind = Literal["prompt", "filter", "gate"]


class SettingsError(SamstarError):
    """A setting has an unknown name or a value that it cannot take."""


@dataclass(frozen=True)
class SettingSpec:
    """Declaration of one setting.

    Parameters
    ----------
    name : str
        As in `SamAutomaticMaskGenerator` where it is one of SAM's.
    default : float, int or None
        SAM's own default; a gate's default lets every mask pass. Where it is None, None is allowed.
    low, high : float
        The least and the greatest value allowed anywhere. A task narrows them.
    scale : {"linear", "log", "ladder"}
        How a `SettingsSpace` spreads the values over [-1, 1] unless a task says otherwise.
    integer : bool
        Whether only whole numbers are allowed.
    unit : {"", "px^2", "length"}
        "length" stands for the task's unit: px, nm or a fraction of the frame's short side.
    kind : {"prompt", "filter", "gate"}
        Prompt settings change what SAM computes; the others choose among its masks.
    ladder : tuple, optional
        The values that a ladder offers unless a task says otherwise.
    help : str
        One line for people.
    """

    name: str
    default: float | None
    low: float
    high: float
    scale: Scale
    integer: bool
    unit: str
    kind: Kind
    ladder: tuple[float, ...] | None
    help: str

    def validated(self, value: object) -> float:
        """Return the value as int or float, or raise `SettingsError` saying what is allowed."""
        if value is None and self.default is None:
            return cast("float", None)
        number = self._as_number(value)
        if not self.low <= number <= self.high:
            raise SettingsError(
                f"{self.name} must lie in [{self.low:g}, {self.high:g}], got {value!r}"
            )
        if not self.integer:
            return number
        if number != int(number):
            raise SettingsError(f"{self.name} must be a whole number, got {value!r}")
        return int(number)

    def _as_number(self, value: object) -> float:
        if isinstance(value, bool | np.bool_):
            raise SettingsError(f"{self.name} must be a number, got {value!r}")
        try:
            return float(cast(Any, value))
        except (TypeError, ValueError) as error:
            raise SettingsError(f"{self.name} must be a number, got {value!r}") from error


_INF = math.inf
ZOOMS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0)
"""Magnifications of the tiles against the whole frame that a ladder offers."""
STABILITY_OFFSETS = (0.25, 0.5, 1.0, 1.5, 2.0)
"""Offsets of the stability score for which proposals hold a column unless told otherwise."""

_SPECS = (
    SettingSpec("points_per_side", 32, 1, 256, "ladder", True, "", "prompt",
                (8, 12, 16, 24, 32), "points of the prompt grid along one side"),
    SettingSpec("n_prompts", None, 4, 4096, "log", True, "", "prompt",
                None, "prompts over all views, the most promising first; none: the grid"),
    SettingSpec("zoom", 1.0, 1, 16, "ladder", False, "", "prompt",
                ZOOMS, "magnification of the tiles that SAM sees beside the whole frame"),
    SettingSpec("pred_iou_thresh", 0.88, 0, 1, "linear", False, "", "filter",
                None, "least mask quality that SAM predicts for itself"),
    SettingSpec("stability_score_thresh", 0.95, 0, 1, "linear", False, "", "filter",
                None, "least stability of a mask when its cut-off is shifted"),
    SettingSpec("stability_score_offset", 1.0, 0, 16, "ladder", False, "", "filter",
                STABILITY_OFFSETS, "shift of the cut-off that the stability score looks at"),
    SettingSpec("box_nms_thresh", 0.7, 0, 1, "linear", False, "", "filter",
                None, "box IoU above which the lesser of two masks of one crop is a duplicate"),
    SettingSpec("crop_n_layers", 0, 0, 4, "ladder", True, "", "prompt",
                (0, 1), "layers of image crops on which SAM runs again; layer n has 4^n crops"),
    SettingSpec("crop_nms_thresh", 0.7, 0, 1, "linear", False, "", "filter",
                None, "box IoU above which masks of different crops are duplicates"),
    SettingSpec("crop_overlap_ratio", 512 / 1500, 0, 0.999, "ladder", False, "", "prompt",
                (512 / 1500,), "overlap of the crops as a fraction of the frame's short side"),
    SettingSpec("crop_n_points_downscale_factor", 1, 1, 16, "ladder", True, "", "prompt",
                (1, 2), "by which points_per_side shrinks from one crop layer to the next"),
    SettingSpec("min_mask_region_area", 0, 0, 2**31 - 1, "ladder", True, "px^2", "filter",
                (0, 4, 16, 64, 256, 1024), "area below which holes are filled and islands removed"),
    SettingSpec("min_diameter", 0.0, 0, _INF, "log", False, "length", "gate",
                None, "least equivalent diameter"),
    SettingSpec("max_diameter", _INF, 0, _INF, "log", False, "length", "gate",
                None, "greatest equivalent diameter"),
    SettingSpec("min_circularity", 0.0, 0, 1, "linear", False, "", "gate",
                None, "least circularity: 4 pi area / perimeter^2, 1 for a disc"),
    SettingSpec("min_solidity", 0.0, 0, 1, "linear", False, "", "gate",
                None, "least solidity: area / area of the convex hull"),
    SettingSpec("max_aspect_ratio", _INF, 1, _INF, "log", False, "", "gate",
                None, "greatest ratio of the axes of the ellipse of equal second moments"),
    SettingSpec("min_contrast", 0.0, 0, 1, "linear", False, "", "gate",
                None, "least absolute difference of the intensities inside and just outside"),
    SettingSpec("min_plausibility", 0.0, 0, 1, "linear", False, "", "gate",
                None, "least probability that a mask is a particle, by all evidence together"),
    SettingSpec("max_overlap", 1.0, 0, 1, "linear", False, "", "gate",
                None, "greatest share of the smaller mask covered by a better one"),
)  # fmt: skip
SETTINGS: dict[str, SettingSpec] = {spec.name: spec for spec in _SPECS}
PROMPT_NAMES = tuple(spec.name for spec in _SPECS if spec.kind == "prompt")
GATE_NAMES = tuple(spec.name for spec in _SPECS if spec.kind == "gate")


@dataclass(frozen=True)
class PromptSettings:
    """The gaze: the settings that say what SAM computes for a frame.

    Without a number of prompts SAM looks as the stock generator does: at a grid of
    ``points_per_side`` and at crops. With one it spends so many prompts, counted over all views, in
    the order in which they are worth decoding (`samstar_rl.sam.prompt_order`), in the whole frame
    and in tiles at the zoom. What then means nothing is set to its default, so that equal work
    compares equal.

    Raises
    ------
    SettingsError
        If a value is not allowed, values contradict each other, or the downscale factor leaves a
        crop layer without points.
    """

    points_per_side: int = 32
    crop_n_layers: int = 0
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    n_prompts: int | None = None
    zoom: float = 1.0

    def __post_init__(self) -> None:
        _validate_fields(self)
        _check_gaze(self)
        if self.n_prompts is not None:
            object.__setattr__(self, "points_per_side", SETTINGS["points_per_side"].default)
        if self.crop_n_layers == 0:
            for name in ("crop_overlap_ratio", "crop_n_points_downscale_factor"):
                object.__setattr__(self, name, SETTINGS[name].default)
        if min(self.points_per_side_by_layer) < 1:
            raise SettingsError(
                f"points_per_side={self.points_per_side} shrunk by "
                f"crop_n_points_downscale_factor={self.crop_n_points_downscale_factor} leaves no "
                f"point in crop layer {self.crop_n_layers}; raise the former or lower the latter"
            )

    @property
    def points_per_side_by_layer(self) -> tuple[int, ...]:
        """Points along a side of each crop in layers 0, 1, ..."""
        factor = self.crop_n_points_downscale_factor
        return tuple(
            int(self.points_per_side / factor**layer) for layer in range(self.crop_n_layers + 1)
        )

    @property
    def most_prompts(self) -> int:
        """Prompts that SAM decodes for one frame at most, all crops or views together."""
        if self.n_prompts is not None:
            return self.n_prompts
        return sum(4**layer * side**2 for layer, side in enumerate(self.points_per_side_by_layer))

    def holds(self, other: PromptSettings) -> bool:
        """Whether what SAM computes for these settings holds all that it computes for others.

        Fewer prompts at the same zoom are the first ones of more.
        """
        if self.n_prompts is None or other.n_prompts is None:
            return self == other
        return self.zoom == other.zoom and self.n_prompts >= other.n_prompts

    def to_dict(self) -> dict[str, Any]:
        """Names and values, fit for JSON and TOML; what is none is left out."""
        return _without_none(dataclasses.asdict(self))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PromptSettings:
        """Inverse of `to_dict`; what is absent keeps its default."""
        return cls(**_checked_names(values, PROMPT_NAMES))


@lru_cache(maxsize=4096, typed=True)
def _prompt_settings(*values: Any) -> PromptSettings:
    """The prompt settings of values in the order of `PROMPT_NAMES`."""
    return PromptSettings(**dict(zip(PROMPT_NAMES, values, strict=True)))


@dataclass(frozen=True)
class Settings:
    """The generator's parameters, by the names of `SamAutomaticMaskGenerator`, and the gates.

    The defaults are SAM's; every gate is off by default. Lengths are in the task's unit. What each
    means is said in `SETTINGS`.

    Raises
    ------
    SettingsError
        If a value is of the wrong type or outside of the setting's limits.
    """

    points_per_side: int = 32
    n_prompts: int | None = None
    zoom: float = 1.0
    pred_iou_thresh: float = 0.88
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1
    min_mask_region_area: int = 0
    min_diameter: float = 0.0
    max_diameter: float = _INF
    min_circularity: float = 0.0
    min_solidity: float = 0.0
    max_aspect_ratio: float = _INF
    min_contrast: float = 0.0
    min_plausibility: float = 0.0
    max_overlap: float = 1.0

    def __post_init__(self) -> None:
        _validate_fields(self)
        _check_gaze(self)

    @cached_property
    def prompt(self) -> PromptSettings:
        """The prompt settings among these."""
        return _prompt_settings(*(getattr(self, name) for name in PROMPT_NAMES))

    def replace(self, **changes: Any) -> Settings:
        """Return the same settings but for the changes."""
        _checked_names(changes, SETTINGS)
        return dataclasses.replace(self, **changes)

    def _moved(self, values: Mapping[str, float]) -> Settings:
        """As `replace`, for values that a space keeps in bounds: quickly, without any check."""
        moved = object.__new__(Settings)
        moved.__dict__.update(self.__dict__)
        moved.__dict__.update(values)
        if any(name in values for name in PROMPT_NAMES):
            moved.__dict__.pop("prompt", None)
        return moved

    def to_dict(self) -> dict[str, Any]:
        """Names and values, fit for JSON and TOML: infinity is ``"inf"``, none is left out."""
        return {
            name: "inf" if value == _INF else value
            for name, value in _without_none(dataclasses.asdict(self)).items()
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Settings:
        """Inverse of `to_dict`; what is absent keeps its default."""
        return cls(**_checked_names(values, SETTINGS))


@dataclass(frozen=True)
class Bound:
    """Where one setting may move.

    Parameters
    ----------
    low, high : float, optional
        Limits. Given together, or not at all when there is a ladder.
    scale : {"linear", "log", "ladder"}, optional
        How the values are spread over [-1, 1]; by default as in `SETTINGS`, but "linear" where low
        and high are given for a setting that is a ladder there.
    ladder : sequence of float, optional
        The only values allowed, increasing; they are spread evenly over [-1, 1].
    """

    low: float | None = None
    high: float | None = None
    scale: Scale | None = None
    ladder: tuple[float, ...] | None = None

    #: In a task file an unknown key is an error.
    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    def __post_init__(self) -> None:
        if self.ladder is not None:
            object.__setattr__(self, "ladder", tuple(self.ladder))

    def allows(self, name: str, value: float) -> bool:
        """Whether the setting of a name may take a value."""
        if self.low is not None and self.high is not None:
            return self.low <= value <= self.high
        return value in (self.ladder or SETTINGS[name].ladder or ())

    def to_dict(self) -> dict[str, Any]:
        """Return what was given, fit for JSON and TOML."""
        if self.ladder is not None:
            return {"ladder": list(self.ladder)}
        return {key: value for key, value in dataclasses.asdict(self).items() if value is not None}


@dataclass(frozen=True)
class _Axis:
    """One coordinate of the action vector: a setting with its resolved bounds.

    ``start`` and ``span`` are on the axis' own scale: values, their logarithms, or ladder steps.
    """

    spec: SettingSpec
    scale: Scale
    start: float
    span: float
    limits: tuple[float, float]
    ladder: tuple[float, ...] = ()

    @classmethod
    def resolve(cls, name: str, bound: Bound) -> _Axis:
        """Fill in what the task left to `SETTINGS` and check all of it."""
        spec = SETTINGS[name]
        if bound.ladder is not None or (bound.low is None and bound.high is None):
            return cls._ladder(spec, bound)
        return cls._interval(spec, bound)

    @classmethod
    def _ladder(cls, spec: SettingSpec, bound: Bound) -> _Axis:
        if bound.low is not None or bound.high is not None or bound.scale in ("linear", "log"):
            raise SettingsError(f"{spec.name}: give either a ladder or low, high and scale")
        given = bound.ladder if bound.ladder is not None else spec.ladder
        if given is None:
            raise SettingsError(f"{spec.name} has no ladder of its own: give low and high")
        ladder = tuple(spec.validated(value) for value in given)
        if not ladder or any(a >= b for a, b in pairwise(ladder)):
            raise SettingsError(f"{spec.name}: a ladder must increase, got {list(ladder)}")
        return cls(spec, "ladder", 0.0, len(ladder) - 1.0, (ladder[0], ladder[-1]), ladder)

    @classmethod
    def _interval(cls, spec: SettingSpec, bound: Bound) -> _Axis:
        if bound.low is None or bound.high is None:
            raise SettingsError(f"{spec.name}: give both low and high, got {bound.to_dict()}")
        if bound.scale == "ladder":
            raise SettingsError(f"{spec.name}: the scale 'ladder' needs a ladder")
        if spec.kind == "prompt" and not spec.integer:
            raise SettingsError(
                f"{spec.name} is a prompt setting and not a whole number: give a ladder"
            )
        low, high = spec.validated(bound.low), spec.validated(bound.high)
        scale = bound.scale or ("linear" if spec.scale == "ladder" else spec.scale)
        if not (low < high < _INF):
            raise SettingsError(
                f"{spec.name}: low must be less than high, both finite, got {low} and {high}"
            )
        if scale not in ("linear", "log"):
            raise SettingsError(f"{spec.name}: scale must be 'linear' or 'log', got {scale!r}")
        if scale == "log" and low <= 0:
            raise SettingsError(f"{spec.name}: a log scale must begin above 0, got low = {low}")
        start, stop = (math.log(low), math.log(high)) if scale == "log" else (low, high)
        return cls(spec, scale, start, stop - start, (low, high))

    def encode(self, value: float) -> float:
        """Value to [-1, 1]; beyond the bounds it becomes the nearer end."""
        if self.span == 0:
            return 0.0
        low, high = self.limits
        clipped = min(max(value, low), high)
        if self.scale == "ladder":
            position = float(self._nearest_step(clipped))
        else:
            position = math.log(clipped) if self.scale == "log" else clipped
        return 2.0 * (position - self.start) / self.span - 1.0

    def decode(self, code: float) -> float:
        """Inverse of `encode`."""
        position = self.start + 0.5 * (min(max(code, -1.0), 1.0) + 1.0) * self.span
        if self.scale == "ladder":
            step = self.ladder[round(position)]
            return int(step) if self.spec.integer else step
        value = math.exp(position) if self.scale == "log" else position
        if self.spec.integer:
            return int(min(max(round(value), self.limits[0]), self.limits[1]))
        # exp and float32 codes round: never leave the bounds for that
        return min(max(value, self.limits[0]), self.limits[1])

    def _nearest_step(self, value: float) -> int:
        return min(range(len(self.ladder)), key=lambda step: abs(self.ladder[step] - value))

    def choices(self) -> tuple[float, ...]:
        """All values of a ladder or a range of whole numbers."""
        if self.scale == "ladder":
            return self.ladder
        return tuple(range(int(self.limits[0]), int(self.limits[1]) + 1))


@dataclass(frozen=True)
class SettingsSpace:
    """The settings that may move, as a vector in [-1, 1]^n; the others stay at the base.

    Parameters
    ----------
    free : mapping of str to Bound
        The moving settings; their order is that of the vector.
    base : Settings
        Values of all that does not move.

    Raises
    ------
    SettingsError
        If a name is unknown or a bound makes no sense.

    Examples
    --------
    >>> space = SettingsSpace({"pred_iou_thresh": Bound(0.5, 0.9)}, Settings())
    >>> space.decode([0.0]).pred_iou_thresh
    0.7
    """

    free: Mapping[str, Bound]
    base: Settings = field(default_factory=Settings)

    def __post_init__(self) -> None:
        _checked_names(self.free, SETTINGS)
        object.__setattr__(self, "free", dict(self.free))
        if "zoom" in self.free and "n_prompts" not in self.free and self.base.n_prompts is None:
            raise SettingsError("zoom moves, but SAM takes the grid: set or free n_prompts, too")
        _ = self._axes, self.prompts()

    def __hash__(self) -> int:
        return hash((tuple(self.free.items()), self.base))

    @cached_property
    def _axes(self) -> tuple[_Axis, ...]:
        return tuple(_Axis.resolve(name, bound) for name, bound in self.free.items())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the moving settings in the vector's order."""
        return tuple(self.free)

    @property
    def n(self) -> int:
        """Length of the vector."""
        return len(self.free)

    def limits(self, name: str) -> tuple[float, float]:
        """Least and greatest value that a moving setting can take."""
        return self._axes[self.names.index(name)].limits

    def spread(self, name: str, count: int) -> tuple[float, ...]:
        """So many values of a moving setting, or all where a ladder has fewer, evenly spread."""
        axis = self._axes[self.names.index(name)]
        return tuple(dict.fromkeys(map(axis.decode, np.linspace(-1, 1, count).tolist())))

    def encode(self, settings: Settings) -> NDArray[np.float32]:
        """Return the (n,) float32 vector in [-1, 1] that `decode` turns into these settings.

        Values beyond the bounds become the nearer end, values between ladder steps the nearest.
        """
        values = [getattr(settings, name) for name in self.free]
        codes = [
            # settings with a grid of prompts stand nearest to as many prompts of any kind
            axis.encode(settings.prompt.most_prompts if value is None else value)
            for axis, value in zip(self._axes, values, strict=True)
        ]
        return np.array(codes, dtype=np.float32)

    def decode(self, vector: ArrayLike) -> Settings:
        """Return the settings of an (n,) vector; what lies outside of [-1, 1] is clipped.

        Raises
        ------
        SettingsError
            If the vector has another length or holds NaN.
        """
        codes = np.asarray(vector, dtype=np.float64)
        if codes.shape != (self.n,) or np.isnan(codes).any():
            raise SettingsError(
                f"expected {self.n} numbers for {', '.join(self.names)}, got {np.asarray(vector)}"
            )
        moved = {
            name: axis.decode(code)
            for name, axis, code in zip(self.free, self._axes, codes.tolist(), strict=True)
        }
        return self.base._moved(moved)

    def prompts(self) -> tuple[PromptSettings, ...]:
        """What SAM must compute so that any settings of `decode` can be evaluated, each once.

        Of numbers of prompts it is the largest: fewer are the first ones of it.
        """
        moving = {
            axis.spec.name: axis.choices() for axis in self._axes if axis.spec.kind == "prompt"
        }
        if "n_prompts" in moving:
            moving["n_prompts"] = moving["n_prompts"][-1:]
        choices = [
            dataclasses.replace(self.base, **dict(zip(moving, values, strict=True))).prompt  # type: ignore[arg-type]
            for values in product(*moving.values())
        ]
        return tuple(dict.fromkeys(choices))

    def to_dict(self) -> dict[str, Any]:
        """Names, bounds and base, fit for JSON and TOML."""
        free = {name: bound.to_dict() for name, bound in self.free.items()}
        return {"free": free, "base": self.base.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> SettingsSpace:
        """Inverse of `to_dict`."""
        if not isinstance(values.get("free"), Mapping) or not set(values) <= {"free", "base"}:
            raise SettingsError(
                f"expected the keys 'free' (name -> bounds) and 'base', got {list(values)}"
            )
        free = {name: _bound_from_dict(name, bound) for name, bound in values["free"].items()}
        return cls(free, Settings.from_dict(values.get("base", {})))


def _bound_from_dict(name: str, values: Mapping[str, Any]) -> Bound:
    allowed = tuple(entry.name for entry in dataclasses.fields(Bound))
    if not isinstance(values, Mapping) or not set(values) <= set(allowed):
        raise SettingsError(f"{name}: a bound has the keys {', '.join(allowed)}, got {values!r}")
    return Bound(**values)


def _check_gaze(settings: Settings | PromptSettings) -> None:
    if settings.n_prompts is None and settings.zoom != 1:
        raise SettingsError(
            f"zoom={settings.zoom:g} needs n_prompts, which is none: set it (zoom=1 looks at the "
            "whole frame; crop_n_layers is the stock generator's way to look closer)"
        )
    if settings.n_prompts is not None and settings.crop_n_layers > 0:
        raise SettingsError(
            f"crop_n_layers={settings.crop_n_layers} belongs to the grid of prompts, but "
            f"n_prompts={settings.n_prompts} is set: use zoom instead of crops, or set no n_prompts"
        )


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _validate_fields(settings: Settings | PromptSettings) -> None:
    """Replace each field by its validated value; frozen dataclasses need `object.__setattr__`."""
    for name in settings.__dataclass_fields__:
        object.__setattr__(settings, name, SETTINGS[name].validated(getattr(settings, name)))


def _checked_names(values: Mapping[str, Any], allowed: Mapping[str, Any] | tuple[str, ...]) -> Any:
    for name in values:
        if name not in allowed:
            close = difflib.get_close_matches(str(name), list(allowed), n=1)
            hint = f"did you mean {close[0]!r}? " if close else ""
            raise SettingsError(f"unknown setting {name!r}: {hint}allowed: {', '.join(allowed)}")
    return dict(values)
