"""Seeded mutations of a file's bytes, of the values in its JSON, and of the lines in its text."""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Callable
from random import Random
from typing import Any

HUGE = (2**15, 2**16, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**53, 2**62, 2**63 - 1)
ODD_NUMBERS = (-1, 0, 1, 2, 3, 7, 64, *HUGE, 2**63, 2**64, 10**30, -(2**63), 0.5, 1e-300, 1e308)
ODD_TEXTS = (
    "", " ", "x", "..", "../../etc/passwd", "/etc/passwd", "~/x", "a\0b", "\x1b[2J", "\ud800",
    "\ufeff", "\u202e", "0", "1e999", "NaN", "None", "%s%n", "{{ 1/0 }}", "$(id)", "x" * 5000,
)  # fmt: skip
NOT_FINITE = (float("nan"), float("inf"), float("-inf"))
NUMBER = re.compile(r"\d+(\.\d+)?")
LARGER_BYTES = (1 << 20, 1 << 31, 1 << 40)


def odd_value(random: Random) -> Any:
    """A value that hardly any entry expects."""
    kind = random.randrange(8)
    if kind < 3:
        return random.choice(ODD_NUMBERS)
    if kind < 5:
        return random.choice(ODD_TEXTS)
    if kind == 5:
        return random.choice((None, True, False, [], {}, *NOT_FINITE))
    if kind == 6:
        return [random.choice(ODD_NUMBERS) for _ in range(random.randrange(1, 5))]
    return {random.choice(ODD_TEXTS): random.choice(ODD_NUMBERS)}


def mutated_bytes(content: bytes, random: Random) -> bytes:
    """Some bytes flipped, cut off, put in, doubled, or replaced by a huge number."""
    made = bytearray(content)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        at = random.randrange(len(made)) if made else 0
        match random.randrange(7):
            case 0:
                made[at : at + 1] = bytes([random.randrange(256)])
            case 1:
                del made[at:]
            case 2:
                made[at:at] = random.randbytes(random.choice((1, 4, 8)))
            case 3:
                made[at : at + 8] = struct.pack("<Q", random.choice(HUGE))
            case 4:
                made[at : at + 4] = struct.pack("<I", random.choice(HUGE) % 2**32)
            case 5:
                other = random.randrange(len(made)) if made else 0
                made[at:at] = made[other : other + random.randrange(1, 64)]
            case _:
                del made[at : at + random.randrange(1, 16)]
    return bytes(made)


def mutated_json(content: bytes, random: Random) -> bytes:
    """Some values replaced, taken out, doubled, renamed or wrapped; now and then mere bytes."""
    if random.random() < 0.15:
        return mutated_bytes(content, random)
    if random.random() < 0.02:
        return random.choice((b"[" * 100_000, b'{"a":' * 50_000, b"", b"null", b"1", b"[]", b'"x"'))
    value = json.loads(content)
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        value = _changed(value, random, replaced=0.02)
    encoding = "utf-8-sig" if random.random() < 0.05 else "utf-8"
    return json.dumps(value, ensure_ascii=random.random() < 0.5).encode(encoding, "replace")


def _changed(value: Any, random: Random, replaced: float = 0.3) -> Any:
    """`value` with one change at a random depth; `replaced`: how often it is the whole."""
    if random.random() < replaced or not isinstance(value, dict | list) or not value:
        return _nested(value, random) if random.random() < 0.05 else odd_value(random)
    made = value.copy()
    keys = list(made) if isinstance(made, dict) else list(range(len(made)))
    key = random.choice(keys)
    match random.randrange(8):
        case 0:
            del made[key]
        case 1 if isinstance(made, dict):
            made[random.choice(ODD_TEXTS)] = made.pop(key)
        case 1 | 2 if isinstance(made, list):
            made.insert(key, made[key])
        case 2:
            made[key] = made[random.choice(keys)]
        case _:
            made[key] = _changed(made[key], random)
    return made


def _nested(value: Any, random: Random) -> Any:
    for _ in range(random.choice((3, 50, 900))):
        value = [value] if random.random() < 0.5 else {"a": value}
    return value


def mutated_text(content: bytes, random: Random) -> bytes:
    """Lines of YAML, TOML or JSON lines: values replaced, lines lost, doubled or moved in."""
    if random.random() < 0.15:
        return mutated_bytes(content, random)
    lines = content.decode().splitlines()
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        at = random.randrange(len(lines)) if lines else 0
        lines = lines or [""]
        match random.randrange(6):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, random.choice(lines))
            case 2:
                lines[at] = random.choice((" ", "\t", "- ")) + lines[at]
            case _:
                numbers = list(NUMBER.finditer(lines[at]))
                if numbers and random.random() < 0.5:
                    number = random.choice(numbers)
                    odd = str(random.choice(ODD_NUMBERS))
                    lines[at] = lines[at][: number.start()] + odd + lines[at][number.end() :]
                else:
                    lines[at] = _other_value(lines[at], random)
    return ("\n".join(lines) + "\n").encode("utf-8", "replace")


def _other_value(line: str, random: Random) -> str:
    for sign in ("=", ":"):
        name, found, _ = line.partition(sign)
        if found:
            value = odd_value(random)
            plain = str(value) if isinstance(value, int | float) else json.dumps(value)
            return f"{name}{sign} {plain}"
    return line[::-1]


def mutated_rows(content: bytes, random: Random) -> bytes:
    """One row of JSON lines changed as JSON is."""
    rows = content.splitlines()
    at = random.randrange(len(rows))
    rows[at] = mutated_json(rows[at], random)
    return b"\n".join(rows)


Mutation = Callable[[bytes, Random], bytes]


def mutated_safetensors(content: bytes, random: Random) -> bytes:
    """The header changed as JSON is, with its true length before it; or mere bytes."""
    if random.random() < 0.4:
        return mutated_bytes(content, random)
    (length,) = struct.unpack("<Q", content[:8])
    header = mutated_json(content[8 : 8 + length], random)
    return struct.pack("<Q", len(header)) + header + content[8 + length :]
