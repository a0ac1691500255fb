"""What onnxruntime-genai's model_benchmark prints on real devices, read."""

from __future__ import annotations

import pytest

from edgecomp.common.errors import RemoteFailed
from edgecomp.measure.genai_bench import BenchedArtifact, genai_arguments, read_genai
from edgecomp.recipes.run_settings import RunSettings

ARTIFACT = BenchedArtifact(
    artifact="m-onnx-int4-32", artifact_bytes=5, device="adb://R5CT", provider="cpu", settings=None
)

GALAXY_S24 = """
Batch size: 1, prompt tokens: 2, tokens to generate: 128
Prompt processing (time to first token):
\tavg (us):       140607
\tavg (tokens/s): 14.224
\tp50 (us):       141764
\tstddev (us):    7045.29
\tn:              5 * 2 token(s)
Token generation:
\tavg (us):       185163
\tavg (tokens/s): 5.40064
\tp50 (us):       191207
\tstddev (us):    40530.6
\tn:              635 * 1 token(s)
Token sampling:
\tavg (us):       70.8335
\tavg (tokens/s): 14117.6
\tp50 (us):       61.146
\tstddev (us):    28.0707
\tn:              640 * 1 token(s)
E2E generation (entire generation loop):
\tavg (ms):       23665.5
\tp50 (ms):       23663.7
\tstddev (ms):    155.755
\tn:              5
Peak working set size (bytes): 2864254976
"""
"""A phone's log in Microsoft's script "Parse and Post customized perf data to DB" (it posts mobile
figures of onnxruntime-genai; MIT), whose constants name a Samsung Galaxy S24 and Llama 2; read in
2026-11."""

RYZEN_AI = """
 -----------------------------
 Prompt Number of Tokens: 128

 Batch size: 1, prompt tokens: 128, tokens to generate: 128
 Prompt processing (time to first token):
    avg (us):       442251
    avg (tokens/s): 289.428
    p50 (us):       442583
    stddev (us):    4901.59
    n:              5 * 128 token(s)
 Token generation:
    avg (us):       85353.7
    avg (tokens/s): 11.716
    p50 (us):       84689.3
    stddev (us):    7012.99
    n:              635 * 1 token(s)
 Token sampling:
    avg (us):       27.4852
    avg (tokens/s): 36383.2
    p50 (us):       27.652
    stddev (us):    0.928063
    n:              5 * 1 token(s)
  E2E generation (entire generation loop):
    avg (ms):       11282.4
    p50 (ms):       11275.4
    stddev (ms):    14.2974
    n:              5
 Peak working set size (bytes): 6736375808
"""
"""AMD's Ryzen AI documentation of model_benchmark under Linux, "Expected output", 2026-11."""


@pytest.mark.parametrize(
    ("printed", "per_second", "peak_bytes"),
    [(GALAXY_S24, (14.224, 5.40064), 2864254976), (RYZEN_AI, (289.428, 11.716), 6736375808)],
)
def test_speeds_and_memory_are_those_that_were_printed(
    printed: str, per_second: tuple[float, float], peak_bytes: int
) -> None:
    found = read_genai(printed, ARTIFACT)
    speeds = [row.tokens_per_second for row in found.speeds]
    assert speeds == pytest.approx(per_second, rel=1e-4)
    assert [row.repeats for row in found.speeds] == [5, 635]
    assert found.peak_memory_bytes == peak_bytes
    assert found.output_tokens == 128


def test_the_median_and_the_deviation_are_seconds() -> None:
    first, later = read_genai(GALAXY_S24, ARTIFACT).speeds
    assert first.median_seconds == pytest.approx(0.141764)
    assert later.deviation_seconds == pytest.approx(0.0405306)


def test_the_wording_of_later_versions_is_read() -> None:
    line = "Peak working set size: 2864254976 bytes (2.67 GB)"
    later = GALAXY_S24.replace("Peak working set size (bytes): 2864254976", line)
    later = later.replace("140607", "1.40607e+05")
    found = read_genai(later, ARTIFACT)
    assert found == read_genai(GALAXY_S24, ARTIFACT)


@pytest.mark.parametrize("end", ["Token generation", "stddev (us):    40530.6", "Peak working"])
def test_output_that_stops_midway_is_no_result(end: str) -> None:
    with pytest.raises(RemoteFailed, match=r"adb://R5CT printed no figures"):
        read_genai(GALAXY_S24[: GALAXY_S24.index(end)], ARTIFACT)


def test_prompt_and_output_fit_the_context() -> None:
    for context in (64, 256, 640, 4096):
        given = genai_arguments("m", RunSettings(context=context, threads=4))
        pairs = dict(zip(given[::2], given[1::2], strict=True))
        assert int(pairs["-l"]) + int(pairs["-g"]) <= int(pairs["-ml"]) == context
