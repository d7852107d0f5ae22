"""A whole training step with GradCache against sentence-transformers: python -m benchmarks.step [--json].

The same weights, pairs and loss on both sides; the gradients are compared before anything is timed. The peer's mini-batch
is 8 documents on a CPU and 32 on a GPU; ours is the padded tokens that its largest one holds.

On a CPU: a toy of Qwen2.5-VL on one thread in float32, every weight learning. With --device cuda: random weights of the
3B's sizes in bfloat16 with LoRA on the language model. Every one of these is an option of either. Besides pairs a second
the model's FLOP/s and its utilisation are printed, and of a GPU the peak memory of either side.
"""

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.contrastive_steps import (
    LOSS,
    Pairs,
    Setting,
    adapt,
    our_side,
    require_equal_gradients,
    require_like_gradients,
    their_side,
)
from benchmarks.devices import MEBIBYTE, add_device_option, described, extra_gpu_bytes, utilisation, wall_seconds
from benchmarks.flops import Reading, info_nce_flops, step_flops
from benchmarks.report import Comparison, argument_parser, compare_speed, comparison_of, print_comparison
from benchmarks.vlm_peer import (
    MadePictures,
    made_picture,
    made_text,
    make_weights,
    open_ours,
    three_b_config,
    toy_config,
)
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.recipes import nyx_paper

NUM_PAIRS, GPU_PAIRS = 128, 256
PEER_MINI_BATCH, GPU_MINI_BATCH = 8, 32
"""Documents. Choice: on a GPU an estimated 20 GB of activations at the 3B's width, so that both sides fit 80 GB."""

SIZES = {"toy": toy_config, "3b": three_b_config}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def made_pairs(num_pairs: int, *, seed: int) -> Pairs:
    """Short queries; every second candidate is a passage, the others pictures of 20 to 80 visual tokens with text."""
    generator = np.random.default_rng(seed)
    queries = [
        Document.of(f"{row} {made_text(generator, num_words=int(generator.integers(3, 10)))}")
        for row in range(num_pairs)
    ]
    candidates, pictures = [], {}
    for row in range(num_pairs):
        text = f"{row} {made_text(generator, num_words=int(np.clip(generator.lognormal(np.log(30), 0.6), 5, 100)))}"
        if row % 2:
            pictures[str(row)] = made_picture(generator, visual_tokens=2.25 * generator.integers(9, 36))
            candidates.append(Document.of(Segment(image=str(row)), text))
        else:
            candidates.append(Document.of(text))
    return Pairs(queries=queries, candidates=candidates, pictures=MadePictures(pictures))


def longest_tokens(folder: Path, pairs: Pairs) -> int:
    """Tokens of the longest document."""
    return max(reading_of(open_ours(folder), pairs).num_tokens)


