"""No call moves what a whole program shares: the random state of torch, NumPy and Python, and a few settings."""

import random

import matplotlib as mpl
import numpy as np
import pytest
import torch
from transformers.utils import logging

import specdec_lite as sd
from calls import SOURCE, World
from specdec_lite import audit


def shared() -> dict:
    """What must be the same before and after."""
    name, keys, *rest = np.random.get_state()
    return {
        "torch": torch.random.get_rng_state().tolist(),
        "numpy": (name, keys.tolist(), *rest),
        "python": random.getstate(),
        "dtype": torch.get_default_dtype(),
        "gradients": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "threads": torch.get_num_threads(),
        "reports": (logging.get_verbosity(), logging.is_progress_bar_enabled()),
        "figures": dict(mpl.rcParams),
    }


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("world"))


def test_every_public_call_succeeds_and_moves_nothing(world, monkeypatch):
    monkeypatch.setattr(audit, "FAMILIES", {"T5": audit.t5})  # one is enough here
    calls = {**world.calls(), "load_pair()": (sd.load_pair, {}), "Draws, no seed": (sd.Draws, {"seed": 3})}
    moved, before = {}, shared()
    for name, (function, given) in calls.items():
        function(**given)
        after = shared()
        if changed := [what for what in before if before[what] != after[what]]:
            moved[name] = changed
        before = after
    assert moved == {} and len(calls) > 45


def test_a_call_that_fails_moves_nothing_either(world):
    before = shared()
    for name in ("target", "empty", "file"):
        with pytest.raises(ValueError):
            sd.load_pair(world.folder / name, world.folder / "none")
    with pytest.raises(ValueError):
        sd.speculative_generate(*world.pair, [], seed=0)
    assert shared() == before


@pytest.mark.parametrize("rows", [1, 3])
@pytest.mark.parametrize("call", ["autoregressive_generate", "speculative_generate"])
def test_without_a_seed_a_call_takes_one_draw_from_torch_and_nothing_else(world, call, rows):
    function, given = world.calls()[call]
    before = shared()
    torch.randint(2**62, ())
    one_draw = shared()
    torch.random.set_rng_state(torch.tensor(before["torch"], dtype=torch.uint8))
    assert one_draw["torch"] != before["torch"]
    function(**(given | {"seed": None, "source": [SOURCE] * rows if rows > 1 else SOURCE}))
    assert shared() == one_draw
