from __future__ import annotations

import os

import pytest

from samstar_rl._io import atomic
from samstar_rl.errors import SamstarError


def test_a_file_appears_whole(tmp_path):
    with atomic.replacing(tmp_path / "a.tif") as path:
        path.write_text("half")
        assert path.suffix == ".tif" and not (tmp_path / "a.tif").exists()
    assert (tmp_path / "a.tif").read_text() == "half"
    assert [path.name for path in tmp_path.iterdir()] == ["a.tif"]


def test_an_error_leaves_what_was_there(tmp_path):
    atomic.write_text(tmp_path / "a.txt", "before")
    with pytest.raises(RuntimeError), atomic.replacing(tmp_path / "a.txt") as path:
        path.write_text("half of it")
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]
    assert (tmp_path / "a.txt").read_text() == "before"


def test_leftovers_of_a_kill_are_removed_and_nothing_else(tmp_path):
    leftover = atomic.temporary_path(tmp_path / "b.labels.tif")
    leftover.write_bytes(b"half")
    (tmp_path / "b.labels.tif").write_bytes(b"whole")
    (tmp_path / ".hidden").write_bytes(b"the user's")
    atomic.remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "b.labels.tif"]


def test_json_knows_no_infinity(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        atomic.write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not list(tmp_path.iterdir())


def test_damaged_json_is_an_error_of_the_users(tmp_path):
    atomic.write_json(tmp_path / "a.json", {"x": 1})
    assert atomic.read_json(tmp_path / "a.json") == {"x": 1}
    for damaged in (b'{"x": ', b"\xff\xfe"):
        (tmp_path / "a.json").write_bytes(damaged)
        with pytest.raises(SamstarError, match=r"a\.json is damaged"):
            atomic.read_json(tmp_path / "a.json")


@pytest.mark.parametrize("n_times", [1, 3, 100])
def test_a_file_that_another_program_holds_for_a_moment_is_renamed_after_it(
    tmp_path, monkeypatch, n_times
):
    replace, refusals = os.replace, iter(range(n_times))

    def held(*paths: object) -> None:
        if next(refusals, None) is not None:
            raise PermissionError(13, "The process cannot access the file")
        replace(*paths)

    monkeypatch.setattr(atomic.os, "replace", held)
    monkeypatch.setattr(atomic, "RENAME_WAITS_S", (0.0,) * 5)
    if n_times < 5:
        atomic.write_text(tmp_path / "a.txt", "whole")
        assert (tmp_path / "a.txt").read_text() == "whole"
    else:
        with pytest.raises(PermissionError):
            atomic.write_text(tmp_path / "a.txt", "whole")
        assert list(tmp_path.iterdir()) == []
