"""The whole state of a training run, written whole while it runs, so that a killed run goes on as if it had not been.

<out>.state/
  run.json              what the run depends on; another run does not go on from here
  step-00000120/        the state before that step, one file a rank; renamed into place when all are written
  tensorboard/          curves while the run goes; moved into the checkpoint at the end
  last_good/            after a divergence: the last saved weights as a checkpoint
"""

import fcntl
import json
import os
import random
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from training_kernels.config import TrainConfig
from training_kernels.device import device_name
from training_kernels.distributed import Ranks, is_sharded, local
from training_kernels.errors import AlreadyTraining
from training_kernels.examples import ExampleSet
from training_kernels.manifest import identity

HOW_NOT_WHAT = ("state", "token_budget", "activations", "kept_tokens", "features_bytes", "vision_cache_bytes")
"""Recipe fields that change how a step is computed, not what it comes to: a run may go on with other values."""

LIBRARIES = ("torch", "transformers", "peft")


@dataclass(frozen=True, slots=True)
class RandomState:
    """Every random generator that training may draw from."""

    torch_cpu: torch.Tensor
    torch_cuda: torch.Tensor | None
    numpy: dict[str, Any]
    python: Any

    @classmethod
    def now(cls, device: torch.device) -> "RandomState":
        cuda = torch.cuda.get_rng_state(device) if device.type == "cuda" else None
        return cls(torch.get_rng_state(), cuda, np.random.get_state(legacy=False), random.getstate())

    def restore(self, device: torch.device) -> None:
        torch.set_rng_state(self.torch_cpu)
        if self.torch_cuda is not None:
            torch.cuda.set_rng_state(self.torch_cuda, device)
        np.random.set_state(self.numpy)
        random.setstate(self.python)


@contextmanager
def random_state_kept(device: torch.device) -> Iterator[None]:
    """Leaves every random generator as it was."""
    before = RandomState.now(device)
    try:
        yield
    finally:
        before.restore(device)


