"""What the user names as an artifact: a GGUF file, an ONNX or Hugging Face folder, a bundle, or
`demo`."""

from __future__ import annotations

from pathlib import Path

from edgecomp.bundles.bundle import MANIFEST, read_manifest
from edgecomp.common.atomic import restore_folder
from edgecomp.common.errors import ModelNotFound
from edgecomp.common.frozen_model import FrozenModel
from edgecomp.models.gguf.model import read_gguf, refuse_repeated_tokens
from edgecomp.models.onnx_folder import is_onnx_folder, onnx_bits_per_weight, read_onnx_folder
from edgecomp.models.reading import demo_model_path, read_model
from edgecomp.recipes.artifact_name import is_stem_of
from edgecomp.recipes.recipe import Recipe, read_recipe

CONFIG = "config.json"
KINDS = "Give a GGUF file, an ONNX or Hugging Face folder, a bundle or `demo`."


class NamedArtifact(FrozenModel):
    """The file or folder, and the recipe it was made by where that lies beside it."""

    path: Path
    recipe: Recipe | None
    runtime: str = "llama.cpp"
    """What runs it."""

    @property
    def bits_per_weight(self) -> float:
        if self.runtime == "onnx":
            return onnx_bits_per_weight(self.path)
        return read_model(self.path).as_stored.bits_per_weight


def find_artifact(name: str) -> NamedArtifact:
    """The artifact called `name`, its header read.

    Raises ModelNotFound, BundleBroken, FileCorrupt, FileTruncated, TokensRepeated or
    QuantizationUnsupported.
    """
    path = demo_model_path() if name == "demo" else Path(name).expanduser()
    recipe = None
    restore_folder(path)
    if path.is_dir() and (path / MANIFEST).is_file():
        manifest = read_manifest(path)
        path, recipe = path / manifest.artifact, manifest.recipe
    if is_onnx_folder(path):
        read_onnx_folder(path)
        return NamedArtifact(path=path, recipe=recipe or _recipe_beside(path), runtime="onnx")
    if (path / CONFIG).is_file():
        read_model(path)
        return NamedArtifact(
            path=path, recipe=recipe or _recipe_beside(path), runtime="transformers"
        )
    if path.is_dir():
        raise ModelNotFound(name, f"It is a folder without an artifact. {KINDS}")
    if not path.is_file():
        raise ModelNotFound(name, KINDS)
    refuse_repeated_tokens(read_gguf(path))
    return NamedArtifact(path=path, recipe=recipe or _recipe_beside(path))


def _recipe_beside(path: Path) -> Recipe | None:
    """The recipe that `edgecomp compress` wrote beside its file."""
    beside = path.with_name("recipe.yaml")
    if not beside.is_file():
        return None
    recipe = read_recipe(beside)
    return recipe if is_stem_of(path.stem, recipe) else None
