"""The same results from workers as from one process, whatever becomes of a worker."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import threading
import time
from itertools import count, islice
from pathlib import Path

import pytest

from samstar_rl._io import workers
from samstar_rl._io.workers import WorkersError, open_client, spread

cloudpickle = pytest.importorskip("cloudpickle")
pytest.importorskip("distributed")
# workers cannot import a test module
cloudpickle.register_pickle_by_value(sys.modules[__name__])


@pytest.fixture(scope="module")
def cluster():
    from distributed import LocalCluster

    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster.scheduler_address


def double(number: int) -> int:
    return 2 * number


def die_once(item: tuple[int, str]) -> int:
    """Kill the own process the first time that anyone comes here."""
    number, marker = item
    try:
        os.close(os.open(marker, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return number
    os.kill(os.getpid(), signal.SIGKILL)
    return -1


def die_always(number: int) -> int:
    os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_without_workers_the_work_is_done_here():
    with open_client(None, None) as client:
        assert client is None
        assert list(islice(spread(client, double, count()), 3)) == [0, 2, 4]


def test_workers_and_a_scheduler_exclude_each_other():
    with pytest.raises(WorkersError, match="not both"), open_client(2, "tcp://127.0.0.1:8786"):
        pass


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_named():
    with (
        pytest.raises(WorkersError, match=r"127\.0\.0\.1:9"),
        open_client(None, "tcp://127.0.0.1:9"),
    ):
        pass


@pytest.mark.slow
def test_results_come_in_order_and_a_killed_worker_loses_none(tmp_path):
    taken = []

    def items():
        for number in range(20):
            taken.append(number)
            yield number, str(tmp_path / str(number % 7 == 3))

    (tmp_path / "False").touch()  # only the fourth, the first with the other marker, kills
    with open_client(2, None) as client:
        results = spread(client, die_once, items())
        assert next(results) == 0
        assert len(taken) < 20, "the items are not all taken at once"
        assert [0, *results] == list(range(20))
    assert (tmp_path / "True").exists()


@pytest.mark.slow
def test_an_item_that_kills_all_workers_is_named_or_answered(monkeypatch):
    monkeypatch.setattr(workers, "RETRIES_AFTER_DEATH", 0)
    with open_client(1, None) as client:
        with pytest.raises(WorkersError, match="memory"):
            list(spread(client, die_always, [1]))
        assert list(spread(client, die_always, [7], on_loss=lambda item, error: -item)) == [-7]


@pytest.mark.slow
def test_segment_gives_the_same_files_with_and_without_workers(
    samstar, small_task, images, tmp_path
):
    common = (images, "--task", small_task, "--format", "labels", "--format", "csv")
    alone = samstar("segment", *common, "-o", tmp_path / "alone")
    spread_out = samstar("segment", *common, "-o", tmp_path / "spread", "--workers", 2)
    assert alone.exit_code == spread_out.exit_code == 0, spread_out.output
    assert_same_files(tmp_path / "alone", tmp_path / "spread")


@pytest.mark.slow
def test_a_worker_killed_while_it_segments_loses_nothing(
    samstar, small_task, images, tmp_path, monkeypatch
):
    from distributed import LocalCluster

    for number in range(8):
        shutil.copy(images / "a.png", images / f"copy_{number}.png")
    settings = tmp_path / "mine.toml"
    settings.write_text("[settings]\npoints_per_side = 4\npred_iou_thresh = 0.5\n")
    common = (images, "--task", small_task.name, "--tuner", f"static:{settings.name}")
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        monkeypatch.chdir(tmp_path)  # where the workers are not
        alone = samstar("segment", *common, "-o", "alone")
        killer = threading.Thread(
            target=kill_when, args=(cluster.workers[0].pid, tmp_path / "spread")
        )
        killer.start()
        spread_out = samstar(
            "segment", *common, "-o", "spread", "--scheduler", cluster.scheduler_address
        )
        killer.join()
    assert alone.exit_code == spread_out.exit_code == 0, spread_out.output
    assert_same_files(tmp_path / "alone", tmp_path / "spread")


def kill_when(pid: int, folder: Path) -> None:
    """Kill a worker as soon as the first frame is written: it has others in hand."""
    for _ in range(6000):
        if list(folder.glob("*.labels.tif")):
            os.kill(pid, signal.SIGKILL)
            return
        time.sleep(0.01)


def assert_same_files(alone: Path, spread_out: Path) -> None:
    names = sorted(path.name for path in alone.iterdir())
    assert names == sorted(path.name for path in spread_out.iterdir())
    for name in names:
        first, second = alone / name, spread_out / name
        if name.endswith((".labels.tif", ".csv", ".png")):
            assert first.read_bytes() == second.read_bytes()
        elif name.endswith(".json"):
            one, other = json.loads(first.read_text()), json.loads(second.read_text())
            del one["milliseconds"], other["milliseconds"]
            assert one == other


@pytest.mark.slow
def test_a_bank_is_the_same_with_and_without_workers(samstar, images, cluster, tmp_path):
    import numpy as np

    from samstar_rl.bank.bank import Bank

    common = ("bank", "build", images, "--points-per-side", 4)
    alone = samstar(*common, "-o", tmp_path / "alone")
    spread_out = samstar(*common, "-o", tmp_path / "spread", "--scheduler", cluster)
    assert alone.exit_code == spread_out.exit_code == 0, spread_out.output
    first, second = Bank(tmp_path / "alone"), Bank(tmp_path / "spread")
    assert len(first) == len(second) and first.streams == second.streams
    (prompt,) = first.prompts
    for index in range(len(first)):
        assert first.frame(index).id == second.frame(index).id
        one, other = first.proposals(index, prompt), second.proposals(index, prompt)
        np.testing.assert_array_equal(one.iou_pred, other.iou_pred)
        np.testing.assert_array_equal(one.box_xyxy, other.box_xyxy)
        np.testing.assert_array_equal(one.stability, other.stability)
    assert not (tmp_path / "spread.parts").exists()
    # what is there is not computed anew
    once_more = samstar(*common, "-o", tmp_path / "spread", "--scheduler", cluster)
    assert once_more.exit_code == 0 and not (tmp_path / "spread.parts").exists()
    # another build may not touch this one
    again = samstar("bank", "build", images, "--points-per-side", 3, "-o", tmp_path / "spread",
                    "--scheduler", cluster)  # fmt: skip
    assert again.exit_code == 2 and "another bank" in again.stderr
    assert Bank(tmp_path / "spread").prompts == (prompt,)


@pytest.mark.slow
def test_tune_finds_the_same_with_and_without_workers(
    samstar, small_task, images, cluster, tmp_path
):
    common = ("tune", images, "--task", small_task, "--evaluations", 60)
    alone = samstar(*common, "-o", tmp_path / "alone")
    spread_out = samstar(*common, "-o", tmp_path / "spread", "--scheduler", cluster)
    assert alone.exit_code == spread_out.exit_code == 0, spread_out.output
    first, second = (tmp_path / name / "settings.toml" for name in ("alone", "spread"))
    assert first.read_text() == second.read_text()
