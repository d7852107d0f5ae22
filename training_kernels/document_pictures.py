"""The pictures of examples, known by the documents that hold them, so that an error says whose picture it is about."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

from training_kernels.errors import DataError
from training_kernels.examples import ExampleSet
from training_kernels.images import PictureFolder

LOOKING_THREADS = 8
"""Pictures looked at side by side. Choice: hides the waits of a mounted file system."""


class DocumentPictures:
    """A folder's pictures as the documents of some example sets hold them."""

    def __init__(self, folder: PictureFolder, sets: Sequence[ExampleSet]) -> None:
        self.folder = folder
        documents = {key: examples.documents for examples in sets for key in examples.documents}
        self._holders: dict[str, list[str]] = {}
        for document_id, holder in documents.items():
            for digest in dict.fromkeys(holder[document_id].images):
                self._holders.setdefault(digest, []).append(document_id)

    def open(self, digest: str) -> Image.Image:
        return self.folder.open(digest)

    def size(self, digest: str) -> tuple[int, int]:
        return self.folder.size(digest)

    def holders(self, digest: str) -> str:
        first, *others = self._holders[digest]
        return f"document {first!r}" + (f" and {len(others)} others" if others else "")

    def require_readable(self, *, max_aspect_ratio: float) -> None:
        """Reads every picture's header. Raises DataError that names the first that cannot be read and counts the others.

        Args:
            max_aspect_ratio: longer side over shorter side above which the backbone refuses a picture.

        A folder on another machine is not looked at: millions of requests would cost more than a run that stops late.
        """
        if not self.folder.is_local:
            return
        with ThreadPoolExecutor(LOOKING_THREADS) as threads:
            faults = [
                fault for fault in threads.map(lambda one: self._fault(one, max_aspect_ratio), self._holders) if fault
            ]
        if faults:
            more = f" ({len(faults) - 1} other pictures cannot be read either)" if len(faults) > 1 else ""
            raise DataError(f"{faults[0]}{more}")

    def _fault(self, digest: str, max_aspect_ratio: float) -> str:
        try:
            height, width = self.folder.size(digest)
        except DataError as error:
            return f"{self.holders(digest)}: {error}"
        if max(height, width) <= max_aspect_ratio * min(height, width):
            return ""
        return (
            f"{self.holders(digest)}: picture {digest} has {width} x {height} pixels, and the backbone reads none that is more "
            f"than {max_aspect_ratio:g} times as long as wide; leave it out of the documents that hold it"
        )
