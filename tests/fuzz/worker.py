"""Runs mutated inputs, one a line of its stdin, and answers a line each.

Its memory may grow by so much an input; what does not answer is the parent's to notice.
"""

from __future__ import annotations

import json
import resource
import sys
import traceback
from pathlib import Path

from edgecomp.common.errors import EdgecompError
from fuzz.kinds import KINDS, write_input

GROWTH_BYTES = 1 << 30
LONGEST_MESSAGE = 3000


def outcome(kind: str, seed: int, folder: Path) -> tuple[str, str]:
    """`accepted`, `refused` or `failed`, and what was said."""
    file = write_input(kind, seed, folder)
    # Not the address space: mapping a large file takes no memory.
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (_data_bytes() + GROWTH_BYTES, hard))
    try:
        KINDS[kind].run(file)
    except EdgecompError as error:
        text = str(error)
        if "\n" in text or len(text) > LONGEST_MESSAGE:
            return "failed", f"no single paragraph: {text[:LONGEST_MESSAGE]!r}"
        return "refused", text
    except BaseException:
        return "failed", traceback.format_exc(limit=-8)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    return "accepted", ""


def _data_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[5])
    return pages * resource.getpagesize()


def main() -> None:
    folder = Path(sys.argv[1])
    for kind in KINDS:
        # Imports and what is made once belong to no input.
        outcome(kind, -1, folder)
    print(json.dumps(["ready", ""]), flush=True)
    for line in sys.stdin:
        kind, seed = json.loads(line)
        print(json.dumps(outcome(kind, seed, folder)), flush=True)


if __name__ == "__main__":
    main()
