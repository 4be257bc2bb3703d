"""A draft whose head knows only the commonest tokens: a step multiplies with a part of the largest matrix.

The idea: FR-Spec (Zhao et al. 2025).
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain
from numbers import Integral

import torch
from torch import Tensor, nn

from ..checks import check_integer
from ..models import Seq2Seq

# What the other tokens' logits are. At any temperature it is as good as -inf, with one difference: should the
# checkpoint's settings forbid all that the head knows, then q falls evenly on what they allow. That is a poor guess,
# but an honest one, so the output keeps the target's distribution; with -inf there would be no q at all.
FAR_BELOW = -1e30


class TruncatedHead(nn.Module):
    """A linear layer cut to some of its outputs: ``(..., width)`` to ``(..., vocab)``, the others far below."""

    def __init__(self, head: nn.Linear, tokens: Tensor):
        super().__init__()
        self.linear = nn.Linear(head.in_features, len(tokens), bias=head.bias is not None, device="meta")
        for name, parameter in head.named_parameters():
            setattr(self.linear, name, nn.Parameter(parameter.detach()[tokens], requires_grad=False))
        self.vocab = head.out_features
        self.register_buffer("tokens", tokens, persistent=False)

    @property
    def weight(self) -> Tensor:
        return self.linear.weight

    def forward(self, x: Tensor) -> Tensor:
        known = self.linear(x)
        known = known if known.dtype == torch.float64 else known.float()  # half precision ends before FAR_BELOW
        return known.new_full((*x.shape[:-1], self.vocab), FAR_BELOW).index_copy(-1, self.tokens, known)


def truncate_head(model: Seq2Seq, tokens: Iterable[int]) -> Seq2Seq:
    """The same model, but it proposes only these tokens: a draft with a smaller step, for any target it suited before.

    Its vocabulary stays as it was, and it shares everything but the head's rows with the model it was made from. The
    other tokens are put far below *before* the checkpoint's settings, temperature, top-k and top-p. Where the settings
    forbid all of the head's tokens, it proposes evenly from what they allow.

    Parameters
    ----------
    model : Seq2Seq
        Not yet compiled; `compile_pair` takes what is returned here.
    tokens : iterable of int
        For instance those of `common_tokens`. An EOS of the model must be among them.

    Raises
    ------
    ValueError, TypeError
        No token at all, none that ends a text, a token outside the vocabulary, a compiled model.
    """
    if type(model) is not Seq2Seq:
        raise TypeError(f"model={type(model).__name__}: expected a Seq2Seq, before it is compiled")
    tokens = list(tokens)
    wrong = [i for i in tokens if not isinstance(i, Integral) or not 0 <= i < model.vocab_size]
    if wrong:
        raise ValueError(f"tokens holds {wrong[0]!r}: expected ids in 0..{model.vocab_size - 1}")
    if not tokens or (model.eos_tokens and not model.eos_tokens.intersection(tokens)):
        found = "no EOS" if tokens else "no token"
        raise ValueError(f"tokens holds {found}: expected some, one of {sorted(model.eos_tokens)} among them")
    twin = copy.copy(model)
    twin.hf_model = with_shared_weights(model.hf_model)
    known = torch.tensor(sorted(map(int, set(tokens))), device=model.device)
    twin.hf_model.set_output_embeddings(TruncatedHead(model.hf_model.get_output_embeddings(), known))
    return twin


def with_shared_weights(hf_model):
    """A copy of the modules; tensors, encoder and generation config are the same objects."""
    whole = [hf_model.get_encoder(), hf_model.generation_config] if hasattr(hf_model, "generation_config") else []
    kept = chain(hf_model.parameters(), hf_model.buffers(), whole)
    return copy.deepcopy(hf_model, {id(each): each for each in kept})


def common_tokens(model: Seq2Seq, texts: Iterable[str | Sequence[int]], n: int) -> list[int]:
    """The n commonest tokens of texts in the target's language: the EOS, then the commonest first.

    A text is a string or, from a run, its `token_ids`. There are fewer if the texts have no more.
    """
    check_integer("n", n, minimum=1)
    counts = Counter()
    for text in texts:
        if isinstance(text, str) and model.tokenizer is None:
            raise TypeError(f"texts holds {text!r}: expected token ids, since this model has no tokenizer")
        counts.update(model.tokenizer(text_target=text).input_ids if isinstance(text, str) else map(int, text))
    if not counts:
        raise ValueError("texts: expected at least one that is not empty")
    eos = sorted(model.eos_tokens)
    others = [token for token, _ in counts.most_common() if token not in model.eos_tokens]
    return [*eos, *others][: max(n, len(eos))]
