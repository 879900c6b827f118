"""What README and documentation say of files, modules and commands is true."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
import typer
from term_tables import PAGE, learned_share, shipped_tasks, with_tables

from samstar_rl.scripts._shared.cli import MOVED, build_app

ROOT = Path(__file__).parents[2]
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "samstar_rl" / "sam" / "weights" / "MODEL_CARD.md",
]
README_BYTES = 7000
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)


def source_of(path: str) -> Path:
    """Where a path or a dotted name of the package lies in the checkout."""
    inside = path.removeprefix("samstar_rl/")
    outside = inside.split("/")[0] in ("envs", "agents", "scripts")
    return ROOT / (inside if outside else path)


def test_the_readme_is_one_page():
    readme = (ROOT / "README.md").read_text("utf-8")
    assert len(readme.encode()) <= README_BYTES
    first = readme.split("```")[1]
    assert "make demo" in first and "make test" in first


def test_the_tables_of_tasks_and_terms_are_current():
    page = PAGE.read_text("utf-8")
    assert with_tables(page) == page, "run: .venv/bin/python tests/support/term_tables.py"


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CHANGELOG.md"], ids=["readme", "log"])
def test_the_share_of_learned_plausibility_is_told_as_it_is(page):
    learned = [learned_share(task) for task in shipped_tasks() if not task.experimental]
    told = re.search(r"(\d+) to (\d+) %\s+of its weight is", page.read_text("utf-8"))
    assert told is not None
    assert [int(told[1]), int(told[2])] == [round(100 * min(learned)), round(100 * max(learned))]


def test_the_map_has_every_room():
    contributing = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rooms = [path.parent.name for path in (ROOT / "samstar_rl").glob("*/__init__.py")]
    assert not [room for room in rooms if f"| `samstar_rl/{room}/` |" not in contributing]


@each_page
def test_files_that_are_named_exist(page):
    text = page.read_text("utf-8")
    pattern = r"\b(?:samstar_rl|envs|agents|scripts|tests|docs)/[\w/.-]*\w"
    named = [path for path in re.findall(pattern, text) if "NAME" not in path]
    missing = [path for path in named if not source_of(path).exists()]
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    missing += [link for link in links if not (page.parent / link).exists()]
    assert not missing


@each_page
def test_names_of_the_package_can_be_imported(page):
    text = page.read_text("utf-8")
    named = set(re.findall(r"\bsamstar_rl(?:\.[A-Za-z_]\w*)+", text))
    for module, names in re.findall(
        r"^from (samstar_rl[\w.]*) import ([\w, ]+)", text, re.MULTILINE
    ):
        named |= {f"{module}.{name}" for name in re.split(r",\s*", names.strip())}
    missing = [name for name in sorted(named) if not is_importable(name)]
    assert not missing


def test_the_new_import_paths_of_the_changelog_exist():
    log = (ROOT / "CHANGELOG.md").read_text("utf-8")
    table = log.partition("### Moved import paths")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`samstar_rl.+) \| (`samstar_rl.+) \|$", table, re.MULTILINE)
    assert len(rows) > 80
    missing = []
    for old, new in rows:
        # `a.b.` `c`, `d` stands for a.b.c and a.b.d; `a.b.` the same for the names on the left
        for root, rest in re.findall(r"`(samstar_rl[\w.]*)`((?:[^`]|`(?!samstar_rl))*)", new):
            names = (
                re.findall(r"`(\w+)`", rest if "`" in rest else old) if root[-1] == "." else [""]
            )
            missing += [root + name for name in names if not is_importable(root + name)]
    assert not missing


def is_importable(name: str) -> bool:
    """Whether a dotted name is a module, or an attribute of one."""
    module, _, rest = name, "", ""
    attributes: list[str] = []
    while True:
        try:
            found = importlib.import_module(module)
            break
        except ModuleNotFoundError as error:
            if error.name is None or not error.name.startswith("samstar_rl"):
                return True  # an extra that is not installed here
            module, _, rest = module.rpartition(".")
            attributes.insert(0, rest)
    for attribute in attributes:
        if not hasattr(found, attribute):
            return False
        found = getattr(found, attribute)
    return True


@pytest.fixture(scope="module")
def program():
    return typer.main.get_command(build_app())


@each_page
def test_commands_and_their_options_exist(page, program):
    text = page.read_text("utf-8").replace("\\\n", " ")
    lines = [line for fence in re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
             for line in fence.splitlines()]  # fmt: skip
    lines += re.findall(r"^    (samstar .*)$", text, re.MULTILINE)
    lines += re.findall(r"`(samstar [^`]+)`", re.sub(r"\s+", " ", text))
    wrong = []
    for line in lines:
        words = line.partition("  #")[0].split()
        if words[:1] != ["samstar"]:
            continue
        command, rest = program, words[1:]
        while hasattr(command, "commands") and rest and re.fullmatch(r"[a-z][a-z0-9-]*", rest[0]):
            found = command.commands.get(rest[0])
            if found is None or (command is program and rest[0] in MOVED):
                wrong.append(line)
                break
            command, rest = found, rest[1:]
        known = {name for param in command.params for name in (*param.opts, *param.secondary_opts)}
        options = [word.partition("=")[0] for word in rest if re.match(r"-{1,2}[a-z]", word)]
        wrong += [f"{line}: {option}" for option in options if option not in {*known, "--help"}]
    assert not wrong


@each_page
def test_modules_that_are_run_exist(page):
    named = re.findall(r"python -m (tests(?:\.\w+)*)", page.read_text("utf-8"))
    for name in named:
        path = ROOT.joinpath(*name.split("."))
        assert path.with_suffix(".py").exists() or (path / "__main__.py").exists()
