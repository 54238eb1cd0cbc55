"""What a package brings along can be imported before anything asks for it."""

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from inference import vendor_path

INFERENCE = Path(vendor_path.__file__).parent


@pytest.mark.parametrize("module", ["images", "runtimes"])
def test_module_imports_vendored_first(module: str) -> None:
    statements = ast.parse((INFERENCE / f"{module}.py").read_text()).body
    first = next(one for one in statements if isinstance(one, ast.Import | ast.ImportFrom))
    assert ast.unparse(first) == "from inference import vendor_path"


def test_only_matching_python_is_importable(tmp_path: Path) -> None:
    (tmp_path / "inference").mkdir()
    shutil.copy(INFERENCE / "vendor_path.py", tmp_path / "inference")
    for tag, name in ((f"cp{sys.version_info.major}{sys.version_info.minor}", "ours"), ("cp30", "other")):
        (tmp_path / "code" / tag).mkdir(parents=True)
        (tmp_path / "code" / tag / f"{name}.py").touch()
    found = "[bool(importlib.util.find_spec(name)) for name in ('ours', 'other')]"
    run = f"import importlib.util; from inference import vendor_path; print({found})"
    done = subprocess.run([sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "[True, False]\n"
