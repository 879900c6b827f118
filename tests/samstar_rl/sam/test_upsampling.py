"""Blocks look at the logits that torch's two interpolations look at, with the same weights."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from samstar_rl.masks.blocks import SIDE_PX
from samstar_rl.sam.upsampling import _Axis


@pytest.mark.parametrize(
    ("used", "full"), [(256, 256), (256, 700), (191, 512), (191, 97), (3, 5), (1, 40)]
)
def test_an_axis_composes_both_interpolations(used, full):
    axis = _Axis.build(128, 256, used, full)
    composed = np.zeros((len(axis.taps) * SIDE_PX, 128), dtype=np.float32)
    for block, (taps, weights) in enumerate(zip(axis.taps, axis.weights, strict=True)):
        composed[block * SIDE_PX : (block + 1) * SIDE_PX, taps] = weights
    signals = torch.eye(128)[:, None, :, None]
    padded = F.interpolate(signals, (256, 1), mode="bilinear", align_corners=False)[:, :, :used]
    expected = F.interpolate(padded, (full, 1), mode="bilinear", align_corners=False)[:, 0, :, 0].T
    np.testing.assert_allclose(composed[:full], expected.numpy(), rtol=0, atol=1e-6)
    assert not composed[full:].any()
