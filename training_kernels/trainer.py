"""One training run, from examples to a committed checkpoint; killed at any step, it goes on as if it had not been."""

import math
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from training_kernels.backbones.backbone import Backbone
from training_kernels.checkpoint import load_for_training, write_checkpoint
from training_kernels.config import DivergenceConfig, OptimizerConfig, TrainConfig
from training_kernels.data_identity import data_identity
from training_kernels.dev import Best, DevRetrieval
from training_kernels.dev_examples import NO_DEV
from training_kernels.device import device_name, peak_memory_bytes, pick_device, repeatable
from training_kernels.distributed import Ranks, is_sharded, local, shard_blocks, whole
from training_kernels.encoder import Encoder
from training_kernels.errors import OutOfMemory, TrainingDiverged
from training_kernels.examples import Example, ExampleSet
from training_kernels.images import PictureSource
from training_kernels.memory import is_out_of_memory, step_errors_explained, weights_errors_explained
from training_kernels.objective import BatchLoss, ContrastiveObjective, Objective
from training_kernels.progress import Progress
from training_kernels.sampling import plan_batches
from training_kernels.state import (
    RandomState,
    StateFolder,
    random_state_kept,
    restore_weights,
    run_parts,
    weights_state,
)
from training_kernels.vision_cache import opened_cache

Weights = Mapping[str, torch.nn.Parameter]
"""What learns, by name."""

LIGHTER = (
    "End what else uses the device (`nvidia-smi` shows it), start from a smaller backbone, or, where all weights learn in "
    "float32, set tuning=LoraTuning(...) and precision=bfloat16."
)
"""What to do where no step was made yet."""


