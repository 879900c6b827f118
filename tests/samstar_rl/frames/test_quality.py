from __future__ import annotations

import numpy as np
import pytest

from samstar_rl.frames.frame import Frame
from samstar_rl.frames.quality import inspect_frame

NOISE = np.random.default_rng(0).normal(100, 10, (60, 80)).astype(np.float32)


def with_share(value: float, share: float) -> np.ndarray:
    image = NOISE.copy().ravel()
    image[: round(share * image.size)] = value
    return image.reshape(NOISE.shape)


def test_an_ordinary_frame_has_no_findings():
    quality = inspect_frame(Frame(NOISE))
    assert quality.usable and not quality.findings


@pytest.mark.parametrize(
    ("image", "usable", "finding"),
    [
        (np.zeros((5, 6)), False, "blank: all pixels are 0"),
        (np.full((5, 6), 65535), False, "blank"),
        (np.full((5, 6), np.nan), False, "100% of the pixels are missing"),
        (with_share(np.nan, 0.6), False, "60% of the pixels are missing"),
        (with_share(np.inf, 0.2), True, "20.0% of the pixels are missing"),
        (with_share(4095, 0.95), False, "95% of the pixels are saturated at 4095"),
        (with_share(4095, 0.3), True, "30% of the pixels are saturated"),
    ],
)
def test_what_is_wrong_with_a_frame_is_said(image, usable, finding):
    quality = inspect_frame(Frame(image))
    assert quality.usable is usable
    assert any(finding in text for text in quality.findings)
