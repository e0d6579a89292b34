"""Progress: speed and time left from the last interval, the latest return first, a line while training waits."""

import contextlib
import fcntl
import os
import pty
import struct
import termios
from types import SimpleNamespace

import pytest

from tests.run.test_capture import FIRST, module_of
from vgm2p.callbacks.progress import Progress
from vgm2p.execution.evaluation import Watch
from vgm2p.run.speed import Speed


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Evaluation:
    """Evaluates for `takes` seconds (implements `EvaluationLog`)."""

    def __init__(self):
        self.latest, self.seconds, self.on_step = None, 0.0, None

    def wait_for_earlier(self, done):
        return True


@pytest.fixture
def shown():
    """Return a progress of 1000 updates with its clock, module, evaluation, and the lines that it has shown."""
    clock, lines, evaluation = Clock(), [], Evaluation()
    progress, module = Progress(1000, 10.0, clock, lines.append), module_of(*FIRST)
    trainer = SimpleNamespace(callbacks=[evaluation, progress])
    progress.on_fit_start(trainer, module)
    progress.on_train_start(trainer, module)

    def block(updates, seconds):
        clock.now += seconds
        module.done += updates
        progress.on_train_batch_end(trainer, module)
        return lines[-1] if lines else None

    return SimpleNamespace(block=block, clock=clock, module=module, evaluation=evaluation, lines=lines)


def test_lines_come_after_five_seconds_and_then_every_ten(shown):
    assert shown.block(10, 4.0) is None
    assert shown.block(10, 1.0).startswith("update 20/1000  4.0 updates/s")
    shown.block(10, 9.0)
    assert len(shown.lines) == 1
    shown.block(10, 1.0)
    assert len(shown.lines) == 2


def test_speed_and_time_left_are_those_of_the_last_interval(shown):
    assert shown.block(100, 10.0).endswith("10.0 updates/s  left 0:01:30")
    assert shown.block(100, 100.0).endswith("1.0 updates/s  left 0:13:20")  # the machine has slowed down
    assert shown.block(100, 10.0).endswith("10.0 updates/s  left 0:01:10")


def test_waiting_for_evaluations_is_time_left_but_no_lack_of_speed(shown):
    shown.evaluation.seconds += 40.0
    line = shown.block(200, 60.0)  # 20 seconds of training, 40 of evaluation
    assert "10.0 updates/s" in line
    assert line.endswith("left 0:04:00")  # 800 updates at 10 per second, and 160 seconds of evaluations


def test_the_evaluation_of_the_untrained_policy_is_shown_and_is_neither_speed_nor_time_left():
    clock, lines, evaluation = Clock(), [], Evaluation()
    progress, module = Progress(1000, 10.0, clock, lines.append), module_of(*FIRST)
    trainer = SimpleNamespace(callbacks=[evaluation, progress])
    progress.on_fit_start(trainer, module)
    for step in (1, 2, 3):
        clock.now += 2.0
        evaluation.on_step(step, 0, 10)
    assert lines == ["update 0/1000  evaluating, 0/10 episodes, step 3"]
    evaluation.seconds += 6.0
    progress.on_train_start(trainer, module)
    clock.now, module.done = clock.now + 10.0, 100
    progress.on_train_batch_end(trainer, module)
    assert lines[1].endswith("10.0 updates/s  left 0:01:30")


def test_the_latest_return_stands_first_then_the_losses(shown):
    shown.module.latest = {"policy_loss": 0.1234, "critic_loss": 2.0, "hidden": 5.0}
    assert "update 50/1000  critic_loss 2  policy_loss 0.123  5.0 updates/s" in shown.block(50, 10.0)
    shown.evaluation.latest = 123.44
    assert shown.block(50, 10.0).startswith("update 100/1000  return 123.4  critic_loss 2  policy_loss 0.123  ")


def test_while_training_waits_lines_say_so_and_the_last_update_is_always_shown(shown):
    shown.block(100, 10.0)
    for step in range(1, 31):
        shown.clock.now += 1.0
        shown.evaluation.on_step(step, step // 4, 20)
    assert shown.lines[1:] == [
        f"update 100/1000  evaluating, {step // 4}/20 episodes, step {step}" for step in (10, 20, 30)
    ]
    assert shown.block(900, 0.5).startswith("update 1000/1000")


def test_nothing_is_known_before_the_first_update():
    speed = Speed(7, 0.0)
    assert speed.left(10) is None
    speed.look(7, 5.0, 0.0)
    assert speed.left(10) is None
    speed.look(17, 10.0, 0.0)
    assert (speed.rate, speed.left(10)) == (1.0, 10.0)


def everything(shown):
    """Yield what a terminal got, until it was closed."""
    with contextlib.suppress(OSError):
        while part := os.read(shown, 4096):
            yield part.decode()


@pytest.mark.parametrize("columns", [80, 40, 20])
def test_the_bar_never_cuts_off_the_return(columns, monkeypatch):
    shown, terminal = pty.openpty()
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, columns, 0, 0))
    screen = os.fdopen(terminal, "w")
    monkeypatch.setattr("sys.stderr", screen)
    progress, module, evaluation = Progress(1000, 10.0), module_of(*FIRST), Evaluation()
    trainer = SimpleNamespace(callbacks=[evaluation, progress])
    progress.on_fit_start(trainer, module)
    progress.on_train_start(trainer, module)
    evaluation.latest, module.done = 3374.13, 500
    module.latest = {"policy_loss": 0.1234, "critic_loss": 2.0}
    progress.on_train_batch_end(trainer, module)
    evaluation.on_step(7, 3, 10)
    progress.teardown(trainer, module, "fit")
    screen.close()
    text = "".join(everything(shown)).replace("\n", "\r")
    pictures = [line.rstrip() for line in text.split("\r") if "return 3374" in line]
    assert pictures and all(len(line) <= columns and line.startswith("return 3374.1") for line in pictures)
    assert columns < 40 or any("evaluating, 3/10" in line for line in pictures)


def test_a_terminal_without_a_size_gets_lines(monkeypatch):
    _, terminal = pty.openpty()
    monkeypatch.setattr("sys.stderr", os.fdopen(terminal, "w"))
    lines = []
    progress, module = Progress(1000, 10.0, show=lines.append), module_of(*FIRST)
    trainer = SimpleNamespace(callbacks=[progress])
    progress.on_fit_start(trainer, module)
    progress.on_train_start(trainer, module)
    module.done = 1000
    progress.on_train_batch_end(trainer, module)
    progress.teardown(trainer, module, "fit")
    assert len(lines) == 1 and lines[0].startswith("update 1000/1000")


def test_a_long_evaluation_says_how_far_it_is_every_ten_seconds():
    clock, lines = Clock(), []
    watch = Watch("act_noise 0.5", lines.append, clock=clock)
    for step in range(1, 25):
        clock.now += 1.0
        watch(step, step // 4, 6)
    assert lines == [f"act_noise 0.5 evaluating, {ended}/6 episodes, step {step}" for step, ended in ((10, 2), (20, 5))]
