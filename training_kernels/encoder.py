"""Documents in, unit-norm embeddings out: the last hidden state of an embedding token behind text and pictures in order.

Shape letters: N documents, B sequences of one batch, D embedding width.
"""

import logging
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from training_kernels.backbones.backbone import Backbone
from training_kernels.checkpoint import load_backbone
from training_kernels.collate import RenderedPicture, TokenSequence, batches_by_tokens
from training_kernels.config import InputConfig
from training_kernels.device import device_name, pick_device
from training_kernels.distributed import is_sharded
from training_kernels.documents import Document
from training_kernels.errors import ConfigError, OutOfMemory
from training_kernels.images import PictureSource
from training_kernels.memory import Pass, is_out_of_memory, weights_errors_explained
from training_kernels.picture_features import SharedFeatures
from training_kernels.pictures import FittedPictures
from training_kernels.vision_cache import PictureKeys, VisionCache

LOG = logging.getLogger(__name__)

FREE_MEMORY = "End what else uses the device (`nvidia-smi` shows it), or take one with more memory."

Side = Literal["query", "candidate"]

SORT_WINDOW = 4096
"""Documents that are rendered together and batched by length. Choice: padding is under 2 %, and their token ids take
some 50 MB; their pictures are decoded batch by batch."""

TOKEN_BUDGET_BY_DEVICE = {"cpu": 2048, "cuda": 32_768}
"""Padded tokens of a batch when encoding. Choice: on a CPU what stays in cache; on a GPU what keeps it busy."""


