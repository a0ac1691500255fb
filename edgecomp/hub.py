"""Models on the Hugging Face hub: the only code that touches the network, and only for a hub id.

Planning needs headers alone, so weights are not downloaded for it: the first bytes of each
safetensors file are fetched into a sparse file of the full size, which reads like the whole one.
"""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from edgecomp.errors import HubFailed
from edgecomp.folders import HUB_HEADERS, cache_folder

if TYPE_CHECKING:
    from huggingface_hub.hf_api import RepoSibling

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
SMALL_FILES = ("*.json", "*.jinja", "tokenizer.model", "README.md")
WEIGHTS = "*.safetensors"
SECONDS = 30


def is_hub_id(model: str) -> bool:
    """True where `model` is written like owner/name and no such path exists."""
    return bool(HUB_ID.fullmatch(model)) and not Path(model).exists()


def holds_headers_alone(file: Path) -> bool:
    """True for a file of weights whose header alone was fetched: it reads as zeros."""
    return file.absolute().is_relative_to((cache_folder() / HUB_HEADERS).absolute())


def download_model(hub_id: str) -> Path:
    """The folder of the whole model, downloaded where it is not there yet. Raises HubFailed."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(hub_id, allow_patterns=[*SMALL_FILES, WEIGHTS]))
    except Exception as error:
        raise _failed(hub_id, error) from error


def download_headers(hub_id: str) -> Path:
    """A folder with the model's small files and the headers of its weights. Raises HubFailed."""
    from huggingface_hub import HfApi, snapshot_download

    try:
        info = HfApi().model_info(hub_id, files_metadata=True)
        small = Path(snapshot_download(hub_id, revision=info.sha, allow_patterns=[*SMALL_FILES]))
        folder = cache_folder() / HUB_HEADERS / hub_id / str(info.sha)
        folder.mkdir(parents=True, exist_ok=True)
        for file in small.iterdir():
            link = folder / file.name
            if file.is_file() and not link.exists():
                link.symlink_to(file.resolve())
        for sibling in info.siblings or []:
            if sibling.rfilename.endswith(".safetensors") and "/" not in sibling.rfilename:
                _fetch_header(hub_id, str(info.sha), sibling, folder / sibling.rfilename)
    except Exception as error:
        raise _failed(hub_id, error) from error
    return folder


def _fetch_header(hub_id: str, revision: str, sibling: RepoSibling, path: Path) -> None:
    from huggingface_hub import hf_hub_url

    if path.exists():
        return
    url = hf_hub_url(hub_id, sibling.rfilename, revision=revision)
    (length,) = struct.unpack("<Q", _range(url, 0, 8))
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(struct.pack("<Q", length) + _range(url, 8, length))
        file.truncate(sibling.size or 8 + length)
    partial.replace(path)


def _range(url: str, start: int, count: int) -> bytes:
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        get_session,
    )

    headers = {**build_hf_headers(), "Range": f"bytes={start}-{start + count - 1}"}
    answer = get_session().get(url, headers=headers, timeout=SECONDS, follow_redirects=True)
    answer.raise_for_status()
    content: bytes = answer.content
    return content[:count]


def _failed(hub_id: str, error: Exception) -> HubFailed:
    # The hub's client raises many classes, its HTTP library's among them; to the user all of them
    # mean that the model did not come.
    kind = type(error).__name__
    first = next(iter(str(error).splitlines()), kind)
    return HubFailed(
        f"The model {hub_id} could not be fetched from the hub ({kind}: {first}). Check the name "
        "and the connection; a gated model needs `hf auth login`. A local folder needs no network."
    )
