"""What ``--tuner`` takes, by name: nothing heavy is imported here."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

#: name -> what it does
TUNERS = {
    "default": "SAM's own defaults, every gate off",
    "static": "the task's static settings",
    "static-filters": "the gaze of the static settings, filters chosen on every frame",
    "static:FILE": "the settings of a file that `samstar tune` wrote (FILE#3: its third entry)",
    "random": "random settings on every frame, for comparison",
    "genetic": "a genetic search on every frame",
    "genetic-warm": "a genetic search that starts from the last frame's population",
    "nsga2": "a search of the front between score and cost on every frame",
    "NAME or PATH": "a policy bundle: one that ships, or a folder",
}
STATIC_FILE = "static:"
BUNDLE_SUFFIX = ".bundle"


def shipped_folder() -> Path:
    """Where the policies lie that ship with the package."""
    return Path(str(resources.files("samstar_rl.agents.policies")))


def shipped_bundles() -> tuple[str, ...]:
    """Names of the policies that ship with the package."""
    folder = shipped_folder()
    if not folder.is_dir():
        return ()
    found = (path.name.removesuffix(BUNDLE_SUFFIX) for path in folder.glob(f"*{BUNDLE_SUFFIX}"))
    return tuple(sorted(found))


def usual_tuner(task: str | None, sam: str = "tiny") -> str:
    """The tuner to take where none is asked for: the policy that ships for a task, else ``static``.

    The task, by name or file, is `particles` by default; shipped policies are for the embedded SAM.
    """
    name = task or "particles"
    return name if sam == "tiny" and name in shipped_bundles() else "static"
