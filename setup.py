"""Builds the compiled parts; everything else about the package is in pyproject.toml."""

import sys
from pathlib import Path

from setuptools import setup

sys.path.insert(0, str(Path(__file__).resolve().parent))  # absent when a build front end runs this file
import setup_helpers  # noqa: E402

ext_modules, cmdclass = setup_helpers.extensions()
setup(ext_modules=ext_modules, cmdclass=cmdclass)