def train(
    config: TrainConfig,
    training: ExampleSet,
    pictures: PictureSource,
    *,
    start_from: Path,
    out: Path,
    log: Callable[[str], None],
    dev: ExampleSet = NO_DEV,
) -> dict[str, Any]:
    """Trains, writes the checkpoint folder `out`, and returns the report that stands in its metrics.json.

    Equal arguments on the same device give equal weights, whether the run was killed and started again in between or
    not. The random state of the process is left as it was. Where a process group is joined, its ranks train together
    on joined batches, and the first one writes.

    Raises DataError for examples that cannot train, IncompleteArtifact where `start_from` is no complete folder,
    ConfigError where recipe and backbone do not fit, TrainingDiverged where the loss stops being a number or rises far
    for long, OutOfMemory where a batch does not fit, AlreadyTraining where another process trains into `out`.
    """
    ranks, device = Ranks.current(config.distribution), pick_device()
    log = log if ranks.is_first else _silent
    batches = plan_batches(training, config)
    num_steps = math.ceil(len(batches) / config.batches_per_step)
    folder = StateFolder(out, ranks, device, log)
    parts = run_parts(config, training, dev, start_from, ranks, device)
    with random_state_kept(device), repeatable(device, is_asked=config.is_repeatable), folder.held(parts):
        torch.manual_seed(config.seed)
        with weights_errors_explained(f"what {config.name!r} learns from {start_from}", device, advice=LIGHTER):
            backbone = load_for_training(start_from, config, device=device)
        config = with_whole_width(config, backbone.dim)
        if ranks.is_sharding:
            shard_blocks(backbone.model, backbone.lora_targets)
        vision_cache = opened_cache(start_from.resolve().parent, max_bytes=config.vision_cache_bytes)
        encoder = Encoder(backbone, config.inputs, dims=config.loss.dims, vision_cache=vision_cache)
        objective = ContrastiveObjective(encoder, training, pictures, config, ranks)
        retrieval = DevRetrieval(  # an encoder of its own: what it cuts is not counted among what was trained on
            Encoder(backbone, config.inputs, dims=config.loss.dims, vision_cache=vision_cache),
            dev,
            training,
            pictures,
            config.dev,
            token_budget=config.token_budget,
        )
        weights = {name: weight for name, weight in backbone.model.named_parameters() if weight.requires_grad}
        optimizer = adamw(weights, config.optimizer)
        torch.manual_seed(config.seed + ranks.rank)  # ranks hold the same weights, and drop out different parts
        with weights_errors_explained(f"the state in {folder.folder}", device, advice=LIGHTER):
            kept = restored(folder, weights, optimizer)
        objective.cut_documents.update(kept.get("cut_document_ids", ()))
        best = Best(**kept.get("best", {}), weights=kept.get("best_weights", {}))
        first_step = kept.get("step", 0)
        progress = Progress(
            num_steps,
            temperature=config.loss.temperature,
            curves=folder.curves,
            is_writer=ranks.is_first,
            log=log,
            state=kept.get("progress", {}),
        )

        def state_before(step: int, random_state: RandomState) -> dict[str, Any]:
            return {
                "step": step,
                "random": random_state,
                "cut_document_ids": sorted(objective.cut_documents),
                "best": best.to_state(),
                "progress": progress.to_state(),
                **weights_state(weights, optimizer, best.weights, ranks=ranks),
            }

        def memory_explained(step: int, state: str, *, is_pass: bool) -> AbstractContextManager[None]:
            return step_errors_explained(
                config,
                device,
                step=step,
                num_documents=(2 + config.negatives_per_query) * config.batch_size,
                last_pass=lambda: encoder.last_pass if is_pass else None,
                state=state,
            )

        log(_opening(config, backbone, weights, ranks, device, steps=num_steps, first_step=first_step, folder=folder))
        for drop in batches.drops():
            log("left out of source {source!r}, {times:,} times, as {rule}: {reason}".format(**drop))
        backbone.model.train()
        if "random" in kept:
            kept["random"].restore(device)
        last_save = time.perf_counter()
        with progress:
            for step in range(first_step, num_steps):
                if best.scores_since >= config.dev.patience:
                    log(f"no better dev score in {best.scores_since} scores; training ends before step {step + 1}")
                    break
                first = step * config.batches_per_step
                batches_of_step = [
                    batches[place] for place in range(first, min(first + config.batches_per_step, len(batches)))
                ]
                before = RandomState.now(device)
                rate = learning_rate(step, num_steps, config)
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.zero_grad()
                try:
                    with memory_explained(
                        step,
                        f"The state before this step is in {folder.folder}; the same command goes on from it.",
                        is_pass=True,
                    ):
                        batch_loss = backward(objective, batches_of_step, weights)
                        ranks.sum_gradients(list(weights.values()))
                        norm = ranks.clip_gradients(list(weights.values()), config.optimizer.max_gradient_norm)
                except OutOfMemory:
                    if ranks.num_ranks == 1:  # of many, the others wait for this one inside the step
                        optimizer.zero_grad()
                        save_if_possible(folder, step, state_before(step, before), back=2 * config.divergence.steps)
                    raise
                fault = fault_of(batch_loss.loss, norm, progress.curve, config.divergence)
                if fault:
                    good = write_last_good(
                        folder,
                        backbone,
                        config,
                        weights,
                        optimizer,
                        training,
                        dev,
                        progress.curve,
                        best,
                        start_from=start_from,
                    )
                    ranks.wait()  # a rank that raises has the others ended, and one of them is writing
                    raise TrainingDiverged(
                        f"step {step + 1} of {num_steps}: {fault}; {good}; lower the learning rate (now {rate:.2g}) or "
                        f"raise the temperature of {config.name!r}"
                    )
                last = f"The last state that was written is in {folder.folder}; the same command goes on from it."
                with memory_explained(step, last, is_pass=False):
                    optimizer.step()
                progress.add_step(
                    batch_loss,
                    queries=sum(map(len, batches_of_step)),
                    rate=rate,
                    norm=norm,
                    memory_bytes=peak_memory_bytes(device),
                )
                done = step + 1
                if retrieval.num_queries and (done % config.dev.every_steps == 0 or done == num_steps):
                    scores = retrieval.score()
                    best.take(ranks.agreed(scores["ndcg@10"]), done, weights)
                    progress.add_dev(scores, is_best=best.step == done)
                is_due = (
                    done % config.state.every_steps == 0
                    or time.perf_counter() - last_save >= config.state.every_seconds
                )
                if ranks.agreed(is_due and done < num_steps):
                    folder.save(done, state_before(done, RandomState.now(device)), back=2 * config.divergence.steps)
                    last_save = time.perf_counter()
        backbone.model.eval()
        report = {
            "recipe": config.name,
            "seed": config.seed,
            "device": str(device),
            "device_name": device_name(device),
            "precision": precision_of(backbone),
            "processes": ranks.num_ranks,
            "distribution": config.distribution if ranks.num_ranks > 1 else "one process",
            "examples": len(training.examples),
            "drops": batches.drops(),
            "documents": len(training.documents),
            "cut_documents": objective.num_cut_documents(device),
            "resumed_at_step": first_step,
            "dev_queries": retrieval.num_queries,
            "dev_candidates": retrieval.num_candidates if retrieval.num_queries else 0,
            "best_step": best.step,
            "best_dev_ndcg@10": best.score if retrieval.num_queries else None,
            **progress.summary(),
        }
        write_weights(
            out, backbone, config, report, best.weights or weights, weights, training, dev, start_from=start_from
        )
        if ranks.is_first:
            shutil.rmtree(out / "tensorboard", ignore_errors=True)
            shutil.move(folder.curves, out / "tensorboard")
        folder.remove()
    log(f"checkpoint {out} written")
    return report