def reading_of(encoder: Encoder, pairs: Pairs) -> Reading:
    """The documents of both sides as the backbone reads them."""
    sequences = encoder.render(pairs.queries, pairs.pictures, side="query")
    sequences += encoder.render(pairs.candidates, pairs.pictures, side="candidate")
    encoder.forget_pictures()
    patch = encoder.backbone.model.config.vision_config.patch_size
    return Reading(
        num_tokens=[len(sequence) for sequence in sequences],
        grids=[(one.height // patch, one.width // patch) for sequence in sequences for one in sequence.pictures],
    )


def compared(
    size: str, pairs: Pairs, setting: Setting, *, tuning: str, peer_mini_batch: int, num_rounds: int
) -> list[Comparison]:
    """Pairs a second, the model's FLOP/s and, on a GPU, the memory of a step.

    Raises AssertionError where the gradients of the sides differ.
    """
    device = setting.device
    prepare = adapt if tuning == "lora" else _tune_all
    with tempfile.TemporaryDirectory() as name:
        config = SIZES[size]()
        folder = make_weights(Path(name), seed=0, config=config, dtype=setting.dtype, device=device)
        meter = open_ours(folder, dims=setting.loss.dims, dtype=setting.dtype, device=device)
        prepare(meter.backbone.model)
        reading = reading_of(meter, pairs)
        flops = step_flops(meter.backbone.model, reading)
        del meter
        flops += info_nce_flops(len(pairs.queries), len(pairs.candidates), setting.loss.dims[0])
        budget = peer_mini_batch * max(reading.num_tokens)
        ours = our_side(folder, pairs, token_budget=budget, prepare=prepare, setting=setting)
        theirs = their_side(folder, pairs, mini_batch=peer_mini_batch, prepare=prepare, setting=setting)
    if setting.dtype == torch.float32:
        equality = f"gradients equal to {require_equal_gradients(ours, theirs):.0e}"
    else:
        equality = f"gradients of cosine {require_like_gradients(ours, theirs):.4f}"
    precision = str(setting.dtype).removeprefix("torch.")
    name = f"step, {size}, {tuning}, {precision}, {len(pairs.queries)} pairs, {budget:,} tokens at once, {equality}"
    accelerator = described(device)
    speed = compare_speed(
        name,
        ours=ours.step,
        peer=theirs.step,
        amount=len(pairs.queries),
        unit="pairs/s",
        num_rounds=num_rounds,
        seconds_of=partial(wall_seconds, device=device),
        accelerator=accelerator,
    )
    per_pair = flops / len(pairs.queries)
    shares = [utilisation(per_pair * one, device, setting.dtype) for one in (speed.ours, speed.peer)]
    scale = per_pair / 1e12
    arithmetic = replace(
        speed,
        ours=scale * speed.ours,
        peer=scale * speed.peer,
        unit=f"TFLOP/s of the model ({flops / 1e12:.4g} TFLOP a step), utilisation {shares[0]} and {shares[1]}",
    )
    if device.type == "cpu":
        return [speed, arithmetic]
    extra = tuple(extra_gpu_bytes(side.step, device) / MEBIBYTE for side in (ours, theirs))
    unit = "MiB above weights and optimizer, less is better"
    return [speed, arithmetic, comparison_of(name, [extra], unit=unit, accelerator=accelerator)]


def _tune_all(_: torch.nn.Module) -> None:
    """Every weight learns already."""


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argument_parser(__doc__.splitlines()[0])
    add_device_option(parser)
    parser.add_argument("--size", choices=list(SIZES), help="of the model; by default toy on a CPU, 3b on a GPU")
    parser.add_argument("--tuning", choices=("full", "lora"), help="by default full on a CPU, lora on a GPU")
    parser.add_argument("--precision", choices=list(DTYPES), help="by default float32 on a CPU, bfloat16 on a GPU")
    parser.add_argument("--pairs", type=int, help=f"by default {NUM_PAIRS}, on a GPU {GPU_PAIRS}")
    parser.add_argument("--peer-mini-batch", type=int, help=f"by default {PEER_MINI_BATCH}, on a GPU {GPU_MINI_BATCH}")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args(arguments)
    is_gpu = options.device.type == "cuda"
    if not is_gpu:
        torch.set_num_threads(1)
    size = options.size or ("3b" if is_gpu else "toy")
    setting = Setting(
        loss=LOSS if size == "toy" else nyx_paper().loss,
        dtype=DTYPES[options.precision or ("bfloat16" if is_gpu else "float32")],
        device=options.device,
    )
    comparisons = compared(
        size,
        made_pairs(options.pairs or (GPU_PAIRS if is_gpu else NUM_PAIRS), seed=0),
        setting,
        tuning=options.tuning or ("lora" if is_gpu else "full"),
        peer_mini_batch=options.peer_mini_batch or (GPU_MINI_BATCH if is_gpu else PEER_MINI_BATCH),
        num_rounds=options.rounds,
    )
    for comparison in comparisons:
        print_comparison(comparison, as_json=options.json)


if __name__ == "__main__":
    main()
