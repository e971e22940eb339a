"""Real signals to this very process."""

import os
import signal
import threading

import pytest

from ddarts import cli
from ddarts.commands.registry import COMMANDS
from ddarts.runtime.errors import DdartsError
from ddarts.runtime.signals import Requeue, StopRequest, stop_at_once


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1", "SIGINT"])
def test_a_signal_sets_the_flag_and_handlers_come_back(name):
    number = getattr(signal, name)
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.requested and stop.signal_name is None
        os.kill(os.getpid(), number)
        assert stop.requested and stop.signal_name == name
    assert signal.getsignal(number) is before


def test_a_second_interrupt_is_obeyed_at_once():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal_name == "SIGTERM"
        os.kill(os.getpid(), signal.SIGINT)
        pytest.fail("still running")
    assert signal.getsignal(signal.SIGINT) is before


def test_outside_the_main_thread_it_does_nothing():
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def work():
        with StopRequest() as stop:
            seen.append((stop.requested, signal.getsignal(signal.SIGTERM)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, before)]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_while_a_run_is_prepared_a_signal_ends_it_and_asks_for_a_requeue(monkeypatch, capsys, name):
    number = getattr(signal, name)

    def before(_number, _frame):
        pytest.fail("not handled")

    def prepare(_options):
        with StopRequest() as stop:  # the run's own takes over, and hands back
            os.kill(os.getpid(), number)
            assert stop.requested
        os.kill(os.getpid(), number)
        pytest.fail("still running")

    monkeypatch.setattr(type(COMMANDS["search"]), "call", staticmethod(prepare))
    usual = signal.signal(number, before)  # else a fault here would end the tests
    try:
        with pytest.raises(SystemExit) as ended:
            cli.main(["search"])
        assert ended.value.code == 75 and signal.getsignal(number) is before
    finally:
        signal.signal(number, usual)
    assert capsys.readouterr().err == f"ddarts: stopped by {name} while no step was running; start it again\n"


def test_other_threads_prepare_without_handlers():
    seen = []

    def work():
        with stop_at_once():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_requeue_tells_the_command():
    error = Requeue.of_run("search", "logs/search/my run", "SIGUSR1", 120)
    assert isinstance(error, DdartsError) and error.exit_code == 75
    assert str(error) == (
        "stopped by SIGUSR1 after step 120, checkpoint saved; "
        "continue with: ddarts search --resume 'logs/search/my run'"
    )