def with_whole_width(config: TrainConfig, width: int) -> TrainConfig:
    """The recipe, with the backbone's whole width among its dims.

    Choice: what is stored, scored on dev queries and searched by default is the whole embedding, so it has to be learnt;
    it weighs as much as the widest of the recipe's dims.
    """
    loss = config.loss
    if loss.dims[0] >= width:
        return config
    weight_by_dim = ((width, loss.weight_by_dim[0][1]), *loss.weight_by_dim)
    return replace(config, loss=replace(loss, weight_by_dim=weight_by_dim))


def save_if_possible(folder: StateFolder, step: int, state: Mapping[str, Any], *, back: int) -> None:
    """Writes the state; where there is no memory even for that, says so and leaves the last one as it is."""
    try:
        folder.save(step, state, back=back)
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        folder.log(f"no memory to write the state before step {step + 1}; the last one stays")


def backward(objective: Objective, batches: Sequence[Sequence[Example]], weights: Weights) -> BatchLoss:
    """Leaves the mean gradient of a step's batches in the weights, and returns the mean of what the batches came to."""
    losses = [objective.backward(batch) for batch in batches]
    if len(losses) == 1:
        return losses[0]
    for weight in weights.values():
        if weight.grad is not None:
            local(weight.grad).div_(len(losses))
    return BatchLoss(
        loss=sum(one.loss for one in losses) / len(losses),
        loss_by_dim={dim: sum(one.loss_by_dim[dim] for one in losses) / len(losses) for dim in losses[0].loss_by_dim},
        num_tokens=sum(one.num_tokens for one in losses),
    )


def adamw(weights: Weights, config: OptimizerConfig) -> torch.optim.AdamW:
    """The optimizer; weights that are shared out over ranks in a group of their own, as fused steps demand."""
    groups = [[weight for weight in weights.values() if is_sharded(weight) == sharded] for sharded in (False, True)]
    return torch.optim.AdamW(
        [{"params": group} for group in groups if group],
        betas=config.betas,
        weight_decay=config.weight_decay,
        fused=True,
    )


def learning_rate(step: int, num_steps: int, config: TrainConfig) -> float:
    """The rate of a step (0-based): up in a line to the peak at the end of the warm-up, then down in a line.

    No step has rate zero, so none is wasted.
    """
    peak, warmup = config.optimizer.learning_rate, math.ceil(config.optimizer.warmup_share * num_steps)
    if step < warmup:
        return peak * (step + 1) / (warmup + 1)
    return peak * (num_steps - step) / (num_steps - warmup)


