"""A decoder in pieces: its ends (embedding, final norm) and its blocks, each made when needed.

transformers' own classes are used for every piece, so rotary embeddings, soft caps, scaled
embeddings and norms are theirs. How a model calls its blocks (masks, positions, which layer slides)
is not restated either: the model's own `forward` is run once with each block replaced by a
`Recorder`, and what it passes to block i is kept and passed to block i later.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.conversion_mapping import get_checkpoint_conversion_mapping
from transformers.core_model_loading import WeightRenaming
from transformers.pytorch_utils import Conv1D

from edgecomp.common.errors import ArchitectureUnsupported, CalibrationUnusable
from edgecomp.compress.checkpoint import find_stored, read_rows, read_tensor
from edgecomp.compress.experts import FusedExperts, SlicedExpert, separate_experts
from edgecomp.models.huggingface.model import fused_matrix_name, stored_tensors
from edgecomp.models.safetensors_header import StoredTensor

CALLS_KEPT = 8
MOST_PARTS = 4
"""Values that a block puts out at most."""


Call = tuple[tuple[Any, ...], dict[str, Any]]
"""What a block is called with beside its states."""


class Recorder(nn.Module):
    """Stands where a block stood: remembers what it is called with and passes `replace` on."""

    parts = 0
    """How many values the block puts out in a tuple, the states first; 0 where it puts out these
    alone."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.__dict__["block"] = block  # No part of the model: it has no weights.
        self.hidden: Tensor | None = None
        self.replace: Tensor | None = None
        self.arguments: tuple[Any, ...] = ()
        self.keywords: dict[str, Any] = {}

    def __getattr__(self, name: str) -> Any:
        """What the model asks of a block before it runs, such as its kind."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(self.__dict__["block"], name)

    def forward(self, hidden: Tensor, *arguments: Any, **keywords: Any) -> Any:
        self.hidden, self.arguments, self.keywords = hidden, arguments, keywords
        output = hidden if self.replace is None else self.replace
        return (output, *[None] * (self.parts - 1)) if self.parts else output


class Decoder:
    """The pieces of the checkpoint in `folder`, calibrated on `tokens` int64 [samples, length].

    Raises ArchitectureUnsupported where the model has no list with a block for each layer,
    CalibrationUnusable where a token id lies outside the vocabulary.
    """

    def __init__(self, folder: Path, tokens: Tensor, device: str) -> None:
        self.stored = stored_tensors(folder)
        self.device = device
        self.config: PreTrainedConfig = AutoConfig.from_pretrained(folder).get_text_config()
        self.layers = int(self.config.num_hidden_layers)
        if tokens.ndim != 2 or tokens.numel() == 0 or tokens.dtype != torch.int64:
            raise CalibrationUnusable(
                f"The calibration tokens are {tokens.dtype} {list(tokens.shape)}; "
                "they must be int64 [samples, length] and not empty."
            )
        if int(tokens.min()) < 0 or int(tokens.max()) >= self.config.vocab_size:
            raise CalibrationUnusable(
                f"The calibration holds token {int(tokens.max())}, the model's vocabulary "
                f"{self.config.vocab_size:,}. Tokenize it with the model's own tokenizer."
            )
        self._used, self._compact = torch.unique(tokens, return_inverse=True)
        whole = empty_model(self.config)
        self._stored_as = _renamed(self.stored, self.config.model_type)
        self.blocks_name = blocks_name(whole, self.layers)
        if not self.blocks_name:
            kind = (self.config.architectures or [type(whole).__name__])[0]
            known = [f"a list of {self.layers} blocks in the model"]
            raise ArchitectureUnsupported(kind, "compressed block by block", known)
        self._meta: Any = whole.get_submodule(self.blocks_name)
        self._ends = self._make_ends()
        self._recorders = [Recorder(block) for block in self._meta.children()]
        self._ends.set_submodule(self.blocks_name, nn.ModuleList(self._recorders))
        self._around = self._ends.get_submodule(self.blocks_name.rpartition(".")[0])
        self._load_ends()
        separate_experts(
            self._meta, self.stored, lambda name: self._find(f"{self.blocks_name}.{name}")
        )
        self._calls: dict[tuple[int, int], list[Call]] = {}
        self._hands_on = False
        # A dictionary is how blocks hand keys and values on to later ones, sample by sample.
        self._hands_on = any(_has_dictionary(call) for call in self._calls_for(0, 1))
        self.by_sample = len(tokens) > 1 and (self._hands_on or self._differ_by_sample())

    def _make_ends(self) -> Any:
        """The model around its blocks, still without weights."""
        config = copy.deepcopy(self.config)
        # Only the rows of the embedding that the calibration uses are ever in memory.
        config.vocab_size = len(self._used)
        config.pad_token_id = config.bos_token_id = config.eos_token_id = None
        return empty_model(config)

    def _load_ends(self) -> None:
        tables = self._token_tables()
        head = self._ends.get_output_embeddings()
        of_head = {id(parameter) for parameter in head.parameters()} if head else set()
        for name, parameter in list(self._ends.named_parameters()):
            if name in tables:
                _put(self._ends, name, read_rows(self._stored(name), self._used))
            elif id(parameter) not in of_head:
                _put(self._ends, name, read_tensor(self._stored(name)))
        for name, _ in list(self._ends.named_buffers()):
            if stored := self._find(name):
                _put(self._ends, name, read_tensor(stored))
        if head is not None:
            self._ends.set_output_embeddings(nn.Identity())  # Its weights are never in memory.
        self._ends.to(self.device)

    def _token_tables(self) -> set[str]:
        """The names of the tables that tokens are looked up in: the embedding, and of some families
        one of inputs for every layer."""
        embedding = self._ends.get_input_embeddings()
        rows = getattr(self.config, "vocab_size_per_layer_input", None)
        return {
            f"{name}.weight"
            for name, module in self._ends.named_modules()
            if module is embedding
            or (isinstance(module, nn.Embedding) and module.num_embeddings == rows)
        }

    def _stored(self, name: str) -> StoredTensor:
        return find_stored(self.stored, self._stored_as.get(name, name))

    def _find(self, name: str) -> StoredTensor | None:
        """The stored tensor of the model's parameter or buffer `name`, if there is one."""
        try:
            return self._stored(name)
        except ArchitectureUnsupported:
            return None

    @property
    def embedding(self) -> Tensor:
        """The rows that the tokens use, in the order of their ids, float32 [used, width]; `embed`
        reads them as they stand."""
        weight: Tensor = self._ends.get_input_embeddings().weight
        return weight

    def block(self, index: int) -> nn.Module:
        """Block `index` with its weights, float32, ready to run.

        GPT-2's Conv1D comes as the Linear it is, so that all methods see rows = outputs, and a
        mixture's experts as linears of their own (experts.py).
        """
        empty: nn.Module = self._meta.get_submodule(str(index))
        module = copy.deepcopy(empty).eval()
        prefix = f"{self.blocks_name}.{index}"
        for name, _ in list(module.named_parameters()):
            _put(module, name, read_tensor(self._stored(f"{prefix}.{name}")))
        for name, _ in list(module.named_buffers()):
            # Those that are not stored are computed when a module is made.
            if stored := self._find(f"{prefix}.{name}"):
                _put(module, name, read_tensor(stored))
        module = module.to(self.device)
        for name, child in list(module.named_modules()):
            if isinstance(child, Conv1D):
                parent, _, leaf = name.rpartition(".")
                setattr(module.get_submodule(parent), leaf, _as_linear(child))
            elif isinstance(child, FusedExperts):
                child.separate()
        return module

    def stored_weights(self, index: int, module: nn.Module) -> dict[str, Tensor]:
        """The tensors of block `index` as the checkpoint names and shapes them, float32."""
        tensors = {}
        for name, parameter in module.named_parameters():
            stored = self._stored(f"{self.blocks_name}.{index}.{name}")
            owner = self._meta.get_submodule(f"{index}.{name}".rpartition(".")[0])
            transposed = name.endswith(".weight") and isinstance(owner, Conv1D)
            tensors[stored.name] = parameter.data.T if transposed else parameter.data
        return tensors

    def weight_name(self, index: int, module: nn.Module, linear: str) -> str:
        """The checkpoint's name of the weight of a linear of block `index`; of an expert's matrix
        that it stores fused, the tensor's with the expert's number."""
        owner_name, _, role = linear.rpartition(".")
        owner, prefix = module.get_submodule(owner_name), f"{self.blocks_name}.{index}"
        if isinstance(owner, SlicedExpert):
            experts = owner_name.rpartition(".")[0]
            return fused_matrix_name(self._stored(f"{prefix}.{experts}.{role}").name, owner.number)
        return self._stored(f"{prefix}.{linear}.weight").name

    def run(self, index: int, module: nn.Module, hidden: Tensor, first: int = 0) -> Tensor:
        """Outputs of block `index` [samples, length, width] for the inputs `hidden`, which are
        those of the calibration's samples from `first` on."""
        arguments, keywords = self._calls_for(first if self.by_sample else 0, len(hidden))[index]
        output = module(hidden, *arguments, **keywords)
        self._set_parts(len(output) if isinstance(output, tuple) else 0)
        return output[0] if isinstance(output, tuple) else output  # type: ignore[no-any-return]

    def _calls_for(self, first: int, count: int) -> list[Call]:
        """How each block is called with so many samples from `first` on, all of one length."""
        if (first, count) not in self._calls:
            if len(self._calls) >= CALLS_KEPT and not self._hands_on:
                self._calls.clear()
            self._pass_through(slice(first, first + count))
            self._calls[first, count] = [(r.arguments, r.keywords) for r in self._recorders]
        return self._calls[first, count]

    def _differ_by_sample(self) -> bool:
        """Whether blocks are called with more that depends on the tokens than the states."""
        one, other = (self._calls_for(sample, 1) for sample in range(2))
        return any(not _same(*calls) for calls in zip(one, other, strict=True))

    def _pass_through(self, samples: slice) -> None:
        """Have every recorder called. Whether blocks put out tuples is not known before one has
        run: what the model does not take is not it."""
        for parts in dict.fromkeys((self._recorders[0].parts, *range(MOST_PARTS + 1))):
            self._set_parts(parts)
            try:
                self.embed(samples)
                return
            except (ValueError, TypeError):
                if parts == MOST_PARTS:
                    raise

    def _set_parts(self, parts: int) -> None:
        for recorder in self._recorders:
            recorder.parts = parts

    def embed(self, samples: slice) -> Tensor:
        """What enters block 0 for these calibration samples, float32 [samples, length, width]."""
        self._recorders[0].replace = None
        self._around(input_ids=self._compact[samples].to(self.device), use_cache=False)
        hidden = self._recorders[0].hidden
        assert hidden is not None
        return hidden

    def final(self, hidden: Tensor) -> Tensor:
        """What enters the output head, for what the last block put out; same shape."""
        self._recorders[-1].replace = hidden
        ids = self._compact[: len(hidden)].to(self.device)
        result: Tensor = self._around(input_ids=ids, use_cache=False).last_hidden_state
        self._recorders[-1].replace = None
        return result


