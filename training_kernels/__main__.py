"""One training run by hand: `python -m training_kernels RECIPE EXAMPLES OUT`."""

import argparse
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

from training_kernels.document_pictures import DocumentPictures
from training_kernels.errors import NyxError
from training_kernels.examples import read_examples
from training_kernels.images import PictureFolder
from training_kernels.manifest import MANIFEST
from training_kernels.overrides import with_overrides
from training_kernels.processes import die_with_parent
from training_kernels.recipes import RECIPES, train_recipe
from training_kernels.tokenizer import TINY

IMAGES = "images"
BACKBONES = "backbones"

BACKBONE_BY_RECIPE = {
    **dict.fromkeys(("nyx_paper", "nyx_published", "nyx"), "Qwen/Qwen2.5-VL-3B-Instruct"),  # section 4
    # Choice: the smallest of the known architectures, and wide enough for the dims of both
    **dict.fromkeys(("small_gpu", "cpu"), "HuggingFaceTB/SmolVLM-256M-Instruct"),
}
"""What a recipe starts from where nothing is said; one that is not here starts from the bundled backbone."""

OURS = (MANIFEST, "recipe.json")
"""Files that tell a folder of this project, complete or not, from a pretrained model in the hub's layout."""

EXPLANATION = """\
EXAMPLES holds documents.parquet and examples.parquet, and a folder dev with two such files if training is to be scored
on dev queries: the weights with the best nDCG@10 are kept then, else the last ones (training_kernels/examples.py, dev.py).

A picture is named by the SHA-256 of its file, and lies in the folder of --images as, e.g., 3f/3f….png. Where that is a
local folder, every picture of the examples is looked at before the first step.

A run that is killed goes on where its last state was written, when the same command is given again; the state lies in
OUT.state until OUT is complete. With another recipe, other examples, another start, number of processes, device, version
of torch, transformers or peft, or on a CPU another number of threads (OMP_NUM_THREADS), the old state is moved to
OUT.state.old and training starts anew. Settings that only change how a step is computed may differ: state.every_steps,
state.every_seconds, token_budget, activations, kept_tokens, vision_cache_bytes.

Several processes train as one, each on a device of its own, with the batch of the recipe shared out among them:
  torchrun --standalone --nproc-per-node 8 -m training_kernels RECIPE EXAMPLES OUT

Curves:
  tensorboard --logdir OUT.state/tensorboard   while the run goes
  tensorboard --logdir OUT/tensorboard         when it is done; OUT/metrics.json has the same numbers

--set changes one number of the recipe and may be given many times; its type is checked:
  --set optimizer.learning_rate=2e-5 --set tuning.rank=16 --set activations=recomputed --set distribution=fsdp

Exit status: 0 when OUT is complete; 1 for an error that says what to do, on stderr.
"""


def main() -> int:
    arguments = _parser().parse_args()
    if "TORCHELASTIC_RUN_ID" in os.environ:  # one of torchrun's processes: it collects the error, with its traceback
        from torch.distributed.elastic.multiprocessing.errors import record

        die_with_parent()
        record(run)(arguments)
        return 0
    try:
        run(arguments)
    except NyxError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def run(arguments: argparse.Namespace) -> None:
    """Trains as the command says. Raises what `train` raises."""
    config = with_overrides(train_recipe(arguments.recipe), arguments.set)
    if arguments.seed is not None:
        config = replace(config, seed=arguments.seed)
    if arguments.show:
        for name, value in asdict(config).items():
            print(f"{name}: {value}")
        return
    from training_kernels.backbones.shapes import max_aspect_ratio
    from training_kernels.dev_examples import read_dev_examples
    from training_kernels.distributed import joined_ranks
    from training_kernels.trainer import train

    training = read_examples(arguments.examples)
    dev = read_dev_examples(arguments.examples, training)
    pictures = DocumentPictures(PictureFolder(arguments.images or pictures_of(arguments.examples)), [training, dev])
    start_from = start_of(arguments.recipe, arguments.start_from, arguments.out.resolve().parent / BACKBONES)
    if os.environ.get("RANK", "0") == "0":  # the first of torchrun's processes looks for all
        pictures.require_readable(max_aspect_ratio=max_aspect_ratio(start_from))
    with joined_ranks():
        train(
            config,
            training,
            pictures,
            dev=dev,
            start_from=start_from,
            out=arguments.out,
            log=lambda line: print(line, flush=True),
        )


def pictures_of(examples: Path) -> str:
    """Where the pictures of an examples folder lie, if nothing is said: its own `images`, else the one beside it."""
    own = examples.resolve() / IMAGES
    return str(own if own.is_dir() else examples.resolve().parent / IMAGES)


def start_of(recipe: str, given: Path | None, backbones: Path) -> Path:
    """The folder to start from: the one given, or the recipe's backbone; a pretrained one is noted in `backbones`.

    Raises what backbone_folder raises.
    """
    from training_kernels.backbones.registry import backbone_folder

    if given is None:
        return backbone_folder(BACKBONE_BY_RECIPE.get(recipe, TINY), backbones)
    if (given / "config.json").is_file() and not any((given / name).is_file() for name in OURS):
        return backbone_folder(str(given), backbones)
    return given


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m training_kernels",
        description="Train a retriever: one embedding for any mix of text and pictures.",
        epilog=EXPLANATION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("recipe", help=f"one of {', '.join(sorted(RECIPES))}")
    parser.add_argument("examples", type=Path, help="folder with documents.parquet and examples.parquet")
    parser.add_argument("out", type=Path, help="checkpoint folder to write; an older one is replaced")
    parser.add_argument(
        "--images",
        help=f"root of the content-addressed picture folder; if not given, EXAMPLES/{IMAGES} or the folder {IMAGES} beside "
        "EXAMPLES",
    )
    parser.add_argument(
        "--start-from",
        type=Path,
        help=f"backbone folder, pretrained model as the hub lays it out, or checkpoint to go on from; if not given, a backbone kept in {BACKBONES} beside "
        f"OUT: {_backbones()}, and for all other recipes {TINY}, which is bundled",
    )
    parser.add_argument("--seed", type=int, help="instead of the recipe's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="a number of the recipe, by its path"
    )
    parser.add_argument("--show", action="store_true", help="print the recipe as it would run, and train nothing")
    return parser


def _backbones() -> str:
    """The backbones that are no bundled one, each with its recipes."""
    recipes: dict[str, list[str]] = {}
    for recipe, backbone in BACKBONE_BY_RECIPE.items():
        recipes.setdefault(backbone, []).append(recipe)
    return ", ".join(f"for {' and '.join(names)} {backbone} of the hub" for backbone, names in recipes.items())


if __name__ == "__main__":
    sys.exit(main())
