"""Training runs by name, each number with its source. Sections are those of the Nyx paper, arXiv 2510.17354 v1."""

from collections.abc import Callable
from dataclasses import replace

from training_kernels.config import (
    DevConfig,
    DivergenceConfig,
    FullTuning,
    InputConfig,
    LoraTuning,
    LossConfig,
    OptimizerConfig,
    SamplingConfig,
    StateConfig,
    TrainConfig,
)
from training_kernels.errors import ConfigError

VISUAL_TOKEN_PIXELS = 28 * 28
"""Area of one visual token of Qwen2.5-VL: 2 x 2 merged patches of 14 x 14."""

ALWAYS_TO_THE_END = DevConfig(every_steps=200, max_queries=500, num_candidates=5_000, patience=1_000_000)
"""Choice: the paper neither scores nor stops on dev queries, so these runs never end early. 500 queries tell scores
apart that differ by about 0.04 (two standard errors at 0.5); 5,000 candidates are embedded in minutes on a GPU."""

EVERY_TEN_MINUTES = StateConfig(every_steps=1_000_000, every_seconds=600.0)
"""Choice: an adapter's state is 100 MB, written in a second."""

GIVE_UP = DivergenceConfig(max_rise=2.0, steps=100)
"""Choice: a batch of another source may cost a nat more; a collapsed encoder costs log(candidates) at each dim, above 5."""

INSTRUCTION = "Find a document that helps to answer the question.\n"
"""Choice: the paper asks for an instruction (section 3.3) and does not give its words."""

PUBLISHED_TARGETS = (
    r".*language_model\.layers\.\d+\.(self_attn\.[qkvo]_proj|mlp\.down_proj)|.*visual\.blocks\.\d+\.mlp\.down_proj"
)
"""What the published list of names comes to on Qwen2.5-VL: no gate and up projections, but the vision tower's down
projections, since the list was written for another backbone."""


def nyx_paper() -> TrainConfig:
    """The published run: LoRA on Qwen2.5-VL-3B. Meant for a GPU of 80 GB; not yet run on one."""
    return TrainConfig(
        name="nyx_paper",
        inputs=InputConfig(
            max_tokens=8192,  # Choice: the published code cuts nothing; 20 times a chunk with one picture
            min_pixels=4 * VISUAL_TOKEN_PIXELS,  # published code
            max_pixels=400 * VISUAL_TOKEN_PIXELS,  # published code; evaluation there used 40 times as much
            query_instruction=INSTRUCTION,  # section 3.3: on every query
        ),
        loss=LossConfig(
            temperature=0.02,  # appendix A
            # table 3; equation 2 would have them sum to 1, a factor of the whole loss that AdamW does not feel
            weight_by_dim=((2048, 1.0), (1024, 1.0), (512, 0.2), (256, 0.2)),
            hard_negatives="own",  # equation 1: of hard negatives a query sees its own; the batch's positives it sees all
        ),
        tuning=LoraTuning(rank=8, alpha=64, dropout=0.1),  # appendix A
        optimizer=OptimizerConfig(
            learning_rate=1e-5,  # appendix A
            warmup_share=0.05,  # appendix A
            max_gradient_norm=5.0,  # published code
            weight_decay=0.0,  # published code leaves the default of its trainer
            betas=(0.9, 0.999),  # likewise
        ),
        dev=ALWAYS_TO_THE_END,
        state=EVERY_TEN_MINUTES,
        divergence=GIVE_UP,
        batch_size=160,  # section 4 and appendix A: 20 queries on each of 8 GPUs, which see each other
        batches_per_step=4,  # likewise: gradients of 4 batches, 640 queries, make one step
        negatives_per_query=1,  # appendix A
        epochs=1,  # published code
        max_steps=1_000_000,  # Choice: the paper sets no limit; above the 7,762 batches of its 1,241,860 examples
        # Choice: 31 GB of activations at width 2048 and 36 layers, where a token takes 208 KB a layer (measured through
        # saved-tensor hooks on one layer in bfloat16 with LoRA); a document of max_tokens goes alone and takes 61 GB
        token_budget=4096,
        activations="recomputed",  # Choice: 480 documents of a step do not fit one GPU; gradients are the same
        precision="bfloat16",  # published code
        distribution="ddp",  # Choice: adapters are small; the published code shards only the optimizer (ZeRO-2)
        seed=42,  # published code's seed for its sample and split
    )