def blocks_name(model: nn.Module, layers: int) -> str:
    """Where the decoder's blocks are: the first list, from the outside in, that has one a layer;
    empty where there is none."""
    lists = (
        name
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len(module) == layers
    )
    return min(lists, key=lambda name: name.count("."), default="")


def empty_model(config: PreTrainedConfig) -> PreTrainedModel:
    """The model without memory for its parameters; buffers hold what they are computed to hold.
    Text models of others have no class with a head of its own."""
    headed = type(config) in AutoModelForCausalLM._model_mapping
    maker: Any = AutoModelForCausalLM if headed else AutoModel
    with init_empty_weights(include_buffers=False):
        model: PreTrainedModel = maker.from_config(config, dtype=torch.float32)
    model.train(mode=False)
    return model


def _renamed(stored: Mapping[str, StoredTensor], model_type: str) -> dict[str, str]:
    """The checkpoint's name of each weight that transformers renames when it loads the family."""
    changes = get_checkpoint_conversion_mapping(model_type) or []  # type: ignore[no-untyped-call]
    renamings = [change for change in changes if isinstance(change, WeightRenaming)]
    names = {}
    for name in stored:
        new = name
        for renaming in renamings:
            new, _ = renaming.rename_source_key(new)
        if new != name:
            names[new] = name
    return names


