from __future__ import annotations

import re
import signal
from types import SimpleNamespace

import pytest

from samstar_rl.scripts._shared.live_run import counts_shown, stopping_on_signals
from samstar_rl.streaming.counters import Counts


def stub(**attributes: object) -> SimpleNamespace:
    return SimpleNamespace(last_fault=None, in_work=False, on_progress=None, **attributes)


def test_the_progress_line_says_what_went_wrong_last(capsys):
    runner = stub()
    runner.last_fault = "asyncroscopy://host:9000: [bold]does not answer[/]; asking again"
    with counts_shown(runner):
        runner.on_progress(Counts(3, 1, 0, 2))
    shown = " ".join(re.sub(r"\d:\d\d:\d\d", "", capsys.readouterr().err).split())
    assert "3 frames received, 1 done, 0 dropped, 2 failed" in shown
    assert "last fault: asyncroscopy://host:9000: [bold]does not answer[/]; asking again" in shown


@pytest.mark.parametrize(
    ("in_work", "words"), [(True, "finishing the frame in work"), (False, "stopping")]
)
def test_the_first_interrupt_says_what_is_waited_for(capfd, in_work, words):
    stopped: list[bool] = []
    runner = stub(request_stop=lambda: stopped.append(True))
    runner.in_work = in_work
    before = signal.getsignal(signal.SIGINT)
    with stopping_on_signals(runner):
        signal.raise_signal(signal.SIGINT)
    assert stopped == [True] and signal.getsignal(signal.SIGINT) == before
    assert f"{words}; Ctrl-C again quits at once" in capfd.readouterr().err
