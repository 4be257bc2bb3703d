"""Tiny random models under the names of published checkpoints: no download.

`write("t5", "bart")` writes those of two families into the working directory,
with their published settings. A page's lines then run as they would on the Hub's.
"""

import string
from pathlib import Path

import torch
import transformers as hf
from tokenizers import Tokenizer, models, pre_tokenizers

WORDS = [
    "a", "the", "my", "his", "her", "house", "station", "book",
    "train", "friend", "brother", "sister", "lives", "reads", "works", "writes",
    "sees", "takes", "finds", "gives", "old", "new", "small", "big",
    "red", "blue", "today", "often", "never", "soon", "here", "there",
    "where", "in", "on", "near", "with", "and", "or", "but",
    "one", "two", "three", "four", "five", "six", "seven",
]  # fmt: skip
SIDES, SIZE = ("encoder", "decoder"), 64  # SIZE: tokens in the vocabulary


def tokenizer(specials, size=SIZE):
    """Words are tokens, each special token has the id that it is given."""
    names = [WORDS[i % len(WORDS)] + "'" * (i // len(WORDS)) for i in range(size)]
    for name, i in specials.items():
        names[i] = name
    ids = {name: i for i, name in enumerate(names)}
    backend = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    kinds = {"<pad>": "pad_token", "</s>": "eos_token", "<unk>": "unk_token"}
    named = {kinds[name]: name for name in specials if name in kinds}
    others = [name for name in specials if name not in kinds]
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=backend, extra_special_tokens=others, **named
    )


@torch.no_grad()
def lively(model, like=None):
    """Weights by which every token counts; a draft gets its target's and noise."""
    random = torch.Generator().manual_seed(1)
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach().clone())
    theirs = {} if like is None else dict(like.named_parameters())
    for name, weight in sorted(model.named_parameters()):
        if weight.ndim < 2:
            continue
        noise = torch.randn(weight.shape, generator=random)
        if name in theirs and theirs[name].shape == weight.shape:
            weight.copy_(theirs[name] + 0.03 * theirs[name].std() * noise)
        else:
            later = ".block.1." in name or "layers.1." in name
            table = "embed" in name or "shared" in name
            gain = 1 if table else (0.3 if later else 2) * weight[0].numel() ** -0.5
            weight.copy_((3 if "relative" in name else gain) * noise)
    if like is None and model.main_input_name == "input_ids":
        head.weight -= shared_by_all(model.eval(), head)
    return model.eval()


def shared_by_all(model, head):
    """Of the head, what lies along the mean of all hidden states."""
    seen = []
    hook = head.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    random = torch.Generator().manual_seed(0)
    source, text = torch.randint(4, SIZE - 8, (2, 64, 12), generator=random)
    model(input_ids=source, decoder_input_ids=text)
    hook.remove()
    common = seen[0].mean((0, 1))
    return (head.weight @ common)[:, None] * common / common.square().sum()


def save(name, model, reader, pickled=False, **settings):
    """Write a checkpoint into a folder of its name, as a pickle if it is one."""
    model.generation_config._from_model_config = False
    for key, value in settings.items():
        setattr(model.generation_config, key, value)
    model.save_pretrained(name)
    reader.save_pretrained(name)
    if pickled:
        (Path(name) / "model.safetensors").unlink()
        torch.save(model.state_dict(), Path(name) / "pytorch_model.bin")


def t5_like(kind, layers, size=SIZE, **more):
    config = getattr(hf, f"{kind}Config")(
        vocab_size=size, d_model=32, d_kv=8, d_ff=64, num_heads=4, dropout_rate=0.0,
        num_layers=layers, num_decoder_layers=layers, tie_word_embeddings=False,
        relative_attention_num_buckets=16, pad_token_id=0, eos_token_id=1,
        decoder_start_token_id=0, **more,
    )  # fmt: skip
    return getattr(hf, f"{kind}ForConditionalGeneration")(config)


