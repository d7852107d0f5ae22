"""Vision outputs come back bit by bit, within the limit, whoever else writes and whatever the disk did."""

import fcntl
import os
import subprocess
import sys
from dataclasses import replace
from threading import Thread

import numpy as np
import pytest
import torch

from training_kernels.checkpoint import load_backbone
from training_kernels.collate import RenderedPicture
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.errors import ConfigError
from training_kernels.vision_cache import PictureKeys, VisionCache

DOCUMENTS = [Document.of(Segment(image="x"), "a map"), Document.of(Segment(image="y")), Document.of("tea")]


def features(seed: int, rows: int = 16) -> torch.Tensor:
    return torch.randn(rows, 8, generator=torch.Generator().manual_seed(seed))


def stored_bytes(folder) -> int:
    return sum(file.stat().st_size for file in folder.glob("*/*.features"))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_features_come_back_bit_by_bit_to_another_reader(tmp_path, dtype):
    VisionCache(tmp_path, max_bytes=10_000).put("ab12", features(0).to(dtype))
    got = VisionCache(tmp_path, max_bytes=10_000).get("ab12")
    assert got.dtype == dtype
    assert torch.equal(got, features(0).to(dtype))
    assert VisionCache(tmp_path, max_bytes=10_000).get("ab13") is None


def test_the_limit_holds_and_what_was_used_longest_ago_goes_first(tmp_path):
    cache = VisionCache(tmp_path, max_bytes=2_500)
    for number in range(6):
        cache.put(f"k{number}", features(number))
        for older in range(number + 1):  # spread the times of use: one second apart, k0 used last
            path = cache._path(f"k{older}")
            if path.exists():
                os.utime(path, (0, 1_000 + (99 if older == 0 else older)))
    assert stored_bytes(tmp_path) <= 2_500
    kept = [number for number in range(6) if cache.get(f"k{number}") is not None]
    assert 0 in kept
    assert 5 in kept
    assert 1 not in kept


def test_an_entry_above_the_limit_is_not_stored(tmp_path):
    cache = VisionCache(tmp_path, max_bytes=100)
    cache.put("ab", features(0))
    assert cache.get("ab") is None
    assert stored_bytes(tmp_path) == 0


@pytest.mark.parametrize("broken", [b"", b"short", None], ids=["empty", "cut", "one bit flipped"])
def test_a_broken_file_counts_as_absent_and_is_replaced(tmp_path, broken):
    cache = VisionCache(tmp_path, max_bytes=10_000)
    cache.put("ab12", features(0))
    path = cache._path("ab12")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(bytes(content) if broken is None else broken)
    assert cache.get("ab12") is None
    assert not path.exists()
    cache.put("ab12", features(0))
    assert torch.equal(cache.get("ab12"), features(0))


def test_a_broken_note_of_the_size_is_counted_again(tmp_path):
    cache = VisionCache(tmp_path, max_bytes=2_000)
    cache.put("ab", features(0))
    (tmp_path / "bytes").write_text("what")
    for number in range(8):
        cache.put(f"c{number}", features(number))
    assert stored_bytes(tmp_path) <= 2_000


def test_several_processes_share_a_folder_within_the_limit(tmp_path):
    program = (
        "import sys, torch; from pathlib import Path; from training_kernels.vision_cache import VisionCache\n"
        "cache = VisionCache(Path(sys.argv[1]), max_bytes=20_000)\n"
        "for number in range(60):\n"
        "    cache.put(f'{number:02d}', torch.full((16, 8), float(number)))\n"
        "    got = cache.get(f'{number:02d}')\n"
        "    assert got is None or torch.equal(got, torch.full((16, 8), float(number)))\n"
    )
    writers = [subprocess.Popen([sys.executable, "-c", program, str(tmp_path)]) for _ in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert 10_000 < stored_bytes(tmp_path) <= 20_000
    assert int((tmp_path / "bytes").read_text()) == stored_bytes(tmp_path)
    assert not list(tmp_path.rglob(".*"))


def test_a_writer_waits_until_no_other_counts_or_evicts(tmp_path):
    cache = VisionCache(tmp_path, max_bytes=10_000)
    with (tmp_path / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        writer = Thread(target=cache.put, args=("ab", features(0)))
        writer.start()
        writer.join(timeout=0.3)
        assert writer.is_alive()
        assert cache.get("ab") is None
    writer.join()
    assert torch.equal(cache.get("ab"), features(0))


def test_a_limit_below_a_byte_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="max_bytes >= 1, got 0"):
        VisionCache(tmp_path, max_bytes=0)


def test_a_second_run_reads_no_picture_and_gives_the_same_embeddings(tiny_folder, pictures, tmp_path):
    cache = VisionCache(tmp_path, max_bytes=10**6)
    first = Encoder.load(tiny_folder, vision_cache=cache).encode(DOCUMENTS, pictures, side="candidate")
    second_encoder = Encoder.load(tiny_folder, vision_cache=VisionCache(tmp_path, max_bytes=10**6))
    second_encoder.backbone.vision_features = lambda pixels: [] if not pixels else pytest.fail("read a picture")
    np.testing.assert_array_equal(second_encoder.encode(DOCUMENTS, pictures, side="candidate"), first)
    np.testing.assert_array_equal(Encoder.load(tiny_folder).encode(DOCUMENTS, pictures, side="candidate"), first)


def test_a_tower_that_learns_is_never_cached(tiny_folder, pictures, tmp_path):
    encoder = Encoder.load(tiny_folder, vision_cache=VisionCache(tmp_path, max_bytes=10**6))
    next(iter(encoder.backbone.vision.parameters())).requires_grad_(True)
    encoder.encode(DOCUMENTS, pictures, side="candidate")
    assert stored_bytes(tmp_path) == 0


def test_keys_differ_by_picture_budget_weights_and_dtype(tiny_folder, pictures):
    backbone, manifest = load_backbone(tiny_folder, device=torch.device("cpu"))
    picture = RenderedPicture("x", 56, 56, pictures)
    keys = {
        PictureKeys(backbone, manifest.inputs).key(picture),
        PictureKeys(backbone, manifest.inputs).key(replace(picture, digest="y")),
        PictureKeys(backbone, replace(manifest.inputs, max_pixels=9 * 784)).key(picture),
    }
    assert PictureKeys(backbone, manifest.inputs).key(replace(picture, height=28)) in keys
    backbone.vision.to(torch.bfloat16)
    keys.add(PictureKeys(backbone, manifest.inputs).key(picture))
    backbone.vision.to(torch.float32)
    with torch.no_grad():
        next(iter(backbone.vision.parameters())).view(-1)[0] += 1
    keys.add(PictureKeys(backbone, manifest.inputs).key(picture))
    assert len(keys) == 5
