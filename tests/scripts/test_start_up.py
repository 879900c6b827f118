"""Help and typing errors are answered before heavy libraries are imported; so is Ctrl-C."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import pytest

from samstar_rl.results.registry import FORMATS
from samstar_rl.sam.device import DeviceError, check_device, choose_device
from samstar_rl.scripts._shared import options

HEAVY = {"torch", "scipy", "pandas", "skimage", "PIL", "cv2"}
RUN = """
import sys
from samstar_rl.scripts._shared.cli import main
sys.argv = ["samstar", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    print("HEAVY", *(HEAVY & set(sys.modules)))
    sys.exit(end.code)
""".replace("HEAVY &", f"{HEAVY!r} &")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("deploy --help", 0),
        ("segment --help", 0),
        ("deploy --sorce sim:particles", 2),
        ("deploy --source sim:particlez", 2),
        ("deploy --source what:ever", 2),
        ("deploy --source tango://host?dwell_time=5", 2),
        ("deploy --tuner nothing", 2),
        ("deploy --task nothing", 2),
        ("deploy --sam vit_x", 2),
        ("deploy --format xml", 2),
        ("segment nothing.tif", 2),
        ("segment . --device gpu", 2),
    ],
)
def test_help_and_typing_errors_import_nothing_heavy(words, code):
    started = time.process_time()
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words.split()], capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    allowed = {"PIL"} if "tango" in words else set()
    assert set(done.stdout.splitlines()[-1].split()[1:]) <= allowed
    assert "Traceback" not in done.stderr
    assert time.process_time() - started < 1.5


def test_ctrl_c_while_libraries_are_imported_ends_at_once_and_says_so():
    code = (
        "from samstar_rl.scripts._shared.interrupt import quit_on_interrupt\n"
        "quit_on_interrupt()\nprint('ready', flush=True)\nimport samstar_rl.segmenter\n"
        "import time\ntime.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=20)
    assert process.returncode == 130
    assert stderr.strip().endswith("stopped") and "Traceback" not in stderr


@pytest.mark.parametrize("used", [True, False])
def test_the_exit_code_is_the_programs_own_where_tango_was_used(used):
    code = (
        "import sys, types, atexit\n"
        "from samstar_rl.scripts._shared.interrupt import keeping_the_exit_code\n"
        "atexit.register(print, 'taken down')\n"
        f"if {used}: sys.modules['tango'] = types.ModuleType('tango')\n"
        "with keeping_the_exit_code():\n    print('done'); sys.exit(3)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 3
    assert done.stdout.split() == (["done"] if used else ["done", "taken", "down"])


def test_the_formats_that_are_checked_early_are_those_that_exist():
    assert set(options.FORMATS) == set(FORMATS)


def test_a_device_that_is_not_there_is_refused_saying_what_is(monkeypatch):
    monkeypatch.setattr("samstar_rl.sam.device.may_have_cuda", lambda: False)
    monkeypatch.setattr("samstar_rl.sam.device._may_have_mps", lambda: False)
    for name in ("cuda", "cuda:1", "mps"):
        with pytest.raises(DeviceError, match="it has cpu"):
            check_device(name)
    with pytest.raises(DeviceError, match="expected auto, cpu"):
        check_device("gpu")
    assert choose_device("auto") == choose_device("cpu") == "cpu"


def test_auto_takes_the_first_device_that_torch_finds(monkeypatch):
    import torch

    monkeypatch.setattr("samstar_rl.sam.device.may_have_cuda", lambda: True)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    assert choose_device("auto") == choose_device("cuda") == "cuda"
    assert choose_device("cuda:0") == "cuda:0"
    with pytest.raises(DeviceError, match="'cuda:7' here, but cuda, cpu, cuda:0"):
        choose_device("cuda:7")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == "cpu"


def test_auto_says_what_it_took(samstar, small_task, tmp_path):
    done = samstar(
        *("deploy", "--source", "sim:particles?size=64&length=1", "--task", small_task),
        *("--device", "auto", "-o", tmp_path / "out"),
    )
    assert done.exit_code == 0, done.output
    assert "device: " in done.stderr
