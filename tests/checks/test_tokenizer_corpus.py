"""The corpus holds what breaks tokenizers, and never changes within a version."""

from __future__ import annotations

import unicodedata

from edgecomp.checks.tokenizer_corpus import corpus, model_texts

SCRIPTS = (
    "LATIN", "CYRILLIC", "GREEK", "HEBREW", "ARABIC", "DEVANAGARI", "BENGALI", "TAMIL", "THAI",
    "LAO", "MYANMAR", "KHMER", "TIBETAN", "GEORGIAN", "ARMENIAN", "ETHIOPIC", "CJK", "HIRAGANA",
    "KATAKANA", "HANGUL",
)  # fmt: skip


def test_there_are_two_hundred_texts_and_none_twice() -> None:
    texts = corpus()
    assert len(texts) >= 200
    assert len(set(texts)) == len(texts)
    assert texts == corpus()


def test_every_script_is_there() -> None:
    names = {unicodedata.name(character, "") for text in corpus() for character in text}
    for script in SCRIPTS:
        assert any(name.startswith(script) for name in names), script


def test_every_text_is_valid_utf8() -> None:
    for text in corpus():
        assert text.encode("utf-8").decode("utf-8") == text


def test_emoji_sequences_whitespace_runs_and_control_characters_are_there() -> None:
    whole = "\n".join(corpus())
    for part in ("\u200d", "\ufe0f", "\U0001f1e9\U0001f1ea", " " * 17, "\t" * 16, "\x00", "\r\n"):
        assert part in whole
    assert any(unicodedata.normalize("NFC", text) != text for text in corpus())


def test_a_models_own_tokens_are_set_into_words() -> None:
    texts = model_texts(["<|im_end|>"], "<|im_start|>user\nhi<|im_end|>\n")
    assert "x<|im_end|>y" in texts
    assert "<|im_end|><|im_end|>" in texts
    assert texts[-1].startswith("<|im_start|>")
