"""What config.json may claim of a model's size and shape (A19, P7, P14, P21, P25)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from checkpoints import CONFIG, OMITTED, llama_weights, written_config, written_llama
from safetensors.numpy import save_file

from edgecomp.common.errors import ArchitectureUnsupported, EdgecompError, FileCorrupt
from edgecomp.models.architectures import BY_GGUF_NAME
from edgecomp.models.huggingface.layer_kinds import FULL, SLIDING, sliding_layers
from edgecomp.models.layer_cache import period
from edgecomp.models.reading import read_model

HUGE = (2**31, 2**40, 2**63 - 1, 2**63, 10**400)


@pytest.mark.parametrize("value", HUGE, ids=("2^31", "2^40", "2^63-1", "2^63", "10^400"))
@pytest.mark.parametrize(
    "name",
    [
        "num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads",
        "head_dim", "intermediate_size", "vocab_size",
    ],
)  # fmt: skip
def test_a_count_that_the_weights_cannot_hold_is_refused(
    tmp_path: Path, name: str, value: int
) -> None:  # A19
    rope = {
        "rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
        "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
    }  # fmt: skip
    for family in ("LlamaForCausalLM", "NewbornForCausalLM"):
        folder = tmp_path / family
        written_llama(folder, architectures=[family], rope_parameters=rope, **{name: value})
        with pytest.raises(EdgecompError) as refused:
            read_model(folder)
        assert len(str(refused.value)) < 1000 and "\n" not in str(refused.value)


def test_more_rotated_elements_than_a_head_has_are_refused(tmp_path: Path) -> None:  # A19
    with pytest.raises(FileCorrupt, match="partial_rotary_factor"):
        read_model(written_llama(tmp_path, partial_rotary_factor=1e12))


@pytest.mark.parametrize(("rows", "named"), [(90, "vocab_size is 90"), (31, "has 32 rows")])
def test_a_vocabulary_of_another_size_than_the_embedding_is_refused(
    tmp_path: Path, rows: int, named: str
) -> None:  # P21
    with pytest.raises(FileCorrupt, match=named):
        read_model(written_llama(tmp_path, vocab_size=rows))


def test_a_head_of_another_size_than_the_embedding_is_refused(tmp_path: Path) -> None:  # P21
    weights = llama_weights() | {"lm_head.weight": np.ones((40, 16), dtype=np.float16)}
    with pytest.raises(FileCorrupt, match=r"lm_head\.weight has 40 rows"):
        read_model(written_llama(tmp_path, weights))


def unknown_family(folder: Path, **entries: object) -> Path:
    kept = {name: OMITTED for name in CONFIG}
    written_config(folder, **(kept | entries))
    save_file(llama_weights(), folder / "model.safetensors")
    return folder


def test_the_names_that_transformers_knows_for_an_entry_are_read(tmp_path: Path) -> None:  # P14
    model = read_model(
        unknown_family(
            tmp_path, architectures=["DistilBertModel"], model_type="distilbert",
            dim=16, n_layers=2, n_heads=4, hidden_dim=24, vocab_size=32,
        )
    )  # fmt: skip
    assert (model.layers, model.embedding_length, model.heads) == (2, 16, 4)


def test_a_count_for_each_layer_counts_with_its_largest(tmp_path: Path) -> None:  # P14
    model = read_model(
        written_llama(
            tmp_path, architectures=["Gemma3nForCausalLM"], intermediate_size=[16, 24],
            num_key_value_heads=[1, 2],
        )
    )  # fmt: skip
    assert (model.feed_forward_length, model.kv_heads) == (24, 2)


def test_a_family_without_heads_is_refused_by_its_name(tmp_path: Path) -> None:  # P14
    folder = unknown_family(
        tmp_path, architectures=["NewbornForCausalLM"], model_type="newborn", hidden_size=16,
        num_hidden_layers=2,
    )  # fmt: skip
    with pytest.raises(ArchitectureUnsupported, match="NewbornForCausalLM cannot be planned"):
        read_model(folder)


def test_odd_entries_of_an_unknown_family_are_no_damage(tmp_path: Path) -> None:  # P14
    model = read_model(
        written_llama(
            tmp_path, architectures=["NewbornForCausalLM"], sliding_window_pattern="LLLG",
            rope_scaling=[1], rms_norm_eps="small",
        )
    )  # fmt: skip
    assert model.layers == 2


GEMMA3 = BY_GGUF_NAME["gemma3"]


@pytest.mark.parametrize(
    ("kinds", "every"),
    [
        ("fs", None), ("sffs", None), ("sfsf", 2), ("ss", 6), ("sssssfs", 6),
        ("sssssss", 8), ("ssssssf", 7),
    ],
)  # fmt: skip
def test_layer_types_are_read_layer_by_layer(kinds: str, every: int | None) -> None:  # P7
    named = [{"f": FULL, "s": SLIDING}[kind] for kind in kinds]
    config = {"layer_types": named, "sliding_window": 16}
    slides = sliding_layers(config, GEMMA3, len(kinds), Path("config.json"))
    assert slides == tuple(kind == "s" for kind in kinds)
    assert period(slides, GEMMA3.full_attention_every) == every


def test_layers_of_which_none_slides_have_no_pattern() -> None:  # P7
    config = {"layer_types": [FULL, FULL], "sliding_window": 16}
    assert sliding_layers(config, GEMMA3, 2, Path("config.json")) == ()


@pytest.mark.parametrize("kinds", [[FULL], [FULL, SLIDING, FULL], [FULL, "conv"]], ids=str)
def test_layer_types_that_do_not_name_each_layer_are_refused(kinds: list[str]) -> None:  # P7
    config = {"layer_types": kinds, "sliding_window": 16}
    with pytest.raises(FileCorrupt, match="layer_types"):
        sliding_layers(config, GEMMA3, 2, Path("config.json"))


@pytest.mark.parametrize(
    ("stated", "licence"),
    [
        ("license: mit", "mit"), ("license: 'mit'", "mit"),
        ('license: "apache-2.0" # open', "apache-2.0"),
        ("license:\n- mit\n- apache-2.0", "mit, apache-2.0"), ("license:\n  - mit", "mit"),
        ("license: [mit, apache-2.0]", "mit, apache-2.0"), ("license: {a: 1}", None),
        ("license: [unclosed", None), ("tags: [x]", None), ("license:", None),
    ],
    ids=repr,
)  # fmt: skip
def test_the_licence_is_read_as_yaml(tmp_path: Path, stated: str, licence: str | None) -> None:
    """P25: a list, or a text in quotes."""
    folder = written_llama(tmp_path)
    card = f"---\nlanguage: en\n{stated}\nbase_model: x\n---\n# license: none\n"
    (folder / "README.md").write_text(card)
    assert read_model(folder).licence == licence


def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path: Path) -> None:  # P25
    folder = written_llama(tmp_path)
    for name, text in {
        "config.json": json.dumps(CONFIG),
        "chat_template.jinja": "{{ messages }}",
        "README.md": "---\nlicense: mit\n---\n",
    }.items():
        (folder / name).write_text(text, encoding="utf-8-sig")
    model = read_model(folder)
    assert (model.chat_template, model.licence) == ("{{ messages }}", "mit")


@pytest.mark.parametrize(
    "text",
    ["[" * 100_000, '{"a":' * 50_000, '{"chat_template": "\\ud800"}', '{"a": NaN', "", "1", "\xff"],
    ids=("lists", "objects", "half a character", "unfinished", "empty", "number", "bytes"),
)  # fmt: skip
def test_json_that_cannot_be_read_or_written_again_is_refused(
    tmp_path: Path, text: str
) -> None:  # A19
    folder = written_llama(tmp_path)
    (folder / "config.json").write_text(text, encoding="latin-1")
    with pytest.raises(FileCorrupt, match=r"config\.json is damaged"):
        read_model(folder)
