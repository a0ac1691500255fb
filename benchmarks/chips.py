"""Chips with published speeds that have no profile: what `published_speeds.py` predicts them from.

Figures of the vendors' specifications, or derived from them as the profiles do: bandwidth in GB/s,
cores, peaks in TFLOPS or TOPS at fp32, fp16 (dense, accumulated in fp32) and int8 where
it is known.
"""

from __future__ import annotations

from edgecomp.devices.profile import DeviceProfile, MemoryPool, Processor

NUMBERS = ("fp32", "fp16", "int8")
INTEGRATED = {"Radeon 780M", "Radeon 890M (DDR5-5600)"}

NVIDIA = """
A100 80GB (variant not told)|1935|108|19.5|312|624
A30|933|56|10.3|165|330
A40|696|84|37.4|149.7|299.3
L40|864|142|90.5|181|362
L4|300|58|30.3|121|242
Quadro RTX 6000|672|72|16.3|130.5|261
Quadro RTX 8000|672|72|16.3|130.5|261
RTX 2060 SUPER|448|34|7.2|28.7|115.2
RTX 2070 SUPER|448|40|9.1|36.3|145.6
RTX 3080 Ti|912|80|34.1|68.2|272.8
RTX 4070 SUPER|504|56|35.5|70.9|284
RTX 4070 Ti|504|60|40.1|80.2|320.8
RTX 6000 Ada|960|142|91.1|364.2|728.8
RTX A4500|640|56|23.7|94.6|189.6
RTX A5000|768|64|27.8|111.1|222.4
RTX A6000|768|84|38.7|154.8|309.6
Tesla V100|900|80|15.7|125
Titan V|653|80|14.9|119
GTX 1080 Ti|484|28|11.3|11.3|45.2
Tesla P40|346|30|11.8|11.8|47.2
Jetson AGX Orin|204.8|16|5.3|42.5|85
"""
AMD = """
RX 6700 XT|384|40|13.2|26.4
RX 7900 GRE|576|80|46|92
RX 7900 XT|800|84|51.5|103
Radeon AI PRO R9700|640|64|47.8|191
Radeon 780M|89.6|12|8.3|16.6
Radeon 890M (DDR5-5600)|89.6|16|11.9|23.8
"""
INTEL = """
Arc A750|512|28|17.2|137.6
Arc A770|560|32|19.7|157.3
Arc A770M|512|32|16.8|134.3
Arc B570|380|18|11.5|92.2
Arc Pro B50|224|16|10.6|85.2
"""
APPLE = """
apple-m1-ultra-48c|800|48|15.7|15.7
apple-m2-8c|100|8|2.9|2.9
apple-m2-max-30c|400|30|10.7|10.7
apple-m2-pro-16c|200|16|5.7|5.7
apple-m2-ultra-60c|800|60|21.5|21.5
apple-m3-max-30c|300|30|10.7|10.7
apple-m3-ultra-80c|819|80|28.7|28.7
apple-m4-max-32c|410|32|12.9|12.9
apple-m4-pro-16c|273|16|6.5|6.5
"""
CPUS = """
Ryzen 7 6800H (DDR5-4800)|76.8|8|1.2|avx2
Ryzen 7 7840HS|89.6|8|1.3|avx2 avx512f avx512_vnni
i7-8700 (DDR4)|41.6|6|0.83|avx2
i5-9500|41.6|6|0.81|avx2
i5-1135G7|51.2|4|0.49|avx2 avx512f avx512_vnni
i7-1165G7|51.2|4|0.53|avx2 avx512f avx512_vnni
M2 Air (GPU cores not told)|100|4|0.447|asimd asimddp i8mm
M4 (CPU)|120|4|0.563|asimd asimddp i8mm
"""


def chips() -> dict[str, DeviceProfile]:
    """A bare profile of each chip, by the name that the rows call it."""
    found = {}
    for backend, table in (("cuda", NVIDIA), ("rocm", AMD), ("vulkan", INTEL), ("metal", APPLE)):
        for line in table.strip().splitlines():
            name, bandwidth, cores, *peaks = line.split("|")
            peak = dict(zip(NUMBERS, (f"{peak} TOPS" for peak in peaks), strict=False))
            gpu = {
                "name": "gpu", "kind": "gpu", "pool": "vram", "backend": backend,
                "cores": int(cores), "peak": peak,
                "vendor": "intel" if table is INTEL else None,
            }  # fmt: skip
            kind = "unified" if table is APPLE or name in INTEGRATED else "vram"
            found[name] = _profile(name, kind, f"{bandwidth} GB/s", [gpu])
    for line in CPUS.strip().splitlines():
        name, bandwidth, cores, single, sets = line.split("|")
        cpu = _cpu("vram", int(cores), f"{single} TFLOPS", tuple(sets.split()))
        found[name] = _profile(name, "ram", f"{bandwidth} GB/s", [cpu])
    return found


def _profile(
    name: str, kind: str, bandwidth: str, processors: list[dict[str, object]]
) -> DeviceProfile:
    pool = MemoryPool.model_validate(
        {"name": "vram", "kind": kind, "size": "64 GiB", "reserved": "1 GiB"}
        | {"bandwidth": bandwidth}
    )
    if processors[0]["kind"] != "cpu":
        processors = [*processors, _cpu("vram", 8, "1 TFLOPS", ("avx2",))]
    return DeviceProfile(
        schema_version=1,
        name=name,
        title=name,
        kind="gpu",
        pools=(pool,),
        link=16 * 10**9,
        processors=tuple(map(Processor.model_validate, processors)),
        sources={},
    )


def _cpu(pool: str, cores: int, single: str, sets: tuple[str, ...]) -> dict[str, object]:
    return {
        "name": "cpu", "kind": "cpu", "pool": pool, "backend": "cpu", "cores": cores,
        "instruction_sets": sets, "peak": {"fp32": single},
    }  # fmt: skip
