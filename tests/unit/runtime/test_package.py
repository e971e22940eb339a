"""A package that can be called stays a package."""

import importlib
import sys

import pytest


@pytest.fixture
def demo(tmp_path, monkeypatch):
    package = tmp_path / "callable_demo"
    package.mkdir()
    (package / "__init__.py").write_text(
        '"""Doc."""\nfrom ddarts.runtime.package import make_callable\n'
        'make_callable(__name__, "callable_demo.engine:run")\n'
    )
    (package / "engine.py").write_text("def run(a, *, b=1):\n    return a + b\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("callable_demo")
    for name in ("callable_demo", "callable_demo.engine"):
        sys.modules.pop(name, None)


def test_call_and_submodule(demo):
    assert "callable_demo.engine" not in sys.modules and callable(demo) and demo.__doc__ == "Doc."
    assert demo(2, b=5) == 7
    from callable_demo.engine import run

    assert demo.engine.run is run and run(1) == 2
    with pytest.raises(TypeError):
        demo()
