"""Every number a training run depends on, checked when the run is described."""

import re
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from training_kernels.errors import ConfigError

Precision = Literal["float32", "bfloat16"]

Distribution = Literal["ddp", "fsdp"]

FalseNegative = Literal["near_duplicate", "same_answer"]
"""A rule by which a candidate counts as another answer to a query: it is a near copy of one, or answers in the same words."""

NO_MARGIN = 2.0
"""Cosines differ by 2 at most, so no candidate exceeds a positive by more."""

MIN_PANEL_BYTES = 2**20


def require_choices(config: Any) -> None:
    """Raises ConfigError where a field of a config dataclass, or a member of it, is none of the words that its type lists."""
    hints = get_type_hints(type(config))
    for name in (field.name for field in fields(config)):
        wanted, value = hints[name], getattr(config, name)
        values: tuple[Any, ...] = (value,)
        if get_origin(wanted) is tuple and get_args(wanted)[1:] == (...,):
            wanted, values = get_args(wanted)[0], value
        if get_origin(wanted) is Literal and (unknown := [one for one in values if one not in get_args(wanted)]):
            known = " or ".join(map(repr, get_args(wanted)))
            raise ConfigError(f"{name} must be {known}, got {', '.join(map(repr, unknown))}")


@dataclass(frozen=True, kw_only=True, slots=True)
class InputConfig:
    """What the encoder reads of a document; the same in training, indexing and search."""

    max_tokens: int
    """Most tokens of a sequence, visual tokens, instruction and embedding token included; what is over is cut."""
    min_pixels: int
    max_pixels: int
    """Pixel budget: pictures are scaled to between these areas, each side a multiple of a visual token's. Qwen's models
    exceed it for long pictures where it is below 200 visual tokens, up to 56 tokens of 16 and 113 of 64: a picture keeps
    its shape, up to 200 to 1, and is at least a token high."""
    query_instruction: str
    """Text before every query, so that a query and a page of the same words may differ; "" for none."""

    def __post_init__(self) -> None:
        if self.max_tokens < 2:
            raise ConfigError(f"max_tokens must leave room for a token and the embedding token, got {self.max_tokens}")
        if not 0 < self.min_pixels <= self.max_pixels:
            raise ConfigError(
                f"the pixel budget must be 0 < min_pixels <= max_pixels, got {self.min_pixels} and {self.max_pixels}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """Matryoshka InfoNCE."""

    temperature: float
    weight_by_dim: tuple[tuple[int, float], ...]
    """Embedding prefixes that are trained to work alone, widest first, each with its share of the loss."""
    hard_negatives: Literal["shared", "own"] = "shared"
    """Shared: every query is held against the hard negatives of all. Own: only against its own, as the published code."""
    false_negatives: tuple[FalseNegative, ...] = ()
    """Rules by which a candidate is ignored; another positive of the same query always is."""
    ignored_margin: float = NO_MARGIN
    """A candidate whose cosine exceeds the positive's by more than this is ignored; below 0 also some that do not reach
    it; 2, which no difference exceeds, ignores none."""
    panel_bytes: int = 64 * 2**20
    """Memory for the logits that are worked at once. Choice: 256 rows of 16,384 candidates at four dims in float32."""

    def __post_init__(self) -> None:
        require_choices(self)
        if not self.temperature > 0:
            raise ConfigError(f"temperature divides the cosine and must be > 0, got {self.temperature}")
        if not -NO_MARGIN <= self.ignored_margin <= NO_MARGIN:
            raise ConfigError(f"ignored_margin is a difference of cosines in [-2, 2], got {self.ignored_margin}")
        if self.panel_bytes < MIN_PANEL_BYTES:
            raise ConfigError(f"panel_bytes must be at least {MIN_PANEL_BYTES:,} (1 MiB), got {self.panel_bytes:,}")
        if not self.dims or list(self.dims) != sorted(set(self.dims), reverse=True) or self.dims[-1] < 1:
            raise ConfigError(f"weight_by_dim must list distinct dims of at least 1, widest first, got {self.dims}")
        if not all(weight > 0 for _, weight in self.weight_by_dim):
            raise ConfigError(f"weights of dims must be > 0 (leave a dim out to ignore it), got {self.weight_by_dim}")

    @property
    def dims(self) -> tuple[int, ...]:
        """Matryoshka dims, widest first."""
        return tuple(dim for dim, _ in self.weight_by_dim)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoraTuning:
    """Low-rank adapters on linear layers; all other weights are frozen."""

    rank: int
    alpha: int
    """The adapter's output is scaled by alpha / rank."""
    dropout: float
    targets: str = ""
    """Regex of the whole names of the modules to adapt; "" for every linear layer of the language model's blocks (and,
    with tunes_vision, of the vision tower)."""
    tunes_vision: bool = False
    """Whether `targets` may reach into the vision tower: a regex that does so unsaid is refused."""
    is_dora: bool = False
    """Direction and length of a weight apart (DoRA, arXiv:2402.09353), the first factor drawn from a Gaussian: as the
    published code has it."""

    def __post_init__(self) -> None:
        try:
            re.compile(self.targets)
        except re.error as error:
            raise ConfigError(f"targets {self.targets!r} is no regular expression: {error}") from error
        if self.rank < 1 or not self.alpha > 0 or not 0 <= self.dropout < 1:
            raise ConfigError(
                f"LoRA needs rank >= 1, alpha > 0 and 0 <= dropout < 1, got {self.rank}, {self.alpha}, {self.dropout}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class FullTuning:
    """Every weight of the backbone learns, or all but the vision tower's."""

    tunes_vision: bool = True


Tuning = LoraTuning | FullTuning


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """AdamW; the learning rate rises linearly to its peak, then falls linearly to zero."""

    learning_rate: float
    warmup_share: float
    """Share of all steps in which the learning rate rises."""
    max_gradient_norm: float
    weight_decay: float
    betas: tuple[float, float]

    def __post_init__(self) -> None:
        if not self.learning_rate > 0 or not self.max_gradient_norm > 0 or not self.weight_decay >= 0:
            raise ConfigError(
                "learning_rate and max_gradient_norm must be > 0 and weight_decay >= 0, got "
                f"{self.learning_rate}, {self.max_gradient_norm}, {self.weight_decay}"
            )
        if not 0 <= self.warmup_share < 1:
            raise ConfigError(f"warmup_share is a share of all steps in [0, 1), got {self.warmup_share}")
        if not all(0 <= beta < 1 for beta in self.betas):
            raise ConfigError(f"betas must be in [0, 1), got {self.betas}")


@dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """Which examples an epoch takes, and which stand together in a batch."""

    batches: Literal["mixed", "one_source"] = "mixed"
    """One source: a batch holds examples of one source, so that the source tells no candidate from another."""
    weight_by_source: tuple[tuple[str, float], ...] = ()
    """How often an epoch takes each example of a source: 0.3 takes three in ten, drawn anew each epoch, 2 takes each
    twice; 1 for a source that is not listed."""
    cap_by_source: tuple[tuple[str, int], ...] = ()
    """Most examples that an epoch takes of a source, drawn anew each epoch; a source that is not listed has no cap."""
    least_share: float = 0.25
    """Least size of a batch, as a share of the epoch's largest: an example whose batch would be smaller is left out. Each
    source's largest batch is made whatever its size (of mixed batches, the largest of all).
    Choice: AdamW moves the weights as far on few queries as on many, and the mean gradient of a quarter of them is twice
    as noisy."""

    def __post_init__(self) -> None:
        require_choices(self)
        if not 0 <= self.least_share <= 1:
            raise ConfigError(f"least_share is a share of the largest batch in [0, 1], got {self.least_share}")
        for field, pairs in (("weight_by_source", self.weight_by_source), ("cap_by_source", self.cap_by_source)):
            if len({source for source, _ in pairs}) < len(pairs):
                raise ConfigError(f"{field} must list each source once, got {pairs}")
            if not all(number >= 0 for _, number in pairs):
                raise ConfigError(f"{field} must be >= 0 (0 leaves a source out), got {pairs}")


@dataclass(frozen=True, kw_only=True, slots=True)
class DevConfig:
    """How often dev queries are searched while training; the weights that found most are the ones that are kept.

    Without dev examples none of this happens, and the last weights are kept.
    """

    every_steps: int
    """Steps from one score to the next; the last step is always scored."""
    max_queries: int
    """Dev queries of a score, the first ones."""
    num_candidates: int
    """Documents that are ranked: the dev queries' own, filled up with training candidates where these are fewer."""
    patience: int
    """Scores in a row without a better one after which training ends."""

    def __post_init__(self) -> None:
        if min(self.every_steps, self.max_queries, self.num_candidates, self.patience) < 1:
            raise ConfigError(
                "every_steps, max_queries, num_candidates and patience of dev must be >= 1, got "
                f"{self.every_steps}, {self.max_queries}, {self.num_candidates}, {self.patience}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class StateConfig:
    """How often the whole training state is written, whichever comes first; a killed run goes on from there."""

    every_steps: int
    every_seconds: float

    def __post_init__(self) -> None:
        if self.every_steps < 1 or not self.every_seconds >= 0:
            raise ConfigError(
                "the state's every_steps must be >= 1 and every_seconds >= 0, got "
                f"{self.every_steps}, {self.every_seconds}"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class DivergenceConfig:
    """When a run whose loss is still a number is given up."""

    max_rise: float
    """Nats by which the loss may exceed the lowest mean of `steps` steps in a row."""
    steps: int
    """Steps in a row that must all exceed it."""

    def __post_init__(self) -> None:
        if not self.max_rise > 0 or self.steps < 1:
            raise ConfigError(f"divergence needs max_rise > 0 and steps >= 1, got {self.max_rise} and {self.steps}")


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """One training run."""

    name: str
    inputs: InputConfig
    loss: LossConfig
    tuning: Tuning
    optimizer: OptimizerConfig
    dev: DevConfig
    state: StateConfig
    divergence: DivergenceConfig
    batch_size: int
    """Queries of a batch, over all ranks; each sees every candidate of the batch."""
    batches_per_step: int
    """Batches whose gradients are averaged before the weights move; a query sees no candidate of another batch."""
    negatives_per_query: int
    """Hard negatives taken of each example, best first; an example may have fewer."""
    epochs: int
    max_steps: int
    """A run ends after `epochs` passes or this many steps, whichever comes first."""
    token_budget: int
    """Padded tokens, visual ones included, that go through the backbone at once; a longer sequence goes alone."""
    activations: Literal["kept", "recomputed"]
    """Kept: one pass, memory grows with the batch. Recomputed: two passes, on the device memory of one token budget or
    kept_tokens, and of features_bytes; what a frozen vision tower made of further pictures waits in host memory."""
    kept_tokens: int = 0
    """Where activations are recomputed: padded tokens whose activations are kept all the same, if that is more than one
    token budget. A batch that fits is never recomputed."""
    features_bytes: int = 256 * 2**20
    """Of what a frozen vision tower made of a batch's pictures: most bytes that stay on the device from pass to pass;
    the rest waits in host memory and is brought back for its pass. Choice: 160 pictures of 400 tokens at width 2048 in
    bfloat16, 1.6 MB each, under 1 % of the activations of a pass of 4,096 tokens. The rest is cheap to move: 3 GB go to
    and fro in under a second, by estimate at 10 GB/s, of a step of thousands of pictures."""
    vision_cache_bytes: int = 0
    """Most bytes on disk for what a frozen vision tower made of pictures, kept from run to run; 0: nothing is kept."""
    precision: Precision
    distribution: Distribution
    """Of several processes: each holds all weights (ddp), or the language model's blocks are shared out (fsdp)."""
    seed: int
    sampling: SamplingConfig = SamplingConfig()
    is_repeatable: bool = True
    """On a GPU, whether only kernels are taken that give the same bits every time, so that a resumed run ends with the
    weights of an uninterrupted one. A CPU does so anyway."""

    def __post_init__(self) -> None:
        require_choices(self)
        if self.batches_per_step < 1:
            raise ConfigError(f"batches_per_step must be >= 1, got {self.batches_per_step}")
        if self.batch_size < 2:
            raise ConfigError(f"batch_size must be >= 2 for in-batch negatives to exist, got {self.batch_size}")
        if self.negatives_per_query < 0 or self.epochs < 1 or self.max_steps < 1 or self.token_budget < 1:
            raise ConfigError(
                "negatives_per_query must be >= 0, and epochs, max_steps and token_budget >= 1, got "
                f"{self.negatives_per_query}, {self.epochs}, {self.max_steps}, {self.token_budget}"
            )
        if min(self.kept_tokens, self.features_bytes, self.vision_cache_bytes) < 0:
            raise ConfigError(
                f"kept_tokens, features_bytes and vision_cache_bytes must be >= 0, got {self.kept_tokens}, "
                f"{self.features_bytes} and {self.vision_cache_bytes}"
            )
        if self.precision == "bfloat16" and isinstance(self.tuning, FullTuning):
            raise ConfigError(
                "full tuning in bfloat16 loses most updates (8 bits of mantissa); use float32, or LoraTuning on bfloat16"
            )
