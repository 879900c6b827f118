"""The errors that a user can cause, and mend.

Whatever else is raised is a mistake of this program and shows its traceback.
"""

from __future__ import annotations


class SamstarError(ValueError):
    """Something was given that cannot be used: what was expected, what came, and the cure.

    It is the base of every error that a user can cause here. A file that is not there is an
    `OSError`, an extra that is not installed a `MissingExtraError`.
    """


class MissingExtraError(ImportError):
    """A package is not installed that belongs to an extra of this one.

    Parameters
    ----------
    what : str
        What needs it, as the subject of a sentence: ``COCO``, ``the dashboard``.
    package : str
        What is missing, by its own name.
    extra : str
        The extra that brings it.
    """

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs {package}: pip install 'samstar-rl[{extra}]'")
