"""The shipped model, loaded once."""

import os
from pathlib import Path

import pytest

import retrograd

ROOT = Path(__file__).resolve().parents[3]
ATLAS = ROOT / "models" / "atlas"
FIXTURES = ROOT / "tests" / "fixtures"


@pytest.fixture(scope="session")
def atlas():
    return retrograd.Gpt2.load(ATLAS)


@pytest.fixture(scope="session")
def command():
    """The command, where it was built: RETROGRAD names it."""
    path = os.environ.get("RETROGRAD")
    if not path:
        pytest.skip("RETROGRAD names no command to compare with")
    return path
