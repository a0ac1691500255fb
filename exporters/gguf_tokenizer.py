"""A Hugging Face tokenizer as GGUF metadata.

Two kinds go over: byte-level BPE (`gpt2` in GGUF) and SentencePiece BPE with byte fallback
(`llama`). Token types follow tokenizer.json: what it calls special is a control token, any other
added token is user-defined. That llama.cpp then gives the same ids is not assumed but compared
(edgecomp.checks.token_id_check).
"""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import gguf

from edgecomp.common.errors import ExportRefused, FileCorrupt, ModelIncomplete
from edgecomp.common.safe_text import one_line
from edgecomp.models.huggingface.end_tokens import end_token_ids
from edgecomp.models.huggingface.model import read_json
from edgecomp.models.huggingface.template_file import folder_template
from edgecomp.models.huggingface.tokenizer_entries import check_tokenizer

from .pretokenizers import recognise
from .sentencepiece_model import BYTE, CONTROL, NORMAL, UNKNOWN, UNUSED, USER_DEFINED, read_pieces

SPACE = "\u2581"
PHI3 = re.compile("phi-?3", re.IGNORECASE)
PHI3_TOKENS = ("</s>", "<unk>", "<s>", "<|endoftext|>")
LOWEST_SCORE = -1000.0
END_KEYS = ("eos", "eot", "eom")
"""GGUF's entries for tokens that end an answer; llama.cpp stops at each of them."""

MOST_LISTED, LONGEST_TOKEN = 5, 40
NO_FILE = "Load it with transformers' AutoTokenizer and save it again: that writes tokenizer.json."


def add_tokenizer(
    writer: gguf.GGUFWriter, folder: Path, definition: dict[str, Any], rows: int
) -> None:
    """Add the tokenizer of `folder` to `writer`, filled up to the embedding's `rows`.

    `definition` is its tokenizer.json. Raises ExportRefused where llama.cpp has no such tokenizer
    or the embedding has fewer rows than there are tokens.
    """
    byte_level = _is_byte_level(definition)
    tokens, types = _tokens(definition, rows, byte_level=byte_level)
    if byte_level:
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(recognise(definition).name)
    else:
        writer.add_tokenizer_model("llama")
        writer.add_tokenizer_pre("default")
        writer.add_token_scores(_scores(definition, folder, tokens, types))
        writer.add_add_space_prefix(_adds_space(definition))
    writer.add_token_list(tokens)
    writer.add_token_types(types)
    if byte_level:
        writer.add_token_merges(_merges(definition))
    _add_special(writer, folder, definition, rows)


def require_tokenizer(folder: Path) -> Path:
    """The tokenizer.json of a model folder. Raises ModelIncomplete where there is none."""
    path = folder / "tokenizer.json"
    if not path.is_file():
        raise ModelIncomplete(folder, "it has no tokenizer.json.", NO_FILE)
    return path


def tokenizer_definition(folder: Path) -> dict[str, Any]:
    """tokenizer.json of a model folder. Raises ModelIncomplete where there is none, FileCorrupt
    where it has no vocabulary, or an entry that is read here is of another type."""
    path = require_tokenizer(folder)
    definition = read_json(path)
    model = definition.get("model")
    if not isinstance(model, dict) or not model.get("vocab"):
        raise FileCorrupt(path, "it has no vocabulary.")
    check_tokenizer(definition, path)
    return definition


def name_in_file(definition: dict[str, Any], name: str) -> str:
    """The model's name as `general.name`, given its tokenizer.json.

    llama.cpp lets special tokens swallow the whitespace after them wherever the name holds "phi-3"
    or "phi3", and nowhere else; so the name must say what the tokenizer does. Under such a name
    llama.cpp needs PHI3_TOKENS to be there.
    """
    added = definition.get("added_tokens", [])
    vocabulary = definition["model"]["vocab"]
    # Those of kinds that are no BPE are lists of pieces and scores.
    texts = {row["content"] for row in added}.union(
        vocabulary if isinstance(vocabulary, dict) else ()
    )
    strips = any(row.get("special") and row.get("rstrip") for row in added)
    strips = strips and all(text in texts for text in PHI3_TOKENS)
    if strips and not PHI3.search(name):
        return f"{name} (phi-3 tokenizer)"
    return name if strips else PHI3.sub("Phi 3", name)


