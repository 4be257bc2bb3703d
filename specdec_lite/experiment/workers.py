"""Who measures the rows: this process, or the workers of an executor."""

from __future__ import annotations

import os
import socket
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from ..decoder import CachedDecoder
from ..fast import CompiledSeq2Seq
from ..models import Pair, Seq2Seq
from ..settings import HONOURED
from ..verification import Verifier
from .bench import Bench
from .table import fingerprint


@dataclass(frozen=True)
class Job:
    """What a worker must know to measure any row of one pair. It travels with every task."""

    pair: Pair | Callable[[], Pair]
    gammas: Sequence[int]
    prompts: Sequence[str]
    measure_prompts: Sequence[str]
    max_new_tokens: int
    seed: int
    rules: Mapping[str, str | Verifier] = field(default_factory=dict)  # by the names that the table has for them
    id: str = field(default_factory=lambda: uuid.uuid4().hex)  # what has travelled is a copy: this tells it again


class Worker:
    """Measures rows, one at a time, and keeps for the next one what they share: the models and the bench."""

    def __init__(self):
        self.turn = threading.Lock()  # two rows at once in one process would time each other
        self.job_id = self.pair = self.bench = None

    def load(self, job: Job) -> Pair:
        if self.job_id != job.id:
            self.job_id = self.pair = self.bench = None  # make room first
            self.pair = job.pair if isinstance(job.pair, Pair) else job.pair()
            if not isinstance(self.pair, Pair):
                raise TypeError(f"pair={job.pair!r} returned a {type(self.pair).__name__}: expected a Pair")
            self.job_id = job.id
        return self.pair

    def describe(self, job: Job) -> dict[str, str]:
        """Check what only the models can tell, and return the columns that name them."""
        with self.turn:
            pair = self.load(job)
            pair.target.texts(1, job.max_new_tokens)  # refuses more than the model has positions
            check_prompts(pair, [*job.prompts, *job.measure_prompts])
            return {
                "pair": str(pair.name),
                "device": pair.target.device.type,
                "dtype": str(pair.target.dtype).removeprefix("torch."),
                "way": " + ".join(dict.fromkeys(way(model) for model in pair)),
                "target_id": model_id(pair.target),
                "draft_id": model_id(pair.draft),
            }

    def measure(self, job: Job, key: dict) -> dict:
        with self.turn:
            pair = self.load(job)
            if self.bench is None or self.bench.temperature != key["temperature"]:
                lists = job.prompts, job.measure_prompts, job.gammas
                self.bench = Bench(pair, key["temperature"], job.max_new_tokens, *lists, job.seed, job.rules)
            row = self.bench.row(key["gamma"], key["repeat"], key["verification"])
        return key | row | {"worker": f"{socket.gethostname()}:{os.getpid()}"}


HERE = Worker()


def on_worker(method: str, *arguments):
    """What an executor is asked to run, in whichever process it has chosen."""
    return getattr(HERE, method)(*arguments)


def gather(executor: Executor, tasks: Sequence[tuple[Job, dict]], path: Path) -> Iterator[dict]:
    """Rows in the order in which they are finished. A failure is raised when all that can be had has been passed on."""
    waiting, failures = {submit(executor, "measure", *task) for task in tasks}, []
    try:
        for future in as_completed(waiting):
            waiting.remove(future)  # an engine may keep, and after a crash compute again, what is still asked for
            try:
                row = future.result()
            except Exception as error:
                failures.append(error)
            else:
                yield row
    finally:
        for future in waiting:
            future.cancel()
    if failures:
        raise RuntimeError(
            f"{len(failures)} of {len(tasks)} rows could not be measured ({failures[0]!r}); the others are in "
            f"{str(path)!r}: call again with an executor that works, and only what is missing is measured"
        ) from failures[0]


def submit(executor: Executor, method: str, *arguments) -> Future:
    """A broken pool refuses new tasks: a failure like any other, for earlier ones may have finished."""
    try:
        return executor.submit(on_worker, method, *arguments)
    except Exception as error:
        refused = Future()
        refused.set_exception(error)
        return refused


def way(model: Seq2Seq) -> str:
    """How a model's steps are carried out: "eager", "compiled", or by a cursor of the caller's."""
    if isinstance(model, CompiledSeq2Seq):
        return "compiled"
    return "eager" if model.cursor_kind is CachedDecoder else model.cursor_kind.__name__


def model_id(model: Seq2Seq) -> str:
    """A digest of all that decides what a model says: its tensors, its prompt, and the settings that are obeyed."""
    hf_model, config = model.hf_model, model.hf_model.generation_config
    settings = [(name, getattr(config, name, None)) for name in HONOURED]
    ends = sorted(model.eos_tokens)
    tensors = dict(hf_model.named_parameters()) | dict(hf_model.named_buffers())
    return fingerprint([tensors, settings, ends, model.prompt, model.forced_first, model.prefix])


def check_prompts(pair: Pair, prompts: Sequence) -> None:
    """Every prompt is one that both models take."""
    for prompt in prompts:
        for model in pair:
            model.encode(prompt)
