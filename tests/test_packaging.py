"""The wheel holds everything, declares everything, and runs where there is no checkout."""

from __future__ import annotations

import ast
import io
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
MAPPED = {"envs": "samstar_rl/envs", "agents": "samstar_rl/agents", "scripts": "samstar_rl/scripts"}
FOLDERS = ("samstar_rl", *MAPPED)


def run(*command: str | Path, **options: object) -> subprocess.CompletedProcess[bytes]:
    done = subprocess.run([str(part) for part in command], capture_output=True, **options)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}\n{done.stdout.decode()}\n{done.stderr.decode()}"
    return done


def in_wheel(path: str) -> str:
    """Where a file of the checkout lies in the wheel."""
    top, _, rest = path.partition("/")
    return f"{MAPPED.get(top, top)}/{rest}"


def python_files() -> Iterator[Path]:
    for folder in FOLDERS:
        yield from (ROOT / folder).rglob("*.py")


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone of the last commit would hold."""
    if subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("no commit to build from: this is no clone")
    tree = tmp_path_factory.mktemp("archive")
    archive = run("git", "archive", "--format=tar", "HEAD", cwd=ROOT).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(tree, filter="data")
    return tree


@pytest.fixture(scope="module")
def wheel(committed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the commit alone: a checkout's build/lib would let stale modules in."""
    target = tmp_path_factory.mktemp("wheel")
    run(
        *(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"),
        *("--no-index", "--wheel-dir", target, committed),
    )
    (built,) = target.glob("*.whl")
    return built


def test_every_folder_with_modules_is_listed():
    folders = {str(path.parent.relative_to(ROOT)) for path in python_files()}
    expected = {in_wheel(folder).rstrip("/").replace("/", ".") for folder in folders}
    listed = PYPROJECT["tool"]["setuptools"]["packages"]
    assert expected == {name for name in listed if name in expected}, "pyproject.toml lacks some"
    without_modules = set(listed) - expected
    assert all(
        (ROOT / name.split(".", 1)[1].replace(".", "/")).is_dir() for name in without_modules
    )


def test_the_wheel_holds_every_committed_file(wheel, committed):
    expected = {
        in_wheel(path.relative_to(committed).as_posix())
        for folder in FOLDERS
        for path in (committed / folder).rglob("*")
        if path.is_file()
    }
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert held == expected
    assert "samstar_rl/py.typed" in held


def test_the_wheel_adds_one_name_to_site_packages(wheel):
    names = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"samstar_rl"}


def imported_modules(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def normalised(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[\s;<>=!~\[]", distribution)[0]).lower()


def test_every_import_is_declared():
    project = PYPROJECT["project"]
    extras = [name for names in project["optional-dependencies"].values() for name in names]
    declared = {normalised(name) for name in [*project["dependencies"], *extras]}
    # of extras that need not be installed here
    providers = {"sklearn": ["scikit-learn"], **packages_distributions()}
    for path in python_files():
        for module in set(imported_modules(path)) - set(sys.stdlib_module_names) - {"samstar_rl"}:
            found = {normalised(name) for name in providers.get(module, [module])}
            assert found & declared, f"{path.relative_to(ROOT)} imports {module}: declare it"


def test_constraints_pin_without_naming_a_registry():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert pins and all(re.fullmatch(r"[\w.-]+==[\w.!+-]+", pin) for pin in pins)
    pinned = {normalised(pin) for pin in pins}
    wanted = {normalised(name) for name in PYPROJECT["project"]["dependencies"]}
    assert wanted <= pinned


def tracked_text() -> Iterator[tuple[str, str]]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        path = ROOT / name
        if path.is_file() and not path.is_symlink() and path.stat().st_size < 1_000_000:
            try:
                yield name, path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def test_no_tracked_file_names_a_path_of_a_machine():
    homes = re.compile(r"(?<![\w.])/(?:home|root|Users|work)/\w")
    found = [name for name, text in tracked_text() if homes.search(text) and name[:6] != "tests/"]
    assert not found


@pytest.mark.slow
def test_the_wheel_runs_in_an_empty_environment(wheel, tmp_path):
    uv = Path(sys.executable).parent / "uv"
    if not uv.exists():
        pytest.skip("needs the uv that `make setup` puts beside Python")
    run(uv, "venv", "--quiet", "--python", sys.executable, tmp_path / "env")
    binaries = tmp_path / "env" / ("Scripts" if os.name == "nt" else "bin")
    run(
        *(uv, "pip", "install", "--quiet", "--python", binaries / "python"),
        *("--constraint", ROOT / "constraints.txt", wheel),
    )
    outside = tmp_path / "outside"
    outside.mkdir()
    environment = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    environment.pop("PYTHONPATH", None)
    run(binaries / "samstar", "demo", "--quick", "-o", "demo", cwd=outside, env=environment)
    assert any((outside / "demo").rglob("*.html"))
