"""A stand-alone copy of a checkpoint: `python -m training_kernels.export CHECKPOINT OUT`, an adapter merged into its base.

An adapter's folder opens where its base lies; this one can be copied anywhere, served by engines that merge nothing, and
carries `is_matryoshka` in its config.json.
"""

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import torch

from training_kernels.checkpoint import load_backbone, write_checkpoint_files
from training_kernels.errors import ConfigError, NyxError
from training_kernels.manifest import RUN_RECORD, WEIGHTS_HERE, committed_folder


def export(checkpoint: Path, out: Path) -> None:
    """Writes the folder whole or not at all; in float32 it gives the same vectors (rounding of the merge aside, 1e-5).

    Merged and written in float32 on the CPU, so that the file is the same wherever it is made.

    Raises ConfigError for a backbone that was never trained, IncompleteArtifact for a checkpoint that is not whole.
    """
    backbone, manifest = load_backbone(checkpoint, device=torch.device("cpu"), precision="float32")
    if manifest.kind == "backbone":
        raise ConfigError(
            f"{checkpoint} is an untrained backbone; its weights lie in {manifest.weights_folder(checkpoint)}"
        )
    if manifest.kind == "adapter":
        backbone.model = backbone.model.merge_and_unload()
    merged = replace(manifest, kind="full", weights=WEIGHTS_HERE, base_identity="")
    recipe = json.loads((checkpoint / "recipe.json").read_text(encoding="utf-8"))
    metrics = json.loads((checkpoint / RUN_RECORD).read_text(encoding="utf-8"))
    with committed_folder(out) as draft:
        write_checkpoint_files(draft, backbone, merged, recipe, metrics, base=manifest.backbone)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m training_kernels.export", description="Make a checkpoint stand alone."
    )
    parser.add_argument("checkpoint", type=Path, help="checkpoint folder: an adapter or full weights")
    parser.add_argument("out", type=Path, help="folder to write; an older one is replaced")
    arguments = parser.parse_args()
    try:
        export(arguments.checkpoint, arguments.out)
    except NyxError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"{arguments.out} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
