"""One training run by hand: `python -m training_kernels RECIPE EXAMPLES OUT --images ROOT --start-from FOLDER`."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from training_kernels.errors import NyxError
from training_kernels.examples import read_examples
from training_kernels.images import PictureFolder
from training_kernels.recipes import RECIPES, train_recipe


def main() -> int:
    arguments = _parser().parse_args()
    from training_kernels.trainer import train

    try:
        config = train_recipe(arguments.recipe)
        train(
            config if arguments.seed is None else replace(config, seed=arguments.seed),
            read_examples(arguments.examples),
            PictureFolder(arguments.images),
            start_from=arguments.start_from,
            out=arguments.out,
            log=lambda line: print(line, flush=True),
        )
    except NyxError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training_kernels", description="Train a retriever.")
    parser.add_argument("recipe", help=f"one of {', '.join(sorted(RECIPES))}")
    parser.add_argument("examples", type=Path, help="folder with documents.parquet and examples.parquet")
    parser.add_argument("out", type=Path, help="checkpoint folder to write; an older one is replaced")
    parser.add_argument("--images", required=True, help="root of the content-addressed picture folder")
    parser.add_argument("--start-from", type=Path, required=True, help="backbone folder, or checkpoint to go on from")
    parser.add_argument("--seed", type=int, help="instead of the recipe's")
    return parser


if __name__ == "__main__":
    sys.exit(main())
