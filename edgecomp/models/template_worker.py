"""The worker that renders chat templates, which are programs that come with a model.

The environment is transformers' own (`transformers/utils/chat_template_utils.py`): Jinja's
immutable sandbox and the extensions that templates use. A sandbox keeps a program from the machine,
not from running for ever or filling the memory; so each rendering has so much processor time, after
which the kernel ends this process, and the process so much memory.
"""

from __future__ import annotations

import resource
import signal
from collections.abc import Sequence
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import jinja2
from transformers.utils.chat_template_utils import _compile_jinja_template

from edgecomp.common.errors import ChatTemplateBroken
from edgecomp.common.events import Progress
from edgecomp.common.safe_text import one_line
from edgecomp.processes.child import serve

TODAY = datetime(2026, 1, 1)
"""The date a template sees; fixed, so that the same run makes the same prompts."""

MORE_MEMORY_BYTES = 1 << 29
"""What rendering may take beyond what the process holds at its start."""

LONGEST_TEXT = 1 << 24
"""Characters of a rendered conversation."""


def render(
    source: str,
    messages: Sequence[dict[str, str]],
    special: dict[str, str],
    processor_seconds: float,
    progress: Progress,
    *,
    add_generation_prompt: bool,
) -> str:
    """The conversation as `source` lays it out. Raises ChatTemplateBroken; ends this process where
    it takes longer than `processor_seconds`."""
    # Its signal ends the process, whatever loop in Python or C the template is in.
    signal.setitimer(signal.ITIMER_PROF, processor_seconds)
    try:
        text = str(
            _compile(source).render(
                messages=messages,
                add_generation_prompt=add_generation_prompt,
                bos_token=special["bos"],
                eos_token=special["eos"],
                tools=None,
                documents=None,
            )
        )
    except jinja2.TemplateSyntaxError as error:
        raise ChatTemplateBroken(one_line(f"line {error.lineno}: {error.message}")) from error
    except jinja2.TemplateError as error:
        raise ChatTemplateBroken(one_line(str(error))) from error
    except Exception as error:
        # The template is a program: any exception is its own.
        raise ChatTemplateBroken(one_line(f"{type(error).__name__}: {error}")) from error
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
    if len(text) > LONGEST_TEXT:
        raise ChatTemplateBroken(f"it writes {len(text):,} characters")
    return text


@lru_cache(maxsize=8)
def _compile(source: str) -> Any:
    template = _compile_jinja_template(source)
    template.environment.globals["strftime_now"] = TODAY.strftime
    return template


def limit_memory() -> None:
    """Bound this process to what it holds and MORE_MEMORY_BYTES, where the system can."""
    status = Path("/proc/self/statm")
    if not status.is_file():
        return
    held_bytes = int(status.read_text().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    wanted = held_bytes + MORE_MEMORY_BYTES
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_AS, (wanted, hard))


if __name__ == "__main__":
    limit_memory()
    serve({"render": render})
