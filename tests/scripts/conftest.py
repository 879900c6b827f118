from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import Result
from PIL import Image
from typer.testing import CliRunner

from samstar_rl.bank.simulated import with_gaze
from samstar_rl.scripts._shared.cli import build_app
from samstar_rl.tasks.task import load_task, task_toml


@pytest.fixture
def samstar(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run `samstar COMMAND ...` in this process; a command may be two words."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(command: str, *arguments: object) -> Result:
        app = build_app(only=[command])
        return CliRunner().invoke(app, [*command.split(), *(str(part) for part in arguments)])

    return run


@pytest.fixture(autouse=True)
def brief_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Policies are fitted in few steps: how well one does is tested beside what fits it."""
    monkeypatch.setattr("samstar_rl.agents.learning.gaze_fit.START_STEPS", 20)
    monkeypatch.setattr("samstar_rl.agents.learning.gaze_fit.STEPS", 20)


@pytest.fixture
def small_task(tmp_path: Path) -> Path:
    """The task `particles` with so few prompts and zooms that a frame takes no time."""
    task = with_gaze(load_task("particles"), zooms=(1.0, 2.0), most_prompts=16)
    path = tmp_path / "small.toml"
    path.write_text(task_toml(task))
    return path


def draw_particles(seed: int = 0, size: int = 96) -> np.ndarray:
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[:size, :size]
    image = rng.normal(60, 4, (size, size))
    for centre in rng.uniform(10, size - 10, (6, 2)):
        image += 100 * (np.hypot(yy - centre[0], xx - centre[1]) < 7)
    return image.clip(0, 255).astype(np.uint8)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with a PNG, a TIFF stack of two planes, and a file that is no image."""
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(draw_particles(0)).save(folder / "a.png")
    stack = np.stack([draw_particles(1), draw_particles(2)])
    tifffile.imwrite(folder / "b.tif", stack, photometric="minisblack")
    (folder / "notes.txt").write_text("no image")
    return folder
