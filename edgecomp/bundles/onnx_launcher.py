"""A Python script that chats with an ONNX artifact, by onnxruntime-genai and the artifact's own
tokenizer and chat template."""

from __future__ import annotations

from edgecomp.formats.execution_providers import ExecutionProvider
from edgecomp.recipes.run_settings import RunSettings

SCRIPT = '''\
#!/usr/bin/env python3
"""Continue a prompt: python chat.py "Once upon a time" (needs {needs} and tokenizers)."""

import json
import sys
from pathlib import Path

import onnxruntime_genai
from tokenizers import Tokenizer

FOLDER = Path(__file__).resolve().parent / "{folder}"
CONTEXT = {context}
THREADS = {threads}


def main() -> None:
    prompt = " ".join(sys.argv[1:]) or input("prompt: ")
    tokenizer = Tokenizer.from_file(str(FOLDER / "tokenizer.json"))
    # A limit that was set in training stays in the file; it is not the model's.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    config = onnxruntime_genai.Config(str(FOLDER))
    options = {{"session_options": {{"intra_op_num_threads": THREADS}}}}
    config.overlay(json.dumps({{"model": {{"decoder": options}}}}))
    model = onnxruntime_genai.Model(config)
    settings = onnxruntime_genai.GeneratorParams(model)
    settings.set_search_options(max_length=CONTEXT, do_sample=False)
    generator = onnxruntime_genai.Generator(model, settings)
    generator.append_tokens(tokenizer.encode(prompt).ids)
    written, shown = [], ""
    while not generator.is_done():
        generator.generate_next_token()
        written.append(int(generator.get_next_tokens()[0]))
        text = tokenizer.decode(written)
        if not text.endswith("\\N{{REPLACEMENT CHARACTER}}"):
            print(text[len(shown) :], end="", flush=True)
            shown = text
    print()


if __name__ == "__main__":
    main()
'''


def genai_script(
    folder: str, settings: RunSettings, provider: ExecutionProvider | None = None
) -> str:
    """The script for the artifact in `folder` beside it, with the plan's context and threads;
    `provider`: the one that the folder is for, if it is not the CPU."""
    packages = provider.packages if provider else ()
    own = any("genai" in name for name in packages)
    needs = packages if own else ("onnxruntime-genai", *packages)
    return SCRIPT.format(
        folder=folder,
        context=settings.context,
        threads=settings.threads,
        needs=", ".join(needs),
    )
