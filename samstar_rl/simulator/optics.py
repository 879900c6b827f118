"""From an ideal image to a recorded one: focus, illumination, charging, dose, detector."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from samstar_rl.simulator.texture import Field, blurred, smooth, white

# From here on a Poisson number is normal for every practical purpose, and cheaper to draw so.
_NORMAL_FROM_ELECTRONS = 30.0


@dataclass(frozen=True)
class Optics:
    """How an image is recorded. Grey values run from 0 to 1.

    Parameters
    ----------
    blur_px : float
        Std of the point spread function, defocus included.
    fringe : float
        Strength of the Fresnel fringe at edges, 0 is none.
    fringe_width_px : float
        Its width.
    tilt : float
        Change of brightness across the field by tilted illumination.
    tilt_rad : float
        Its direction.
    vignette : float
        Loss of brightness towards the corners (negative: gain).
    streaks : float
        Std of the brightness from scan line to scan line (charging).
    smear_px : float
        Length over which a slow detector smears along the scan line.
    jitter_px : float
        Std of the shift from scan line to scan line.
    dose : float
        Electrons per pixel at grey 1; infinite is no shot noise.
    readout : float
        Std of the detector's own noise.
    correlation_px : float
        Width over which that noise is correlated.
    gamma : float
        Exponent of the display transform.
    black, white : float
        Grey values that black and white of the ideal image are displayed as.
    inverted : bool
        Negative display.
    """

    blur_px: float = 0.6
    fringe: float = 0.0
    fringe_width_px: float = 2.0
    tilt: float = 0.0
    tilt_rad: float = 0.0
    vignette: float = 0.0
    streaks: float = 0.0
    smear_px: float = 0.0
    jitter_px: float = 0.0
    dose: float = float("inf")
    readout: float = 0.0
    correlation_px: float = 0.0
    gamma: float = 1.0
    black: float = 0.0
    white: float = 1.0
    inverted: bool = False


def expose(image: Field, optics: Optics, rng: np.random.Generator) -> Field:
    """Record an ideal image.

    Parameters
    ----------
    image : (H, W) float32 array
        Grey values, about 0 to 1.
    optics : Optics
    rng : numpy.random.Generator
        Of noise and charging.

    Returns
    -------
    (H, W) float32 array
        What the detector shows, about 0 to 1, not clipped.
    """
    # focus: a blur, then the fringe of defocus, proportional to the image's Laplacian (transport of
    # intensity), here as a difference of Gaussians
    image = blurred(image, optics.blur_px)
    if optics.fringe:
        image = image + optics.fringe * (image - blurred(image, optics.fringe_width_px))
    # illumination: a ramp, a vignette, and bands of a few scan lines that charging lifts or lowers,
    # half of them fading along the line as the charge leaks away
    height, width = image.shape
    y = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None]
    x = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :]
    ramp = np.cos(optics.tilt_rad) * x + np.sin(optics.tilt_rad) * y
    gain = 1 + np.float32(optics.tilt) * ramp.astype(np.float32)
    if optics.vignette:
        gain = gain - np.float32(optics.vignette) * (x * x + y * y) * 2
    image = image * gain
    if optics.streaks:
        lines = blurred(white(rng, (height, 1)), float(rng.uniform(0.5, 2.5)))
        lines = lines / max(float(lines.std()), 1e-6)
        fade = np.linspace(1, rng.uniform(0, 1), width, dtype=np.float32)[None, :]
        image = image + optics.streaks * np.asarray(lines * fade, dtype=np.float32)
    # scan: a slow detector smears along the lines, which are shifted against each other
    if optics.smear_px:
        image = cv2.GaussianBlur(image, (0, 0), sigmaX=optics.smear_px, sigmaY=0.01)
    if optics.jitter_px:
        y, x = np.mgrid[:height, :width].astype(np.float32)
        x += np.float32(optics.jitter_px) * white(rng, (height, 1))
        image = cv2.remap(image, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)
    # display, then the noise of counting `dose` electrons at grey 1, then that of the readout
    image = np.maximum(image, 0) ** np.float32(optics.gamma)
    if optics.inverted:
        image = 1 - image
    image = np.asarray(optics.black + (optics.white - optics.black) * image, dtype=np.float32)
    if np.isfinite(optics.dose):
        image = _counted(image, optics.dose, rng)
    if optics.readout:
        if optics.correlation_px:
            noise = smooth(rng, image.shape, optics.correlation_px)
        else:
            noise = white(rng, image.shape)
        image = image + np.float32(optics.readout) * noise
    return image


def _counted(image: Field, dose: float, rng: np.random.Generator) -> Field:
    """Poisson noise: `dose` electrons at grey 1."""
    expected = np.maximum(image, 0) * np.float32(dose)
    if dose < _NORMAL_FROM_ELECTRONS:
        return np.asarray(rng.poisson(expected) / dose, dtype=np.float32)
    counts = expected + np.sqrt(expected) * white(rng, image.shape)
    return np.asarray(counts / np.float32(dose), dtype=np.float32)


def stretched(image: Field, *, low: float = 0.5, high: float = 99.5) -> Field:
    """Put two percentiles of an image at 0 and 1, as an operator sets brightness.

    Parameters
    ----------
    image : (H, W) float32 array
    low, high : float
        The percentiles, 0 to 100.

    Returns
    -------
    (H, W) float32 array
        Not clipped.
    """
    bottom, top = np.percentile(image[::3, ::3], [low, high])
    return np.asarray((image - bottom) / max(float(top - bottom), 1e-3), dtype=np.float32)


def to_uint8(image: Field) -> NDArray[np.uint8]:
    """Grey values 0 to 1 as 0 to 255, clipped."""
    return np.asarray(np.clip(image * np.float32(255) + np.float32(0.5), 0, 255), dtype=np.uint8)
