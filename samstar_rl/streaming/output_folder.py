"""The folder of a live run: one run at a time, and the next one continues where a kill left off."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Self

from filelock import FileLock, Timeout

from samstar_rl._io import atomic
from samstar_rl._io.run_folder import RunFolder
from samstar_rl.errors import SamstarError
from samstar_rl.results.registry import FORMATS, is_own_result, may_replace
from samstar_rl.results.result import RECORD_SUFFIX, WRITERS, safe_name
from samstar_rl.streaming.sinks import cut_broken_line, read_journal

JOURNAL_FILE = "frames.jsonl"
LOCK_FILE = ".lock"
# whatever a frame may leave besides its record
OTHER_SUFFIXES = {*WRITERS, *(form.suffix for form in FORMATS.values())} - {RECORD_SUFFIX}


class OutputFolderError(SamstarError):
    """The folder is in use by another run, or holds an earlier run's results."""


class OutputFolder:
    """A context manager that owns the folder while the run lasts.

    Parameters
    ----------
    path : path
        Made if it does not exist.
    resume : bool
        Continue an earlier run; otherwise the folder must hold none.

    Raises
    ------
    OutputFolderError
        On entering: if another process uses the folder, or there are results and ``resume`` was
        not asked for.
    """

    def __init__(self, path: str | Path, *, resume: bool = False) -> None:
        self.run = RunFolder(Path(path) / "run")
        self.path = Path(path)
        self.resume = resume
        self.journal = self.run.path / JOURNAL_FILE
        self._done: set[str] = set()
        # the system frees the lock of a process that dies, however it dies
        self._lock = FileLock(self.run.path / LOCK_FILE, timeout=0)

    def __enter__(self) -> Self:
        try:
            self._lock.acquire()
        except Timeout as error:
            raise OutputFolderError(
                f"{self.path} is in use by another run: stop that one, or choose another folder"
            ) from error
        try:
            self._take_over()
        except BaseException:
            self._lock.release()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._lock.release()

    @property
    def n_done(self) -> int:
        """Frames whose results are complete."""
        return len(self._done)

    def is_done(self, frame_id: str) -> bool:
        """Whether an earlier run has written this frame's results."""
        return safe_name(frame_id) in self._done

    def owners(self) -> dict[str, str]:
        """Ids of frames that earlier runs have done, and the file that each came from."""
        lines = (line for line in read_journal(self.journal) if line.get("source"))
        return {
            str(line["frame"]): Path(str(line["source"])).name for line in lines if "score" in line
        }

    def _take_over(self) -> None:
        """Find out what is complete; remove what is not; mend the journal."""
        atomic.remove_leftovers(self.path)
        names = {path.name for path in self.path.iterdir() if path.is_file()}
        # a loss of power may leave an empty file under the final name
        records = {n for n in names if n.endswith(RECORD_SUFFIX)}
        records = {n for n in records if not n.endswith(tuple(OTHER_SUFFIXES))}  # as COCO's do
        complete = {n for n in records if is_own_result(self.path / n)}
        if (complete or self.journal.exists()) and not self.resume:
            raise OutputFolderError(
                f"{self.path} holds an earlier run's results: continue it with --resume, or choose "
                "another folder"
            )
        self._done = {name.removesuffix(RECORD_SUFFIX) for name in complete}
        # a kill between a frame's files leaves some without the record that comes last
        for suffix in OTHER_SUFFIXES:
            for name in names:
                stem = name.removesuffix(suffix)
                path = self.path / name
                if stem != name and stem not in self._done and may_replace(path):
                    path.unlink()
        # a kill between a frame's record and its line in the journal leaves the line out
        cut_broken_line(self.journal)
        known = {
            safe_name(str(line["frame"])) for line in read_journal(self.journal) if "score" in line
        }
        with self.journal.open("a", encoding="utf-8") as file:
            for name in sorted(self._done - known):
                record = json.loads((self.path / f"{name}{RECORD_SUFFIX}").read_text("utf-8"))
                file.write(json.dumps(record) + "\n")
