"""Fixtures of the unit tests."""

import pytest

from drawing import encode, gradient


@pytest.fixture
def jpeg() -> bytes:
    return encode(gradient(), "JPEG")
