"""The templates of every stage, synthesized once."""

import pytest

from helpers.synthesis import MATRIX, Templates, kept_synthesis
from helpers.synthesis import templates as templates_of


@pytest.fixture(scope="session")
def matrix() -> dict[str, Templates]:
    return {name: templates_of(kept_synthesis(name)) for name in MATRIX}


@pytest.fixture(params=list(MATRIX))
def templates(request: pytest.FixtureRequest, matrix: dict[str, Templates]) -> Templates:
    return matrix[request.param]
