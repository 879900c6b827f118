"""Where torch computes: the CPU, CUDA or Apple's MPS, checked before anything is loaded."""

from __future__ import annotations

import ctypes
import platform
import re

from samstar_rl.errors import SamstarError

DRIVERS = {"Linux": "libcuda.so.1", "Windows": "nvcuda.dll"}


class DeviceError(SamstarError):
    """A device was asked for that is not there."""


def check_device(name: str) -> None:
    """Refuse a device that cannot be there, without importing torch.

    Parameters
    ----------
    name : str
        "auto", "cpu", "cuda", "cuda:NUMBER" or "mps".

    Raises
    ------
    DeviceError
        If the name is another, or this machine has no such device.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", name):
        raise DeviceError(f"no device {name!r}: expected auto, cpu, cuda, cuda:NUMBER or mps")
    if name.startswith("cuda") and not may_have_cuda():
        raise DeviceError(f"there is no CUDA device on this machine: it has {_what_there_is()}")
    if name == "mps" and not _may_have_mps():
        raise DeviceError(f"there is no MPS on this machine: it has {_what_there_is()}")


def choose_device(name: str) -> str:
    """The device to compute on.

    Parameters
    ----------
    name : str
        As for `check_device`; "auto" takes CUDA, MPS or the CPU, the first that is there.

    Raises
    ------
    DeviceError
        If torch does not find it.
    """
    check_device(name)
    if name == "cpu":
        return name
    if name == "auto" and not (may_have_cuda() or _may_have_mps()):
        return "cpu"
    import torch  # takes seconds

    there = ["cpu"]
    if torch.backends.mps.is_available():
        there.insert(0, "mps")
    if torch.cuda.is_available():
        there.insert(0, "cuda")
        there += [f"cuda:{number}" for number in range(torch.cuda.device_count())]
    if name == "auto":
        return there[0]
    if name not in there:
        raise DeviceError(
            f"torch {torch.__version__} finds no device {name!r} here, but {', '.join(there)}"
        )
    return name


def may_have_cuda() -> bool:
    """Whether NVIDIA's driver is there and knows a device; takes milliseconds."""
    library = DRIVERS.get(platform.system())
    if library is None:
        return False
    try:
        driver = ctypes.CDLL(library)
        count = ctypes.c_int(0)
        return (
            driver.cuInit(0) == 0
            and driver.cuDeviceGetCount(ctypes.byref(count)) == 0
            and (count.value > 0)
        )
    except (AttributeError, OSError):
        return False


def _may_have_mps() -> bool:
    return platform.system() == "Darwin" and platform.machine() == "arm64"


def _what_there_is() -> str:
    there = ["cpu"]
    if may_have_cuda():
        there.append("cuda")
    if _may_have_mps():
        there.append("mps")
    return " and ".join(there)
