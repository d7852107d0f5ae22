"""What counts as a delivery, when it counts as changed, and what is refused."""

import errno
import os
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from nyx_assets.corpus import deliveries
from nyx_assets.corpus.deliveries import delivery_from_rows, find_deliveries, require_deliveries
from nyx_assets.corpus.landing import land, landed_rows
from nyx_assets.corpus.row_counts import count_rows
from resources.home import Home
from training_kernels.errors import DataError


@pytest.fixture
def page(row):
    return row((None, "Tea is ready."))


def fingerprint_by_key(folder: Path) -> dict[str, str]:
    return {delivery.key: delivery.fingerprint for delivery in find_deliveries(folder).deliveries}


def test_a_file_and_a_folder_are_deliveries_and_a_folder_of_pictures_is_none(tmp_path, picture, write_parquet, page):
    write_parquet(tmp_path / "alpha-1.parquet", [page] * 4)
    write_parquet(tmp_path / "beta" / "z.parquet", [page] * 2)
    write_parquet(tmp_path / "beta" / "a.parquet", [page])
    picture(tmp_path / "images" / "x.png")
    found = find_deliveries(tmp_path)
    assert [delivery.key for delivery in found.deliveries] == ["alpha-1", "beta"]
    alpha, beta = found.deliveries
    assert [(file.path.name, file.num_rows) for file in beta.files] == [("a.parquet", 1), ("z.parquet", 2)]
    assert (alpha.num_rows, beta.num_rows) == (4, 3)
    assert (alpha.folder, beta.folder) == (tmp_path, tmp_path / "beta")
    assert alpha.name_of(alpha.files[0]) == "alpha-1.parquet"
    assert beta.name_of(beta.files[1]) == "beta/z.parquet"
    assert alpha.files[0].num_bytes == (tmp_path / "alpha-1.parquet").stat().st_size
    assert found.refused == ()


@pytest.mark.parametrize("marker", ["a.parquet.done", "a._SUCCESS", "b/_SUCCESS"])
def test_a_marker_completes_its_own_delivery_only_and_changes_no_fingerprint(tmp_path, marker, write_parquet, page):
    for name in ("a.parquet", "b/part.parquet", "c.parquet"):
        write_parquet(tmp_path / name, [page])
    before = fingerprint_by_key(tmp_path)
    (tmp_path / marker).touch()
    complete = [delivery.key for delivery in find_deliveries(tmp_path).deliveries if delivery.is_marked_complete]
    assert complete == [marker[0]]
    assert fingerprint_by_key(tmp_path) == before