def _is_byte_level(definition: dict[str, Any]) -> bool:
    model = definition["model"]
    if model.get("type") != "BPE":
        raise ExportRefused(
            f"The tokenizer is of the kind {model.get('type')!r}; only BPE, byte-level or with "
            "byte fallback, can be written here. Use a GGUF file made by llama.cpp's own converter."
        )
    return not model.get("byte_fallback")


def tokenizer_notes(folder: Path, definition: dict[str, Any], rows: int) -> list[str]:
    """What of the tokenizer does not go over. `rows`: the embedding's."""
    found = []
    left_out = [text for number, text in _added_tokens(definition).items() if number >= rows]
    if left_out:
        found.append(
            f"{len(left_out)} added tokens have no row in the embedding and are left out: "
            f"{_listed(left_out)}."
        )
    lost = end_token_ids(folder)[len(END_KEYS) :]
    if lost:
        texts = _texts(definition)
        found.append(
            f"GGUF has room for {len(END_KEYS)} tokens that end an answer; left out: "
            f"{_listed([texts.get(number, str(number)) for number in lost])}."
        )
    return found


def _listed(texts: list[str]) -> str:
    shown = ", ".join(one_line(text, LONGEST_TOKEN) for text in texts[:MOST_LISTED])
    return shown if len(texts) <= MOST_LISTED else f"{shown} …"


def _added_tokens(definition: dict[str, Any]) -> dict[int, str]:
    return {int(row["id"]): str(row["content"]) for row in definition.get("added_tokens") or []}


def _texts(definition: dict[str, Any]) -> dict[int, str]:
    """Every token's text by its id."""
    vocabulary = definition["model"]["vocab"]
    if not isinstance(vocabulary, dict):
        return _added_tokens(definition)
    return {int(number): text for text, number in vocabulary.items()} | _added_tokens(definition)


def _tokens(
    definition: dict[str, Any], rows: int, *, byte_level: bool
) -> tuple[list[str], list[int]]:
    """Each row's text and type. Added tokens without a row are left out: nothing can embed them."""
    added = {int(row["id"]): row for row in definition.get("added_tokens") or []}
    texts = _texts(definition)
    last = max(number for number in definition["model"]["vocab"].values() if number not in added)
    if last >= rows:
        raise ExportRefused(
            f"The tokenizer has {last + 1:,} tokens, the embedding {rows:,} rows. "
            "Resize the embedding to the tokenizer first."
        )
    unknown = None if byte_level else definition["model"].get("unk_token")
    taken = set(texts.values())
    tokens, types = [], []
    for number in range(rows):
        text = texts.get(number)
        if text is None:
            text, kind = _filler(number, taken), UNUSED
        elif not byte_level and text == unknown:
            kind = UNKNOWN
        elif number in added:
            kind = CONTROL if added[number].get("special") else USER_DEFINED
            # llama.cpp looks for these in the text as it stands, before spaces are replaced.
            text = text.replace(SPACE, " ") if kind == USER_DEFINED else text
        else:
            kind = BYTE if not byte_level and _is_byte(text) else NORMAL
        tokens.append(text)
        types.append(kind)
    _require_different(tokens)
    return tokens, types


def _filler(number: int, taken: set[str]) -> str:
    """A text for a row without a token that no token has."""
    text = f"[PAD{number}]"
    while text in taken:
        text = f"_{text}"
    return text


def _require_different(tokens: list[str]) -> None:
    """llama.cpp finds tokens by their texts, and ends the process where two have the same."""
    rows_of: dict[str, int] = {}
    for number, text in enumerate(tokens):
        first = rows_of.setdefault(text, number)
        if first != number:
            raise ExportRefused(
                f"The tokens {first} and {number} have the same text "
                f"{one_line(repr(text), LONGEST_TOKEN)} as llama.cpp reads them, which it does not "
                "load. Rename one of them in tokenizer.json, or use the model's own runtime."
            )


def _is_byte(text: str) -> bool:
    return len(text) == 6 and text.startswith("<0x") and text.endswith(">")


