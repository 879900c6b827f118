"""All scene families by name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from samstar_rl.frames.simulator import agglomerates, packed, scenes
from samstar_rl.frames.simulator.scenes import Scene
from samstar_rl.frames.simulator.texture import Shape

FAMILIES: dict[str, Callable[[np.random.Generator, Shape], Scene]] = {
    "scattered": scenes.scattered,
    "aggregates": scenes.aggregates,
    "clouds": scenes.clouds,
    "monolayer": scenes.monolayer,
    "dense": scenes.dense,
    "pile": scenes.pile,
    "mixture": scenes.mixture,
    "beside_large": scenes.beside_large,
    "large_bodies": scenes.large_bodies,
    "rods": scenes.rods,
    "decorated": scenes.decorated,
    "core_shell": scenes.core_shell,
    "vesicles": scenes.vesicles,
    "atoms": scenes.atoms,
    "grains": scenes.grains,
    "cells": scenes.cells,
    "agglomerates": agglomerates.agglomerates,
    "powder": agglomerates.powder,
    "packed_rods": packed.packed_rods,
    "platelets": packed.platelets,
    "chains": packed.chains,
    "coated": packed.coated,
    "low_dose_atoms": packed.low_dose_atoms,
    "thin_walls": packed.thin_walls,
}
