"""Models on the Hugging Face hub: the only code that touches the network, and only for a hub id.

Planning needs headers alone, so weights are not downloaded for it: the first bytes of each
safetensors file are fetched into a sparse file of the full size, which reads like the whole one.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from http.client import PARTIAL_CONTENT
from pathlib import Path

from edgecomp.common.atomic import replacing, write_error
from edgecomp.common.errors import EdgecompError, HubFailed
from edgecomp.common.folders import HUB_HEADERS, cache_folder
from edgecomp.common.json_text import parsed_json
from edgecomp.common.safe_text import one_line

HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
SMALL_FILES = ("*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt", "README.md")
SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
IN_FOLDERS = "*/*"
COPIES = ("consolidated", "adapter")
"""How files of weights begin that hold the model in another layout, or something else."""

SECONDS = 30
LONGEST_HEADER_BYTES = 100_000_000
PIECE_BYTES = 1 << 16


def is_hub_id(model: str) -> bool:
    """True where `model` is written like owner/name and no such path exists."""
    return bool(HUB_ID.fullmatch(model)) and not Path(model).exists()


def holds_headers_alone(file: Path) -> bool:
    """True for a file of weights whose header alone was fetched: it reads as zeros."""
    return file.absolute().is_relative_to((cache_folder() / HUB_HEADERS).absolute())


def download_model(hub_id: str) -> Path:
    """The folder of the whole model, downloaded where it is not there yet: the small files of the
    repository's root, and the weights that transformers would read. Raises HubFailed."""
    with _explained(hub_id):
        folder = _snapshot(hub_id, None, SMALL_FILES)
        revision = folder.name
        _snapshot(hub_id, revision, (SINGLE,))
        if not (folder / SINGLE).is_file():
            _snapshot(hub_id, revision, _files_of_index(folder) or ("*.safetensors",))
    return folder


def download_headers(hub_id: str) -> Path:
    """A folder with the model's small files and the headers of its weights. Raises HubFailed."""
    from huggingface_hub import HfApi

    with _explained(hub_id):
        info = HfApi().model_info(hub_id, files_metadata=True)
        small = _snapshot(hub_id, info.sha, SMALL_FILES)
        folder = cache_folder() / HUB_HEADERS / hub_id / str(info.sha)
        folder.mkdir(parents=True, exist_ok=True)
        for file in small.iterdir():
            link = folder / file.name
            if file.is_file() and not link.exists() and not file.name.endswith(".safetensors"):
                link.symlink_to(file.resolve())
        sizes = {row.rfilename: row.size for row in info.siblings or [] if "/" not in row.rfilename}
        for name in _weights(sizes, folder):
            _fetch_header(hub_id, str(info.sha), name, sizes[name], folder / name)
    return folder


def _snapshot(hub_id: str, revision: str | None, patterns: Sequence[str]) -> Path:
    """Files of the repository's root whose names fit a pattern, in the hub's own cache."""
    from huggingface_hub import snapshot_download

    copies = [f"{name}*.safetensors" for name in COPIES]
    return Path(
        snapshot_download(
            hub_id,
            revision=revision,
            allow_patterns=list(patterns),
            ignore_patterns=[IN_FOLDERS, *copies],
        )
    )


