"""The contact sheet that shows simulated micrographs beside real ones."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from samstar_rl.scripts.maintain.contact_sheet import draw_contact_sheet


def test_the_sheet_shows_simulated_tiles_beside_a_folders(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "real.png"), np.full((70, 90), 17, np.uint8))
    sheet = draw_contact_sheet(emps=tmp_path, rows=1, columns=2, tile_px=64)
    alone = draw_contact_sheet(rows=1, columns=2, tile_px=64)
    assert sheet.shape[0] == alone.shape[0] == 68
    assert sheet.shape[1] > 2 * alone.shape[1]
    assert (sheet[:, : alone.shape[1]] == alone).all()
    assert (sheet[30, -60:-10] == 17).all()


def test_the_sheet_names_a_folder_without_images(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds no images"):
        draw_contact_sheet(emps=tmp_path, rows=1, columns=1, tile_px=64)
    with pytest.raises(ValueError, match="is no folder"):
        draw_contact_sheet(emps=tmp_path / "absent", rows=1, columns=1, tile_px=64)


def test_wide_images_differ_from_the_usual_ones() -> None:
    usual = draw_contact_sheet(rows=1, columns=1, tile_px=64)
    wide = draw_contact_sheet(wide=True, rows=1, columns=1, tile_px=64)
    assert usual.shape == wide.shape
    assert (usual != wide).any()
