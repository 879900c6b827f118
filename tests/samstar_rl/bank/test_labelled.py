"""Ground truth from label images and from binary masks."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from samstar_rl.bank.labelled import read_labels
from samstar_rl.errors import SamstarError

LABELS = np.zeros((60, 80), np.uint16)
LABELS[5:15, 5:20] = 1
LABELS[30:50, 10:30] = 2
LABELS[20:40, 50:70] = 3
LABELS[25:35, 55:65] = 0  # a hole
MASK = LABELS > 0


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("a.png", np.where(MASK, 255, 0).astype(np.uint8)),
        ("a.png", np.where(MASK, 1, 0).astype(np.uint8)),
        ("a.png", MASK),
        ("a.png", np.stack([np.where(MASK, 255, 0).astype(np.uint8)] * 3, -1)),
        ("a.tif", np.where(MASK, 65535, 0).astype(np.uint16)),
        ("a.tif", MASK),
        ("a.tif", np.where(MASK, 2, 1).astype(np.uint8)),
        ("a.npy", np.where(MASK, 1.0, 0.0)),
        ("a.npy", np.where(MASK, 0.5, 0.0)),
        ("a.npy", MASK),
    ],
)
def test_the_connected_parts_of_a_mask_are_particles_and_a_warning_says_so(tmp_path, name, values):
    path = tmp_path / name
    if name.endswith(".npy"):
        np.save(path, values)
    elif name.endswith(".tif"):
        tifffile.imwrite(path, values, photometric="minisblack")
    else:
        Image.fromarray(values).save(path)
    with pytest.warns(UserWarning, match=r"binary mask.*3 connected parts"):
        found = read_labels(path)
    assert found.dtype == np.int32 and (found > 0).sum() == MASK.sum()
    for label in (1, 2, 3):
        assert len(np.unique(found[label == LABELS])) == 1


def test_labels_stay_as_they_are(tmp_path, recwarn):
    tifffile.imwrite(tmp_path / "a.tif", LABELS)
    np.testing.assert_array_equal(read_labels(tmp_path / "a.tif"), LABELS)
    assert not [one for one in recwarn if "binary mask" in str(one.message)]


def test_what_is_neither_labels_nor_mask_is_refused(tmp_path):
    np.save(tmp_path / "a.npy", np.linspace(0, 1, 100).reshape(10, 10))
    with pytest.raises(SamstarError, match="no label image"):
        read_labels(tmp_path / "a.npy")
