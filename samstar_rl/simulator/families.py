"""All scene families by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from samstar_rl.simulator import agglomerates, image_families, packed
from samstar_rl.simulator.image_families import IdealImage
from samstar_rl.simulator.texture import Shape

FAMILIES: dict[str, Callable[[np.random.Generator, Shape], IdealImage]] = {
    "scattered": image_families.scattered,
    "aggregates": image_families.aggregates,
    "clouds": image_families.clouds,
    "monolayer": image_families.monolayer,
    "dense": image_families.dense,
    "pile": image_families.pile,
    "mixture": image_families.mixture,
    "beside_large": image_families.beside_large,
    "large_bodies": image_families.large_bodies,
    "rods": image_families.rods,
    "decorated": image_families.decorated,
    "core_shell": image_families.core_shell,
    "vesicles": image_families.vesicles,
    "atoms": image_families.atoms,
    "grains": image_families.grains,
    "cells": image_families.cells,
    "agglomerates": agglomerates.agglomerates,
    "powder": agglomerates.powder,
    "packed_rods": packed.packed_rods,
    "platelets": packed.platelets,
    "chains": packed.chains,
    "coated": packed.coated,
    "low_dose_atoms": packed.low_dose_atoms,
    "thin_walls": packed.thin_walls,
}
