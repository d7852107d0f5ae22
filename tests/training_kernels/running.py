"""The training command as a user runs it, in processes of its own, small enough to be run many times."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from tempfile import NamedTemporaryFile

import numpy as np
from PIL import Image

from tests import warm
from tests.warm import Warm
from training_kernels.dev_examples import write_dev_examples
from training_kernels.documents import Document, Segment
from training_kernels.examples import Example, ExampleSet, write_examples

ROOT = Path(__file__).resolve().parents[2]
THINGS = ("moon", "egg", "bridge", "river", "engine", "frog", "nerve", "treaty", "plot", "castle", "stove", "comet")
LORA = "tuning=LoraTuning(rank=4, alpha=8, dropout=0.3)"


def write_task(folder: Path, *, num_examples: int = 60, num_dev: int = 8, num_pictures: int = 0) -> Path:
    """Queries that name two things, pages of uneven length that hold them, hard negatives, and dev examples.

    Args:
        num_pictures: of uneven size, in the same folder; shown by the pages in turn.
    """
    generator = np.random.default_rng(0)
    pictures = [Segment(image=_write_picture(folder, number)) for number in range(num_pictures)]
    documents, examples = {}, []
    for number in range(num_examples + num_dev):
        one, other = generator.choice(THINGS, size=2, replace=False)
        documents[f"q{number}"] = Document.of(f"which page of {number % 7} has a {one} with a {other}")
        filler = " ".join(f"word{word}" for word in generator.integers(0, 30, size=int(generator.integers(3, 40))))
        words = Segment(text=f"{filler} the {other} and the {one} {number % 7}")
        shown = (pictures[number % num_pictures],) if pictures else ()
        documents[f"d{number}"] = Document((words, *shown))
    for number in range(num_examples + num_dev):
        wrong = tuple(f"d{(number + step) % num_examples}" for step in range(1, 1 + number % 3))
        examples.append(
            Example(
                example_id=f"e{number}",
                query=f"q{number}",
                positive=f"d{number}",
                negatives=tuple(one for one in wrong if one != f"d{number}"),
                source="made",
            )
        )
    write_examples(folder, documents, examples[:num_examples])
    write_dev_examples(folder, ExampleSet(documents, tuple(examples[num_examples:])))
    return folder


def _write_picture(folder: Path, number: int) -> str:
    """Stores a picture; returns its digest."""
    stripes = np.random.default_rng(number).integers(0, 256, size=(4, 4, 3), dtype=np.uint8)
    picture = Image.fromarray(stripes).resize(
        (60 + 28 * (number % 3), 56 + 28 * (number % 2)), Image.Resampling.NEAREST
    )
    buffer = BytesIO()
    picture.save(buffer, "PNG")
    digest = hashlib.sha256(buffer.getvalue()).hexdigest()
    path = folder / digest[:2] / f"{digest}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(buffer.getvalue())
    return digest


def command(examples: Path, out: Path, start_from: Path, *overrides: str) -> list[str]:
    """What follows `python -m training_kernels`: the recipe tiny on a batch of 16."""
    settings = ("batch_size=16", "token_budget=512", "epochs=100", *overrides)
    return [
        "tiny", str(examples), str(out), "--images", str(examples), "--start-from", str(start_from),
        *(word for setting in settings for word in ("--set", setting)),
    ]  # fmt: skip


def finish(told: Sequence[str]) -> str:
    """What the command printed; it must end well."""
    with NamedTemporaryFile("r") as said:
        process = warm.start("training_kernels", told, said=Path(said.name))
        assert process.wait(900) == 0, said.read()[-3000:]
        return said.read()


def kill_after_state(told: Sequence[str], out: Path, *, step: int, seconds: float) -> int:
    """Starts the command, kills it some time after a state of at least `step` is written; returns the newest state's step."""
    return killed_after_state(
        warm.start("training_kernels", told, said=Path(os.devnull)), out, step=step, seconds=seconds
    )


def finish_torchrun(told: Sequence[str], *, processes: int) -> str:
    """The same of processes that train together, by the command that users give."""
    return finished([*torchrun(processes), "-m", "training_kernels", *told])


def kill_torchrun_after_state(told: Sequence[str], out: Path, *, processes: int, step: int, seconds: float) -> int:
    command = [*torchrun(processes), "-m", "training_kernels", *told]
    process = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return killed_after_state(process, out, step=step, seconds=seconds)


def torchrun(processes: int) -> list[str]:
    return [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), **warm.ONE_THREAD}


def finished(command: Sequence[str]) -> str:
    """What a command printed; it must end well."""
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def killed_after_state(process: Warm | subprocess.Popen[bytes], out: Path, *, step: int, seconds: float) -> int:
    """Kills a training some time after a state of at least `step` is written; returns the newest state's step."""
    try:
        deadline = time.monotonic() + 600
        while newest_state(out) < step and process.poll() is None:
            assert time.monotonic() < deadline, f"no state of step {step} was written"
            time.sleep(0.002)
        time.sleep(seconds)
    finally:
        process.kill()
        process.wait()
    return newest_state(out)


def newest_state(out: Path) -> int:
    """Step of the newest whole state beside `out`; -1 without one."""
    names = [path.name for path in out.with_name(f"{out.name}.state").glob("step-*[0-9]")]
    return max((int(name.removeprefix("step-")) for name in names), default=-1)
