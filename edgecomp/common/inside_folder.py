"""Names that a file's content gives (an index, a manifest, a recipe), as paths inside one folder.

Such a file may come from anywhere, so a name in it must not lead out of the folder: neither `..`
nor an absolute path nor a link may. One kind of link leads out rightly: the hub's cache keeps the
files of `models--OWNER--NAME/snapshots/REVISION` as links into that model's own `blobs`.

The model and the student that a recipe names are no such names: they are the inputs of a job, may
lie anywhere, are opened only when someone starts that job, and are read as models and nothing else.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

from edgecomp.common.errors import PathOutside

SNAPSHOTS, BLOBS = "snapshots", "blobs"


def path_inside(folder: Path, name: str, listing: Path) -> Path:
    """The path of `name` in `folder`, where `listing` is the file that gives the name.

    The path need not exist. Raises PathOutside where it leads out of the folder, is the folder
    itself, or can be no path at all.
    """
    for kind in (PurePosixPath(name), PureWindowsPath(name)):
        if kind.anchor or ".." in kind.parts:
            raise PathOutside(listing, name, folder)
    path = folder / name
    try:
        root, target = folder.resolve(), path.resolve()
        path.is_file()  # Raises for names too long for any file system.
    except (OSError, ValueError, RuntimeError) as error:
        raise PathOutside(listing, name, folder) from error
    blobs = _blobs(root)
    if target == root or not (
        target.is_relative_to(root) or (blobs is not None and target.is_relative_to(blobs))
    ):
        raise PathOutside(listing, name, folder)
    return path


def files_inside(folder: Path) -> dict[str, Path]:
    """Every file below `folder`, by its path there. Raises PathOutside where a link leads out of
    it."""
    found = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*"))}
    for name, path in found.items():
        if path.is_symlink():
            path_inside(folder, name, folder)
    return {name: path for name, path in found.items() if path.is_file()}


def _blobs(root: Path) -> Path | None:
    """Where the files of a snapshot in the hub's cache lie; None for any other folder."""
    for folder in (root, *root.parents):
        if folder.parent.name == SNAPSHOTS and "--" in folder.parent.parent.name:
            return folder.parent.parent / BLOBS
    return None
