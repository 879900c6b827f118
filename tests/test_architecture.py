"""The house stays enterable: rooms of few modules, short chains of imports, quick commands."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAPPED = ("envs", "agents", "scripts")
MOST_MODULES = 12
LONGEST_CHAIN = 12
#: A command that calls other commands stands before them.
LONGER_CHAIN = {"samstar_rl.scripts.maintain.artefacts": 13}
#: Collections of one kind of thing: a term of the score, a part of the simulator.
COLLECTIONS = ("samstar_rl.rewards.terms", "samstar_rl.simulator")
#: Rooms that are still too full.
CROWDED: dict[str, int] = {}

#: Modules of commands, which must answer `--help` and a mistyped argument at once.
COMMANDS = (
    "ablate", "bank", "benchmark", "demo", "deploy", "headroom", "segment", "task", "train", "tune",
    "validate",
)  # fmt: skip
HEAVY = (
    "torch", "torchvision", "stable_baselines3", "pymoo", "matplotlib", "pandas", "skimage", "cv2",
)  # fmt: skip


def module_name(path: Path) -> str:
    """How a file is imported; the top-level folders lie in the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = ("samstar_rl", *parts) if parts[0] in MAPPED else parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {
    module_name(path): path
    for folder in ("samstar_rl", *MAPPED)
    for path in (ROOT / folder).rglob("*.py")
}


def imports(node: ast.AST) -> Iterator[ast.ImportFrom | ast.Import]:
    """The imports that are run, those inside functions included; not those for type checkers."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.ImportFrom | ast.Import):
        yield node
    for child in ast.iter_child_nodes(node):
        yield from imports(child)


@cache
def imported(module: str) -> frozenset[str]:
    """The modules of this package that a module imports."""
    found: set[str] = set()
    for node in imports(ast.parse(FILES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in FILES else str(node.module) for name in names]
        found.update(name for name in names if name in FILES)
    return frozenset(found - {module})


@cache
def longest_chain(module: str) -> tuple[str, ...]:
    """The longest chain of imports that begins at a module."""
    return (module, *max(map(longest_chain, imported(module)), key=len, default=()))


def test_no_folder_holds_more_modules_than_one_takes_in_at_a_glance():
    sizes: dict[str, int] = {}
    for path in FILES.values():
        if path.name != "__init__.py":
            folder = module_name(path.parent / "__init__.py")
            sizes[folder] = sizes.get(folder, 0) + 1
    crowded = {
        name: n
        for name, n in sizes.items()
        if n > CROWDED.get(name, MOST_MODULES) and name not in COLLECTIONS
    }
    assert not crowded


def test_no_chain_of_imports_is_long():
    for module in FILES:
        chain = longest_chain(module)
        assert len(chain) <= LONGER_CHAIN.get(module, LONGEST_CHAIN), " -> ".join(chain)


def test_every_room_says_what_lives_in_it():
    for name, path in FILES.items():
        if path.name == "__init__.py":
            said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            assert len(said) >= 40, f"{name}: say in its __init__.py what lives there"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_is_there_before_the_heavy_libraries(command):
    code = (
        f"import sys, samstar_rl.scripts.{command}\n"
        f"print(*(name for name in {HEAVY} if name in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "", f"importing {command} draws in {done.stdout.strip()}"
