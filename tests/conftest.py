"""What all tests share: no network, one thread, and the tiny pairs."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

import tiny

torch.set_num_threads(1)  # more would only wait for each other on matrices of this size


@pytest.fixture(scope="session", params=tiny.FAMILIES)
def pair(request):
    """The tiny T5 pair, then the tiny BART pair, float32."""
    return tiny.tiny_pair(request.param)


@pytest.fixture(scope="session")
def kernels():
    """Builds the operators when the first test needs them: not while tests are collected, once for every worker."""
    from specdec_lite.fast.kernels import has_kernels

    if not has_kernels():
        pytest.skip("needs a C++ compiler")


@pytest.fixture(scope="session")
def t5_pair():
    return tiny.tiny_pair("t5")


@pytest.fixture(scope="session")
def bart_pair():
    return tiny.tiny_pair("bart")


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "real_cache: run with CachedDecoder itself where the module would remember logits"
    )
    config.addinivalue_line("markers", "long: run only with --long")


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="run the tests that take long, too")


FIRST = ("test_pocket_pair.py",)  # few tests that take long: started late, they would be waited for


def pytest_collection_modifyitems(config, items):
    items.sort(key=lambda item: item.path.name not in FIRST)
    if config.getoption("--long"):
        return
    kept, dropped = [], []
    for item in items:
        (dropped if item.get_closest_marker("long") else kept).append(item)
    config.hook.pytest_deselected(items=dropped)
    items[:] = kept


READS = ("tolist", "item", "__int__", "__bool__", "__float__", "__index__", "cpu", "numpy")


@pytest.fixture
def reads(monkeypatch):
    """Counts every way by which a number gets from a tensor to the host."""
    counted = []
    for name in READS:
        original = getattr(torch.Tensor, name)

        def watched(self, *args, _name=name, _original=original, **kwargs):
            counted.append(_name)
            return _original(self, *args, **kwargs)

        monkeypatch.setattr(torch.Tensor, name, watched)
    return counted
