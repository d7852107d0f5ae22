"""A folder that appears whole or not at all, and the pictures that go into it."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from resources.images import FolderImageStore
from training_kernels.errors import ConfigError

IMAGES = "images"


@contextmanager
def new_folder(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `out` in one rename when the block ends, and vanishes if it fails.

    Raises ConfigError, before anything is written, if there is something at `out` already.
    """
    if out.exists():
        raise ConfigError(f"{out} exists already and is not written over; give another folder or remove it")
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".writing", dir=out.absolute().parent))
    draft.chmod(0o755)
    try:
        yield draft
        os.rename(draft, out)  # onto a folder that was filled meanwhile, this fails
    finally:
        shutil.rmtree(draft, ignore_errors=True)


class PicturePlacer:
    """Copies pictures of the store beside the rows that name them, each once, under their digests."""

    def __init__(self, folder: Path, store: FolderImageStore) -> None:
        self._folder, self._store = folder, store
        self._path_by_digest: dict[str, str] = {}

    def path(self, digest: str) -> str:
        """Path of the picture from the folder; it is there from now on. Raises DataError if the store lacks it."""
        if digest not in self._path_by_digest:
            source = self._store.path(digest)
            path = f"{IMAGES}/{digest[:2]}/{source.rsplit('/', 1)[-1]}"
            (self._folder / path).parent.mkdir(parents=True, exist_ok=True)
            self._store.fs.get_file(source, str(self._folder / path))
            self._path_by_digest[digest] = path
        return self._path_by_digest[digest]

    @property
    def num_pictures(self) -> int:
        return len(self._path_by_digest)
