"""Importing this module lets the interpreter import what the package brings along for it, and its container lacks."""

import sys
from pathlib import Path

# Made for one version of Python; an interpreter of another one has its own installed.
FOLDER = Path(__file__).resolve().parent.parent / "code" / f"cp{sys.version_info.major}{sys.version_info.minor}"

if FOLDER.is_dir() and str(FOLDER) not in sys.path:
    sys.path.append(str(FOLDER))
