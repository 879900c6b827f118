from __future__ import annotations

import pytest

from samstar_rl import atomic


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