def bart_like(kind, layers, head="ForConditionalGeneration", size=SIZE, **more):
    shapes = {f"{side}_{key}": value for side in SIDES for key, value in (
        ("layers", layers), ("attention_heads", 4), ("ffn_dim", 64))}  # fmt: skip
    config = getattr(hf, f"{kind}Config")(
        vocab_size=size, d_model=32, dropout=0.0, tie_word_embeddings=False,
        **{"max_position_embeddings": 128, **shapes, **more},
    )  # fmt: skip
    return getattr(hf, f"{kind}{head}")(config)


def t5gemma(layers):
    side = {
        "vocab_size": SIZE, "hidden_size": 32, "intermediate_size": 64,
        "num_hidden_layers": layers, "num_attention_heads": 4, "head_dim": 8,
        "num_key_value_heads": 2, "query_pre_attn_scalar": 8, "sliding_window": 6,
        "layer_types": ["sliding_attention", "full_attention"][:layers],
        "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 2,
        "max_position_embeddings": 128,
    }  # fmt: skip
    parts = {name: hf.T5GemmaModuleConfig(**side) for name in SIDES}
    config = hf.T5GemmaConfig(**parts, vocab_size=SIZE, tie_word_embeddings=False)
    return hf.T5GemmaForConditionalGeneration(config)


def moonshine(layers):
    config = hf.MoonshineConfig(
        vocab_size=SIZE, hidden_size=32, intermediate_size=64,
        tie_word_embeddings=False, max_position_embeddings=128,
        bos_token_id=1, eos_token_id=2, pad_token_id=2, decoder_start_token_id=1,
        **{f"{side}_num_hidden_layers": layers for side in SIDES},
        **{f"{side}_num_attention_heads": 4 for side in SIDES},
    )  # fmt: skip
    return hf.MoonshineForConditionalGeneration(config)


def whisper(layers, size=SIZE):
    return bart_like(
        "Whisper", layers, size=size, max_position_embeddings=None, num_mel_bins=8,
        max_source_positions=20, max_target_positions=64, pad_token_id=1,
        bos_token_id=1, eos_token_id=1, decoder_start_token_id=3,
        suppress_tokens=None, begin_suppress_tokens=None,
    )  # fmt: skip


PLAIN = {"<pad>": 0, "</s>": 1, "<unk>": 2}
OF_BART = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3}
STARTS = {
    "bos_token_id": 0,
    "pad_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
}


def write_t5():
    tasks = {"translation_en_to_de": {"prefix": "translate English to German: "}}
    for large, small, more in (
        (
            "google-t5/t5-large",
            "google-t5/t5-small",
            {"task_specific_params": tasks},
        ),
        ("google/flan-t5-xl", "google/flan-t5-small", {}),
    ):
        big = lively(t5_like("T5", 2, **more))
        save(large, big, tokenizer(PLAIN))
        save(small, lively(t5_like("T5", 1, **more), big), tokenizer(PLAIN))


def write_mt5():
    """It has more tokens than T5."""
    save(
        "google/mt5-small",
        lively(t5_like("MT5", 1, SIZE + 8)),
        tokenizer(PLAIN, SIZE + 8),
    )


def write_t5gemma():
    names = {"<pad>": 0, "</s>": 1, "<bos>": 2, "<unk>": 3}
    names |= {"<start_of_turn>": SIZE - 2, "<end_of_turn>": SIZE - 1}
    reader, big = tokenizer(names), lively(t5gemma(2))
    reader.chat_template = (
        "<bos>{% for said in messages %}<start_of_turn>{{ said.role }}\n"
        "{{ said.content }}<end_of_turn>\n{% endfor %}"
        "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
    )
    save("google/t5gemma-2b-2b-prefixlm-it", big, reader)
    save("google/t5gemma-b-b-prefixlm-it", lively(t5gemma(1), big), reader)