def nyx_published() -> TrainConfig:
    """The run behind the published numbers as its code really ran it, where that differs from the paper.

    Not rebuilt, for no setting should:
    - its gradients are divided by the number of ranks, because the loss of gathered batches was not scaled up (only the
      clip, at 5.0, feels it), and it resumes with the wrong data;
    - a positive may stand in a batch many times, and every other copy is a negative of its queries; here it stands once,
      and an example that fits into no batch is left out;
    - whatever else answers a query in the batch is a negative of it; here another positive of the same query is not;
    - a hard negative that is another query's positive as well counts twice in the denominator; here once;
    - too few negatives are filled up by repeating the last, and an empty one by another, or by the positive itself; here
      a query has the negatives that it has;
    - no token is appended, so the embedding is read at whatever ends the text; here one is always appended.
    """
    paper = nyx_paper()
    return replace(
        paper,
        name="nyx_published",
        # published code: the query side is raw text in training
        inputs=replace(paper.inputs, query_instruction=""),
        tuning=LoraTuning(
            rank=8, alpha=64, dropout=0.1, targets=PUBLISHED_TARGETS, tunes_vision=True, is_dora=True
        ),  # DoRA with Gaussian start
    )


def nyx() -> TrainConfig:
    """Ours, for a GPU of 80 GB: the paper's task with what is known to help. Not yet run to its end on real data."""
    paper = nyx_paper()
    return replace(
        paper,
        name="nyx",
        loss=replace(
            paper.loss,
            hard_negatives="shared",  # Choice: they are embedded anyway, and double what a query is held against
            # Choice: classification labels and answers recur in these sets; what answers as well is no negative
            false_negatives=("near_duplicate", "same_answer"),
        ),
        # Choice: from another source a negative is told apart by its style; VLM2Vec V2 batches by data set likewise. A
        # source of fewer than 160 labels makes one batch an epoch: of the paper's, HatefulMemes, VOC2007 and N24News,
        # some 46,000 of its 1,241,860 examples. The run's log and metrics.json say what is left out
        sampling=SamplingConfig(batches="one_source"),
        # the paper's optimizer batch, all of it in view of every query. GradCache takes no memory of the device for it, and
        # of the host's what the vision tower made of its pictures, 1.6 MB each: 3 GB where 640 queries and 1,280 documents
        # have one picture each, 16 GB where they have five
        batch_size=640,
        batches_per_step=1,  # so nothing has to be accumulated; four times as many in-batch negatives, same 640 a step
        optimizer=replace(
            paper.optimizer,
            learning_rate=1e-4,  # Choice: LoRA's usual rate; 1e-5 moves an adapter of rank 8 little in 1,900 steps
            max_gradient_norm=1.0,  # Choice: 5.0 clips nothing once the gradient is not divided by the ranks
        ),
        # one epoch, warm-up, temperature, dims, rank and pixel budget stay the paper's, so that what differs is small
        dev=DevConfig(  # the paper chose its checkpoint by the test set; ours by dev queries alone
            every_steps=100,
            max_queries=1_000,
            num_candidates=10_000,
            patience=8,  # Choice: 800 steps, two fifths of the run, without a better score
        ),
    )


def small_gpu() -> TrainConfig:
    """For a GPU of 8 to 24 GB, or a backbone of 256M to 2B weights: small passes, the same batch as the paper's."""
    start = nyx()
    return replace(
        start,
        name="small_gpu",
        inputs=replace(
            start.inputs,
            max_tokens=2048,  # Choice: a chunk of 200 text tokens and four pictures
            max_pixels=256 * VISUAL_TOKEN_PIXELS,  # Choice: 448 x 448
        ),
        loss=replace(
            start.loss, weight_by_dim=((512, 1.0), (256, 1.0), (128, 0.2))
        ),  # Choice: fits every backbone's width, which is learnt whole beside them
        batch_size=128,  # Choice: an hour for 10,000 examples rather than a day
        # Choice: by the 208 KB of nyx_paper, scaled by width, 6 GB of activations at width 1024 and 28 layers, and 12 GB
        # at width 2048
        token_budget=2048,
        epochs=2,
        state=StateConfig(every_steps=1_000_000, every_seconds=120.0),  # Choice: such machines are often taken away
    )


