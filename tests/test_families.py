"""Every encoder-decoder of transformers: greedy texts are those of Hugging Face's own `generate`, token for token.

A few families run by default, all of them with ``--long``. Beside the parity test stand the facts about each family
that the package relies on; they are Hugging Face's, and a new version may change them.
"""

import copy
from functools import cache

import pytest
import torch
from transformers import DynamicCache, EncoderDecoderCache, GenerationMixin

import families
import specdec_lite as sd
from families import COUNT_PADS, EXCLUDED, FAMILIES, MASK_FROM_INPUTS, MASK_FROM_OUTPUTS, ONE_BY_ONE, REFUSED

LENGTH, GAMMAS = 20, (1, 3, 8)
BY_DEFAULT = ("t5", "bart", "marian", "m2m100", "whisper", "t5gemma", "bert2bert")
# `generate` puts a picture's states among the text's before Florence-2's encoder, which itself reads no picture.
SOURCES_REFUSED = ("florence2",)


def each(*left_out: str):
    """A parameter for every family: a few by default, all of them with --long."""
    marks = {name: [] if name in BY_DEFAULT else [pytest.mark.long] for name in FAMILIES if name not in left_out}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=marks[name]) for name in marks])


@cache
def pair(name: str):
    return families.pair(name)


@cache
def references(name: str) -> list[list[int]]:
    return [families.reference(name, pair(name)[0], source, LENGTH) for source in FAMILIES[name].sources()]


@cache
def wrapped(name: str) -> tuple[sd.Seq2Seq, sd.Seq2Seq]:
    return tuple(sd.Seq2Seq(model, prompt=FAMILIES[name].prompt or None) for model in pair(name))


# The list


def test_nothing_that_transformers_lists_is_left_out_in_silence():
    here = {family.hf_class for family in FAMILIES.values()}
    print("\ntested:", *sorted(here), "\nexcluded:", *(f"{name}: {why}" for name, why in EXCLUDED.items()), sep="\n  ")
    assert here | set(EXCLUDED) == families.listed() and not here & set(EXCLUDED)


@each()
def test_texts_are_worth_comparing(name):
    """Many tokens, another text for each source, and a draft that is sometimes right."""
    found = references(name)
    assert len({token for text in found for token in text}) >= 8
    assert len(set(map(tuple, found))) == len(found)


# Parity


@each(*REFUSED, *SOURCES_REFUSED)
def test_plain_decoding_is_that_of_generate(name):
    target, _ = wrapped(name)
    options = {"max_new_tokens": LENGTH, "temperature": 0.0}
    sources = FAMILIES[name].sources()
    alone = [sd.autoregressive_generate(target, source, **options).token_ids for source in sources]
    batch = [run.token_ids for run in sd.autoregressive_generate(target, sources[:4], **options)]
    assert not (found := differences(name, alone)), found
    assert not (found := differences(name, batch)), found


@each(*REFUSED, *SOURCES_REFUSED)
def test_speculative_decoding_is_that_of_generate(name):
    models, sources = wrapped(name), FAMILIES[name].sources()
    drafted = accepted = 0
    for gamma in GAMMAS:
        options = {"gamma": gamma, "max_new_tokens": LENGTH, "temperature": 0.0}
        alone = [sd.speculative_generate(*models, source, **options) for source in sources]
        batch = sd.speculative_generate(*models, sources[:4], **options)
        assert not (found := differences(name, [run.token_ids for run in alone])), f"gamma={gamma}: {found}"
        assert not (found := differences(name, [run.token_ids for run in batch])), f"gamma={gamma}, a batch: {found}"
        assert [run.rounds for run in batch] == [run.rounds for run in alone[:4]]
        drafted += sum(run.examined for run in alone)
        accepted += sum(run.accepted for run in alone)
    assert 0 < accepted < drafted, "no acceptance or no refusal was seen"


@pytest.mark.parametrize("name", [pytest.param(name, marks=pytest.mark.long) for name in REFUSED])
def test_what_is_refused_is_told_why(name):
    for model in pair(name):
        with pytest.raises(ValueError, match=REFUSED[name]):
            sd.Seq2Seq(model)


@each(*REFUSED)
def test_a_model_in_float64_is_taken(name):
    model, _ = exact(name)
    assert sd.Seq2Seq(model, prompt=FAMILIES[name].prompt or None).split_after == (
        families.PAD if name in COUNT_PADS else None
    )


@pytest.mark.long
@pytest.mark.parametrize("name", SOURCES_REFUSED)
def test_sources_that_are_refused_are_told_why(name):
    with pytest.raises(ValueError, match=r"source.*pixel_values.*expected"):
        wrapped(name)[0].source(FAMILIES[name].sources())


@pytest.mark.long
def test_pictures_of_several_sizes_are_refused():
    """VisionEncoderDecoderModel masks no states: rows would see the padding of others."""
    target, _ = wrapped("donut")
    pictures = [{"pixel_values": torch.zeros(1, 3, *shape)} for shape in ((16, 16), (32, 16))]
    with pytest.raises(
        ValueError, match="source holds rows of 2 shapes: expected one, since VisionEncoderDecoderModel"
    ):
        target.source(pictures)


