"""What the tests of the command line share."""

import dataclasses
import sys
import types

import pytest

from ddarts.commands.registry import COMMANDS


@pytest.fixture
def stand_in(monkeypatch):
    """Replace what a command runs; returns the configurations it was called with."""

    def put(name, result=None, work=None):
        calls = []

        def entry(options):
            calls.append(options)
            if work:
                work()
            return result

        monkeypatch.setitem(sys.modules, "stand_in_entry", types.SimpleNamespace(run=entry))
        monkeypatch.setitem(COMMANDS, name, dataclasses.replace(COMMANDS[name], run="stand_in_entry:run"))
        return calls

    return put
