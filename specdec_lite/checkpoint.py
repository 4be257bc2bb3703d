"""A checkpoint before it is loaded: it is there, it is whole, and nothing in it can run code.

Only JSON and safetensors are ever read. Python that comes with a checkpoint, pickled weights, kernels that it names and
other checkpoints that it leads to stay closed, whatever its files say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from unicodedata import category

from huggingface_hub import constants
from safetensors import safe_open
from torch import OutOfMemoryError
from transformers import AutoConfig, PreTrainedConfig
from transformers.utils import cached_file

from .checks import printable

EXPECTED = "expected a folder, or a name on the Hub such as 'google-t5/t5-small'"
INDEX = "model.safetensors.index.json"
JSON = "generation_config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"
PICKLES = "*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl"
HUB_NAME = r"[\w.-]+(/[\w.-]+)?"
# Files and settings by which a checkpoint would lead to something else; what that is, and what is expected.
LEADS = {
    "adapter_config.json": "an adapter to other weights: expected a whole model, as peft's merge_and_unload() gives it",
    "audio_tokenizer_config.json": "another checkpoint's audio tokenizer: expected none",
}
SETTINGS = {
    "transformers_weights": "weights of another name: expected model.safetensors",
    "quantization_config": "quantized weights, whose kernels may come from elsewhere: expected plain ones (or load it "
    "with transformers, and give the model to Seq2Seq)",
}


@dataclass
class Checkpoint:
    """A folder, or a name on the Hub; and what the caller calls it: "target", "draft" or "path"."""

    argument: str
    path: str
    revision: str | None = None

    def __post_init__(self):
        if not isinstance(self.path, (str, Path)):
            raise TypeError(f"{self}: {EXPECTED}")
        self.path = str(self.path)
        if not self.path or any(category(c) in ("Cc", "Cf", "Cs") for c in self.path):  # a terminal would obey them
            raise ValueError(f"{self}: {EXPECTED}")
        if not isinstance(self.revision, (str, type(None))):
            raise TypeError(f"revision={self.revision!r}: expected a branch, tag or commit on the Hub")

    def __str__(self) -> str:
        return f"{self.argument}={self.path!r}"

    @property
    def where(self) -> dict:
        """What every `from_pretrained` is told."""
        return {"revision": self.revision, "trust_remote_code": False}

    def check(self) -> None:
        """Raise a ValueError that says what is missing, damaged or refused, before anything is loaded."""
        self.check_there()
        for name, why in LEADS.items():
            if self.file(name):
                raise ValueError(f"{self} has {name}, {why}")
        settings = {
            name: self.read(name) for name in JSON
        }  # transformers passes over some of them when they are damaged
        if settings["processor_config.json"].get("audio_tokenizer"):
            raise ValueError(f"{self} has {LEADS['audio_tokenizer_config.json']}")
        self.config()
        for name in self.weights():
            found = self.file(name)
            if not found:
                raise ValueError(f"{self} has no {name}: expected it, since {INDEX} names it")
            # Only the header is read, and the file's size compared with it.
            with self.named(name, "all of it, as it was written: fetch or copy it again"), safe_open(found, "pt"):
                pass

    def check_there(self) -> None:
        """Raise a ValueError that says what to do, unless there is a config.json to be had."""
        folder = Path(self.path)
        if folder.is_dir():
            if not (folder / "config.json").is_file():
                raise ValueError(f"{self} has no config.json: expected the folder of a checkpoint")
        elif folder.exists() or not re.fullmatch(HUB_NAME, self.path):
            raise ValueError(f"{self}: there is no such folder; {EXPECTED}")
        else:
            try:
                found = cached_file(self.path, "config.json", revision=self.revision)
                why = "it has no config.json"
            except Exception as error:  # of the network, of the Hub: there are many
                found, why = None, reason(error)
            if not found:
                once = "HF_HUB_OFFLINE is set, so it must have been fetched before; " * constants.HF_HUB_OFFLINE
                raise ValueError(f"{self}: there is no such folder, and nothing from the Hub ({why}); {once}{EXPECTED}")

    def config(self) -> PreTrainedConfig:
        """Its configuration, without what would make transformers fetch code while it builds the model.

        Classes of the checkpoint's own are left out, in every part of the model; and so are the kernels that it wants
        for attention or experts: transformers chooses among its own ones.
        """
        with self.named("its configuration"):
            config = AutoConfig.from_pretrained(self.path, **self.where)
        for part in parts(config):
            for name, why in SETTINGS.items():
                if getattr(part, name, None) is not None:
                    raise ValueError(f"{self} asks in its configuration for {name}, {why}")
            part._attn_implementation = part._experts_implementation = None
            vars(part).pop("auto_map", None)
        if not config.is_encoder_decoder:
            raise ValueError(f"{self}: expected an encoder-decoder checkpoint, this one is decoder-only")
        return config

    def weights(self) -> list[str]:
        """The names of the files that hold its weights, all of them safetensors."""
        index = self.read(INDEX)
        with self.named(INDEX):
            listed = sorted({str(name) for name in index.get("weight_map", {}).values()})
        wrong = [name for name in listed if not name.endswith(".safetensors") or Path(name).name != name]
        if wrong:
            raise ValueError(f"{self} holds weights in {wrong[0]!r}: expected safetensors beside {INDEX}")
        if self.file("model.safetensors"):  # transformers prefers it, too
            return ["model.safetensors"]
        if not listed:
            pickles = sorted(path.name for kind in PICKLES for path in Path(self.path).glob(kind))
            held = f" (but {pickles[0]})" if pickles else ""
            raise ValueError(
                f"{self} has no model.safetensors{held}: expected it, or another revision that has it; a pickle could "
                "run code and is never opened"
            )
        return listed

    def file(self, *names: str) -> str | None:
        """The first of these files that the folder, or the repository on the Hub, has."""
        errors = "_raise_exceptions_for_missing_entries", "_raise_exceptions_for_connection_errors"
        options = {"revision": self.revision, **dict.fromkeys(errors, False)}
        return next((found for name in names if (found := cached_file(self.path, name, **options))), None)

    def read(self, name: str) -> dict:
        """What a file of settings holds; nothing if there is none."""
        found = self.file(name)
        with self.named(name):
            return dict(json.loads(Path(found).read_text(encoding="utf8"))) if found else {}

    @contextmanager
    def named(self, what: str, how: str = "it as transformers writes it") -> Iterator[None]:
        """Whatever is raised on the way, say for which checkpoint, and for what of it."""
        try:
            yield
        except OutOfMemoryError:
            raise
        except Exception as error:
            plain = all(c.isprintable() or c == "\n" for c in str(error))
            message = f"{self}: cannot read {what} ({reason(error)}); expected {how}"
            raise ValueError(message) from (error if plain else None)  # what a terminal would obey is not sent there


def parts(config: PreTrainedConfig) -> Iterator[PreTrainedConfig]:
    """A configuration, and those inside it."""
    yield config
    for value in list(vars(config).values()):
        if isinstance(value, PreTrainedConfig):
            yield from parts(value)


def reason(error: Exception) -> str:
    """What an error of another library says, short and printable."""
    return printable(shorten(f"{type(error).__name__}: {error}", 200, placeholder=" …"))
