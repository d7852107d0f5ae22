"""Which shapes of pictures a backbone reads, known before its weights are loaded."""

import json
import math
from pathlib import Path

from training_kernels.backbones.qwen2_5_vl import MAX_ASPECT_RATIO
from training_kernels.manifest import read_manifest

MAX_ASPECT_RATIO_BY_MODEL_TYPE = {"qwen2_5_vl": MAX_ASPECT_RATIO, "qwen3_vl": MAX_ASPECT_RATIO}
"""By `model_type` in config.json; the others squeeze every picture into a square."""


def max_aspect_ratio(folder: Path) -> float:
    """Longer side over shorter side above which the backbone of a checkpoint or backbone folder refuses a picture; infinity
    where it refuses none.

    Raises what read_manifest raises.
    """
    manifest = read_manifest(folder)
    weights = manifest.weights_folder(folder)
    if manifest.kind == "adapter":
        weights = read_manifest(weights).weights_folder(weights)
    model_type = json.loads((weights / "config.json").read_text(encoding="utf-8"))["model_type"]
    return MAX_ASPECT_RATIO_BY_MODEL_TYPE.get(model_type, math.inf)
