"""Run by test_distributed.py, alone or under torchrun: the clipped gradient of one batch, in every way to get it."""

import sys
from dataclasses import replace
from pathlib import Path

import torch
from PIL import Image

from training_kernels.checkpoint import load_for_training
from training_kernels.config import FullTuning, LoraTuning
from training_kernels.distributed import Ranks, joined_ranks, shard_blocks, whole
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.examples import Example, ExampleSet
from training_kernels.objective import ContrastiveObjective
from training_kernels.recipes import tiny

MAX_NORM = 0.5
WAYS = [(activations, tuning) for activations in ("kept", "recomputed") for tuning in ("full", "lora")]


class OnePicture:
    def open(self, digest: str) -> Image.Image:
        return Image.radial_gradient("L").resize((90, 60)).convert("RGB")


BATCHES = ((7, 0), (7, 1), (7, 3), (2, 1))
"""(Queries, pictures). Two queries and their two positives leave the first of three ranks without a document."""


def task(num_queries: int, num_pictures: int) -> tuple[ExampleSet, tuple[Example, ...]]:
    """Seven queries, an odd number, with up to two hard negatives, or two without; the first documents hold the pictures."""
    documents, examples = {}, []
    for number in range(num_queries):
        documents[f"q{number}"] = Document.of("what is " + "so " * (number * 3) + f"special about thing {number}")
        picture = [Segment(image="x")] if number < num_pictures else []
        documents[f"d{number}"] = Document.of(
            f"thing {number} is number {number * number}, " * (1 + number % 3), *picture
        )
        documents[f"n{number}"] = Document.of(f"a wrong page of {number}")
        negatives = (f"n{number}", "d0")[: number % 3] if num_queries > 2 else ()
        examples.append(
            Example(
                example_id=f"e{number}",
                query=f"q{number}",
                positive=f"d{number}",
                negatives=tuple(one for one in negatives if one != f"d{number}"),
                source="made",
            )
        )
    return ExampleSet(documents, tuple(examples)), tuple(examples)


def main(start_from: Path, out: Path, distribution: str) -> None:
    results = {}
    with joined_ranks():
        ranks = Ranks.current(distribution)
        for activations, tuning in WAYS:
            for num_queries, num_pictures in BATCHES:
                config = replace(
                    tiny(),
                    activations=activations,
                    tuning=FullTuning() if tuning == "full" else LoraTuning(rank=4, alpha=8, dropout=0.0),
                    token_budget=64,
                    negatives_per_query=2,
                )
                torch.manual_seed(1)
                backbone = load_for_training(start_from, config, device=torch.device("cpu"))
                generator = torch.Generator().manual_seed(2)
                for name, weight in backbone.model.named_parameters():
                    if "lora_B" in name:  # zero at the start, which would hide the gradient of the other half
                        weight.data.normal_(0, 0.05, generator=generator)
                if ranks.is_sharding:
                    shard_blocks(backbone.model, backbone.lora_targets)
                backbone.model.train()
                training, batch = task(num_queries, num_pictures)
                encoder = Encoder(backbone, config.inputs, dims=config.loss.dims)
                got = ContrastiveObjective(encoder, training, OnePicture(), config, ranks).backward(batch)
                weights = {name: one for name, one in backbone.model.named_parameters() if one.requires_grad}
                ranks.sum_gradients(list(weights.values()))
                norm = ranks.clip_gradients(list(weights.values()), MAX_NORM)
                gradients = {
                    name: whole(weight.grad).clone() for name, weight in weights.items() if weight.grad is not None
                }
                results[f"{activations} {tuning} {num_queries} {num_pictures}"] = {
                    "loss": got.loss,
                    "loss_by_dim": got.loss_by_dim,
                    "norm": norm,
                    "gradients": gradients,
                }
        if ranks.is_first:
            torch.save(results, out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
