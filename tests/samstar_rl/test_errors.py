"""What a user can cause derives from one base."""

import ast
from pathlib import Path

import pytest

from samstar_rl.errors import MissingExtraError, SamstarError
from samstar_rl.settings import Settings, SettingsError
from samstar_rl.tasks.shipped import TaskError
from samstar_rl.tasks.task import load_task

ROOT = Path(__file__).parents[2]
FOLDERS = ("samstar_rl", "agents", "envs", "scripts")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]
BUILT_IN = {"Exception", "ValueError", "RuntimeError", "KeyError", "TypeError", "LookupError"}


def test_no_error_class_bypasses_the_base():
    found = [
        f"{path.name}: {node.name}"
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.ClassDef)
        and BUILT_IN & {base.id for base in node.bases if isinstance(base, ast.Name)}
    ]
    assert found == ["errors.py: SamstarError"]


def test_nothing_raises_a_bare_value_error():
    found = [
        f"{path.name}:{node.lineno}"
        for path in FILES
        if not path.stem.endswith("_sim")  # they raise what the instruments' own servers do
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Call)
        and isinstance(node.exc.func, ast.Name)
        and node.exc.func.id in ("ValueError", "ImportError")
    ]
    assert found == []


def test_what_a_user_gives_wrongly_is_an_error_of_the_base(tmp_path):
    with pytest.raises(SamstarError) as setting:
        Settings(points_per_side=-1)
    assert isinstance(setting.value, SettingsError)
    (tmp_path / "bad.toml").write_text("[terms.coverage]\nlow = 'much'\n")
    with pytest.raises(SamstarError) as task:  # pydantic's own error is told in our words
        load_task(str(tmp_path / "bad.toml"))
    assert isinstance(task.value, TaskError)


def test_a_missing_extra_names_what_to_install():
    error = MissingExtraError("COCO", "pycocotools", "coco")
    assert str(error) == "COCO needs pycocotools: pip install 'samstar-rl[coco]'"
    assert isinstance(error, ImportError)
