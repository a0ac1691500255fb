"""Every error a user can meet: what happened, to which file, and what to do.

One class a cause. The command line turns them into one paragraph on stderr and exit code 2;
anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

LONGEST_SHOWN = 100
"""Characters of a value from a file that a message repeats."""


def shown(value: object) -> str:
    """A value out of a file as a message repeats it: on one line, and not longer than a line."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else text[:LONGEST_SHOWN] + " ..."


class EdgecompError(Exception):
    """Base of all errors that are explained to the user."""


class ModelNotFound(EdgecompError):
    """The model argument names nothing that exists."""

    def __init__(self, model: str, advice: str) -> None:
        super().__init__(f"There is no model at {model}. {advice}")


class HubFailed(EdgecompError):
    """A hub id could not be fetched."""


class ModelIncomplete(EdgecompError):
    """A model folder lacks a file it needs."""

    def __init__(self, folder: Path, missing: str, advice: str) -> None:
        super().__init__(f"{folder} is not a complete model: {missing} {advice}")


class FileCorrupt(EdgecompError):
    """A file does not hold what its header or name promises."""

    def __init__(self, path: Path, fault: str, advice: str = "Download or build it again.") -> None:
        super().__init__(f"{path} is damaged: {fault} {advice}")


class GraphNotDecoder(EdgecompError):
    """An ONNX graph does not take and give what a decoder's does."""

    def __init__(self, path: Path, has: Sequence[str], lacks: Sequence[str]) -> None:
        super().__init__(
            f"{path} is no decoder that is run here: it has {', '.join(has)}, and lacks "
            f"{', '.join(lacks)}. Give a folder that onnxruntime-genai's model builder wrote, or "
            "make one with `edgecomp compress MODEL --format onnx-int4-32`."
        )


class FileTruncated(FileCorrupt):
    """A file ends before its header says it does."""

    def __init__(
        self,
        path: Path,
        promised_bytes: int,
        actual_bytes: int,
        advice: str = "Download it again.",
    ) -> None:
        EdgecompError.__init__(
            self,
            f"{path} is cut short: the header promises {promised_bytes:,} bytes, "
            f"the file has {actual_bytes:,}. {advice}",
        )


class ArchitectureUnsupported(EdgecompError):
    """The weights must be rewritten, and this architecture's layout is not known."""

    def __init__(self, architecture: str, action: str, known: list[str]) -> None:
        super().__init__(
            f"The architecture {architecture} cannot be {action}: its tensor layout is not in the "
            f"table. Known: {', '.join(sorted(known))}. A GGUF file of this model made by "
            "llama.cpp's own converter can be planned, quantized and measured as it is."
        )


class ExportRefused(EdgecompError):
    """A model cannot be written in a format without changing what it computes."""


class TokensRepeated(EdgecompError):
    """A GGUF file's vocabulary holds a text twice, which llama.cpp does not survive."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(
            f"{path} cannot be run by llama.cpp. {fault} Make the file anew from the "
            "original checkpoint, or take another conversion of it."
        )


class WeightsNotFinite(EdgecompError):
    """A source's weights hold a NaN or an infinity."""

    def __init__(self, tensor: str, place: int) -> None:
        super().__init__(
            f"{tensor} holds NaN or infinity (its value {place:,} is the first): the "
            "model's weights are damaged, and nothing made of them would be right. Download it "
            "again, or take an earlier checkpoint."
        )


class QuantizationUnsupported(EdgecompError):
    """A checkpoint's weights are quantized in a layout that is not read here."""

    def __init__(self, folder: Path, method: str) -> None:
        super().__init__(
            f"The weights of {folder} are quantized by {method}, which is not read here. Known: "
            "gptq, awq (gemm, 4 bits), compressed-tensors (integers, FP8, NVFP4, MXFP4), fp8, "
            "modelopt (FP8, NVFP4), bitnet. Give the checkpoint from before its quantization."
        )


class UnsafeFile(EdgecompError):
    """A file could run code when it is read."""

    def __init__(self, path: Path, advice: str) -> None:
        super().__init__(f"{path} is not read, since loading it could run code. {advice}")


