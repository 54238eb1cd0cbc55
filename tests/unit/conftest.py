"""Fixtures of the unit tests."""

import pytest

from helpers.images import encode, gradient


@pytest.fixture
def jpeg() -> bytes:
    return encode(gradient(), "JPEG")
