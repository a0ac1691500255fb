"""A GGUF file as a ModelSpec."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from edgecomp.common.errors import FileCorrupt, ModelIncomplete, TokensRepeated, shown
from edgecomp.common.quantity import format_size
from edgecomp.models.architectures import BY_GGUF_NAME
from edgecomp.models.gguf.header import GgufHeader, TensorEntry, read_gguf_header
from edgecomp.models.gguf.layer_caches import layer_caches, sliding_pattern, window_of
from edgecomp.models.gguf.projector_file import is_projector, projector_beside
from edgecomp.models.gguf.stored_twice import SecondCopy, second_copy
from edgecomp.models.layer_cache import LayerCache, period
from edgecomp.models.model_name import name_by_place
from edgecomp.models.spec import (
    EMBEDDING,
    OUTPUT,
    ModelSpec,
    TensorSpec,
    dominant_type,
    tensor_group,
)
from edgecomp.models.tensor_types import TENSOR_TYPES

SHOWN_TOKENS = 3


def read_gguf(path: Path) -> ModelSpec:
    """Read a GGUF file's header. Raises FileCorrupt where a needed entry is missing, and
    ModelIncomplete where it holds no whole language model."""
    header = read_gguf_header(path)
    _require_whole_model(header)
    architecture = _text(header, "general.architecture")
    if architecture is None:
        raise FileCorrupt(path, "its metadata names no architecture.")
    row = BY_GGUF_NAME.get(architecture)
    copies = second_copy(header) if row and not row.needs_head else None
    tensors = _tensors(header, copies)
    layers = _required_count(header, architecture, "block_count")
    width = _required_count(header, architecture, "embedding_length")
    embedding = next((t for t in tensors if t.name == EMBEDDING), None)
    _require_agreement(path, layers, width, tensors, embedding)
    names = {tensor.name for tensor in tensors}
    heads = _whole(header, architecture, "attention.head_count")
    head_length = width // heads if heads else 0
    kv_heads = _whole(header, architecture, "attention.head_count_kv") or heads
    key_length = _whole(header, architecture, "attention.key_length") or head_length
    value_length = _whole(header, architecture, "attention.value_length") or head_length
    window = window_of(header, architecture)
    slides = sliding_pattern(header, architecture, layers) if window else ()
    window = window if any(slides) else None
    every = period(slides, row.full_attention_every if row else 0) if window else 0
    usual = LayerCache(key_values=kv_heads * key_length, value_values=kv_heads * value_length)
    stored = dominant_type(tensors)
    repeated = _repeated_tokens(header)
    projector = projector_beside(path, width)
    return ModelSpec(
        path=path,
        source="gguf",
        name=_text(header, "general.name") or name_by_place(path),
        architecture=architecture,
        layout="known" if row else "learned",
        layers=layers,
        embedding_length=width,
        feed_forward_length=_whole(header, architecture, "feed_forward_length"),
        heads=heads,
        kv_heads=kv_heads,
        key_length=key_length,
        value_length=value_length,
        vocabulary=embedding.shape[0] if embedding else len(_tokens(header)),
        context_length=_whole(header, architecture, "context_length"),
        sliding_window=window,
        full_attention_every=every or 0,
        sliding_pattern=slides if window and every is None else (),
        layer_caches=layer_caches(header, architecture, layers, usual, slides),
        experts=_whole(header, architecture, "expert_count"),
        experts_used=_whole(header, architecture, "expert_used_count"),
        picture_layers=_whole(header, architecture, "n_deepstack_layers"),
        cells_chosen=_whole(header, architecture, "attention.indexer.top_k"),
        tied_embeddings=OUTPUT not in names,
        tokenizer=_text(header, "tokenizer.ggml.model"),
        chat_template=_text(header, "tokenizer.chat_template"),
        licence=_text(header, "general.license"),
        quantization=None if TENSOR_TYPES[stored].is_float else stored,
        file_bytes=header.file_bytes,
        tensors=tensors,
        repeated_tokens=repeated,
        projector=projector,
        notes=(
            *((_repeated_text(repeated),) if repeated else ()),
            *((_copies_text(copies),) if copies else ()),
            *((projector.note,) if projector else ()),
        ),
        left_out=_tensor(copies.left_out, copies.left_out.name) if copies else None,
    )


def _tensors(header: GgufHeader, copies: SecondCopy | None) -> tuple[TensorSpec, ...]:
    """The tensors of the model: of two copies of one matrix the kept one, as the embedding."""
    rows = [row for row in header.tensors if not copies or row != copies.left_out]
    return tuple(
        _tensor(row, EMBEDDING if copies and row == copies.kept else row.name) for row in rows
    )


def _tensor(row: TensorEntry, name: str) -> TensorSpec:
    return TensorSpec(
        name=name,
        source_name=row.name,
        shape=row.shape,
        dtype=row.type.name,
        group=tensor_group(name),
    )


def _copies_text(copies: SecondCopy) -> str:
    return (
        "The head is the embedding stored a second time: every format but the source as it is "
        f"holds it once, from the {copies.kept.type.name} copy, without the "
        f"{format_size(copies.left_out.size_bytes)} of the {copies.left_out.type.name} copy."
    )


def _require_agreement(
    path: Path,
    layers: int,
    width: int,
    tensors: tuple[TensorSpec, ...],
    embedding: TensorSpec | None,
) -> None:
    """Raises FileCorrupt where the metadata promise other tensors than there are."""
    if not tensors:
        raise FileCorrupt(path, "it holds no tensors.", "Vocabulary-only files cannot be run.")
    if layers > len(tensors):
        fault = f"it promises {layers} layers and holds {len(tensors)} tensors."
        raise FileCorrupt(path, fault)
    if embedding and embedding.shape[-1] != width:
        fault = f"its width is {width}, and the embedding has {embedding.shape[-1]} columns."
        raise FileCorrupt(path, fault)


def refuse_repeated_tokens(model: ModelSpec) -> None:
    """Raises TokensRepeated for a GGUF file that llama.cpp would die of."""
    if model.repeated_tokens:
        raise TokensRepeated(model.path, _repeated_text(model.repeated_tokens))


def _repeated_text(tokens: tuple[str, ...]) -> str:
    named = ", ".join(shown(token) for token in tokens[:SHOWN_TOKENS])
    more = f" and {len(tokens) - SHOWN_TOKENS} more" if len(tokens) > SHOWN_TOKENS else ""
    return (
        f"Its vocabulary holds {named}{more} more than once, and llama.cpp ends its process when "
        "it reads such a file."
    )


def _repeated_tokens(header: GgufHeader) -> tuple[str, ...]:
    tokens = _tokens(header)
    if len(set(tokens)) == len(tokens):
        return ()
    counted = Counter(token for token in tokens if isinstance(token, str))
    return tuple(_readable(token) for token, count in counted.items() if count > 1)


def _require_whole_model(header: GgufHeader) -> None:
    """Raises ModelIncomplete for a part of a split model, an adapter or an image encoder."""
    parts = header.get("split.count", 0)
    if isinstance(parts, int) and parts > 1:
        number = header.get("split.no", 0)
        raise ModelIncomplete(
            header.path,
            f"it is part {int(number) + 1 if isinstance(number, int) else 1} of {parts}.",
            "Join the parts first: llama-gguf-split --merge FIRST-PART WHOLE.gguf.",
        )
    if _text(header, "general.type") == "adapter":
        raise ModelIncomplete(
            header.path, "it holds an adapter.", "Merge it into its base model first."
        )
    if is_projector(header):
        raise ModelIncomplete(
            header.path,
            "it is the projector (mmproj) of one, which reads pictures or sounds for it.",
            "Give the text model's own file: a projector that lies beside it is taken along.",
        )


def _text(header: GgufHeader, key: str) -> str | None:
    value = header.get(key)
    if not isinstance(value, str):
        return None
    return _readable(value)


def _readable(text: str) -> str:
    """Bytes that are no text are kept where a file is copied; what is shown must be text."""
    return text.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace")


def _whole(header: GgufHeader, architecture: str, key: str) -> int:
    """A count; where a file gives one a layer, the largest, so that memory is not understated."""
    value = header.get(f"{architecture}.{key}", 0)
    if isinstance(value, list):
        return max((int(entry) for entry in value if isinstance(entry, int)), default=0)
    return value if isinstance(value, int) else 0


def _required_count(header: GgufHeader, architecture: str, key: str) -> int:
    value = _whole(header, architecture, key)
    if value <= 0:
        raise FileCorrupt(header.path, f"its metadata lacks {architecture}.{key}.")
    return value


def _tokens(header: GgufHeader) -> list[object]:
    value = header.get("tokenizer.ggml.tokens", [])
    return list(value) if isinstance(value, list) else []
