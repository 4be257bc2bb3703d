"""Where proposals come from. Anything with the methods of `Proposer` can draft."""

from .base import Block, Proposal, Proposer, ask
from .chain import Chain
from .copies import CopyDraft
from .head import common_tokens, truncate_head
from .model import DraftModel, as_proposer
from .schedules import AdaptiveGamma, AtMost, HeuristicGamma
from .stops import ConfidenceStop, EntropyStop
