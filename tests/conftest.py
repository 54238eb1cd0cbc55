"""For all tests: no variable of the caller's shell decides anything, and each module stays on one test process."""

import os

import pytest

# CDK's validation of templates takes longer than the synthesis; tests/infra/test_rules.py runs it, once for each stage.
os.environ["CDK_VALIDATION"] = "false"


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.stem))
