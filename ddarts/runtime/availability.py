"""Whether DALI, which is optional, can be used."""

import importlib.util

_REMEDY = "pip install nvidia-dali-cuda130 (Linux), or use --loader resident or torchvision"


def dali_problem() -> str | None:
    """What keeps DALI from being used, with the remedy, or None. Nothing heavy is imported to tell."""
    try:
        found = importlib.util.find_spec("nvidia.dali")
    except ModuleNotFoundError:  # there is no package nvidia either
        found = None
    return None if found else f"DALI is not installed: {_REMEDY}"
