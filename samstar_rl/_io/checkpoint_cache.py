"""Checkpoints that can be had by name: where they lie, and the sha256 that they must have."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from samstar_rl._io.cache import cache_folder
from samstar_rl.errors import SamstarError

OFFLINE_VARIABLE = "SAMSTAR_OFFLINE"
_META = "https://dl.fbaipublicfiles.com/segment_anything/"
_ZENODO = "https://zenodo.org/record/"


class CheckpointError(SamstarError):
    """A checkpoint cannot be had."""


@dataclass(frozen=True)
class Checkpoint:
    """A file of weights.

    Parameters
    ----------
    architecture : {"vit_b", "vit_l", "vit_h"}
    url : str
    sha256 : str
    """

    architecture: str
    url: str
    sha256: str


#: name -> checkpoint: Meta's, and the first that micro-sam published for electron ("em") and light
#: microscopy ("lm"). Later ones of micro-sam's are published without a sha256: see `UNVERIFIED`.
CHECKPOINTS: dict[str, Checkpoint] = {
    "vit_b": Checkpoint(
        "vit_b",
        f"{_META}sam_vit_b_01ec64.pth",
        "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
    ),
    "vit_l": Checkpoint(
        "vit_l",
        f"{_META}sam_vit_l_0b3195.pth",
        "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
    ),
    "vit_h": Checkpoint(
        "vit_h",
        f"{_META}sam_vit_h_4b8939.pth",
        "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
    ),
    "vit_b_em": Checkpoint(
        "vit_b",
        f"{_ZENODO}8250260/files/vit_b_em.pth?download=1",
        "c04a714a4e14a110f0eec055a65f7409d54e6bf733164d2933a0ce556f7d6f81",
    ),
    "vit_h_em": Checkpoint(
        "vit_h",
        f"{_ZENODO}8250291/files/vit_h_em.pth?download=1",
        "ae3798a0646c8df1d4db147998a2d37e402ff57d3aa4e571792fbb911d8a979c",
    ),
    "vit_b_lm": Checkpoint(
        "vit_b",
        f"{_ZENODO}8250281/files/vit_b_lm.pth?download=1",
        "5a59cc4064092d54cd4d92cd967e39168f3760905431e868e474d60fe5464ecd",
    ),
    "vit_h_lm": Checkpoint(
        "vit_h",
        f"{_ZENODO}8250299/files/vit_h_lm.pth?download=1",
        "9a65ee0cddc05a98d60469a12a058859c89dc3ea3ba39fed9b90d786253fbf26",
    ),
}

#: name -> architecture: MobileSAM's checkpoint and those that micro-sam published later, without a
#: sha256; for these a file must be given.
UNVERIFIED: dict[str, str] = {
    "vit_t": "vit_t",
    "vit_t_lm": "vit_t",
    "vit_t_em_organelles": "vit_t",
    "vit_b_em_organelles": "vit_b",
    "vit_l_em_organelles": "vit_l",
    "vit_l_lm": "vit_l",
}


def is_checkpoint_name(name: str) -> bool:
    """Whether a checkpoint has this name, be it one to download or one to bring along."""
    return name in CHECKPOINTS or name in UNVERIFIED


def fetch_checkpoint(name: str) -> Path:
    """The file of a checkpoint, downloaded at the first call and verified at each.

    It is kept in the folder that the environment variable SAMSTAR_CACHE names, by default the
    user's cache. With SAMSTAR_OFFLINE set nothing is downloaded.

    Parameters
    ----------
    name : str
        One of `CHECKPOINTS`, or of `UNVERIFIED`.

    Raises
    ------
    CheckpointError
        If there is no network, or the file has another sha256; the message has the address and
        says how to go on without a network. If no sha256 was published, so that it must not be
        downloaded unasked.
    """
    if name in UNVERIFIED:
        raise CheckpointError(
            f"the checkpoint {name!r} was published without a sha256, so that it is not downloaded "
            "unasked: fetch it yourself (MobileSAM's from its repository, micro-sam's from "
            "bioimage.io or Zenodo) and give its path, --sam PATH or load_sam(PATH)"
        )
    import pooch  # draws in requests, which nothing else needs

    checkpoint, folder = CHECKPOINTS[name], cache_folder("checkpoints")
    path = folder / f"{name}.pth"
    if os.environ.get(OFFLINE_VARIABLE) and not path.is_file():
        raise CheckpointError(_advice(name, path, f"{OFFLINE_VARIABLE} is set"))
    try:
        pooch.retrieve(
            checkpoint.url,
            known_hash=f"sha256:{checkpoint.sha256}",
            fname=path.name,
            path=folder,
            progressbar=False,
        )
    except (OSError, ValueError) as error:  # of the network or disk; of a wrong checksum
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(_advice(name, path, reason)) from error
    return path


def _advice(name: str, path: Path, reason: str) -> str:
    checkpoint = CHECKPOINTS[name]
    return (
        f"the checkpoint {name!r} cannot be downloaded ({reason}): fetch {checkpoint.url} where "
        f"there is a network and put it at {path}, or give the path of the file; its sha256 is "
        f"{checkpoint.sha256}"
    )