def run_parts(
    config: TrainConfig, training: ExampleSet, dev: ExampleSet, start_from: Path, ranks: Ranks, device: torch.device
) -> dict[str, Any]:
    """What the weights of a run depend on, by name."""
    recipe = {name: value for name, value in asdict(config).items() if name not in HOW_NOT_WHAT}
    threads = {"threads": torch.get_num_threads()} if device.type == "cpu" else {}  # sums are cut up among them
    return {
        "recipe": json.loads(json.dumps(recipe)),
        "examples": _digest(training.examples),
        "dev_examples": _digest(dev.examples),
        "clusters": _digest(sorted(training.cluster_by_document.items())),
        "documents": _digest((key, training.documents[key].to_rows()) for key in sorted(training.documents)),
        "dev_documents": _digest((key, dev.documents[key].to_rows()) for key in sorted(dev.documents)),
        "start_from": identity(start_from),
        "processes": ranks.num_ranks,
        "device": device_name(device),
        **threads,
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def _digest(items: Any) -> str:
    digest = sha256()
    for item in items:
        digest.update(repr(item).encode())
    return digest.hexdigest()


class StateFolder:
    """`<out>.state`: one run's, held by one process group at a time."""

    def __init__(self, out: Path, ranks: Ranks, device: torch.device, log: Callable[[str], None]) -> None:
        self.folder = out.with_name(f"{out.name}.state")
        self.ranks, self.device, self.log = ranks, device, log

    @property
    def last_good(self) -> Path:
        """Where the last good weights are put after a divergence."""
        return self.folder / "last_good"

    @property
    def curves(self) -> Path:
        """Where event files are written while the run goes."""
        return self.folder / "tensorboard"

    @contextmanager
    def held(self, parts: Mapping[str, Any]) -> Iterator[None]:
        """The folder, ready for the run of these parts; the state of another run is moved aside to `<out>.state.old`.

        Raises AlreadyTraining while another process holds it.
        """
        if not self.ranks.is_first:
            self.ranks.wait()
            yield
            return
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        # beside the folder, which may be moved
        lock = self.folder.with_name(f".{self.folder.name}.lock")
        with _locked(lock) as is_held:
            if not is_held:
                raise AlreadyTraining(
                    f"another process trains into {self.folder.with_suffix('')}; wait for it, or end it first"
                )
            self._prepare(parts)
            self.ranks.wait()
            yield

    def _prepare(self, parts: Mapping[str, Any]) -> None:
        record = self.folder / "run.json"
        found = _read_json(record)
        if self.folder.exists() and found != parts:
            old = self.folder.with_name(f"{self.folder.name}.old")
            shutil.rmtree(old, ignore_errors=True)
            os.rename(self.folder, old)
            differs = ", ".join(_differences(found, parts)) or "it has no run.json"
            self.log(
                f"the state in {self.folder} is of another run ({differs}); moved to {old.name}, training starts anew"
            )
        self.folder.mkdir(exist_ok=True)
        for draft in self.folder.glob("*.writing"):
            shutil.rmtree(draft)
        beside = record.with_suffix(".draft")
        beside.write_text(json.dumps(parts, indent=1))
        os.replace(beside, record)

    def newest(self) -> Path | None:
        """The last whole state, or None."""
        return max(self.folder.glob("step-*[0-9]"), default=None)

    def newest_before(self, step: int) -> Path | None:
        """The last whole state from before a step (0-based), or None."""
        return max((path for path in self.folder.glob("step-*[0-9]") if _step_of(path) < step), default=None)

    def save(self, step: int, state: Mapping[str, Any], *, back: int) -> None:
        """Writes this rank's part of the state before a step; when all ranks have, older ones go that nobody will need.

        Args:
            back: steps after which a divergence is noticed at the latest; a state from before that stays.
        """
        target = self.folder / f"step-{step:08d}"
        draft = target.with_suffix(".writing")
        draft.mkdir(exist_ok=True)
        with (draft / f"rank-{self.ranks.rank}.pt").open("wb") as file:
            torch.save(dict(state), file)
            file.flush()
            os.fsync(file.fileno())
        self.ranks.wait()
        if self.ranks.is_first:
            older = outdated([path for path in self.folder.glob("step-*[0-9]") if path != target], step, back)
            shutil.rmtree(target, ignore_errors=True)
            os.rename(draft, target)
            _sync_folder(self.folder)
            for path in older:
                shutil.rmtree(path)
        self.ranks.wait()

    def load(self, folder: Path) -> list[dict[str, Any]]:
        """The first rank's part and this rank's own, on the CPU."""
        return [
            torch.load(folder / f"rank-{rank}.pt", map_location="cpu", weights_only=False)
            for rank in (0, self.ranks.rank)
        ]

    def remove(self) -> None:
        """When the checkpoint is complete."""
        self.ranks.wait()
        if self.ranks.is_first:
            shutil.rmtree(self.folder, ignore_errors=True)


def outdated(states: Iterable[Path], step: int, back: int) -> list[Path]:
    """Of older states, those that the state before `step` makes needless.

    Two stay: the last that is `back` steps old, and the first after it, which will be that old one day.
    """
    ordered = sorted(states)
    old = [path for path in ordered if _step_of(path) <= step - back]
    young = ordered[len(old) :]
    return old[:-1] + young[1:]


def _step_of(state: Path) -> int:
    return int(state.name.removeprefix("step-"))


def weights_state(
    weights: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    best: Mapping[str, torch.Tensor],
    *,
    ranks: Ranks,
) -> dict[str, Any]:
    """What this rank has to write of weights, optimizer and best weights so far: its part of what is shared out, the
    first rank the rest."""
    mine = {name: weight for name, weight in weights.items() if is_sharded(weight) or ranks.is_first}
    return {
        "weights": {name: local(weight) for name, weight in mine.items()},
        "best_weights": {name: best[name] for name in mine if name in best},
        "moments": {
            name: {key: local(value) for key, value in optimizer.state[weight].items()}
            for name, weight in mine.items()
            if weight in optimizer.state
        },
    }


@torch.no_grad()
def restore_weights(
    states: Sequence[Mapping[str, Any]],
    weights: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
) -> dict[str, torch.Tensor]:
    """Puts back what `weights_state` gave, from the first rank's state and this rank's own; returns the best weights."""
    saved = {kind: {**states[0][kind], **states[1][kind]} for kind in ("weights", "moments", "best_weights")}
    for name, weight in weights.items():
        local(weight).copy_(saved["weights"][name])
        for key, value in saved["moments"].get(name, {}).items():
            if value.dim() == 0:  # the count of steps
                optimizer.state[weight][key] = value.to(weight.device, copy=True)
            else:
                optimizer.state[weight][key] = torch.zeros_like(weight)
                local(optimizer.state[weight][key]).copy_(value)
    return saved["best_weights"]


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Whether this process holds the lock file, until the block ends; it ends with its process, so a kill leaves no lock.

    Its holder removes the file, so one that was opened before may be locked when it is no longer the one that others
    find; then the next is opened.
    """
    while True:
        with path.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            if not _is_at(path, file.fileno()):
                continue
            try:
                yield True
            finally:
                path.unlink(missing_ok=True)
            return


def _is_at(path: Path, descriptor: int) -> bool:
    """Whether the open file is the one that lies at the path."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


def _differences(found: Any, wanted: Any, path: str = "") -> list[str]:
    """Dotted names of what two nested descriptions do not share."""
    if isinstance(found, Mapping) and isinstance(wanted, Mapping):
        return [
            name
            for key in sorted(found.keys() | wanted.keys())
            for name in _differences(found.get(key), wanted.get(key), f"{path}.{key}".lstrip("."))
        ]
    return [] if found == wanted or not path else [path]


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
