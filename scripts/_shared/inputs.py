"""What commands are given to read, and by what names workers in other folders find it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from samstar_rl._io.checkpoint_cache import is_checkpoint_name
from samstar_rl.agents.tuner_names import BUNDLE_SUFFIX, STATIC_FILE, TUNERS
from samstar_rl.errors import SamstarError

if TYPE_CHECKING:
    from samstar_rl.frames.frame import Frame
    from samstar_rl.tasks.task import Task

ALL = "all"
"""Stands for every task that ships and is not experimental."""
EMPS_PREFIX = "emps:"


def read_tasks(names: Sequence[str]) -> list[Task]:
    """Tasks by name or file, several in one text parted by commas, ``all`` for all that ship.

    Raises
    ------
    SamstarError
        If one is unknown, or two have the same name.
    """
    from samstar_rl.tasks.shipped import task_names, task_path

    parts = [part.strip() for name in names for part in name.split(",")]
    for part in parts:
        if part != ALL:
            task_path(part)  # a mistyped one fails before the heavy libraries are loaded

    from samstar_rl.tasks.task import load_task

    shipped = [name for name in task_names() if not load_task(name).experimental]
    expanded = [name for part in parts for name in (shipped if part == ALL else [part])]
    tasks = [load_task(name) for name in dict.fromkeys(expanded)]
    known = [task.name for task in tasks]
    twice = sorted({name for name in known if known.count(name) > 1})
    if twice:
        raise SamstarError(f"two tasks are called {twice[0]!r}: give each a name of its own")
    return tasks


def find_images(inputs: Sequence[Path]) -> list[Path]:
    """The image files among files and in folders, each once.

    Results of earlier runs are no images: they are left out wherever they lie.

    Raises
    ------
    SamstarError
        If one does not exist, a folder holds no image, or nothing but results are there.
    """
    from samstar_rl._io.run_folder import RUN_FILE
    from samstar_rl.results.registry import is_own_result
    from samstar_rl.sources.readers.registry import is_image_file, list_image_files

    found: dict[Path, Path] = {}
    n_results = 0
    for given in inputs:
        if not given.exists():
            raise SamstarError(f"there is no file or folder {given}: check the path")
        if (given / RUN_FILE).is_file():  # as `D/*` may name it
            n_results += 1
            continue
        single = given.is_file() or is_image_file(given)
        paths = [given] if single else list_image_files(given)
        if not paths:
            raise SamstarError(f"the folder {given} holds no image that can be read here")
        images = [path for path in paths if not is_own_result(path)]
        n_results += len(paths) - len(images)
        for path in images:
            found.setdefault(path.resolve(), path)
    if not found:
        raise SamstarError(
            f"{', '.join(map(str, inputs))}: there are {n_results} results of earlier runs and no "
            "other image: give the images that they were made of"
        )
    return list(found.values())


def find_named(folder: Path, names: str | None) -> list[Path]:
    """The images of a folder, or those of ``emps:PART`` or of a file of names among them.

    Raises
    ------
    SamstarError
        If there is no image, or none of a name.
    """
    from samstar_rl.sources.readers.registry import list_image_files

    found = list_image_files(folder)
    if not found:
        raise SamstarError(f"there is no image in {folder}")
    if names is None:
        return found
    wanted = read_names(names)
    paths = {path.name: path for path in found} | {path.stem: path for path in found}
    missing = [name for name in wanted if name not in paths]
    if missing:
        raise SamstarError(f"{names} names {missing[0]!r}, of which there is no image in {folder}")
    return [paths[name] for name in wanted]


def find_labelled(frames: Path | None, labels: Path | None, names: str | None) -> list[Path] | None:
    """The images that ``--frames``, ``--labels`` and ``--names`` ask for; None without any.

    Parameters
    ----------
    frames, labels : path, optional
        Folders.
    names : str, optional
        As for `find_named`.

    Returns
    -------
    list of Path, or None

    Raises
    ------
    SamstarError
        If labels or names come without frames, or frames without labels.
    """
    if frames is None:
        if labels is not None or names is not None:
            raise SamstarError("--labels and --names go with --frames")
        return None
    if labels is None:
        raise SamstarError("give --labels FOLDER with the ground truth of the frames, for judging")
    return find_named(frames, names)


def read_names(names: str) -> list[str]:
    """Names of images: ``emps:PART`` is a part of the EMPS split, else a file, a name a line."""
    if not names.startswith(EMPS_PREFIX):
        return Path(names).read_text("utf-8").split()
    from samstar_rl.fitting.emps import split_names

    part = names.removeprefix(EMPS_PREFIX)
    if part not in ("sam", "tune", "check"):
        raise SamstarError(f"the EMPS split has the parts sam, tune and check, got {part!r}")
    return split_names(part)


def read_frames(paths: Sequence[Path], pixel_size_nm: float | None) -> Iterator[Frame]:
    """The frames of images and of the planes of stacks."""
    from samstar_rl.sources.readers.registry import iterate_file

    for path in paths:
        yield from iterate_file(path, pixel_size_nm=pixel_size_nm)


def located_sam(sam: str) -> str:
    """A SAM as a process in another folder finds it: a name, or an absolute path."""
    return sam if sam == "tiny" or is_checkpoint_name(sam) else str(Path(sam).absolute())


def located_tuner(spec: str) -> str:
    """A tuner as a process in another folder finds it: a name, or an absolute path."""
    if spec.startswith(STATIC_FILE):
        return f"{STATIC_FILE}{Path(spec.removeprefix(STATIC_FILE)).absolute()}"
    bundle = any(Path(spec + suffix).is_dir() for suffix in ("", BUNDLE_SUFFIX))
    return str(Path(spec).absolute()) if bundle and spec not in TUNERS else spec