def differences(name: str, texts: list[list[int]]) -> str:
    """The texts that are not those of `generate`, and how clearly the target prefers its first choice there."""
    cases = zip(FAMILIES[name].sources(), references(name), texts)
    return "\n".join(explain(name, *case) for case in cases if case[1] != case[2])


def explain(name: str, source, want: list[int], got: list[int]) -> str:
    same = next((i for i, (a, b) in enumerate(zip(want, got)) if a != b), min(len(want), len(got)))
    model = pair(name)[0]
    options = {"max_new_tokens": same + 1, "output_scores": True, "return_dict_in_generate": True, "do_sample": False}
    prompt = torch.tensor([families.prompt_of(name, model)])
    inputs = {**families.inputs_of(source), "decoder_input_ids": prompt}
    scores = GenerationMixin.generate(model, **inputs, **options).scores[-1][0].topk(2).values
    margin = float(scores[0] - scores[1])
    verdict = f"top-2 margin {margin:.2e}, {'a near-tie' if margin < 1e-4 else 'no near-tie'}"
    return f"token {same} is {got[same:][:1]}, expected {want[same:][:1]} ({verdict}); got {got}, expected {want}"


# Facts about the families, in float64


@cache
def exact(name: str):
    """The target, and its prompt with four tokens behind it."""
    target = families.pair(name, torch.float64)[0]
    return target, torch.tensor([[*families.prompt_of(name, target), 9, 14, 20, 11]])


def empty_cache():
    return EncoderDecoderCache(DynamicCache(), DynamicCache())


@torch.no_grad()
def logits(model, outputs, blocks, mask=None):
    """Feed the blocks one after the other to an empty cache."""
    cache, rows = empty_cache(), []
    outputs = copy.deepcopy(outputs)  # Moonshine's streaming decoder writes into the states it is given
    for block in blocks:
        given = {"encoder_outputs": outputs, "attention_mask": mask, "past_key_values": cache, "use_cache": True}
        rows.append(model(decoder_input_ids=block, **given).logits)
    return torch.cat(rows, 1)


def distance(a, b) -> float:
    return float((a - b).detach().abs().max())


def precision(name: str) -> float:
    return 1e-5 if name in ("switch", "nllb_moe") else 1e-10  # these choose experts in float32


@each()
def test_a_block_in_a_cache_is_its_tokens_one_by_one(name):
    model, tokens = exact(name)
    outputs = families.encoded(model, FAMILIES[name].sources()[0])
    blocks, alone = (tokens[:, :-3], tokens[:, -3:]), tokens.split(1, 1)
    if name == "prophetnet":
        with pytest.raises(AssertionError, match="decoder_input_ids` of length 1"):
            logits(model, outputs, blocks)
        return
    found = distance(logits(model, outputs, blocks), logits(model, outputs, alone))
    assert found > 1 if name == "fsmt" else found < precision(name)


@each(*ONE_BY_ONE)
def test_a_pad_in_a_block_shifts_what_follows_it_in_some_families(name):
    model, tokens = exact(name)
    tokens = tokens.clone()
    tokens[0, -3] = families.PAD if name != "whisper" else model.config.pad_token_id
    outputs = families.encoded(model, FAMILIES[name].sources()[0])
    alone = logits(model, outputs, tokens.split(1, 1))
    block, cut = ([tokens[:, :-n], tokens[:, -n:]] for n in (4, 2))
    assert (distance(logits(model, outputs, block), alone) > 1e-2) == (name in COUNT_PADS)
    assert distance(logits(model, outputs, cut), alone) < precision(name)
    if name not in REFUSED:
        assert wrapped(name)[0].split_after == (families.PAD if name in COUNT_PADS else None)


@each(*ONE_BY_ONE)
def test_rows_encoded_alone_can_be_padded_and_masked(name):
    """The states of a row, however long the others are, give the row its own logits; and rows can leave."""
    model, tokens = exact(name)
    rows = FAMILIES[name].sources()[:4]
    alone = [families.encoded(model, row) for row in rows]
    want = torch.cat([logits(model, outputs, [tokens]) for outputs in alone])
    outputs, mask = stacked(name, rows, alone)
    assert distance(logits(model, outputs, [tokens.expand(4, -1)], mask), want) < precision(name)


def stacked(name: str, rows: list, alone: list):
    """One encoder output for all rows, and the mask that a forward takes with it."""
    kinds = [key for key in ("last_hidden_state", "pooler_output") if key in alone[0]]
    outputs = type(alone[0])(**{key: joined([row[key] for row in alone]) for key in kinds})
    if name in MASK_FROM_OUTPUTS:
        outputs.attention_mask = joined([row.attention_mask for row in alone])
        return outputs, None
    if name in MASK_FROM_INPUTS:
        return outputs, joined([row["attention_mask"] for row in rows])
    return outputs, joined([torch.ones(row.last_hidden_state.shape[:2]) for row in alone])


def joined(rows: list[torch.Tensor]) -> torch.Tensor:
    """Rows below each other, 0 behind the end of a short one."""
    return torch.nn.utils.rnn.pad_sequence([row[0] for row in rows], batch_first=True)
