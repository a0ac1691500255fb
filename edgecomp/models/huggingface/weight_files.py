"""Which files of a checkpoint folder hold its weights, and which tensors of each are the model's.

As transformers chooses them: `model.safetensors` comes first, an index after it. Where two shards
hold a tensor of the same name, the index says which is the model's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgecomp.common.errors import FileCorrupt, ModelIncomplete, UnsafeFile
from edgecomp.common.inside_folder import path_inside
from edgecomp.common.json_text import parsed_json
from edgecomp.models.safetensors_header import StoredTensor, read_safetensors_header

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
ADAPTER, ADAPTER_CONFIG = "adapter_model", "adapter_config.json"
PICKLES = ("*.bin", "*.pt", "*.pth")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object from a file, with or without a byte order mark. Raises FileCorrupt."""
    try:
        value = parsed_json(path.read_text(encoding="utf-8-sig"))
    except ValueError as error:
        raise FileCorrupt(path, f"it is not valid JSON ({error}).") from error
    if not isinstance(value, dict):
        raise FileCorrupt(path, "it does not hold a JSON object.")
    return value


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a checkpoint folder, by their Hugging Face names.

    Raises ModelIncomplete where there are none or a shard is missing, UnsafeFile where there are
    only pickles, PathOutside where the index names a file elsewhere, and FileCorrupt, also where
    a tensor lies in two files and no index says which is meant.
    """
    shard_of = {} if (folder / SINGLE).is_file() else _weight_map(folder)
    if shard_of:
        files = [folder / shard for shard in sorted(set(shard_of.values()))]
    else:
        files = _unlisted_files(folder)
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        for name, tensor in read_safetensors_header(file).items():
            meant = shard_of.get(name)
            if name not in tensors or meant == file.relative_to(folder).as_posix():
                tensors[name] = tensor
            elif meant is None or tensors[name].file != folder / meant:
                raise FileCorrupt(
                    file,
                    f"{name} lies in {tensors[name].file.name} as well, and no index says which "
                    "is meant.",
                    "Remove the files that are left over from another copy of the model.",
                )
    return tensors


def left_over(folder: Path) -> Iterator[str]:
    """What lies beside the weights and is not read, one sentence each."""
    if (folder / SINGLE).is_file() and (folder / INDEX).is_file():
        yield (
            f"{SINGLE} is read, as transformers does; {INDEX} beside it is left over from other "
            "files and is not followed."
        )
    if (folder / ADAPTER_CONFIG).is_file() or any(folder.glob(f"{ADAPTER}*.safetensors")):
        yield (
            "An adapter lies beside the weights and is not applied. If it is not merged already, "
            "merge it by peft's merge_and_unload and give the result; else remove it."
        )


def _weight_map(folder: Path) -> dict[str, str]:
    """The file of each tensor, as the index says; empty without an index."""
    index = folder / INDEX
    if not index.is_file():
        return {}
    shard_of = read_json(index).get("weight_map")
    if not isinstance(shard_of, dict) or not all(isinstance(f, str) for f in shard_of.values()):
        raise FileCorrupt(index, "its weight_map does not name a file for each weight.")
    if not shard_of:
        raise FileCorrupt(index, "its weight_map is empty.")
    shards = sorted(set(shard_of.values()))
    missing = [shard for shard in shards if not path_inside(folder, shard, index).is_file()]
    if missing:
        raise ModelIncomplete(
            folder,
            f"{len(missing)} of {len(shards)} shards are missing, {missing[0]} first.",
            "Download them.",
        )
    return {
        name: (folder / shard).relative_to(folder).as_posix() for name, shard in shard_of.items()
    }


def _unlisted_files(folder: Path) -> list[Path]:
    single = folder / SINGLE
    if single.is_file():
        # Other files beside the model's own are copies in another layout, or adapters.
        return [single]
    found = sorted(f for f in folder.glob("*.safetensors") if not f.name.startswith(ADAPTER))
    if found:
        return found
    pickles = [file for pattern in PICKLES for file in sorted(folder.glob(pattern))]
    pickles = [file for file in pickles if not file.name.startswith(ADAPTER)]
    if pickles:
        raise UnsafeFile(pickles[0], "Convert it to safetensors first.")
    raise ModelIncomplete(folder, "it has no safetensors files.", "Download the weights.")
