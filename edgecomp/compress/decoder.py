"""A decoder in pieces: its ends (embedding, final norm) and its blocks, each made when needed.

transformers' own classes are used for every piece, so rotary embeddings, soft caps, scaled
embeddings and norms are theirs. How a model calls its blocks (masks, positions, which layer slides)
is not restated either: the model's own `forward` is run once with each block replaced by a
`Recorder`, and what it passes to block i is kept and passed to block i later.
"""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from edgecomp.common.errors import ArchitectureUnsupported, CalibrationUnusable
from edgecomp.compress.checkpoint import find_stored, read_rows, read_tensor
from edgecomp.compress.experts import separate_experts
from edgecomp.models.huggingface.model import stored_tensors

BLOCK_LISTS = ("model.layers", "transformer.h")


class Recorder(nn.Module):
    """Stands where a block stood: remembers what it is called with and passes `replace` on."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden: Tensor | None = None
        self.replace: Tensor | None = None
        self.arguments: tuple[Any, ...] = ()
        self.keywords: dict[str, Any] = {}

    def forward(self, hidden: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        self.hidden, self.arguments, self.keywords = hidden, arguments, keywords
        return hidden if self.replace is None else self.replace


class Decoder:
    """The pieces of the checkpoint in `folder`, calibrated on `tokens` int64 [samples, length].

    Raises ArchitectureUnsupported where transformers does not lay the blocks out in a known place,
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
        self._ends = self._make_ends()
        self.blocks_name = next((n for n in BLOCK_LISTS if _has(self._ends, n)), "")
        if not self.blocks_name:
            kind = (self.config.architectures or [type(self._ends).__name__])[0]
            raise ArchitectureUnsupported(kind, "compressed block by block", list(BLOCK_LISTS))
        self._load_ends()
        self._recorders = [Recorder() for _ in range(self.layers)]
        blocks: nn.ModuleList = self._ends.get_submodule(self.blocks_name)
        blocks.extend(self._recorders)
        with torch.device("meta"):
            self._meta = _model(self.config).get_submodule(self.blocks_name)
        separate_experts(self._meta, self.stored)
        # One sample tells how every block is called: all samples have the same length.
        self.embed(slice(0, 1))
        self._calls = [(r.arguments, r.keywords) for r in self._recorders]

    def _make_ends(self) -> Any:
        config = copy.deepcopy(self.config)
        config.num_hidden_layers = 0
        # Only the rows of the embedding that the calibration uses are ever in memory.
        config.vocab_size = len(self._used)
        config.pad_token_id = config.bos_token_id = config.eos_token_id = None
        ends: Any = _model(config)
        # Restored now: `forward` chooses masks by layer, and layer_types was never shortened.
        ends.config.num_hidden_layers = self.layers
        return ends.eval().requires_grad_(requires_grad=False).to(self.device)

    def _load_ends(self) -> None:
        embedding = self._ends.get_input_embeddings().weight
        head = self._ends.get_output_embeddings()
        for name, parameter in self._ends.named_parameters():
            if parameter is embedding:
                parameter.copy_(read_rows(find_stored(self.stored, name), self._used))
            elif head is None or parameter is not head.weight:
                parameter.copy_(read_tensor(find_stored(self.stored, name)))

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
        module = copy.deepcopy(empty).to_empty(device=self.device)
        module = module.eval().requires_grad_(requires_grad=False)
        for name, parameter in module.named_parameters():
            parameter.data = read_tensor(
                find_stored(self.stored, f"{self.blocks_name}.{index}.{name}")
            ).to(self.device, torch.float32)
        for name, child in list(module.named_modules()):
            if isinstance(child, Conv1D):
                parent, _, leaf = name.rpartition(".")
                setattr(module.get_submodule(parent), leaf, _as_linear(child))
        return module

    def stored_weights(self, index: int, module: nn.Module) -> dict[str, Tensor]:
        """The tensors of block `index` as the checkpoint names and shapes them, float32."""
        tensors = {}
        for name, parameter in module.named_parameters():
            stored = find_stored(self.stored, f"{self.blocks_name}.{index}.{name}")
            owner = self._meta.get_submodule(f"{index}.{name}".rpartition(".")[0])
            transposed = name.endswith(".weight") and isinstance(owner, Conv1D)
            tensors[stored.name] = parameter.data.T if transposed else parameter.data
        return tensors

    def stored_name(self, name: str) -> str:
        """The checkpoint's name of the model's parameter `name`."""
        return find_stored(self.stored, name).name

    def run(self, index: int, module: nn.Module, hidden: Tensor) -> Tensor:
        """Outputs of block `index` [samples, length, width] for the inputs `hidden`."""
        arguments, keywords = self._calls[index]
        output = module(hidden, *arguments, **keywords)
        return output[0] if isinstance(output, tuple) else output  # type: ignore[no-any-return]

    def embed(self, samples: slice) -> Tensor:
        """What enters block 0 for these calibration samples, float32 [samples, length, width]."""
        self._recorders[0].replace = None
        self._ends.base_model(input_ids=self._compact[samples].to(self.device), use_cache=False)
        hidden = self._recorders[0].hidden
        assert hidden is not None
        return hidden

    def final(self, hidden: Tensor) -> Tensor:
        """What enters the output head, for what the last block put out; same shape."""
        self._recorders[-1].replace = hidden
        ids = self._compact[: len(hidden)].to(self.device)
        result: Tensor = self._ends.base_model(input_ids=ids, use_cache=False).last_hidden_state
        self._recorders[-1].replace = None
        return result


def _has(module: nn.Module, name: str) -> bool:
    try:
        return isinstance(module.get_submodule(name), nn.ModuleList)
    except AttributeError:
        return False


def _model(config: PreTrainedConfig) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_config(  # type: ignore[no-untyped-call]
        config, dtype=torch.float32
    )
    return model


def _as_linear(module: Conv1D) -> nn.Linear:
    columns, rows = module.weight.shape
    linear = nn.Linear(columns, rows, device="meta")
    linear.weight = nn.Parameter(module.weight.data.T.contiguous(), requires_grad=False)
    linear.bias = module.bias
    return linear
