"""The gamma sweep: one row per pair, rule, temperature, gamma and repeat, appended as each finishes."""

from .bench import Bench, counts, peak_memory_mb, per_token_ratio
from .sweep import load_prompts, run_gamma_sweep
from .table import COLUMNS, KEY, ResultsTable, fingerprint
from .workers import Job, Worker, on_worker
