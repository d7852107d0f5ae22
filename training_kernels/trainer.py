"""One training run, from examples to a committed checkpoint."""

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from training_kernels.checkpoint import load_for_training, write_checkpoint
from training_kernels.config import TrainConfig
from training_kernels.data_identity import data_identity
from training_kernels.device import pick_device
from training_kernels.encoder import Encoder
from training_kernels.errors import TrainingDiverged
from training_kernels.examples import ExampleSet
from training_kernels.images import PictureSource
from training_kernels.objective import BatchLoss, ContrastiveObjective
from training_kernels.sampling import plan_batches
from training_kernels.vision_cache import opened_cache

LOG_EVERY_SECONDS = 5.0


def train(
    config: TrainConfig,
    training: ExampleSet,
    pictures: PictureSource,
    *,
    start_from: Path,
    out: Path,
    log: Callable[[str], None],
) -> dict[str, Any]:
    """Trains, writes the checkpoint folder `out`, and returns the report that stands in its metrics.json.

    Equal arguments on the same device give equal weights. The random state of the process is left as it was.

    Raises DataError for examples that cannot train, IncompleteArtifact where `start_from` is no complete folder,
    ConfigError where recipe and backbone do not fit, TrainingDiverged where the loss stops being a number.
    """
    batches = plan_batches(training, config)
    device = pick_device()
    started = time.perf_counter()
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        backbone = load_for_training(start_from, config, device=device)
        vision_cache = opened_cache(start_from.resolve().parent, max_bytes=config.vision_cache_bytes)
        encoder = Encoder(backbone, config.inputs, dims=config.loss.dims, vision_cache=vision_cache)
        objective = ContrastiveObjective(encoder, training, pictures, config)
        parameters = [parameter for parameter in backbone.model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.AdamW(
            parameters, betas=config.optimizer.betas, weight_decay=config.optimizer.weight_decay, fused=True
        )
        progress = Progress(len(batches), log)
        backbone.model.train()
        for step, batch in enumerate(batches):
            rate = learning_rate(step, len(batches), config)
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.zero_grad()
            batch_loss = objective.backward(batch)
            norm = float(torch.nn.utils.clip_grad_norm_(parameters, config.optimizer.max_gradient_norm))
            if not math.isfinite(batch_loss.loss) or not math.isfinite(norm):
                raise TrainingDiverged(
                    f"step {step + 1} of {len(batches)}: loss {batch_loss.loss}, gradient norm {norm}; nothing was "
                    f"written; lower the learning rate (now {rate:.2g}) or raise the temperature of {config.name!r}"
                )
            optimizer.step()
            progress.add(step, batch_loss, rate=rate, norm=norm)
        backbone.model.eval()
    report = {
        "recipe": config.name,
        "seed": config.seed,
        "device": str(device),
        "precision": str(next(backbone.model.parameters()).dtype).removeprefix("torch."),
        "steps": len(batches),
        "examples": len(training.examples),
        "documents": len(training.documents),
        "cut_documents": encoder.num_cut,
        "seconds": time.perf_counter() - started,
        **progress.summary(),
    }
    write_checkpoint(out, backbone, config, report, start_from=start_from, data_identity=data_identity(training))
    log(f"checkpoint {out} written")
    return report


def learning_rate(step: int, num_steps: int, config: TrainConfig) -> float:
    """The rate of a step (0-based): up in a line to the peak at the end of the warm-up, then down in a line.

    No step has rate zero, so none is wasted.
    """
    peak, warmup = config.optimizer.learning_rate, math.ceil(config.optimizer.warmup_share * num_steps)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * (num_steps - step) / (num_steps - warmup)


class Progress:
    """Collects the curve of a run, and says every few seconds how far it is."""

    def __init__(self, num_steps: int, log: Callable[[str], None]) -> None:
        self.num_steps, self.log = num_steps, log
        self.curve: list[dict[str, Any]] = []
        self.num_tokens = 0
        self.started = self.last_log = time.perf_counter()

    def add(self, step: int, batch_loss: BatchLoss, *, rate: float, norm: float) -> None:
        """Takes in one step (0-based) that is done."""
        self.num_tokens += batch_loss.num_tokens
        self.curve.append(
            {
                "step": step + 1,
                "loss": batch_loss.loss,
                "loss_by_dim": {str(dim): loss for dim, loss in batch_loss.loss_by_dim.items()},
                "learning_rate": rate,
                "gradient_norm": norm,
            }
        )
        now = time.perf_counter()
        if now - self.last_log >= LOG_EVERY_SECONDS or step + 1 == self.num_steps:
            self.last_log = now
            seconds = now - self.started
            left = seconds / (step + 1) * (self.num_steps - step - 1)
            self.log(
                f"step {step + 1}/{self.num_steps}  loss {batch_loss.loss:.3f}  gradient norm {norm:.2f}  "
                f"{self.num_tokens / seconds:,.0f} tokens/s  {left:.0f} s left"
            )

    def summary(self) -> dict[str, Any]:
        """First and last loss, tokens, rate, and the whole curve."""
        return {
            "first_loss": self.curve[0]["loss"],
            "last_loss": self.curve[-1]["loss"],
            "tokens": self.num_tokens,
            "tokens_per_second": self.num_tokens / (time.perf_counter() - self.started),
            "curve": self.curve,
        }
