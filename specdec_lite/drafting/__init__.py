"""Where proposals come from. Anything with the methods of `Proposer` can draft."""

from .base import Block, Proposal, Proposer, ask
from .model import DraftModel, as_proposer
