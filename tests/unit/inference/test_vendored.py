"""What a package brings along can be imported before anything asks for it."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import vendored

INFERENCE = Path(vendored.__file__).parent


@pytest.mark.parametrize("module", ["images", "runtimes"])
def test_module_imports_vendored_first(module: str) -> None:
    statements = ast.parse((INFERENCE / f"{module}.py").read_text()).body
    first = next(one for one in statements if isinstance(one, ast.Import | ast.ImportFrom))
    assert isinstance(first, ast.Import)
    assert first.names[0].name == "vendored"


def test_only_matching_python_is_importable(tmp_path: Path) -> None:
    shutil.copy(INFERENCE / "vendored.py", tmp_path)
    for tag, name in ((f"cp{sys.version_info.major}{sys.version_info.minor}", "ours"), ("cp30", "other")):
        (tmp_path / "code" / tag).mkdir(parents=True)
        (tmp_path / "code" / tag / f"{name}.py").touch()
    run = "import importlib.util, vendored; print([bool(importlib.util.find_spec(n)) for n in ('ours', 'other')])"
    done = subprocess.run([sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[True, False]\n"