def restored(folder: StateFolder, weights: Weights, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """The state that the run goes on from, its weights put in place; empty for a new run."""
    newest = folder.newest()
    return {} if newest is None else restored_from(newest, folder, weights, optimizer)


def restored_from(
    state: Path, folder: StateFolder, weights: Weights, optimizer: torch.optim.Optimizer
) -> dict[str, Any]:
    """One state, its weights put in place."""
    states = folder.load(state)
    return states[1] | {"best_weights": restore_weights(states, weights, optimizer)}


def write_weights(
    out: Path,
    backbone: Backbone,
    config: TrainConfig,
    report: dict[str, Any],
    chosen: Mapping[str, torch.Tensor],
    weights: Weights,
    training: ExampleSet,
    dev: ExampleSet,
    *,
    start_from: Path,
) -> None:
    """Writes the checkpoint of the chosen weights; shared-out ones are put together first. All ranks must call it."""
    with torch.no_grad():
        for name, weight in weights.items():
            if chosen is not weights:
                local(weight).copy_(chosen[name])
    if any(map(is_sharded, backbone.model.parameters())):
        full = {name: whole(weight).cpu() for name, weight in weights.items()}
        if not Ranks.current().is_first:
            return
        backbone = load_for_training(start_from, config, device=torch.device("cpu"))
        with torch.no_grad():
            for name, weight in backbone.model.named_parameters():
                if name in full:
                    weight.copy_(full[name])
    if Ranks.current().is_first:
        write_checkpoint(
            out, backbone, config, report, start_from=start_from, data_identity=data_identity(training, dev)
        )


def write_last_good(
    folder: StateFolder,
    backbone: Backbone,
    config: TrainConfig,
    weights: Weights,
    optimizer: torch.optim.Optimizer,
    training: ExampleSet,
    dev: ExampleSet,
    curve: Sequence[Mapping[str, Any]],
    best: Best,
    *,
    start_from: Path,
) -> str:
    """Writes the last weights that are known to be good as a checkpoint, and says where it is.

    Good are those of a state that gave a sound loss afterwards, as no step since the divergence began has; or else those
    that did best on dev queries.
    """
    sound = folder.newest_before(first_bad_step([point["loss"] for point in curve], config.divergence))
    chosen: Mapping[str, torch.Tensor] = weights
    if sound is not None:
        step = restored_from(sound, folder, weights, optimizer)["step"]
    elif best.weights:
        step, chosen = best.step, best.weights
    else:
        return "nothing was written: of no state that was saved is it known that its weights were good"
    report = {"recipe": config.name, "steps": step, "is_diverged": True}
    write_weights(folder.last_good, backbone, config, report, chosen, weights, training, dev, start_from=start_from)
    return f"the weights after step {step} are in {folder.last_good}, to go on from by --start-from"


def precision_of(backbone: Backbone) -> str:
    """What the backbone's weights are kept in, e.g. "float32"."""
    return str(next(iter(backbone.model.parameters())).dtype).removeprefix("torch.")


def fault_of(loss: float, norm: float, curve: Sequence[Mapping[str, Any]], config: DivergenceConfig) -> str:
    """Why the run must not go on, or ""."""
    if not math.isfinite(loss) or not math.isfinite(norm):
        return f"loss {loss}, gradient norm {norm}"
    losses = [*(point["loss"] for point in curve), loss]
    if len(losses) < 2 * config.steps:
        return ""
    lowest = min(_window_means(losses[: -config.steps], config.steps))
    if min(losses[-config.steps :]) <= lowest + config.max_rise:
        return ""
    return (
        f"the loss, now {loss:.3f}, has been more than {config.max_rise} nats above its lowest mean {lowest:.3f} for "
        f"{config.steps} steps"
    )


def first_bad_step(losses: Sequence[float], config: DivergenceConfig) -> int:
    """The step (0-based) from which on, and up to now, losses were too high or no numbers; the next one counts as such."""
    finite = [loss for loss in losses if math.isfinite(loss)]
    highest = math.inf
    if len(finite) >= config.steps:
        highest = min(_window_means(finite, config.steps)) + config.max_rise
    step = len(losses)
    while step and not losses[step - 1] <= highest:
        step -= 1
    return step


def _window_means(values: Sequence[float], width: int) -> Iterator[float]:
    """Means of every `width` values in a row."""
    total = sum(values[:width])
    yield total / width
    for entering, leaving in zip(values[width:], values, strict=False):
        total += entering - leaving
        yield total / width


def _opening(
    config: TrainConfig,
    backbone: Backbone,
    weights: Weights,
    ranks: Ranks,
    device: torch.device,
    *,
    steps: int,
    first_step: int,
    folder: StateFolder,
) -> str:
    together = f", {ranks.num_ranks} processes ({config.distribution})" if ranks.num_ranks > 1 else ""
    resumed = f"; going on at step {first_step + 1}, the state was found" if first_step else ""
    return (
        f"recipe {config.name} on {device_name(device)} in {precision_of(backbone)}{together}, seed {config.seed}: {steps} "
        f"steps, {sum(weight.numel() for weight in weights.values()):,} weights learn; curves: tensorboard --logdir "
        f"{folder.curves}{resumed}"
    )


def _silent(line: str) -> None:
    """Where a rank that does not report says things."""
