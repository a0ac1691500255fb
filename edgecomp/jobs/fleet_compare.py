"""Two releases of a fleet: what each device gets otherwise, and which bytes that takes."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

from edgecomp.common.digests import path_digest
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.common.inside_folder import files_inside
from edgecomp.jobs.fleet_gate import demand_key
from edgecomp.jobs.fleet_plan import Demand
from edgecomp.jobs.fleet_release import FleetRelease, ReleasedArtifact, read_release
from edgecomp.models.gguf.tensor_digests import TensorDigest, header_digest, tensor_digests
from edgecomp.models.model_name import GGUF

HEADER = "the header"


class DemandChange(FrozenModel):
    """What became of one demand."""

    demand: Demand
    change: Literal["same", "changed", "new", "gone"]
    old: str | None
    new: str | None
    """The artifacts, where there is one."""


class ArtifactDelta(FrozenModel):
    """What of a new artifact is not in the old one that a device has. Parts are a GGUF file's
    tensors and its header, or an ONNX folder's files."""

    old: str
    new: str
    unchanged_parts: int
    changed: tuple[str, ...]
    added: tuple[str, ...]
    removed: tuple[str, ...]
    delta_bytes: int
    """Of the parts that are changed or added: what a device lacks."""

    size_bytes: int


class FleetComparison(FrozenModel):
    """The demands of both releases, and each pair of artifacts that follow each other."""

    schema_version: Literal[1] = 1
    old: Path
    new: Path
    demands: tuple[DemandChange, ...]
    deltas: tuple[ArtifactDelta, ...]


class _Side(NamedTuple):
    folder: Path
    release: FleetRelease

    def path(self, artifact: ReleasedArtifact) -> Path:
        return self.folder / artifact.folder / artifact.file


def compare_fleets(old: Path, new: Path) -> FleetComparison:
    """Compare the releases of two folders. Raises FleetInvalid, and ModelNotFound or FileUnreadable
    where an artifact is gone."""
    then, now = _Side(old, read_release(old)), _Side(new, read_release(new))
    demands = _demand_changes(then.release, now.release)
    pairs = dict.fromkeys((row.old, row.new) for row in demands if row.old and row.new)
    deltas = [
        _delta(then, then.release.artifact(first), now, now.release.artifact(second))
        for first, second in pairs
    ]
    return FleetComparison(old=old, new=new, demands=tuple(demands), deltas=tuple(deltas))


def _demand_changes(old: FleetRelease, new: FleetRelease) -> list[DemandChange]:
    before = {demand_key(row.demand): row for row in old.devices}
    after = {demand_key(row.demand): row for row in new.devices}
    changes = []
    for key in dict.fromkeys((*before, *after)):
        then, now = before.get(key), after.get(key)
        row = now or then
        assert row
        change: Literal["same", "changed", "new", "gone"] = "new" if now else "gone"
        if then and now:
            files = old.artifact(then.artifact).sha256, new.artifact(now.artifact).sha256
            same = sorted(files[0].values()) == sorted(files[1].values())
            change = "same" if same else "changed"
        changes.append(
            DemandChange(
                demand=row.demand,
                change=change,
                old=then.artifact if then else None,
                new=now.artifact if now else None,
            )
        )
    return changes


def _delta(then: _Side, old: ReleasedArtifact, now: _Side, new: ReleasedArtifact) -> ArtifactDelta:
    before, after = _parts(then.path(old)), _parts(now.path(new))
    changed = [n for n, part in after.items() if n in before and part.sha256 != before[n].sha256]
    added = [name for name in after if name not in before]
    return ArtifactDelta(
        old=old.name,
        new=new.name,
        unchanged_parts=len(after) - len(changed) - len(added),
        changed=tuple(changed),
        added=tuple(added),
        removed=tuple(name for name in before if name not in after),
        delta_bytes=sum(after[name].size_bytes for name in (*changed, *added)),
        size_bytes=new.size_bytes,
    )


def _parts(path: Path) -> dict[str, TensorDigest]:
    if path.suffix == GGUF:
        return {HEADER: header_digest(path), **tensor_digests(path)}
    return {
        name: TensorDigest(path_digest(file), file.stat().st_size)
        for name, file in files_inside(path).items()
    }
