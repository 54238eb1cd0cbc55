"""Modules that are loaded when they are first used: `kennel --help` needs none of the AWS SDK, numpy or pydantic."""

import importlib.util
import sys
from types import ModuleType


def lazily(name: str) -> ModuleType:
    """The module `name`, loaded on first use of a member; for use in functions, not at import."""
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.find_spec(name)
    assert spec is not None, name
    assert spec.loader is not None, name
    spec.loader = importlib.util.LazyLoader(spec.loader)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module
