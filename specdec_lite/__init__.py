"""Speculative decoding for encoder-decoder transformers: the finalised code of the book."""

from . import explore
from .about import __version__, versions
from .adjustment import Adjustment
from .audit import run_checks
from .block import BlockRule
from .costs import measure_costs, step_weights
from .coupling import CoupledDraws, CoupledRule
from .decoder import CachedDecoder, EncodedSource
from .display import show_rounds, show_tokens
from .drafting import (
    AdaptiveGamma,
    AtMost,
    Chain,
    ConfidenceStop,
    CopyDraft,
    DraftModel,
    EntropyStop,
    HeuristicGamma,
    Proposal,
    Proposer,
    common_tokens,
    truncate_head,
)
from .experiment import load_prompts, run_gamma_sweep
from .fast import compile_pair
from .generation import autoregressive_generate, speculative_generate
from .loading import load_model, load_pair
from .measured import Recorded, recorded, recorded_table
from .memory import MemoryBudget, memory_budget
from .metrics import (
    js_between_samples,
    js_divergence,
    js_noise_floor,
    paired_bootstrap,
    token_histogram,
    total_variation,
)
from .models import Pair, Seq2Seq
from .plotting import plot_alpha, plot_js, plot_speedup, plot_token_probs, save_figures
from .record import Generation, Round
from .sampling import Draws, SamplingRule, nucleus, one_hot, pick, row_seed
from .texts import Text
from .theory import (
    accepted_bound,
    best_gamma,
    cut_probs,
    expected_accepted,
    expected_tokens,
    finite_walltime_factor,
    floor_seconds,
    lenient_probs,
    walltime_factor,
)
from .verification import TokenRule, Verifier, overlap, residual