def test_the_fingerprint_moves_with_what_is_the_deliverys_own(tmp_path, picture, write_parquet, page):
    write_parquet(tmp_path / "a.parquet", [page])
    write_parquet(tmp_path / "b" / "part.parquet", [page])
    first = fingerprint_by_key(tmp_path)
    picture(tmp_path / "images" / "shared.png")
    assert fingerprint_by_key(tmp_path) == first
    picture(tmp_path / "b" / "pictures" / "own.png")
    second = fingerprint_by_key(tmp_path)
    assert (second["a"], second["b"] == first["b"]) == (first["a"], False)
    status = (tmp_path / "a.parquet").stat()
    os.utime(tmp_path / "a.parquet", ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    third = fingerprint_by_key(tmp_path)
    assert (third["a"] == second["a"], third["b"]) == (False, second["b"])
    write_parquet(tmp_path / "b" / "more.parquet", [page])
    assert fingerprint_by_key(tmp_path)["b"] != third["b"]


def test_an_unchanged_delivery_is_not_opened(tmp_path, write_parquet, page):
    write_parquet(tmp_path / "a.parquet", [page])
    status = (tmp_path / "a.parquet").stat()
    known = fingerprint_by_key(tmp_path)
    (tmp_path / "a.parquet").write_bytes(b"x" * status.st_size)  # unreadable, but of the same name, size and time
    os.utime(tmp_path / "a.parquet", ns=(status.st_atime_ns, status.st_mtime_ns))
    found = find_deliveries(tmp_path, known=known)
    assert (found.unchanged, found.deliveries, found.refused) == (("a",), (), ())
    assert [refused.key for refused in find_deliveries(tmp_path).refused] == ["a"]


def test_what_cannot_be_a_delivery_is_refused_with_reason_and_the_others_are_found(tmp_path, write_parquet, page):
    write_parquet(tmp_path / "good.parquet", [page])
    write_parquet(tmp_path / "a,b.parquet", [page])
    write_parquet(tmp_path / "twice.parquet", [page])
    write_parquet(tmp_path / "twice" / "part.parquet", [page])
    (tmp_path / "half.parquet").write_bytes((tmp_path / "good.parquet").read_bytes()[:-20])
    pq.write_table(pa.table({"url": ["x"], "texts": [["a"]], "images": [[7]]}), tmp_path / "other.parquet")
    found = find_deliveries(tmp_path)
    assert [delivery.key for delivery in found.deliveries] == ["good"]
    reason_by_key = {refused.key: refused.reason for refused in found.refused}
    assert set(reason_by_key) == {"a,b", "twice", "half", "other"}
    assert "rename" in reason_by_key["a,b"]
    assert "twice.parquet and twice/" in reason_by_key["twice"]
    assert str(tmp_path / "half.parquet") in reason_by_key["half"]
    for part in ("other.parquet", "url string", "images is list<", "metadata is there 0 times", "Allowed: images list"):
        assert part in reason_by_key["other"]


@pytest.mark.parametrize("call", ["scandir", "stat"])
def test_what_the_system_does_not_show_is_refused_by_its_path_and_the_others_are_found(
    tmp_path, monkeypatch, write_parquet, page, call
):
    """A sub-folder without the right to list it, or to search it. Root may do both, so the system is asked in its place."""
    write_parquet(tmp_path / "good.parquet", [page])
    write_parquet(tmp_path / "shut" / "part.parquet", [page])
    write_parquet(tmp_path / "deep" / "part.parquet", [page])
    write_parquet(tmp_path / "deep" / "own" / "part.parquet", [page])
    write_parquet(tmp_path / "lost+found" / "part.parquet", [page])
    (tmp_path / "lost+found" / "part.parquet").unlink()
    shut = [str(tmp_path / name) for name in ("shut", "deep/own", "lost+found")]
    ask = getattr(os, call)

    def refuse(path, *arguments, **options):
        folder = str(path) if call == "scandir" else os.path.dirname(path)
        if folder in shut:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return ask(path, *arguments, **options)

    with monkeypatch.context() as without_rights:
        without_rights.setattr(os, call, refuse)
        found = find_deliveries(tmp_path)
    assert [delivery.key for delivery in found.deliveries] == ["good"]
    reason_by_key = {refused.key: refused.reason for refused in found.refused}
    assert set(reason_by_key) == {"shut", "deep"}
    assert f"{tmp_path}/shut" in reason_by_key["shut"]
    assert f"{tmp_path}/deep/own" in reason_by_key["deep"]
    assert "cannot be read (Permission denied); let this user read it" in reason_by_key["deep"]
    mended = find_deliveries(tmp_path, known={refused.key: refused.fingerprint for refused in found.refused})
    assert {delivery.key for delivery in mended.deliveries} == {"good", "shut", "deep"}


def test_a_crawl_folder_that_may_not_be_listed_says_so(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(DataError, match="cannot be listed .*Permission denied.*let this user read and search it"):
        find_deliveries(tmp_path)


def test_a_missing_or_empty_crawl_folder_says_what_to_do(tmp_path):
    with pytest.raises(DataError, match="is not there; give a folder of Parquet"):
        find_deliveries(tmp_path / "nowhere")
    (tmp_path / "images").mkdir()
    with pytest.raises(DataError, match="holds no delivery.*put Parquet files"):
        find_deliveries(tmp_path)


def test_a_delivery_comes_back_from_its_rows_in_landed_crawl(tmp_path, write_parquet, page):
    write_parquet(tmp_path / "b" / "one.parquet", [page])
    write_parquet(tmp_path / "b" / "two.parquet", [page] * 2)
    (tmp_path / "b" / "_SUCCESS").touch()
    delivery = find_deliveries(tmp_path).deliveries[0]
    rows = [
        {
            "file": str(file.path),
            "folder": str(delivery.folder),
            "num_rows": file.num_rows,
            "num_bytes": file.num_bytes,
            "fingerprint": delivery.fingerprint,
        }
        for file in reversed(delivery.files)
    ]
    assert delivery_from_rows("b", rows) == delivery
    with pytest.raises(DataError, match="no file for crawl b"):
        delivery_from_rows("b", [])


def test_json_lines_are_counted_once_for_each_version_of_their_file(tmp_path):
    home, crawl = Home.at(tmp_path / "home"), tmp_path / "crawl"
    crawl.mkdir()
    file = crawl / "a.jsonl"

    def num_rows(content: bytes, *, at_ns: int) -> int:
        file.write_bytes(content)
        os.utime(file, ns=(at_ns, at_ns))
        (delivery,) = find_deliveries(crawl, counted=partial(landed_rows, home)).deliveries
        land(home, delivery)
        return delivery.num_rows

    begun = 1_700_000_000_000_000_000
    assert num_rows(b"{}\n{}\n", at_ns=begun) == 2
    assert num_rows(b"\n\n{}\n\n", at_ns=begun) == 2  # of the same size and time: it was not opened
    assert num_rows(b"\n\n{}\n\n", at_ns=begun + 1) == 1
    assert num_rows(b"{}\n{}\n{}\n", at_ns=begun + 1) == 3


def test_looking_whether_there_is_a_delivery_opens_none(tmp_path):
    (tmp_path / "a.jsonl.gz").write_bytes(b"no gzip at all")
    require_deliveries(tmp_path)
    (tmp_path / "a.jsonl.gz").unlink()
    with pytest.raises(DataError, match="holds no delivery"):
        require_deliveries(tmp_path)


def test_what_was_refused_for_its_content_is_not_opened_again_until_it_changes(
    tmp_path, write_parquet, page, monkeypatch
):
    bad = tmp_path / "bad.parquet"
    bad.write_bytes(b"no Parquet at all")
    shut = write_parquet(tmp_path / "shut.parquet", [page])
    monkeypatch.setattr(deliveries, "count_rows", shut_in(shut))
    first = find_deliveries(tmp_path)
    assert {one.key: one.is_of_content for one in first.refused} == {"bad": True, "shut": False}
    lasting = {one.key: one for one in first.refused if one.is_of_content}
    monkeypatch.setattr(deliveries, "count_rows", lambda path: 1 if path == shut else pytest.fail(f"{path} was opened"))
    again = find_deliveries(tmp_path, refused_before=lasting)
    assert again.refused == tuple(lasting.values())
    assert [one.key for one in again.deliveries] == ["shut"]
    write_parquet(bad, [page])
    monkeypatch.undo()
    assert [one.key for one in find_deliveries(tmp_path, refused_before=lasting).deliveries] == ["bad", "shut"]


def shut_in(shut):
    """A count of rows that is not given of one file, as the system does not of one that this user may not read."""

    def count(path):
        if path != shut:
            return count_rows(path)
        raise DataError(f"{path} cannot be read") from PermissionError(13, "Permission denied")

    return count