def cpu() -> TrainConfig:
    """A pretrained backbone on a CPU, overnight: an adapter, small pictures, short documents."""
    start = small_gpu()
    return replace(
        start,
        name="cpu",
        inputs=replace(start.inputs, max_tokens=512, max_pixels=64 * VISUAL_TOKEN_PIXELS),  # Choice: 224 x 224
        batch_size=32,  # Choice: a step of a 256M backbone in about a minute on four cores, by estimate
        epochs=1,
        max_steps=500,
        dev=DevConfig(every_steps=50, max_queries=100, num_candidates=300, patience=4),
        precision="float32",
    )


def tiny() -> TrainConfig:
    """The embedded default: the tiny backbone from random weights, in about a minute on two cores."""
    return TrainConfig(
        name="tiny",
        inputs=InputConfig(
            max_tokens=512,  # Choice: a chunk of 200 text tokens and five pictures of 18 tokens, or of 58 as the longest have
            min_pixels=4 * VISUAL_TOKEN_PIXELS,
            max_pixels=16 * VISUAL_TOKEN_PIXELS,  # Choice: 112 x 112, the smallest at which a photograph is told apart
            query_instruction="",
        ),
        loss=LossConfig(
            temperature=0.05,  # Choice: at 0.02 a model from random weights overfits its first batches
            weight_by_dim=((128, 1.0), (64, 1.0), (32, 0.2), (16, 0.2)),  # the paper's halvings at the tiny width
        ),
        tuning=FullTuning(),  # Choice: random weights leave nothing for an adapter to adapt
        optimizer=OptimizerConfig(
            learning_rate=5e-4,  # Choice: measured; at 1e-3 unseen pages are found less often after the same steps
            warmup_share=0.1,  # Choice: Adam's first estimates on random weights are poor
            max_gradient_norm=1.0,  # Choice: early norms are above 100; no single batch may outweigh the others
            weight_decay=0.02,  # Choice: little; what is seen a few times should not grow large
            betas=(0.9, 0.98),  # Choice: a run of 100 steps is over before 0.999 has averaged anything
        ),
        # Choice: a score of 100 queries takes about a second on two cores; a run of a minute is not cut short
        dev=DevConfig(every_steps=50, max_queries=100, num_candidates=200, patience=1_000_000),
        state=StateConfig(every_steps=1_000_000, every_seconds=10.0),  # Choice: 20 MB; at most ten seconds are lost
        divergence=GIVE_UP,
        batch_size=64,  # Choice: 128 documents of 100 tokens, about 0.3 s a step on two cores
        batches_per_step=1,  # Choice: the whole batch fits
        negatives_per_query=1,  # appendix A
        epochs=6,  # Choice: measured on 475 examples; later ones only fit the training queries
        max_steps=150,  # Choice: under a minute on two cores; measured on 12,175 examples, 600 find no more
        token_budget=4096,  # Choice: measured; wider batches leave the cache
        activations="kept",
        precision="float32",
        distribution="ddp",
        seed=42,
    )


def tiny_feedback() -> TrainConfig:
    """Going on from a `tiny` checkpoint with what the generator could use: shorter, and at a gentler rate."""
    start = tiny()
    return replace(
        start,
        name="tiny_feedback",
        # Choice: measured on real pages; at 2e-4 the few preferences undo part of what the first training learned
        optimizer=replace(start.optimizer, learning_rate=5e-5),
        # Choice: preferences help at first and are learnt by heart later, so the weights are chosen among many; scored at
        # its end alone, the same run came out below the pretrained checkpoint on the dev questions
        dev=replace(start.dev, every_steps=8),
        epochs=6,
        max_steps=100,  # Choice: a minute on two cores
    )


def smoke() -> TrainConfig:
    """A few steps of `tiny`: shows that training runs, in seconds; learns next to nothing."""
    return replace(tiny(), name="smoke", max_steps=4)


def smoke_feedback() -> TrainConfig:
    """A few steps of `tiny_feedback`."""
    return replace(tiny_feedback(), name="smoke_feedback", max_steps=2)


RECIPES: dict[str, Callable[[], TrainConfig]] = {
    "nyx": nyx,
    "nyx_paper": nyx_paper,
    "nyx_published": nyx_published,
    "small_gpu": small_gpu,
    "cpu": cpu,
    "tiny": tiny,
    "tiny_feedback": tiny_feedback,
    "smoke": smoke,
    "smoke_feedback": smoke_feedback,
}


def train_recipe(name: str) -> TrainConfig:
    """The recipe of that name. Raises ConfigError with the known names."""
    if name not in RECIPES:
        raise ConfigError(f"recipe {name!r} is unknown; known: {', '.join(sorted(RECIPES))}")
    return RECIPES[name]()
