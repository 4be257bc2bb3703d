"""Shapes that appendix A5 computes with are those of the published models."""

import pytest
import torch
import transformers as hf

import chapters
import specdec_lite as sd

# Published numbers of parameters
PARAMETERS = {
    "t5-small": 60_506_624,
    "t5-large": 737_668_096,
    "t5-3b": 2_851_598_336,
    "flan-t5-small": 76_961_152,
    "flan-t5-xl": 2_849_757_184,
    "bart-large-cnn": 406_290_432,
    "nllb-200-distilled-600M": 615_073_792,
    "whisper-large-v3": 1_543_490_560,
}


@pytest.fixture(scope="module")
def on_paper():
    cells = [cell for cell in chapters.chapter("A5") if cell["cell_type"] == "code"]
    sources = {i: chapters.python(cell) for i, cell in enumerate(cells)}
    last = next(i for i, source in sources.items() if "def on_paper" in source)
    names = {"hf": hf, "torch": torch, "sd": sd}
    for i in sorted(chapters.needed(sources, last)):
        exec(sources[i], names)
    return names


@pytest.mark.parametrize("name", PARAMETERS)
def test_a_shape_on_paper_has_the_published_number_of_parameters(on_paper, name):
    assert sum(parameter.numel() for parameter in on_paper["on_paper"](name).parameters()) == PARAMETERS[name]


def test_every_pair_of_the_table_has_one_vocabulary(on_paper):
    for pair in on_paper["PAIRS"]:
        sizes = {on_paper["on_paper"](name).get_output_embeddings().weight.shape[0] for name in pair}
        assert len(sizes) == 1, pair
