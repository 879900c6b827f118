from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from samstar_rl.errors import MissingExtraError, SamstarError
from samstar_rl.scripts._shared.cli import (
    COMMANDS,
    DEV_COMMANDS,
    MOVED,
    build_app,
    load,
    summary_of,
)
from samstar_rl.scripts._shared.command import BAD_INPUT, reporting_errors

SCRIPTS = Path(__file__).parents[2] / "scripts"


def test_the_list_of_commands_imports_none_of_them():
    code = (
        "import sys; from samstar_rl.scripts._shared import cli\n"
        "cli.build_app(only=[]); print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_help_lists_every_command():
    done = CliRunner().invoke(build_app(only=[]), ["--help"])
    assert done.exit_code == 0
    for name, command in COMMANDS.items():
        assert name in done.output and summary_of(command).split(":")[0][:30] in done.output


ALL = COMMANDS | {f"dev {name}": command for name, command in DEV_COMMANDS.items()}


@pytest.mark.parametrize("name", ALL)
def test_every_command_explains_itself_as_listed(name):
    target = load(ALL[name])
    if not isinstance(target, typer.Typer):
        assert (target.__doc__ or "").splitlines()[0] == summary_of(ALL[name])
    else:
        assert target.info.help == summary_of(ALL[name])
    words = [*name.split(), "--help"]
    done = CliRunner().invoke(build_app(only=[name]), words, terminal_width=200)
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize(("old", "new"), MOVED.items())
def test_a_moved_command_says_its_new_name(old, new):
    done = CliRunner().invoke(build_app(only=[]), [old, "--some", "option"])
    assert done.exit_code == BAD_INPUT and f"samstar {new}" in done.stderr
    assert new in ALL


def test_the_version_is_told():
    done = CliRunner().invoke(build_app(only=[]), ["--version"])
    assert done.exit_code == 0 and done.output.startswith("samstar 0.")


def test_an_unknown_command_is_refused():
    assert CliRunner().invoke(build_app(only=[]), ["segmnt"]).exit_code == BAD_INPUT


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (SamstarError("size must be [1, 2]"), "Error: size must be [1, 2]"),
        (FileNotFoundError(2, "No such file or directory", "a.png"), "a.png: No such file"),
        (MissingExtraError("it", "p4p", "pva"), "it needs p4p: pip install 'samstar-rl[pva]'"),
    ],
)
def test_bad_input_is_one_message_and_exit_code_2(error, message, monkeypatch):
    monkeypatch.delenv("SAMSTAR_DEBUG", raising=False)

    def command() -> None:
        raise error

    app = typer.Typer()
    app.command()(reporting_errors(command))
    done = CliRunner().invoke(app, [])
    assert done.exit_code == BAD_INPUT
    assert message in done.stderr and "Traceback" not in done.stderr
    monkeypatch.setenv("SAMSTAR_DEBUG", "1")
    assert CliRunner().invoke(app, []).exception is error


@pytest.mark.parametrize("error", [KeyError("ours"), ValueError("ours"), ImportError("ours")])
def test_a_mistake_of_ours_is_not_hidden(error):
    def command() -> None:
        raise error

    app = typer.Typer()
    app.command()(reporting_errors(command))
    done = CliRunner().invoke(app, [])
    assert done.exception is error and done.exit_code == 1


def test_a_mistake_of_ours_ends_a_program_with_its_traceback():
    code = (
        "from samstar_rl.scripts._shared.command import run_command\n"
        "def broken() -> None:\n    [].index(1)\n"
        "run_command(broken)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" in done.stderr and "ValueError" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("name", ["segment", "deploy", "tune"])
def test_a_script_runs_alone(name):
    done = subprocess.run(
        [sys.executable, SCRIPTS / f"{name}.py", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0 and summary_of(COMMANDS[name]) in done.stdout


def test_warnings_of_this_program_are_notes_and_others_stay_as_they_are():
    import warnings

    from samstar_rl.scripts._shared import command

    ours = command._format_warning("a mask", UserWarning, command.__file__, 1)
    assert ours == "Note: a mask\n"
    other = command._format_warning("old", UserWarning, warnings.__file__, 1)
    assert "UserWarning: old" in other and warnings.__file__ in other
