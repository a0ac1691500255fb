"""A model that is asked questions."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from edgecomp.models.chat_template import ChatTemplate
from edgecomp.recipes.run_settings import RunSettings
from edgecomp.runtimes.protocol import Runtime


class AskedModel(NamedTuple):
    """An artifact, the runtime and settings that it runs with, and its chat template."""

    runtime: Runtime
    artifact: Path
    settings: RunSettings
    template: ChatTemplate
