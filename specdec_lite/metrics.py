"""Distances between distributions, their noise floors, and intervals for ratios."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import Tensor

from .checks import check_integer, check_list, check_number


def total_variation(p, q) -> float:
    """Half the L1 distance between two distributions over the same set: 0 (equal) to 1 (disjoint)."""
    p, q = _pair(p, q)
    return float(0.5 * (p - q).abs().sum(-1).mean())


def js_divergence(p, q) -> float:
    """Jensen-Shannon divergence in nats, 0 to ln 2; the mean over rows if there are several.

    Only between two distributions of the *same thing*: next-token distributions in the same context, or the outputs of
    two samplers over the same prompts. Along two different sampled paths it means nothing.
    """
    p, q = _pair(p, q)
    middle = (p + q) / 2
    entropy = lambda x: -torch.xlogy(x, x).sum(-1)  # noqa: E731
    return float((entropy(middle) - (entropy(p) + entropy(q)) / 2).mean().clamp(min=0))


def token_histogram(sequences: Iterable[Sequence[int]], vocab: int) -> Tensor:
    """Relative frequency of every token id in all sequences together, ``(vocab,)`` float64."""
    counts = torch.zeros(check_integer("vocab", vocab, minimum=1), dtype=torch.float64)
    for tokens in check_list("sequences", sequences, "lists of token ids"):
        ids = _tensor("sequences", tokens, "lists of token ids")
        if ids.ndim != 1 or (len(ids) and ids.is_floating_point()):
            raise TypeError(f"sequences holds {tokens!r:.80}: expected lists of token ids")
        ids = ids.long()
        if len(ids) and not 0 <= ids.min() <= ids.max() < vocab:
            raise ValueError(f"sequences holds token ids from {ids.min()} to {ids.max()}: expected 0 to {vocab - 1}")
        counts += torch.bincount(ids, minlength=vocab)
    if counts.sum() == 0:
        raise ValueError("sequences: expected at least one token")
    return counts / counts.sum()


def js_between_samples(first, second, vocab: int) -> float:
    """JS divergence (nats) between the pooled token histograms of two samples. Never 0 for finite samples: see
    `js_noise_floor` for what two samples of the *same* sampler give."""
    return js_divergence(token_histogram(first, vocab), token_histogram(second, vocab))


def js_noise_floor(samples: Sequence, vocab: int) -> tuple[float, float]:
    """Mean and standard deviation of JS over all pairs of independent samples of one sampler.

    A JS between two samplers says that they differ only if it stands clear of this.
    """
    samples = check_list("samples", samples, "samples, each a list of lists of token ids")
    if len(samples) < 2:
        raise ValueError(f"samples has {len(samples)} entries: expected at least 2 independent ones")
    histograms = [token_histogram(sample, vocab) for sample in samples]
    values = [js_divergence(a, b) for i, a in enumerate(histograms) for b in histograms[:i]]
    return float(np.mean(values)), float(np.std(values))


def paired_bootstrap(
    statistic: Callable[..., np.ndarray],
    *columns: Sequence[float],
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """A statistic of sums over prompts, with its percentile bootstrap interval (Efron & Tibshirani 1993).

    Prompts are resampled whole, with all their columns, so that a long one counts as long everywhere. For instance
    ``paired_bootstrap(lambda a, b: a / b, baseline_seconds, seconds)``.

    Parameters
    ----------
    statistic : callable
        Takes one sum per column; must work on arrays.
    columns : sequences of float, one entry per prompt

    Returns
    -------
    value, low, high : float
    """
    if not callable(statistic):
        raise TypeError(f"statistic={statistic!r:.80}: expected a function of the columns' sums")
    check_number("level", level, "a number between 0 and 1, such as 0.95", lambda x: 0 < x < 1)
    check_integer("resamples", resamples, minimum=1), check_integer("seed", seed, minimum=0)
    try:
        table = np.asarray(columns, float)
    except (TypeError, ValueError):
        raise ValueError(f"columns={columns!r:.80}: expected lists of numbers, all of the same length") from None
    if table.ndim != 2 or not table.size:
        raise ValueError(f"columns have shape {table.shape}: expected one or more of the same length >= 1")
    if not np.isfinite(table).all():
        raise ValueError("columns hold NaN or infinity: expected finite numbers")
    index = np.random.default_rng(seed).integers(table.shape[1], size=(resamples, table.shape[1]))
    resampled = statistic(*table[:, index].sum(-1))
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return float(statistic(*table.sum(-1))), float(low), float(high)


def _tensor(name: str, value, expected: str, dtype: torch.dtype | None = None) -> Tensor:
    try:
        return torch.as_tensor(value, dtype=dtype)
    except (TypeError, ValueError, RuntimeError):
        raise TypeError(f"{name} holds {value!r:.80}: expected {expected}") from None


def _pair(p, q) -> tuple[Tensor, Tensor]:
    p, q = (_tensor(name, x, "probabilities", torch.float64) for name, x in (("p", p), ("q", q)))
    if p.shape != q.shape:
        raise ValueError(f"p and q have shapes {tuple(p.shape)}, {tuple(q.shape)}: expected the same")
    for name, x in (("p", p), ("q", q)):
        if not (x.ndim and x.numel() and (x >= 0).all() and ((x.sum(-1) - 1).abs() < 0.01).all()):  # half precision
            raise ValueError(f"{name}={x.tolist()!r:.80}: expected probabilities that sum to 1")
    return p, q