class PathOutside(EdgecompError):
    """A name in a file's content leads out of the folder it must stay in."""

    def __init__(self, listing: Path, name: str, folder: Path) -> None:
        super().__init__(
            f"{listing} is not followed: it names {shown(name)}, and that is no file inside "
            f"{folder}. Nothing was read there. Put the file itself into the folder, or get the "
            "model or bundle from where you trust it."
        )


class UnitUnknown(EdgecompError):
    """A quantity is written without a unit, or with one that is not known here."""

    def __init__(self, text: str, units: list[str]) -> None:
        super().__init__(
            f"{shown(text)} is no quantity that can be read here. Write a number and one of the "
            f"units {', '.join(units)}, such as 6.5{units[min(3, len(units) - 1)]}."
        )


class DeviceUnknown(EdgecompError):
    """No profile has this name."""

    def __init__(self, name: str, nearest: list[str], known: list[str]) -> None:
        hint = f" Did you mean {' or '.join(nearest)}?" if nearest else ""
        super().__init__(
            f"There is no device profile {name!r}.{hint} "
            f"`edgecomp devices list` shows all {len(known)}; `auto` is this machine."
        )


class ProfileInvalid(EdgecompError):
    """A device profile breaks its schema or contradicts itself."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(f"The device profile {path} is refused: {fault}")


class ConstraintsImpossible(EdgecompError):
    """No candidate satisfies the constraints."""


class JobTooLarge(EdgecompError):
    """This machine cannot carry out the job that was asked for."""


class DiskFull(EdgecompError):
    """Writing failed for want of space."""

    def __init__(self, path: Path, needed_bytes: int | None = None) -> None:
        need = f" (about {needed_bytes / 1e6:,.0f} MB are needed)" if needed_bytes else ""
        super().__init__(
            f"The disk that holds {path} is full{need}. Free some space and run the same command "
            "again: finished stages are kept."
        )


class NotWritable(EdgecompError):
    """The place a result should go cannot be written."""

    def __init__(
        self, path: Path, fault: str, advice: str = "Choose another place with -o."
    ) -> None:
        super().__init__(f"{path} cannot be written: {fault}. {advice}")


class FileUnreadable(EdgecompError):
    """A file that is needed cannot be read, or is gone."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(
            f"{path} cannot be read: {fault}. See that it is there, that you may read it and that "
            "its disk works, and run the same command again."
        )


class ChildDied(EdgecompError):
    """A child process that ran native code ended without an answer."""


class ChildKilledByMemory(ChildDied):
    """The kernel, or a limit, killed a child process for its memory."""


class ChildHung(ChildDied):
    """A child process said nothing for longer than it may."""


class RuntimeRefused(EdgecompError):
    """A runtime rejected a request with a reason of its own."""


class RuntimeMissing(EdgecompError):
    """A runtime is not installed, or not in this build."""


class ArtifactRejected(EdgecompError):
    """An artifact failed one of the checks it must pass before it is called done."""


class DataMissing(EdgecompError):
    """Evaluation or calibration data is not where it should be."""


class TaskUnavailable(EdgecompError):
    """A benchmark cannot be run here: its name, its harness, its data or a score is missing."""


class DataMalformed(EdgecompError):
    """A row of a data file has not the shape it must have."""

    def __init__(self, path: Path, line: int, fault: str) -> None:
        super().__init__(f"{path}, line {line}: {fault}. Mend the row or remove it.")


class ChatTemplateBroken(EdgecompError):
    """A model's chat template cannot be rendered."""

    def __init__(self, fault: str) -> None:
        super().__init__(
            f"The model's chat template cannot be rendered: {fault.rstrip('.')}. "
            "Mend the template in the model's tokenizer files."
        )


class CodeNotAllowed(EdgecompError):
    """Code that a model wrote would have to be run."""


class EvidenceTooNarrow(EdgecompError):
    """A comparison rests on perplexity or one aggregate alone."""


class CalibrationUnusable(EdgecompError):
    """Calibration tokens that this model cannot be calibrated with."""


