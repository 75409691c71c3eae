"""A plugin for tests of memory: without the collector of circles, it says how many tests are still held at the end."""

import gc

import pytest


def pytest_collection_finish() -> None:
    gc.disable()


def pytest_sessionfinish() -> None:
    print("alive", sum(isinstance(one, pytest.Function) for one in gc.get_objects()))
