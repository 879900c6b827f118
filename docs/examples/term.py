import numpy as np

from samstar_rl.rewards.target import Target


class UniformityTarget(Target):
    """Particles of one size: the spread of diameters over their mean that is still fine."""

    largest_spread: float = 0.1


def uniformity(segmentation, frame, target, previous=None):
    """1 up to the largest spread, falling as its inverse beyond; 0 without particles."""
    diameters = segmentation.table.equivalent_diameter_area
    if len(diameters) == 0:
        return 0.0
    spread = np.std(diameters) / np.mean(diameters)
    return float(min(1.0, target.largest_spread / max(spread, 1e-9)))
