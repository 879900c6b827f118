"""Policy bundles: a trained policy ready to deploy, as a folder with ONNX and JSON. No pickle.

``NAME.bundle/policy.onnx`` maps a raw observation to an action. ``NAME.bundle/bundle.json`` holds
the observation's schema with its normalisation, the settings space, the task, the environment, the
SAM that it was trained with, and how it was trained.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from samstar_rl.agents.policies.network import Normalisation
from samstar_rl.agents.tuner_names import BUNDLE_SUFFIX as SUFFIX
from samstar_rl.agents.tuner_names import shipped_bundles as shipped_bundles
from samstar_rl.agents.tuner_names import shipped_folder
from samstar_rl.envs import TUNING_ID
from samstar_rl.envs.observation.builder import ObservationBuilder
from samstar_rl.envs.observation.schema import ObservationSchema
from samstar_rl.envs.task_union import TaskUnion
from samstar_rl.errors import SamstarError
from samstar_rl.settings import SETTINGS, SettingsSpace
from samstar_rl.tasks.task import Task

if TYPE_CHECKING:
    from samstar_rl.agents.policies.network import Array, PolicyNetwork

FORMAT = "samstar_rl policy bundle"
VERSION = 2
_POLICY, _SHEET = "policy.onnx", "bundle.json"
_KEYS = (
    "format", "version", "name", "env_id", "task", "settings", "observation", "normalisation",
    "sam", "policy_sha256", "training",
)  # fmt: skip


class BundleError(SamstarError):
    """A policy bundle is missing, damaged, or does not fit what it is to be used with."""


@dataclass(frozen=True, eq=False)
class PolicyBundle:
    """A policy with everything that says what it fits.

    Attributes
    ----------
    name : str
    env_id : str
        The environment it was trained in.
    task : Task
        The one it was trained for; with a union, the one it is to serve.
    schema : ObservationSchema
    normalisation : Normalisation
        Inside the ONNX graph too; here for whoever asks how far an observation is from training.
    sam_name, sam_sha256 : str
        The SAM whose proposals and features it was trained on.
    training : dict
        How it was trained: algorithm, seed, steps, score, versions.
    policy_onnx : bytes
    union : TaskUnion, optional
        Given if the policy serves any task: the settings and terms that it knows.
    folder : Path, optional
        Where it was read from.
    """

    name: str
    env_id: str
    task: Task
    schema: ObservationSchema
    normalisation: Normalisation
    sam_name: str
    sam_sha256: str
    training: Mapping[str, Any]
    policy_onnx: bytes
    union: TaskUnion | None = None
    folder: Path | None = None
    _session: list[Any] = field(default_factory=list, repr=False)

    @property
    def place(self) -> str:
        """Where it was read from, or its name: what messages call it."""
        return str(self.folder or self.name)

    @property
    def n_actions(self) -> int:
        """Length of the action."""
        own = self.task.space.n if self.union is None else self.union.n
        return own + (self.env_id == TUNING_ID)

    @classmethod
    def of(
        cls,
        network: PolicyNetwork,
        *,
        name: str,
        env_id: str,
        task: Task,
        schema: ObservationSchema,
        sam_name: str,
        sam_sha256: str,
        training: Mapping[str, Any],
        union: TaskUnion | None = None,
    ) -> PolicyBundle:
        """Bundle a network.

        Parameters
        ----------
        network : PolicyNetwork
        name, env_id : str
        task : Task
            That it was trained for; with a union, one of them.
        schema : ObservationSchema
            Of the observations that it was trained on.
        sam_name, sam_sha256 : str
            The SAM whose proposals and features it was trained on.
        training : mapping
            How it was trained, fit for JSON.
        union : TaskUnion, optional
            Given if it serves any task.

        Returns
        -------
        PolicyBundle

        Raises
        ------
        BundleError
            If the network's input or output has another length than the schema or the task.
        """
        n_settings = task.space.n if union is None else union.n
        expected = (schema.size, n_settings + (env_id == TUNING_ID))
        if (network.n_observations, network.n_actions) != expected:
            raise BundleError(
                f"the network maps {network.n_observations} numbers to {network.n_actions}, the "
                f"task {task.name!r} needs {expected[0]} to {expected[1]}"
            )
        return cls(
            name=name,
            env_id=env_id,
            task=task,
            schema=schema,
            normalisation=network.normalisation,
            sam_name=sam_name,
            sam_sha256=sam_sha256,
            training=dict(training),
            policy_onnx=network.to_onnx(),
            union=union,
        )

    def act(self, observation: Array) -> Array:
        """The action (n,) in [-1, 1] for a raw observation (D,)."""
        if not self._session:
            self._session.append(_open_session(self.policy_onnx))
        batch = np.asarray(observation, dtype=np.float32)[None]
        (action,) = self._session[0].run(["action"], {"observation": batch})
        return np.asarray(action[0], dtype=np.float32)

    def make_builder(self) -> ObservationBuilder:
        """What makes this program's observations as the policy was trained on.

        Raises
        ------
        BundleError
            If they are no longer the same.
        """
        n_channels = len(self.schema["embedding"].entries)
        builder = ObservationBuilder(
            self.task, n_channels, tuning=self.env_id == TUNING_ID, union=self.union
        )
        difference = builder.schema.difference(self.schema)
        if difference:
            raise BundleError(
                f"the policy {self.name!r} was trained on other observations than this version "
                f"makes ({difference}): train it anew, or install the version it was made with"
            )
        return builder

    def save(self, path: str | Path) -> Path:
        """Write the bundle as the folder ``path`` (the suffix ``.bundle`` is added).

        A folder that is already there is replaced. It appears complete or not at all.
        """
        target = Path(path)
        if target.suffix != SUFFIX:
            target = target.with_name(target.name + SUFFIX)
        target.parent.mkdir(parents=True, exist_ok=True)
        union = {} if self.union is None else {"union": self.union.to_dict()}
        sheet: dict[str, Any] = union | {
            "format": FORMAT,
            "version": VERSION,
            "name": self.name,
            "env_id": self.env_id,
            "task": self.task.to_dict(),
            "settings": self.task.space.to_dict(),
            "observation": self.schema.to_dict(),
            "normalisation": self.normalisation.to_dict(),
            "sam": {"name": self.sam_name, "sha256": self.sam_sha256},
            "policy_sha256": hashlib.sha256(self.policy_onnx).hexdigest(),
            "training": dict(self.training),
        }
        draft = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
        (draft / _POLICY).write_bytes(self.policy_onnx)
        (draft / _SHEET).write_text(json.dumps(sheet, indent=1) + "\n", encoding="utf-8")
        if target.exists():
            shutil.rmtree(target)
        os.replace(draft, target)
        target.chmod(0o755)  # mkdtemp makes private folders
        return target

    @classmethod
    def load(
        cls, name_or_path: str | Path, *, task: Task | None = None, sam_sha256: str | None = None
    ) -> PolicyBundle:
        """Read a bundle and refuse it where it does not fit. Nothing is unpickled.

        Parameters
        ----------
        name_or_path : str or path
            A bundle folder, or the name of a bundle that ships with the package.
        task : Task, optional
            The task it is to serve. A policy of many tasks serves any that leaves free some of the
            settings it knows; what it does not know stays at the task's static settings.
        sam_sha256 : str, optional
            The SAM it is to run with.

        Returns
        -------
        PolicyBundle

        Raises
        ------
        BundleError
            If the bundle is missing or damaged, or was made for another task or SAM.
        """
        folder = find_bundle(name_or_path)
        sheet = _read_sheet(folder)
        policy_onnx = _read_file(folder / _POLICY)
        digest = hashlib.sha256(policy_onnx).hexdigest()
        if digest != sheet["policy_sha256"]:
            raise BundleError(
                f"{folder / _POLICY} is damaged: its sha256 is {digest[:12]}..., {_SHEET} says "
                f"{str(sheet['policy_sha256'])[:12]}... ({len(policy_onnx)} bytes read): copy the "
                "bundle anew"
            )
        bundle = _parse(sheet, policy_onnx, folder)
        _check_graph(bundle, folder)
        return bundle.serving(task, sam_sha256)

    def serving(self, task: Task | None = None, sam_sha256: str | None = None) -> PolicyBundle:
        """The bundle for a task and a SAM, neither of which is checked if None.

        Raises
        ------
        BundleError
            If it was made for another task or SAM.
        """
        if task is not None and self.union is None:
            difference = task_difference(self.task, task)
            if difference:
                raise BundleError(
                    f"the policy {self.place} does not fit the task {task.name!r}: {difference}. "
                    "Use a policy that was trained for it (`samstar train --task "
                    f"{task.name}`), or the task {self.task.name!r}"
                )
        elif task is not None and self.union is not None and not self.union.serves(task):
            raise BundleError(
                f"the policy {self.place} chooses {', '.join(self.union.settings)}, none of "
                f"which the task {task.name!r} leaves free: train one for it"
            )
        if sam_sha256 is not None and sam_sha256 != self.sam_sha256:
            raise BundleError(
                f"the policy {self.place} was trained with the SAM {self.sam_name!r} (sha256 "
                f"{self.sam_sha256[:12]}...), it is to run with another one (sha256 "
                f"{sam_sha256[:12]}...): load that SAM, or train a policy for this one with "
                f"`samstar train --task {self.task.name}`"
            )
        return self if task is None or self.union is None else replace(self, task=task)


def find_bundle(name_or_path: str | Path) -> Path:
    """The folder of a bundle given by path or by the name of a shipped one.

    Raises
    ------
    BundleError
        If there is none.
    """
    path = Path(name_or_path)
    for candidate in (path, path.with_name(path.name + SUFFIX)):
        # a folder of results may well be called like a shipped policy
        if candidate.is_dir() and (candidate.suffix == SUFFIX or (candidate / _SHEET).is_file()):
            return candidate
    shipped = shipped_folder() / f"{name_or_path}{SUFFIX}"
    if str(name_or_path) in shipped_bundles():
        return shipped
    raise BundleError(
        f"no policy bundle {str(name_or_path)!r}: expected a folder NAME{SUFFIX} with {_POLICY} "
        f"and {_SHEET}, or one of the shipped policies ({', '.join(shipped_bundles()) or 'none'})"
    )


def _open_session(policy_onnx: bytes) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(policy_onnx, options, providers=["CPUExecutionProvider"])


def _read_file(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path} cannot be read ({error.strerror}): copy the bundle anew") from (
            error
        )


def _read_sheet(folder: Path) -> dict[str, Any]:
    path = folder / _SHEET
    try:
        sheet = json.loads(_read_file(path).decode("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BundleError(f"{path} is damaged ({error}): copy the bundle anew") from error
    if not isinstance(sheet, dict) or sheet.get("format") != FORMAT:
        raise BundleError(f"{path} does not describe a policy bundle: expected format {FORMAT!r}")
    if sheet.get("version") == 1:
        raise BundleError(f"{path} was made for Stream-v0: train again or use samstar_rl 0.1")
    if sheet.get("version") != VERSION:
        raise BundleError(
            f"{path} is version {sheet.get('version')!r}, this program reads {VERSION}: train the "
            "policy anew, or install the version it was made with"
        )
    missing = [key for key in _KEYS if key not in sheet]
    if missing:
        raise BundleError(f"{path} lacks {', '.join(missing)}: copy the bundle anew")
    return sheet


def _parse(sheet: Mapping[str, Any], policy_onnx: bytes, folder: Path) -> PolicyBundle:
    try:
        bundle = PolicyBundle(
            name=str(sheet["name"]),
            env_id=str(sheet["env_id"]),
            task=Task.from_dict(sheet["task"]),
            schema=ObservationSchema.from_dict(sheet["observation"]),
            normalisation=Normalisation.from_dict(sheet["normalisation"]),
            sam_name=str(sheet["sam"]["name"]),
            sam_sha256=str(sheet["sam"]["sha256"]),
            training=dict(sheet["training"]),
            policy_onnx=policy_onnx,
            union=TaskUnion.from_dict(sheet["union"]) if "union" in sheet else None,
            folder=folder,
        )
        space = SettingsSpace.from_dict(sheet["settings"])
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{folder / _SHEET} is damaged ({error}): copy the bundle anew") from (
            error
        )
    if space.to_dict() != bundle.task.space.to_dict():
        raise BundleError(f"{folder / _SHEET}: its settings and its task's settings differ")
    return bundle


def _check_graph(bundle: PolicyBundle, folder: Path) -> None:
    try:
        session = _open_session(bundle.policy_onnx)
    except Exception as error:  # onnxruntime raises its own unrelated types
        raise BundleError(f"{folder / _POLICY} is no ONNX model that runs here: {error}") from error
    found = (session.get_inputs()[0].shape[-1], session.get_outputs()[0].shape[-1])
    expected = (bundle.schema.size, bundle.n_actions)
    if found != expected or len(bundle.normalisation.mean) != expected[0]:
        raise BundleError(
            f"{folder / _POLICY} maps {found[0]} numbers to {found[1]}, {_SHEET} describes "
            f"{expected[0]} to {expected[1]}"
        )
    bundle._session.append(session)


def task_difference(trained: Task, wanted: Task) -> str:
    """Say in one line where the task a policy was trained for and another differ; else empty.

    Static settings may differ as far as the policy chooses those settings itself.
    """
    if trained.name != wanted.name:
        return f"it was trained for the task {trained.name!r}"
    if dict(trained.space.free) != dict(wanted.space.free):
        names = sorted(set(trained.space.names) ^ set(wanted.space.names))
        return "other free settings: " + (", ".join(names) if names else "other bounds")
    for name in SETTINGS:
        values = getattr(trained.static, name), getattr(wanted.static, name)
        if name not in trained.space.free and values[0] != values[1]:
            return f"another fixed setting: {name} = {values[0]} against {values[1]}"
    if tuple(trained.terms) != tuple(wanted.terms):
        return f"other score terms: {', '.join(sorted(set(trained.terms) ^ set(wanted.terms)))}"
    keys = ("length_unit", "combination", "sample", "terms")
    if any(trained.to_dict()[key] != wanted.to_dict()[key] for key in keys):
        return "other targets: it would be told of a sample that it has never seen"
    return ""
