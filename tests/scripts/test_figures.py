from __future__ import annotations

import pytest
from PIL import Image

from samstar_rl.scripts.maintain.pictures import dashboard as dashboard_figure
from samstar_rl.scripts.maintain.pictures.browser import BrowserMissingError, open_chromium


def test_without_a_browser_the_cure_is_said(samstar, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "samstar_rl.scripts.maintain.pictures.browser.shutil.which", lambda name: None
    )
    done = samstar("dev figures", "--only", "dashboard", "-o", tmp_path)
    assert done.exit_code == 2 and "make system-deps" in done.stderr


@pytest.mark.slow
def test_the_dashboard_is_photographed_while_it_runs(tmp_path):
    try:
        open_chromium()
    except BrowserMissingError as error:
        pytest.skip(str(error))
    dashboard_figure.photograph_dashboard(tmp_path / "dashboard.png", seed=1, n_frames=2)
    path = tmp_path / "dashboard.png"
    assert path.stat().st_size < 400_000
    with Image.open(path) as picture:
        assert picture.size == (1600, 1010)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 50  # no empty page


def test_the_picture_of_a_task_is_small(samstar, tmp_path, monkeypatch):
    monkeypatch.setattr("samstar_rl.scripts.maintain.figures.task_names", lambda: ("cells",))
    done = samstar("dev figures", "--only", "tasks", "-o", tmp_path)
    assert done.exit_code == 0, done.output
    path = tmp_path / "task_cells.png"
    assert path.stat().st_size < 60_000
    with Image.open(path) as picture:
        assert picture.size == (3 * 256 + 2 * 4, 256)
        assert len(picture.convert("RGB").getcolors(1 << 20)) > 20
