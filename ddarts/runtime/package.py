"""Packages that can be called: `ddarts.search(...)` beside `ddarts.search.engine`. [light]"""

import importlib
import sys
import types
from typing import Any


def make_callable(module_name: str, target: str) -> None:
    """Let the module `module_name` be called as the function `target` ("package.module:function").

    The function's module is imported at the first call, so the package itself stays light:

        make_callable(__name__, "ddarts.search.engine:search")
    """
    target_module, _, function = target.partition(":")

    class CallablePackage(types.ModuleType):
        def __call__(self, *args: Any, **kwargs: Any) -> Any:
            return getattr(importlib.import_module(target_module), function)(*args, **kwargs)

    sys.modules[module_name].__class__ = CallablePackage
