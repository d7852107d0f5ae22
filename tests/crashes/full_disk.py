"""A main job on a disk that fills up while it works, and again once there is room: run in a mount of its own.

`python -m tests.crashes.full_disk HOME` prints one JSON object; the home must be an empty disk of a few MB.
"""

import json
import sys
from pathlib import Path

from nyx_assets.disk_trouble import disk_trouble
from nyx_assets.partitions import CRAWL
from nyx_assets.registering import open_instance
from resources.home import Home
from resources.tables import Provenance
from tests.nyx_assets.test_main_job import NUMBERS, land, numbers, run

MANY = range(100, 6_000_100, 10)
"""600,000 numbers take more than is left on the disk."""


def main(root: Path) -> None:
    home = Home.at(root / "home")
    said: dict[str, object] = {}
    land(home, c1=[10, 21], c2=[35])
    with open_instance(home) as instance:
        assert not run(home, instance).failures
        said["before"] = numbers(home, "total", None)
        with home.tables.write("landed", NUMBERS, partition="c2", provenance=Provenance(code_version="2")) as table:
            table.append({"x": number} for number in MANY)
        leave_free(root, 1_200_000)
        try:
            said["failures"] = run(home, instance).failures
        except Exception as error:  # noqa: BLE001 - the command line's own boundary does the same
            said["failures"] = [disk_trouble(error, home.root)]
        said["meanwhile"] = numbers(home, "cleaned", "c1") + numbers(home, "total", None)
        said["drafts"] = len([*home.root.rglob("*.writing")])
        (root / "filler").unlink()
        said["failures afterwards"] = run(home, instance).failures
        said["after"] = numbers(home, "total", None)
        said["partitions"] = list(instance.get_dynamic_partitions(str(CRAWL.name)))
    json.dump(said, sys.stdout)


def leave_free(root: Path, num_bytes: int) -> None:
    """Fill the disk but for so many bytes."""
    import shutil

    with (root / "filler").open("wb") as file:
        file.write(bytes(max(0, shutil.disk_usage(root).free - num_bytes)))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
