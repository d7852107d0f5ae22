"""One training run by hand: `python -m training_kernels RECIPE EXAMPLES OUT --images ROOT --start-from FOLDER`."""

import argparse
import os
import sys
from dataclasses import asdict, replace
from pathlib import Path

from training_kernels.errors import NyxError
from training_kernels.examples import read_examples
from training_kernels.images import PictureFolder
from training_kernels.overrides import with_overrides
from training_kernels.processes import die_with_parent
from training_kernels.recipes import RECIPES, train_recipe

EXPLANATION = """\
EXAMPLES holds documents.parquet and examples.parquet, and a folder dev with two such files if training is to be scored
on dev queries: the weights with the best nDCG@10 are kept then, else the last ones (training_kernels/examples.py, dev.py).

A run that is killed goes on where its last state was written, when the same command is given again; the state lies in
OUT.state until OUT is complete. With another recipe, other examples, another start, number of processes or device, the
old state is moved to OUT.state.old and training starts anew. Settings that only change how a step is computed may
differ: state.every_steps, state.every_seconds, token_budget, activations.

Several processes train as one, each on a device of its own, with the batch of the recipe shared out among them:
  torchrun --standalone --nproc-per-node 8 -m training_kernels RECIPE EXAMPLES OUT --images ROOT --start-from FOLDER

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
    from training_kernels.dev_examples import read_dev_examples
    from training_kernels.distributed import joined_ranks
    from training_kernels.trainer import train

    training = read_examples(arguments.examples)
    with joined_ranks():
        train(
            config,
            training,
            PictureFolder(arguments.images),
            dev=read_dev_examples(arguments.examples, training),
            start_from=arguments.start_from,
            out=arguments.out,
            log=lambda line: print(line, flush=True),
        )


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
    parser.add_argument("--images", required=True, help="root of the content-addressed picture folder")
    parser.add_argument("--start-from", type=Path, required=True, help="backbone folder, or checkpoint to go on from")
    parser.add_argument("--seed", type=int, help="instead of the recipe's")
    parser.add_argument(
        "--set", action="append", default=[], metavar="FIELD=VALUE", help="a number of the recipe, by its path"
    )
    parser.add_argument("--show", action="store_true", help="print the recipe as it would run, and train nothing")
    return parser


if __name__ == "__main__":
    sys.exit(main())