def _same(one: Any, other: Any) -> bool:
    """Whether two calls hand over the same values."""
    if isinstance(one, Tensor):
        return isinstance(other, Tensor) and torch.equal(one, other)
    if isinstance(one, tuple | list):
        return all(map(_same, one, other))
    if isinstance(one, Mapping):
        return all(_same(value, other[name]) for name, value in one.items())
    return True


def _has_dictionary(call: Call) -> bool:
    arguments, keywords = call
    return any(isinstance(value, MutableMapping) for value in (*arguments, *keywords.values()))


def _put(module: nn.Module, name: str, values: Tensor) -> None:
    """Give a parameter or buffer its values, as float32 where they are floats."""
    parent, _, leaf = name.rpartition(".")
    owner = module.get_submodule(parent)
    values = values.float() if values.is_floating_point() else values
    if leaf in owner._parameters:
        owner._parameters[leaf] = nn.Parameter(values, requires_grad=False)
    else:
        owner._buffers[leaf] = values


def _as_linear(module: Conv1D) -> nn.Linear:
    columns, rows = module.weight.shape
    linear = nn.Linear(columns, rows, device="meta")
    linear.weight = nn.Parameter(module.weight.data.T.contiguous(), requires_grad=False)
    linear.bias = module.bias
    return linear
