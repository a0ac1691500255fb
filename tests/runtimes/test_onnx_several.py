"""Several sequences at once on ONNX Runtime: graphs of plain operators, and a server's load."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from plain_decoder import write_plain_decoder

from edgecomp.common.errors import RuntimeRefused
from edgecomp.common.events import ignore_progress
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.onnx.generate import generate
from edgecomp.runtimes.onnx.serving import Server, serve
from edgecomp.runtimes.onnx.session import Session
from edgecomp.runtimes.serving_load import DrawnRequest, RawServing

SETTINGS = RunSettings(context=120, micro_batch=8, threads=1)
PROMPTS = [[5, 9, 33, 71], [8], [5, 9, 40, 41, 42, 43, 44, 45, 46, 47, 48], [90, 91], [5, 9, 33]]
LIMITS = [12, 3, 7, 20, 1]
TEXT = " ".join(f"the quick brown fox number {i} jumps" for i in range(60))


@pytest.fixture(scope="module")
def folder(tiny_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("plain") / "onnx"
    return write_plain_decoder(place, tiny_model("llama") / "tokenizer.json")


def session(folder: Path, sequences: int = 1) -> Session:
    return Session(str(folder), SETTINGS.model_copy(update={"sequences": sequences}))


def answers(loaded: Session) -> list[list[int]]:
    return generate(loaded, PROMPTS, LIMITS, [[] for _ in PROMPTS], ignore_progress)


def test_plain_operators_answer_several_prompts_as_one_by_one(folder: Path) -> None:
    alone = answers(session(folder))
    together = session(folder, 3)
    assert answers(together) == alone
    assert together.sequences > 1
    assert [len(row) for row in alone][:1] == [12]


def test_each_of_several_has_the_logits_it_has_alone(folder: Path) -> None:
    loaded = session(folder)
    loaded.divide(3)
    for sequence, prompt in enumerate(PROMPTS[:3]):
        loaded.prefill(prompt, sequence)
    for step in range(3):
        following = [11 + step, 12 + step, 13 + step]
        rows = loaded.extend_each(following)
        for sequence, prompt in enumerate(PROMPTS[:3]):
            alone = session(folder)
            tokens = [*prompt, *(11 + sequence + n for n in range(step + 1))]
            np.testing.assert_allclose(rows[sequence], alone.prefill(tokens), atol=2e-4)


def test_a_graph_without_positions_runs_one_at_a_time(folder: Path, tmp_path: Path) -> None:
    bare = write_plain_decoder(tmp_path / "bare", folder / "tokenizer.json", positions=False)
    loaded = session(bare, 3)
    assert answers(loaded) == answers(session(folder))
    assert loaded.sequences == 1
    with pytest.raises(RuntimeRefused, match="--concurrency 1"):
        served(bare, 2, [DrawnRequest(prompt_tokens=4, output_tokens=2, arrival_seconds=None)])


def served(
    folder: Path, sequences: int, requests: Sequence[DrawnRequest], seconds: float | None = None
) -> RawServing:
    settings = SETTINGS.model_copy(update={"sequences": sequences})
    drawn = [request.model_dump() for request in requests]
    answer = serve(str(folder), settings, TEXT, drawn, seconds, ignore_progress)
    return RawServing.model_validate(answer)


def test_every_request_of_a_load_writes_what_was_asked_for(folder: Path) -> None:
    lengths = [(9, 4), (3, 11), (20, 1), (5, 6), (7, 7)]
    requests = [
        DrawnRequest(prompt_tokens=prompt, output_tokens=output, arrival_seconds=None)
        for prompt, output in lengths
    ]
    found = served(folder, 3, requests)
    assert sorted(len(row.token_seconds) for row in found.requests) == [1, 4, 6, 7, 11]
    for row in found.requests:
        assert list(row.token_seconds) == sorted(row.token_seconds)
        assert row.arrived_seconds <= row.admitted_seconds <= row.token_seconds[0]
    assert max(cells for _, cells in found.cells) <= SETTINGS.context
    assert found.cells[-1][1] == 0


def test_a_long_prompt_is_read_in_pieces_between_which_others_write(folder: Path) -> None:
    requests = [
        DrawnRequest(prompt_tokens=prompt, output_tokens=output, arrival_seconds=None)
        for prompt, output in ((4, 30), (60, 2))
    ]
    found = served(folder, 2, requests)
    writer, reader = sorted(found.requests, key=lambda row: row.prompt_tokens)
    before = [moment for moment in writer.token_seconds if moment < reader.token_seconds[0]]
    assert len(before) >= reader.prompt_tokens // SETTINGS.micro_batch


def test_what_is_written_does_not_depend_on_who_comes_and_goes(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lengths = [(21, 3), (4, 12), (33, 9), (2, 5), (17, 7), (9, 1), (12, 11)]
    requests = [
        DrawnRequest(prompt_tokens=prompt, output_tokens=output, arrival_seconds=None).model_dump()
        for prompt, output in lengths
    ]
    written: dict[tuple[int, ...], list[int]] = {}
    write_down = Server._write_down

    def spy(self: Server, chosen: Sequence[tuple[int, int]], began: float) -> None:
        for sequence, token in chosen:
            key = tuple(self.running[sequence].request.tokens)
            written.setdefault(key, []).append(token)
        write_down(self, chosen, began)

    monkeypatch.setattr(Server, "_write_down", spy)
    settings = SETTINGS.model_copy(update={"sequences": 3})
    serve(str(folder), settings, TEXT, requests, None, ignore_progress)
    assert sorted(map(len, written.values())) == sorted(output for _, output in lengths)
    for prompt, tokens in written.items():
        loaded, expected = session(folder), []
        following = int(loaded.prefill(prompt).argmax())
        for _ in tokens:
            expected.append(following)
            following = int(loaded.extend([following])[-1].argmax())
        assert tokens == expected


def test_a_timed_load_comes_round_until_its_end(folder: Path) -> None:
    requests = [DrawnRequest(prompt_tokens=4, output_tokens=3, arrival_seconds=None)] * 2
    found = served(folder, 2, requests, seconds=0.3)
    assert len(found.requests) > len(requests)
    assert found.served_seconds >= 0.3


def test_requests_that_arrive_later_wait_for_their_time(folder: Path) -> None:
    requests = [
        DrawnRequest(prompt_tokens=4, output_tokens=2, arrival_seconds=moment)
        for moment in (0.0, 0.05)
    ]
    found = served(folder, 2, requests)
    assert [row.arrived_seconds for row in found.requests] == [0.0, 0.05]
    assert found.requests[1].admitted_seconds >= 0.05