class Encoder:
    """A backbone, and how it reads documents.

    Args:
        vision_cache: keeps what the vision tower makes of pictures from run to run, while the tower is frozen.
    """

    def __init__(
        self,
        backbone: Backbone,
        inputs: InputConfig,
        *,
        dims: tuple[int, ...],
        vision_cache: VisionCache | None = None,
    ) -> None:
        self.backbone, self.inputs, self.dims = backbone, inputs, dims
        self.num_cut = 0
        """Documents that lost their end so far, because they were longer than max_tokens."""
        self.last_pass: Pass | None = None
        """What went through the backbone last, or was about to."""
        self._fitting_tokens: int | None = None
        """Token budget that the device's memory left, where a larger one did not fit."""
        self._pictures = FittedPictures(backbone, inputs)
        self._vision_cache = vision_cache
        if dims[0] > backbone.dim:
            raise ConfigError(f"dims {dims} do not fit the backbone's width {backbone.dim}; take narrower ones")
        instruction = backbone.tokenizer.encode([inputs.query_instruction])[0]
        largest = backbone.max_picture_tokens(min_pixels=inputs.min_pixels, max_pixels=inputs.max_pixels)
        needed = len(instruction) + largest + 1
        if needed > inputs.max_tokens:
            raise ConfigError(
                f"max_tokens {inputs.max_tokens} has no room for the instruction, the largest picture that a budget of "
                f"{inputs.max_pixels} pixels makes ({largest} tokens) and the embedding token, {needed} tokens; raise it or "
                "lower max_pixels"
            )

    @classmethod
    def load(cls, folder: str | Path, *, vision_cache: VisionCache | None = None) -> "Encoder":
        """The encoder of a checkpoint or backbone folder, on the best device here.

        Raises IncompleteArtifact without its manifest, OutOfMemory where the device has no room for it.
        """
        device = pick_device()
        with weights_errors_explained(f"checkpoint {folder}", device, advice=FREE_MEMORY):
            backbone, manifest = load_backbone(Path(folder), device=device)
        backbone.model.requires_grad_(False)
        return cls(backbone, manifest.inputs, dims=manifest.dims, vision_cache=vision_cache)

    @property
    def dim(self) -> int:
        """Full width of an embedding."""
        return self.backbone.dim

    def encode(
        self, documents: Sequence[Document], pictures: PictureSource, *, side: Side, token_budget: int | None = None
    ) -> np.ndarray:
        """float32 [N, D], unit norm, in the order given; a document's embedding does not depend on the others.

        Args:
            token_budget: padded tokens of a batch, where that is less than the device's own.

        Where the device has no memory for a batch, this and all later ones are made of half as many tokens, down to one
        document.

        Raises DataError if `pictures` lacks one, OutOfMemory for a document that does not fit alone.
        """
        self.backbone.model.eval()
        embedding_ND = np.empty((len(documents), self.dim), dtype=np.float32)
        for start in range(0, len(documents), SORT_WINDOW):
            sequences = self.render(documents[start : start + SORT_WINDOW], pictures, side=side)
            embedding_ND[start : start + SORT_WINDOW] = self._embed_by_length(sequences, token_budget, first=start)
        return embedding_ND

    def render(self, documents: Sequence[Document], pictures: PictureSource, *, side: Side) -> list[TokenSequence]:
        """Token sequences with pictures in place; those over max_tokens lose their end, pictures only whole.

        Choice: texts that follow each other are a newline apart, as in Document.text.
        """
        runs_by_document = [
            document.runs(self.inputs.query_instruction if side == "query" else "") for document in documents
        ]
        texts = [run.text for runs in runs_by_document for run in runs if run.text is not None]
        text_ids = iter(self.backbone.tokenizer.encode(texts))
        sequences = []
        for runs in runs_by_document:
            parts = [next(text_ids) if run.image is None else run.image for run in runs]
            sequences.append(self._sequence(parts, pictures))
        self.num_cut += sum(sequence.is_cut for sequence in sequences)
        return sequences

    def forget_pictures(self) -> None:
        """Lets go of the fitted pictures that are kept in memory."""
        self._pictures.forget()

    @property
    def has_frozen_vision(self) -> bool:
        """Whether no weight of the vision tower learns, so that a picture's features never change."""
        return not any(weight.requires_grad for weight in self.backbone.vision.parameters())

    def embed(self, sequences: Sequence[TokenSequence], features: SharedFeatures | None = None) -> Tensor:
        """float32 [B, D], unit norm, from one forward pass, with the gradient graph where gradients are on.

        Args:
            features: what the vision tower made of pictures before; pictures that it lacks are added to it. Only for
                a tower that is frozen.
        """
        self.last_pass = Pass.of(sequences)
        pictures = [picture for sequence in sequences for picture in sequence.pictures]
        known = {} if features is None else features.of(pictures)
        new = [picture for picture in dict.fromkeys(pictures) if picture not in known]
        made = dict(zip(new, self._vision_features(new), strict=True))
        if features is not None:
            features.keep(made)
        here = known | made
        last_BD = self.backbone.last_hidden_states(sequences, [here[picture] for picture in pictures])
        return F.normalize(last_BD.float(), dim=-1)

    def _vision_features(self, pictures: Sequence[RenderedPicture]) -> list[Tensor]:
        if self._vision_cache is None or not self.has_frozen_vision:
            return self._read_pictures(pictures)
        keys = [self._picture_keys.key(picture) for picture in pictures]
        features = {
            picture: kept.to(self._device)
            for picture, key in zip(pictures, keys, strict=True)
            if (kept := self._vision_cache.get(key)) is not None
        }
        for picture, key in zip(pictures, keys, strict=True):
            if picture not in features:
                # alone: rounding depends on what is read beside it, and that on what the cache happens to hold
                [features[picture]] = self._read_pictures([picture])
                self._vision_cache.put(key, features[picture])
        return [features[picture] for picture in pictures]

    def _read_pictures(self, pictures: Sequence[RenderedPicture]) -> list[Tensor]:
        return self.backbone.vision_features([self._pictures.pixels(picture) for picture in pictures])

    @cached_property
    def _picture_keys(self) -> PictureKeys:
        """Made once, since it reads every weight of the tower; the cache is only asked while they are frozen."""
        return PictureKeys(self.backbone, self.inputs)

    @property
    def _device(self) -> torch.device:
        return next(self.backbone.vision.parameters()).device

    @torch.inference_mode()
    def _embed_by_length(
        self, sequences: Sequence[TokenSequence], token_budget: int | None, *, first: int
    ) -> np.ndarray:
        """Args:
        first: number of the first of them among all documents that were handed in.
        """
        embedding_ND = np.empty((len(sequences), self.dim), dtype=np.float32)
        todo = list(range(len(sequences)))
        while todo:
            limits = (token_budget, self._fitting_tokens, TOKEN_BUDGET_BY_DEVICE[pick_device().type])
            budget = min(limit for limit in limits if limit is not None)
            groups = batches_by_tokens([len(sequences[position]) for position in todo], token_budget=budget)
            batches = [[todo[place] for place in group] for group in groups]
            num_done = self._embed_while_memory_lasts(sequences, batches, embedding_ND, first)
            todo = [position for batch in batches[num_done:] for position in batch]
        return embedding_ND

    def _embed_while_memory_lasts(
        self,
        sequences: Sequence[TokenSequence],
        batches: Sequence[Sequence[int]],
        embedding_ND: np.ndarray,
        first: int,
    ) -> int:
        """Fills in the rows of the first batches and returns how many those are; where one does not fit, later budgets
        are half of it."""
        for number, batch in enumerate(batches):
            try:
                embedding_ND[batch] = self.embed([sequences[position] for position in batch]).cpu().numpy()
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self._halve([sequences[position] for position in batch], error, number=first + batch[0])
                return number
        return len(batches)

    def _halve(self, batch: Sequence[TokenSequence], error: BaseException, *, number: int) -> None:
        """Halves the budget of all further batches after one that did not fit.

        Raises OutOfMemory where it was one document already, and where blocks are shared out, since all ranks must make
        as many passes.

        Args:
            number: of its first document among all that were handed in.
        """
        seen = Pass.of(batch)
        if len(batch) == 1 or any(map(is_sharded, self.backbone.model.parameters())):
            num_pictures = sum(len(sequence.pictures) for sequence in batch)
            raise OutOfMemory(
                f"{device_name(pick_device())} has no memory to embed document {number} (from 0) of those handed in, in a "
                f"pass of {seen} and {num_pictures} pictures. {FREE_MEMORY} The allocator said: {error}"
            ) from error
        if self._fitting_tokens is None:
            LOG.warning(
                "%s has no memory to embed %s at once; from now on in halves, with the same embeddings",
                device_name(pick_device()),
                seen,
            )
        self._fitting_tokens = seen.num_tokens // 2

    def _sequence(self, parts: Sequence[list[int] | str], pictures: PictureSource) -> TokenSequence:
        """Texts (token ids) and pictures (digests) in order, up to max_tokens, and the embedding token."""
        room = self.inputs.max_tokens - 1
        token_ids, rendered, starts = list[int](), [], []
        is_cut = False
        for part in parts:
            if isinstance(part, str):
                picture = self._pictures.render(part, pictures)
                part_ids, first = self.backbone.picture_tokens(picture.height, picture.width)
                is_cut = len(token_ids) + len(part_ids) > room
                if not is_cut:
                    rendered.append(picture)
                    starts.append(len(token_ids) + first)
                    token_ids += part_ids
            else:
                is_cut = len(token_ids) + len(part) > room
                token_ids += part[: room - len(token_ids)]
            if is_cut:
                break
        token_ids.append(self.backbone.embedding_token)
        return TokenSequence(tuple(token_ids), tuple(rendered), tuple(starts), is_cut)