def _scores(
    definition: dict[str, Any], folder: Path, tokens: list[str], types: list[int]
) -> list[float]:
    """The order in which llama.cpp merges: a pair whose joined token scores higher goes first.

    The model file's own scores where it is there and agrees with tokenizer.json; else the rank of
    the first merge that gives a token, negated, which orders tokens alike.
    """
    path = folder / "tokenizer.model"
    pieces = read_pieces(path) if path.is_file() else []
    ranks: dict[str, int] = {}
    for rank, merge in enumerate(definition["model"]["merges"]):
        left, right = merge.split(" ", 1) if isinstance(merge, str) else merge
        ranks.setdefault(left + right, rank)
    scores = []
    for number, (text, kind) in enumerate(zip(tokens, types, strict=True)):
        if kind != NORMAL:
            scores.append(0.0 if kind in (UNKNOWN, BYTE) else LOWEST_SCORE)
        elif number < len(pieces) and pieces[number].text == text:
            scores.append(pieces[number].score)
        else:
            scores.append(-float(ranks.get(text, len(ranks))))
    return scores


def _adds_space(definition: dict[str, Any]) -> bool:
    """True where a space is put before the text."""
    parts = [definition.get("normalizer"), definition.get("pre_tokenizer")]
    while parts:
        match parts.pop():
            case {"type": "Sequence", "normalizers": list(steps)}:
                parts += steps
            case {"type": "Sequence", "pretokenizers": list(steps)}:
                parts += steps
            case {"type": "Prepend"}:
                return True
            case {"type": "Metaspace", **rest}:
                return rest.get("prepend_scheme", "always") != "never"
    return False


def _merges(definition: dict[str, Any]) -> list[str]:
    """The merges as GGUF has them, "left right".

    The byte alphabet holds no space: a merge with one in a part never happens, and cannot be told
    from another in GGUF's words. It is left out.
    """
    merges = definition["model"]["merges"]
    pairs = [merge.split(" ", 1) if isinstance(merge, str) else merge for merge in merges]
    return [" ".join(pair) for pair in pairs if not any(" " in part for part in pair)]


def _add_special(
    writer: gguf.GGUFWriter, folder: Path, definition: dict[str, Any], rows: int
) -> None:
    """Add the special tokens' ids, whether BOS and EOS are added, and the chat template."""
    # It warns of what is settled below from the post-processor itself.
    logging.getLogger("gguf.vocab").setLevel(logging.ERROR)
    try:
        special = gguf.SpecialVocab(folder, load_merges=False, n_vocab=rows)
    except Exception as error:  # It reads the files without a look at what they hold.
        fault = f"its special tokens cannot be read ({type(error).__name__})."
        raise FileCorrupt(folder / "tokenizer_config.json", fault) from error
    ids = special.special_token_ids
    before, after = _added_ids(definition)
    ends = [token for token in end_token_ids(folder) if token < rows]
    if len(after) == 1 and (not ends or after[0] in ends):
        ends = [*after, *(token for token in ends if token not in after)]
    ids |= dict(zip(END_KEYS, ends, strict=False))
    if len(before) == 1 and before[0] < rows:
        # What stands before each text is what llama.cpp calls BOS, however it is named elsewhere.
        ids.setdefault("bos", before[0])
    if before not in ([], [ids.get("bos")]) or after not in ([], [ids.get("eos")]):
        raise ExportRefused(
            f"The tokenizer puts the tokens {before} before each text and {after} after it; "
            "llama.cpp can add only BOS and EOS. Use the model's own runtime."
        )
    path = folder / "tokenizer_config.json"
    settings = read_json(path) if path.is_file() else {}
    special.add_special_token = {
        key: bool(
            added if settings.get(f"add_{key}_token") is None else settings[f"add_{key}_token"]
        )
        and key in ids
        for key, added in (("bos", before), ("eos", after))
    }
    special.chat_template = folder_template(folder)
    special.add_to_gguf(writer, quiet=True)


def _added_ids(definition: dict[str, Any]) -> tuple[list[int], list[int]]:
    """The ids that the post-processor of a tokenizer.json puts before and after a single text."""
    processor = definition.get("post_processor") or {}
    before: list[int] = []
    after: list[int] = []
    for part in processor.get("processors", [processor] if processor else []):
        if part["type"] not in ("TemplateProcessing", "ByteLevel"):
            raise ExportRefused(
                f"The tokenizer adds tokens by {part['type']!r}, which llama.cpp does not do. "
                "Use the model's own runtime."
            )
        side = before
        for entry in part.get("single", []):
            if "Sequence" in entry:
                side = after
            else:
                side += part["special_tokens"][entry["SpecialToken"]["id"]]["ids"]
    return before, after