def _files_of_index(folder: Path) -> tuple[str, ...]:
    """The files that the index of a folder names, none where there is no index that can be read."""
    try:
        shard_of = parsed_json((folder / INDEX).read_text(encoding="utf-8-sig"))["weight_map"]
        return tuple(sorted({name for name in shard_of.values() if isinstance(name, str)}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return ()


def _weights(names: Iterable[str], folder: Path) -> list[str]:
    """Which of a repository's files are the weights that transformers would read."""
    found = [name for name in names if name.endswith(".safetensors")]
    if SINGLE in found:
        return [SINGLE]
    indexed = [name for name in _files_of_index(folder) if name in found]
    return indexed or [name for name in found if not name.startswith(COPIES)]


def _fetch_header(hub_id: str, revision: str, name: str, size: int | None, path: Path) -> None:
    """huggingface_hub's `parse_safetensors_file_metadata` reads the whole answer into memory, which
    is the whole file where a mirror ignores Range; here reading ends with the header."""
    from huggingface_hub import hf_hub_url

    if path.exists():
        return
    url = hf_hub_url(hub_id, name, revision=revision)
    (length,) = struct.unpack("<Q", _range(url, 0, 8))
    if length > LONGEST_HEADER_BYTES:
        raise HubFailed(
            f"{name} of {hub_id} is no safetensors file: its header claims {length:,} bytes. Tell "
            "its publisher, or take another model."
        )
    header = struct.pack("<Q", length) + _range(url, 8, length)
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(header)
        file.truncate(max(size or 0, 8 + length))


def _range(url: str, start: int, count: int) -> bytes:
    """`count` bytes from `start` on; of a longer answer the rest is not read."""
    from huggingface_hub.utils import (  # type: ignore[attr-defined]
        build_hf_headers,
        get_session,
        hf_raise_for_status,
    )

    headers = {**build_hf_headers(), "Range": f"bytes={start}-{start + count - 1}"}
    content = bytearray()
    with get_session().stream(
        "GET", url, headers=headers, timeout=SECONDS, follow_redirects=True
    ) as answer:
        hf_raise_for_status(answer)
        skipped = 0 if answer.status_code == PARTIAL_CONTENT else start
        for piece in answer.iter_bytes(PIECE_BYTES):
            content += piece
            if len(content) >= skipped + count:
                break
    if len(content) < skipped + count:
        raise HubFailed(f"{url} ends before the header of its weights does. Try again later.")
    return bytes(content[skipped : skipped + count])


@contextmanager
def _explained(hub_id: str) -> Iterator[None]:
    """Turns what the hub's client raises into HubFailed, DiskFull or NotWritable, by its cause."""
    import httpx2
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    known = (OSError, httpx2.HTTPError, HFValidationError)
    try:
        yield
    except known as error:
        cause: BaseException = error
        while isinstance(cause, LocalEntryNotFoundError) and cause.__cause__:
            cause = cause.__cause__
        raise _failed(hub_id, cause) from error


def _failed(hub_id: str, error: BaseException) -> EdgecompError:
    import httpx2
    from huggingface_hub import errors

    fault = f"The model {hub_id} could not be fetched from the hub"
    page = "Look it up on the hub's page."
    first = one_line(str(error)) or type(error).__name__
    match error:
        case errors.GatedRepoError():
            text = f"{fault}: it is gated. Accept its terms on its page, then run `hf auth login`."
        case errors.RepositoryNotFoundError():
            text = (
                f"{fault}: there is none of this name, or it is private. Check the name; a private "
                "one needs `hf auth login`."
            )
        case errors.RevisionNotFoundError() | errors.EntryNotFoundError() if not isinstance(
            error, errors.LocalEntryNotFoundError
        ):
            text = f"{fault}: it lacks a revision or a file ({first}). {page}"
        case errors.DisabledRepoError():
            text = f"{fault}: the hub has disabled it. {page}"
        case errors.HFValidationError():
            text = f"{fault}: that is no name of a model there ({first})."
        case errors.OfflineModeIsEnabled() | errors.LocalEntryNotFoundError():
            text = (
                f"{fault}: the client is offline (HF_HUB_OFFLINE) and its files are not all in the "
                "cache. Go online once, or give a local folder."
            )
        case errors.HfHubHTTPError() if error.response.status_code in (401, 403):
            text = f"{fault}: it asks who you are ({first}). Run `hf auth login`."
        case errors.HfHubHTTPError():
            status = error.response.status_code
            text = f"{fault}: it answered with status {status} ({first}). Try again later."
        case httpx2.HTTPError() | ConnectionError() | TimeoutError():
            text = (
                f"{fault}: there is no connection to it ({type(error).__name__}: {first}). Check "
                "the network; a local folder needs none."
            )
        case OSError():
            named = error.filename if isinstance(error.filename, str) else None
            return write_error(Path(named) if named else cache_folder(), error)
        case _:
            text = f"{fault} ({type(error).__name__}: {first}). {page}"
    return HubFailed(text)
