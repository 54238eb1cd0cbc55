"""The templates of every stage, synthesized once."""

import pytest

from helpers.synthesis import MATRIX, Templates, synthesize


@pytest.fixture(scope="session")
def matrix(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Templates]:
    return {
        name: synthesize(name, settings, tmp_path_factory.mktemp(name) / "cdk.out") for name, settings in MATRIX.items()
    }


@pytest.fixture(params=list(MATRIX))
def templates(request: pytest.FixtureRequest, matrix: dict[str, Templates]) -> Templates:
    return matrix[request.param]
