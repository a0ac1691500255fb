"""The text of each capability's own questions with their right answers, to compare predictions on.

A model may lose what one capability needs and nothing of another's, which one text does not show.
"""

from __future__ import annotations

from collections.abc import Sequence

from edgecomp.evaluate.items import Bucket, ChoiceItem, CodeCheck, Item, NumberCheck, bucket

LONGEST_CHARACTERS = 40_000
"""Characters kept of one capability's text: several times what is read."""


def task_texts(items: Sequence[Item]) -> dict[Bucket, str]:
    """The text of each capability among `items`, its benchmarks mixed."""
    texts: dict[Bucket, str] = {}
    # In the order of their hashes the benchmarks are mixed, and always alike.
    for item in sorted(items, key=lambda item: item.fingerprint):
        name = bucket(item.category)
        if len(texts.get(name, "")) < LONGEST_CHARACTERS:
            texts[name] = texts.get(name, "") + item_text(item) + "\n\n"
    return dict(sorted(texts.items()))


def item_text(item: Item) -> str:
    """A question and, where one text is right, the answer; turns follow one another as plain
    text, without the marks of a chat template."""
    prompt = item.prompt
    asked = prompt if isinstance(prompt, str) else "\n".join(turn.content for turn in prompt)
    if isinstance(item, ChoiceItem):
        between = "" if item.choices[item.answer][:1].isspace() or not asked else "\n"
        return f"{asked}{between}{item.choices[item.answer]}"
    if isinstance(item.check, NumberCheck):
        return f"{asked}\n{item.check.answer}"
    return asked if not isinstance(item.check, CodeCheck) else item.check.prompt
