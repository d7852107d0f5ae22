"""Several processes as one: each embeds its share of a joined batch, and gradients come out as from one process.

Plain torch.distributed, no wrapper: what is needed is one gather of embeddings and one sum of gradients a step, and a
wrapper that counts backward passes (DistributedDataParallel, accelerate) would have to be worked around, because a step
here has as many as its batch has token groups.

Shape letters: C rows of all ranks, N rows of one rank, M rows of the rank that has most, W ranks, D embedding width,
L Matryoshka dims.
"""

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from training_kernels.collate import TokenSequence
from training_kernels.config import Distribution
from training_kernels.device import pick_device

BUCKET_BYTES = 64 * 2**20
"""Gradients that are summed over ranks in one message. Choice: large enough to fill a link, small beside the weights."""


@dataclass(frozen=True, slots=True)
class Ranks:
    """The processes of one run, as one of them sees them."""

    rank: int
    num_ranks: int
    is_sharding: bool = False
    """Whether blocks are shared out: then every rank must pass through the model equally often."""

    @classmethod
    def current(cls, distribution: Distribution = "ddp") -> "Ranks":
        """Those of the process group where there is one, else this process alone."""
        if not dist.is_initialized() or dist.get_world_size() == 1:
            return cls(0, 1)
        return cls(dist.get_rank(), dist.get_world_size(), distribution == "fsdp")

    @property
    def is_first(self) -> bool:
        """Whether this is the rank that writes and reports."""
        return self.rank == 0

    def gathered(self, embedding_ND: Tensor, counts: Sequence[int]) -> Tensor:
        """Rows of all ranks in order of rank. Going back, a row gets the sum of the gradients of all ranks.

        Args:
            counts: rows that each rank has; this one's is N.
        """
        return embedding_ND if self.num_ranks == 1 else _Gathered.apply(embedding_ND, self.rank, tuple(counts))

    def summed(self, values_L: Tensor) -> Tensor:
        """The sum over all ranks, on each of them; carries no gradient."""
        return self._reduced(values_L.detach(), dist.ReduceOp.SUM)

    def least(self, value: int) -> int:
        """The smallest of all ranks' whole numbers."""
        return int(self._reduced(torch.tensor(value, device=pick_device()), dist.ReduceOp.MIN))

    def most(self, value: int) -> int:
        """The largest of all ranks' whole numbers."""
        return int(self._reduced(torch.tensor(value, device=pick_device()), dist.ReduceOp.MAX))

    def agreed(self, value: float) -> float:
        """The first rank's value, on every rank."""
        if self.num_ranks == 1:
            return value
        tensor = torch.tensor([value], dtype=torch.float64, device=pick_device())
        dist.broadcast(tensor, src=0)
        return tensor.item()

    def wait(self) -> None:
        """Returns when every rank is here."""
        if self.num_ranks > 1:
            dist.barrier()

    def filled(self, sequences: Sequence[TokenSequence]) -> list[TokenSequence]:
        """The sequences, and behind them as many more of the shortest as make all ranks have equally many.

        Only where blocks are shared out, so that `in_step` always can; the embeddings of these more are used by nobody.
        """
        if not self.is_sharding:
            return list(sequences)
        return [*sequences, *[min(sequences, key=len)] * (self.most(len(sequences)) - len(sequences))]

    def in_step(self, groups: Sequence[Sequence[int]]) -> list[list[int]]:
        """The same groups; where blocks are shared out, some are halved so that every rank has equally many.

        Such blocks gather their weights in every pass, so all ranks must make as many passes.
        """
        result = [list(group) for group in groups]
        most = self.most(len(result)) if self.is_sharding else 0
        while len(result) < most:
            place = max(range(len(result)), key=lambda position: len(result[position]))
            group = result[place]
            result[place : place + 1] = [group[: len(group) // 2], group[len(group) // 2 :]]
        return result

    def sum_gradients(self, parameters: Sequence[torch.nn.Parameter]) -> None:
        """Sums the gradients of weights that every rank holds; those of shared-out blocks are summed already.

        A weight that got no gradient on any rank has none afterwards, as in one process.
        """
        if self.num_ranks == 1:
            return
        held = [parameter for parameter in parameters if not is_sharded(parameter)]
        has_gradient = torch.tensor([parameter.grad is not None for parameter in held], device=pick_device()).int()
        dist.all_reduce(has_gradient, dist.ReduceOp.MAX)
        used = [parameter for parameter, has in zip(held, has_gradient.tolist(), strict=True) if has]
        for parameter in used:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
        for bucket in _buckets([parameter.grad for parameter in used if parameter.grad is not None]):
            flat = torch.cat([gradient.flatten() for gradient in bucket])
            dist.all_reduce(flat)
            for gradient, summed in zip(bucket, flat.split([one.numel() for one in bucket]), strict=True):
                gradient.copy_(summed.view_as(gradient))

    def clip_gradients(self, parameters: Sequence[torch.nn.Parameter], max_norm: float) -> float:
        """Scales all gradients so that their joint norm is at most `max_norm`; returns the norm before."""
        gradients = [parameter.grad for parameter in parameters if parameter.grad is not None]
        held = [gradient for gradient in gradients if not is_sharded(gradient)]
        sharded = [local(gradient) for gradient in gradients if is_sharded(gradient)]
        norm = torch.nn.utils.get_total_norm(held)
        if sharded:
            square = torch.nn.utils.get_total_norm(sharded).square()
            dist.all_reduce(square)
            norm = (norm.square() + square).sqrt()
        scale = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
        for by_dtype in ([one for one in held + sharded if one.dtype == dtype] for dtype in _dtypes(held + sharded)):
            torch._foreach_mul_(by_dtype, scale.to(by_dtype[0].device))
        return float(norm)

    def _reduced(self, values: Tensor, operation: Any) -> Tensor:
        if self.num_ranks == 1:
            return values
        reduced = values.clone()
        dist.all_reduce(reduced, operation)
        return reduced


@contextmanager
def joined_ranks() -> Iterator[None]:
    """The ranks that torchrun started, joined by NCCL between GPUs and by Gloo between CPUs; else this process alone."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield
        return
    device = pick_device()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    yield
    dist.destroy_process_group()  # not after a failure: the others may be inside a collective, for which NCCL would wait


def shard_blocks(model: torch.nn.Module, block_parts: str) -> None:
    """Shares out the weights of the language model's blocks over all ranks (FSDP2), gathered one block at a time.

    `block_parts` is the regex of module names whose blocks these are (Backbone.lora_targets). Every document passes
    these blocks, so all ranks gather in step. What only pictures pass, and the token embeddings, stay on every rank.
    """
    from torch.distributed.fsdp import FSDPModule, fully_shard

    blocks = _blocks(model, block_parts)
    inside = {id(parameter) for block in blocks for parameter in block.parameters()}
    outside = {parameter for parameter in model.parameters() if id(parameter) not in inside}
    mesh = dist.init_device_mesh(pick_device().type, (dist.get_world_size(),))
    for block in blocks:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh, ignored_params=outside)
    for module in model.modules():
        if isinstance(module, FSDPModule):
            module.set_gradient_divide_factor(1.0)  # each rank's loss is its part of a sum, not a mean of its own
            module.set_force_sum_reduction_for_comms(True)


def is_sharded(tensor: Tensor) -> bool:
    """Whether a weight or gradient is shared out over ranks."""
    return hasattr(tensor, "to_local")


def local(tensor: Tensor) -> Tensor:
    """What this rank holds of a weight, gradient or moment; written to, it changes."""
    part: Any = tensor.detach()
    return part.to_local() if is_sharded(tensor) else part


def whole(tensor: Tensor) -> Tensor:
    """The full weight, on every rank; all ranks must call it."""
    part: Any = tensor.detach()
    return part.full_tensor() if is_sharded(tensor) else part


class _Gathered(torch.autograd.Function):
    """All ranks' rows; backwards, each rank's rows get the sum of what all ranks' losses say of them."""

    @staticmethod
    def forward(ctx: Any, part_ND: Tensor, rank: int, counts: tuple[int, ...]) -> Tensor:
        ctx.rank, ctx.counts = rank, counts
        padded_MD = part_ND.new_zeros(max(counts), part_ND.shape[1])
        padded_MD[: len(part_ND)] = part_ND
        gathered = part_ND.new_empty(len(counts) * max(counts), part_ND.shape[1])
        dist.all_gather_into_tensor(gathered, padded_MD)
        parts = gathered.view(len(counts), max(counts), -1)
        return torch.cat([part_MD[:count] for part_MD, count in zip(parts, counts, strict=True)])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_CD: Tensor) -> tuple[Tensor, None, None]:
        most = max(ctx.counts)
        padded_WMD = gradient_CD.new_zeros(len(ctx.counts), most, gradient_CD.shape[1])
        for part_MD, rows in zip(padded_WMD, gradient_CD.split(ctx.counts), strict=True):
            part_MD[: len(rows)] = rows
        part_MD = gradient_CD.new_empty(most, gradient_CD.shape[1])
        dist.reduce_scatter_tensor(part_MD, padded_WMD.flatten(0, 1))
        return part_MD[: ctx.counts[ctx.rank]], None, None


def _blocks(model: torch.nn.Module, parts: str) -> list[torch.nn.Module]:
    """Members of module lists that hold a module whose name matches, wrapped by an adapter or not."""
    pattern = re.compile(parts)
    names = [name for name, _ in model.named_modules() if pattern.fullmatch(name.removeprefix("base_model.model."))]
    return [
        member
        for list_name, members in model.named_modules()
        if isinstance(members, torch.nn.ModuleList)
        for position, member in enumerate(members)
        if any(name.startswith(f"{list_name}.{position}.") for name in names)
    ]


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    """Gradients of one dtype, in order, up to BUCKET_BYTES together."""
    for dtype in _dtypes(gradients):
        bucket: list[Tensor] = []
        for gradient in (one for one in gradients if one.dtype == dtype):
            if bucket and sum(one.nbytes for one in bucket) + gradient.nbytes > BUCKET_BYTES:
                yield bucket
                bucket = []
            bucket.append(gradient)
        if bucket:
            yield bucket


def _dtypes(tensors: Sequence[Tensor]) -> list[torch.dtype]:
    return list(dict.fromkeys(tensor.dtype for tensor in tensors))
