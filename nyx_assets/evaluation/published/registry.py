"""The published benchmarks by name. To add one, write its reader beside the others and add a line here."""

from pathlib import Path

from nyx_assets.evaluation.published.bamboogle import Bamboogle
from nyx_assets.evaluation.published.mmeb import MMEB
from nyx_assets.evaluation.published.mmqa import MMQA
from nyx_assets.evaluation.published.multihop import MuSiQue, PlainQuestions, TitledContext
from nyx_assets.evaluation.published.scienceqa import ScienceQA
from nyx_assets.evaluation.published.seam import PublishedSuite
from nyx_assets.evaluation.suites import Suite, read_suite
from resources.images import ImageStore, PictureLimits
from training_kernels.errors import ConfigError, DataError

PUBLISHED: dict[str, PublishedSuite] = {
    suite.name: suite
    for suite in (
        TitledContext("hotpotqa", ("hotpot_dev_distractor_v1.json", "hotpot_dev_fullwiki_v1.json")),
        TitledContext("2wikimultihopqa", ("dev.json",)),
        MuSiQue(),
        Bamboogle(),
        MMQA(),
        ScienceQA(),
        MMEB(),
        PlainQuestions(),
    )
}


def open_suite(asked: str, root: Path | None, store: ImageStore, *, limits: PictureLimits) -> Suite:
    """A suite by the path of its folder, or by the name of a published benchmark, NAME or NAME:PART.

    Args:
        root: folder of published benchmarks (NYX_SUITES); files of NAME lie in root/NAME, or in root itself.

    Raises:
        ConfigError: it is neither a folder nor known, or published ones have no folder.
        DataError: a file is missing or breaks its format.
    """
    if Path(asked).is_dir():
        return read_suite(Path(asked), store, limits=limits)
    name, _, part = asked.partition(":")
    if name not in PUBLISHED:
        raise ConfigError(
            f"suite {asked!r} is neither a folder nor a published benchmark; known: {', '.join(sorted(PUBLISHED))}"
        )
    if root is None:
        raise ConfigError(f"set NYX_SUITES to the folder with {name}/; it has to hold {PUBLISHED[name].files}")
    folder = root / name if (root / name).is_dir() else root

    def take_picture(path: Path) -> str:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise DataError(f"picture {path} leaves the folder {folder}; copy it into the folder")
        if not path.is_file():
            raise DataError(f"picture {path} is missing; unpack the published pictures there")
        try:
            return store.put(path.read_bytes(), limits=limits).digest
        except DataError as error:
            raise DataError(f"picture {path}: {error}") from error

    return PUBLISHED[name].read(folder, part, take_picture)
