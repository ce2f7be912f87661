"""Fixtures that several test files use."""

import os
import threading

import pytest


@pytest.fixture
def nothing_is_left():
    """Neither a thread nor an open file or socket stays behind a test."""
    descriptors = "/proc/self/fd"
    count = len(os.listdir(descriptors)) if os.path.isdir(descriptors) else None
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before
    if count is not None:
        assert len(os.listdir(descriptors)) <= count