class ActivationsNotFinite(EdgecompError):
    """A layer put out a NaN or an infinity during calibration."""

    def __init__(self, layer: str) -> None:
        super().__init__(
            f"The layer {layer} puts out NaN or infinity on the calibration text. If the source "
            "model does so as well, its weights are damaged: download it again. Otherwise compress "
            "less: more bits, a larger group, or more calibration samples."
        )


class HessianSingular(EdgecompError):
    """A layer's input statistics admit no second-order solution."""

    def __init__(self, layer: str, fault: str) -> None:
        super().__init__(
            f"The input statistics of {layer} cannot be used: {fault}. "
            "Give more and more varied calibration samples, or round to nearest."
        )


class CompressionSettingsInvalid(EdgecompError):
    """A compression method cannot work with these settings on this model."""


class CalibrationRefused(EdgecompError):
    """A calibration that would harm what the task needs, or that says nothing."""


class RecipeInvalid(EdgecompError):
    """A recipe file breaks its schema."""


class FleetInvalid(EdgecompError):
    """A fleet's file asks for something that contradicts itself or is nowhere."""


class ClusterUnusable(EdgecompError):
    """A cluster that cannot be reached, or a node of it that cannot do the work."""


class TolerancesInvalid(EdgecompError):
    """What may be lost is not told in a way that can be understood."""


class BundleBroken(EdgecompError):
    """A bundle's files are not those its manifest lists."""


class AddressInvalid(EdgecompError):
    """An address of a device that cannot be read."""

    def __init__(self, text: str) -> None:
        super().__init__(
            f"{text!r} is no address of a device. Write ssh://user@host, ssh://user@host:port, or "
            "adb://SERIAL with a serial that `adb devices` lists."
        )


class HostUntrusted(EdgecompError):
    """An ssh server whose key is not the one that known_hosts holds."""

    def __init__(self, address: str, host: str) -> None:
        super().__init__(
            f"{address} is not trusted: known_hosts holds no key of {host}, or another one than it "
            f"shows. Nothing was sent. If it is new, run `ssh {address}` once and compare the "
            f"fingerprint; if its key has changed, find out why before `ssh-keygen -R {host}`."
        )


class ConnectionFailed(EdgecompError):
    """A device cannot be reached, lets nobody in, or was lost."""


class RemoteFailed(EdgecompError):
    """A device that was reached cannot do what it was asked to."""


class RunBusy(EdgecompError):
    """Another process is working on the same run."""


class ResultsNewer(EdgecompError):
    """The store of results was written by a newer edgecomp."""

    def __init__(self, path: Path, version: int, known: int) -> None:
        super().__init__(
            f"{path} is of version {version}, written by a newer edgecomp, and this one knows "
            f"{known}. Nothing was changed. Update edgecomp, or name another folder by "
            "EDGECOMP_RESULTS."
        )


class ResultsUnusable(EdgecompError):
    """The store of results cannot be read or written."""

    def __init__(self, path: Path, fault: str) -> None:
        super().__init__(
            f"{path} cannot be used: {fault}. Move it away or make room, or name another folder by "
            "EDGECOMP_RESULTS."
        )


class ExportUnknown(EdgecompError):
    """A file's ending names no kind of file that results can be written as."""

    def __init__(self, path: Path, endings: list[str]) -> None:
        super().__init__(f"{path} has none of the endings {', '.join(endings)}. Give it one.")


class PackageMissing(EdgecompError):
    """What was asked for needs a package that is not installed."""


def error_from_worker(name: str, text: str) -> EdgecompError:
    """The error of class `name` that says `text`, as it came from another process.

    A class that this process has not loaded becomes EdgecompError.
    """
    kinds = {kind.__name__: kind for kind in _kinds_of(EdgecompError)}
    kind = kinds.get(name, EdgecompError)
    error = kind.__new__(kind)
    Exception.__init__(error, text)
    return error


def _kinds_of(kind: type[EdgecompError]) -> Iterator[type[EdgecompError]]:
    yield kind
    for narrower in kind.__subclasses__():
        yield from _kinds_of(narrower)
