"""Sampling arithmetic a second time, one number after the other, to compare the package's with."""

from __future__ import annotations

import math
from collections.abc import Sequence

import specdec_lite as sd


def adjusted(logits: Sequence[float], rule: sd.SamplingRule) -> list[float]:
    """The distribution that is really sampled: temperature, then top-k, then top-p."""
    likeliest = sorted(range(len(logits)), key=lambda i: -logits[i])
    if rule.temperature == 0:
        return [float(i == likeliest[0]) for i in range(len(logits))]
    kept = likeliest[: rule.top_k or None]
    weights = {i: math.exp((logits[i] - logits[likeliest[0]]) / rule.temperature) for i in kept}
    mass = sum(weights.values())
    nucleus, reached = [], 0.0
    for i in kept:
        nucleus.append(i)
        reached += weights[i] / mass
        if reached >= rule.top_p and rule.top_p < 1:
            break
    mass = sum(weights[i] for i in nucleus)
    return [weights[i] / mass if i in nucleus else 0.0 for i in range(len(logits))]