def write_bart():
    starts = {**STARTS, "forced_eos_token_id": 2, "forced_bos_token_id": 0}
    big = lively(bart_like("Bart", 2, **starts))
    small = lively(bart_like("Bart", 1, **starts), big)
    shipped = {  # those of the published bart-large-cnn
        "min_length": 56, "max_length": 142, "no_repeat_ngram_size": 3,
        "num_beams": 4, "length_penalty": 2.0, "early_stopping": True,
        "forced_bos_token_id": 0,
    }  # fmt: skip
    save("facebook/bart-large-cnn", big, tokenizer(OF_BART), **shipped)
    save("sshleifer/distilbart-cnn-12-6", small, tokenizer(OF_BART), **shipped)


def write_marian():
    names = {"</s>": 0, "<unk>": 1, "<pad>": SIZE - 1}
    ids = {
        "pad_token_id": SIZE - 1,
        "decoder_start_token_id": SIZE - 1,
        "eos_token_id": 0,
        "forced_eos_token_id": 0,
    }
    shipped = {"num_beams": 6, "bad_words_ids": [[SIZE - 1]], "max_length": 512}
    model = lively(bart_like("Marian", 2, "MTModel", **ids))
    save(
        "Helsinki-NLP/opus-mt-en-de",
        model,
        tokenizer(names),
        pickled=True,
        **shipped,
    )


def write_nllb():
    """Its tokenizer is of the published kind: the source's language comes first."""
    codes = ["eng_Latn", "deu_Latn"]
    letters = [*OF_BART, "<mask>", "▁", *string.ascii_letters, *codes]
    names = [*letters[:-2], *"0123"[: SIZE - len(letters)], *codes]
    reader = hf.NllbTokenizer(
        {name: i for i, name in enumerate(names)}, [], extra_special_tokens=codes
    )
    starts = {**STARTS, "forced_eos_token_id": None}
    big = lively(bart_like("M2M100", 2, **starts))
    small = lively(bart_like("M2M100", 1, **starts), big)
    for name, model in (("3.3B", big), ("distilled-600M", small)):
        save(
            f"facebook/nllb-200-{name}",
            model,
            reader,
            pickled=True,
            max_length=200,
        )


def write_whisper():
    """The small one has a token less than large-v3, as the published one."""
    kinds = "en", "de", "translate", "transcribe", "notimestamps"
    special = {f"<|{kind}|>": SIZE - 5 + i for i, kind in enumerate(kinds)}
    names = {**PLAIN, "<|startoftranscript|>": 3, **special}
    *languages, translate, transcribe, no_times = special.values()
    shipped = {
        "is_multilingual": True, "no_timestamps_token_id": no_times,
        "lang_to_id": dict(zip(("<|en|>", "<|de|>"), languages)),
        "task_to_id": {"translate": translate, "transcribe": transcribe},
        "suppress_tokens": [7, 8, *special.values()],
        "begin_suppress_tokens": [5, 1],
    }  # fmt: skip
    ear = hf.WhisperFeatureExtractor(8, hop_length=400, chunk_length=1)
    big, other = lively(whisper(2)), lively(whisper(1, SIZE - 1))
    for name, model in (
        ("openai/whisper-large-v3", big),
        ("distil-whisper/distil-large-v3", lively(whisper(1), big)),
        ("openai/whisper-small", other),
    ):
        size = model.config.vocab_size
        save(
            name,
            model,
            tokenizer({key: i for key, i in names.items() if i < size}, size),
            **shipped,
        )
        ear.save_pretrained(name)


def write_moonshine():
    names = {"<unk>": 0, "<s>": 1, "</s>": 2}
    big = lively(moonshine(2))
    for name, model in (("base", big), ("tiny", lively(moonshine(1), big))):
        save(f"UsefulSensors/moonshine-{name}", model, tokenizer(names))
        hf.Wav2Vec2FeatureExtractor().save_pretrained(
            f"UsefulSensors/moonshine-{name}"
        )


def write(*families):
    """Write the checkpoints of these families; no random state is moved."""
    with torch.random.fork_rng(devices=[]):
        for family in families:
            globals()[f"write_{family}"]()
