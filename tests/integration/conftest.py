"""What the tests of the command line, and those of trainings, share."""

import dataclasses
import sys
import types

import pytest
from tiny_training import GENOTYPE, tiny_config

from ddarts.commands.registry import COMMANDS
from ddarts.genotype.files import write


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


@pytest.fixture
def arch(tmp_path):
    """The file of a network of three cells."""
    return str(write(GENOTYPE, tmp_path / "tiny.json"))


@pytest.fixture
def config(arch, tmp_path):
    """See tiny_config."""
    return tiny_config(arch, tmp_path / "logs")
