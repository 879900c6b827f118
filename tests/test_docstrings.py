"""Public functions of three or more parameters say what goes in, comes out and is raised."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from samstar_rl.scripts._shared import cli

ROOT = Path(__file__).parents[1]
ROOMS = ["agents", "envs", "samstar_rl", "scripts"]
#: Functions whose docstring is a command's help, and whose parameters say what they are themselves.
COMMANDS = {target.partition(":")[2] for target in (cli.COMMANDS | cli.DEV_COMMANDS).values()}
MODULES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
MANY = 3

Function = ast.FunctionDef | ast.AsyncFunctionDef


def public_functions(body: list[ast.stmt], owner: str = "") -> Iterator[tuple[str, Function]]:
    """Public functions and methods of public classes, with their names."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, f"{node.name}.")
        elif isinstance(node, Function) and not node.name.startswith("_"):
            yield owner + node.name, node


def parameters_of(function: Function) -> list[str]:
    """Names of the parameters, ``self`` and ``cls`` left out."""
    spec = function.args
    named = [*spec.posonlyargs, *spec.args, *spec.kwonlyargs, spec.vararg, spec.kwarg]
    return [one.arg for one in named if one is not None and one.arg not in ("self", "cls")]


def sections_of(function: Function) -> dict[str, str]:
    """The sections of a NumPy docstring by their headings."""
    parts = re.split(r"^(\w+)\n-+$", ast.get_docstring(function) or "", flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def lacks(function: Function) -> list[str]:
    """What the docstring of a function should have and has not."""
    sections = sections_of(function)
    entries = re.findall(
        r"^([*\w][*\w, ]*?)(?: :.*)?$", sections.get("Parameters", ""), re.MULTILINE
    )
    names = {name.strip("* ") for entry in entries for name in entry.split(",")}
    found = [name for name in parameters_of(function) if name not in names]
    returned = "None" if function.returns is None else ast.unparse(function.returns)
    if returned not in ("None", "NoReturn") and not sections.keys() & {"Returns", "Yields"}:
        found.append("Returns")
    if any(isinstance(node, ast.Raise) for node in ast.walk(function)) and "Raises" not in sections:
        found.append("Raises")
    return found


def is_command(module: Path, function: Function) -> bool:
    """Whether a function is a command of the program."""
    decorated = any(ast.unparse(one).endswith(".command()") for one in function.decorator_list)
    return module.is_relative_to(ROOT / "scripts") and (decorated or function.name in COMMANDS)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_public_functions_of_many_parameters_have_all_sections(module):
    tree = ast.parse(module.read_text("utf-8"))
    many = [
        (name, function)
        for name, function in public_functions(tree.body)
        if len(parameters_of(function)) >= MANY and not is_command(module, function)
    ]
    lacking = {f"{name}, line {f.lineno}": lacks(f) for name, f in many}
    assert not {name: found for name, found in lacking.items() if found}
