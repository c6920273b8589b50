from __future__ import annotations

import errno
import json
import re
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from cotag.data.table import read_table
from cotag.errors import ImageError, SettingError, StorageError, TrainingError
from cotag.models.features import Features
from cotag.models.tagger import Tagger, build_tagger
from cotag.training import bank_space, extraction, feature_bank, features
from cotag.training.bank_lock import Claims, FileLock
from cotag.training.features import FeatureSet, bank_about, bank_folder, compute_features
from cotag.training.image_digests import digest_images
from cotag.types.index import Index
from cotag.types.labels import LabelSpace
from cotag.types.progress import Silent

MAP = (96, 2, 2)


class Said(Silent):
    """Remembers what was said."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, message: str) -> None:
        self.lines.append(message)


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the banks of this test lie."""
    monkeypatch.setenv("COTAG_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("COTAG_CACHE_LIMIT", raising=False)
    return tmp_path / "cache" / "features"


@pytest.fixture
def index(draw: Callable[..., Path], tmp_path: Path) -> Index:
    """Six pictures."""
    return read_table(draw(tmp_path / "pictures", 6, splits=False))


def tagger_of(pooling: str = "avg", seed: int = 0) -> Tagger:
    torch.manual_seed(seed)
    prepare = {"image_size": 64}
    return build_tagger(
        LabelSpace(("a", "b")), "test_resnet", "linear", head_args={"pooling": pooling}, preprocessing=prepare
    ).eval()


def folder_of(tagger: Tagger) -> Path:
    return bank_folder(bank_about(tagger, str(tagger.head.reads)))


def extract(tagger: Tagger, index: Index, said: Said | None = None, **options: Any) -> FeatureSet:
    rows = np.arange(len(index))
    return compute_features(tagger, index, rows, said or Said(), workers=0, **{"batch_size": 2, **options})


def keys_of(index: Index) -> list[bytes]:
    return list(digest_images(index, np.arange(len(index)), "stop")[0].values())


# What is refused


def flip(part: Path) -> None:
    """One bit of a feature, with the time of change as it was."""
    path = part / "features.npy"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


def exchange(part: Path) -> None:
    other = next(path for path in part.parent.glob("part-*") if path != part)
    shutil.copy(other / "features.npy", part / "features.npy")


def retype(part: Path) -> None:
    np.save(part / "features.npy", np.load(part / "features.npy").astype(np.float64))


def claim_another_type(part: Path) -> None:
    retype(part)
    about = json.loads((part / "part.json").read_text())
    (part / "part.json").write_text(json.dumps({**about, "dtype": "float64"}))


def reshape(part: Path) -> None:
    np.save(part / "features.npy", np.load(part / "features.npy")[:, :-1])


DAMAGES = {
    flip: "its content changed since it was written",
    exchange: "its content changed since it was written",
    retype: r"features \(2, 96\) float64 where \(2, 96\) float32 were written",
    claim_another_type: r"features \(96,\) float64 where 96 float32 are wanted",
    reshape: r"features \(2, 95\) float32 where \(2, 96\) float32 were written",
    lambda part: (part / "features.npy").unlink(): "features.npy is missing",
    lambda part: (part / "part.json").unlink(): "part.json is missing",
    lambda part: (part / "part.json").write_text('{"shape'): "Unterminated string",
    lambda part: (part / "digests.npy").write_bytes(b"x"): "digests.npy changed since it was written",
}


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__)
def test_a_part_that_changed_is_told_and_computed_anew(
    index: Index, monkeypatch: pytest.MonkeyPatch, damage: Callable[[Path], None]
) -> None:
    monkeypatch.setattr(extraction, "PART_IMAGES", 2)
    tagger = tagger_of()
    first = extract(tagger, index)
    part = sorted(folder_of(tagger).glob("part-*"))[1]
    damage(part)
    said = Said()
    second = extract(tagger, index, said)
    assert second.computed == 2
    assert np.array_equal(second.features, first.features)
    assert len(said.lines) == 2
    assert said.lines[0].startswith(f"features: not used, computed anew: {part}: ")
    assert re.search(DAMAGES[damage], said.lines[0])
    again = Said()
    assert extract(tagger, index, again).computed == 0
    assert again.lines == []


def other_weights(folder: Path) -> None:
    about = json.loads((folder / "about.json").read_text())
    (folder / "about.json").write_text(json.dumps({**about, "weights": "0" * 16, "reads": "max"}))


FOREIGN = {
    other_weights: "holds features of other weights, reads (about.json)",
    lambda folder: (folder / "about.json").unlink(): "has no about.json that says what its features are of",
    lambda folder: (folder / "about.json").write_text("{"): "has an about.json that cannot be read",
    lambda folder: (folder / "about.json").write_text("[]"): "has an about.json that is no object",
}


@pytest.mark.parametrize("make_foreign", FOREIGN, ids=lambda change: change.__name__)
def test_a_bank_of_something_else_is_set_aside(index: Index, make_foreign: Callable[[Path], None]) -> None:
    tagger = tagger_of()
    first = extract(tagger, index)
    folder = folder_of(tagger)
    make_foreign(folder)
    said = Said()
    second = extract(tagger, index, said)
    assert second.computed == 6
    assert np.array_equal(second.features, first.features)
    aside = next(folder.parent.glob("*-other-*"))
    assert said.lines[0] == f"features: {folder} {FOREIGN[make_foreign]}; set aside as {aside.name} and not used"
    assert list(aside.glob("part-*"))
    assert extract(tagger, index).computed == 0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (float("nan"), r"p03.png \(row 3\): backbone test_resnet gives features that are not finite"),
        (float("-inf"), r"p03.png \(row 3\): backbone test_resnet gives features that are not finite"),
        (70000.0, r"p03.png \(row 3\): backbone test_resnet gives 70000 in its map, above the 65504 that half"),
    ],
)
def test_features_that_half_precision_cannot_hold_name_the_image(
    index: Index, monkeypatch: pytest.MonkeyPatch, value: float, message: str
) -> None:
    tagger, calls = tagger_of("gem"), []

    def forward(images: torch.Tensor) -> Features:
        found = torch.ones(len(images), *MAP)
        calls.append(len(images))
        # The first call is for the size, the third one for the rows 2 and 3.
        if len(calls) == 3:
            found[1, 5, 1, 1] = value
        return Features(found)

    monkeypatch.setattr(tagger.backbone, "forward", forward)
    with pytest.raises(TrainingError, match=message):
        extract(tagger, index)
    assert not np.isinf(extract(tagger, index).features[:]).any()


def test_values_up_to_the_limit_are_kept(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = tagger_of("gem")
    monkeypatch.setattr(tagger.backbone, "forward", lambda images: Features(torch.full((len(images), *MAP), -65504.0)))
    assert (extract(tagger, index).features[:] == -65504).all()
    pooled = tagger_of("max")
    monkeypatch.setattr(pooled.backbone, "forward", lambda images: Features(torch.full((len(images), *MAP), 1e6)))
    assert (np.asarray(extract(pooled, index).features) == 1e6).all()


def test_an_image_that_changes_meanwhile_is_not_filed_under_what_it_was(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    tagger = tagger_of()

    def then_change(*given: Any) -> Any:
        found = digest_images(*given)
        shutil.copy(index.image(4), index.image(1))
        return found

    with monkeypatch.context() as patch:
        patch.setattr(features, "digest_images", then_change)
        with pytest.raises(ImageError, match=r"p01.png \(row 1\): changed while features were computed; run again"):
            extract(tagger, index)
    found = extract(tagger, index)
    assert np.array_equal(found.features[1], found.features[4])


# Room on the disk


def test_the_size_is_said_before(index: Index, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bank_space.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9e11, 0, 4e10))
    tagger, said = tagger_of("gem"), Said()
    extract(tagger, index, said)
    assert said.lines == [f"features: 6 images x 96 x 2 x 2, 4.6 kB in {folder_of(tagger)}; 40.0 GB free"]
    part = next(folder_of(tagger).glob("part-*")) / "features.npy"
    assert part.stat().st_size - 128 == 6 * 96 * 4 * 2


def test_too_little_room_is_refused_before_anything_is_computed(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = tagger_of()
    monkeypatch.setattr(bank_space.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(9e11, 0, 2000))
    monkeypatch.setattr(tagger.backbone, "forward", lambda images: pytest.fail("computed"))
    with pytest.raises(StorageError) as caught:
        extract(tagger, index)
    assert str(caught.value) == (
        f"features: 6 images need 2.3 kB in {folder_of(tagger)}, where 2.0 kB are free; "
        "free space or set COTAG_CACHE to another folder"
    )


def test_a_full_disk_keeps_what_is_whole(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "PART_IMAGES", 2)
    tagger, write, written = tagger_of(), feature_bank._write, []

    def fill(path: Path, array: np.ndarray) -> None:
        write(path, array)
        written.append(path)
        if len(written) == 5:
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(feature_bank, "_write", fill)
        with pytest.raises(StorageError) as caught:
            extract(tagger, index)
    assert str(caught.value) == (
        f"{folder_of(tagger)}: features could not be written (No space left on device); free space or set COTAG_CACHE "
        "to another folder, and run again: 4 of 6 are kept here"
    )
    assert sorted(path.name[:4] for path in folder_of(tagger).iterdir()) == [
        "abou", "clai", "in-u", "lock", "part", "part",
    ]  # fmt: skip
    assert extract(tagger, index).computed == 2


def bank_of(seed: int, index: Index, age: float) -> Path:
    """A bank of 2.3 kB of features that was used so many seconds ago."""
    folder = folder_of(tagger_of(seed=seed))
    extract(tagger_of(seed=seed), index)
    used = time.time() - age
    bank_space.os.utime(folder / "in-use", (used, used))
    return folder


def test_banks_not_used_for_longest_make_room(index: Index, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    new, oldest, old = bank_of(3, index, 0), bank_of(1, index, 500), bank_of(2, index, 100)
    limit = bank_space.size_of(oldest) * 3 / 1e9
    monkeypatch.setenv("COTAG_CACHE_LIMIT", f"{limit:.9f}")
    said = Said()
    extract(tagger_of(), index, said)
    assert not oldest.exists()
    assert old.exists()
    assert new.exists()
    assert len(said.lines) == 2
    assert said.lines[0].startswith(f"features: removed {oldest} (3.")
    assert said.lines[0].endswith(f"to stay within COTAG_CACHE_LIMIT = {limit:g} GB")
    assert not list(root.glob("removed-*"))
    again = Said()
    assert extract(tagger_of(), index, again).computed == 0
    assert again.lines == []


def test_a_bank_in_use_is_never_removed(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    oldest, old = bank_of(1, index, 500), bank_of(2, index, 100)
    monkeypatch.setenv("COTAG_CACHE_LIMIT", f"{bank_space.size_of(old) * 2.2 / 1e9:.9f}")
    maps = tagger_of("gem", seed=1)
    with FileLock(oldest / "in-use", shared=True):
        extract(tagger_of(), index)
        assert oldest.exists()
        assert not old.exists()
        with FileLock(folder_of(tagger_of()) / "in-use", shared=True), pytest.raises(StorageError) as caught:
            extract(maps, index)
    assert "other runs use feature banks of" in str(caught.value)
    assert "wait for them or raise the limit" in str(caught.value)


def test_maps_in_hand_keep_their_bank(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    tagger = tagger_of("gem")
    found = extract(tagger, index)
    part = found.of(np.array([2, 4]))
    del found
    assert not bank_space.remove_unused(folder_of(tagger))
    assert part.features[:].shape == (2, *MAP)
    del part
    assert bank_space.remove_unused(folder_of(tagger))
    assert not folder_of(tagger).exists()


def test_a_bank_above_the_limit_alone_is_refused(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COTAG_CACHE_LIMIT", "2e-6")
    with pytest.raises(StorageError, match=r"6 images need 2.3 kB .* above COTAG_CACHE_LIMIT = 2e-06 GB; raise the"):
        extract(tagger_of(), index)


@pytest.mark.parametrize("given", ["much", "0", "-3", "nan"])
def test_a_limit_that_is_no_size(index: Index, monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("COTAG_CACHE_LIMIT", given)
    with pytest.raises(SettingError, match=f"COTAG_CACHE_LIMIT = '{given}': must be a number of GB above 0"):
        extract(tagger_of(), index)


# Several processes

SHARED = """
import sys, time
from pathlib import Path
import numpy as np, torch
from cotag.data.table import read_table
from cotag.models.tagger import build_tagger
from cotag.training import extraction
from cotag.training.features import compute_features
from cotag.types.labels import LabelSpace
from cotag.types.progress import Silent

out, other, step, *tables = sys.argv[1:]
torch.manual_seed(0)
torch.set_num_threads(1)
tagger = build_tagger(
    LabelSpace(("a", "b")), "test_resnet", "linear", head_args={"pooling": "gem"}, preprocessing={"image_size": 64}
)
extraction.CLAIM_BATCHES, extraction.PART_IMAGES = 1, 4
forward = tagger.backbone.forward

def slow(images):
    time.sleep(0.05)
    return forward(images)

tagger.backbone.forward = slow
Path(out + ".ready").touch()
while not Path(other + ".ready").exists():
    time.sleep(0.01)
for number, order in enumerate((1, int(step))):
    index = read_table(tables[number])
    rows = np.arange(len(index))[::order]
    found = compute_features(tagger, index, rows, Silent(), workers=0, batch_size=2)
    np.savez(f"{out}{number}", features=found.features[:][::order], computed=found.computed)
"""


def test_two_processes_share_the_work_and_get_the_same(
    draw: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = [draw(tmp_path / name, 24, seed, splits=False) for seed, name in enumerate(("same", "opposite"))]
    outs = [str(tmp_path / name) for name in ("one", "two")]
    runs = [
        subprocess.Popen([sys.executable, "-c", SHARED, *names, step, *map(str, tables)])
        for names, step in ((outs, "1"), (outs[::-1], "-1"))
    ]
    assert [run.wait(100) for run in runs] == [0, 0]
    monkeypatch.setenv("COTAG_CACHE", str(tmp_path / "alone"))
    for number, table in enumerate(tables):
        one, two = (np.load(f"{out}{number}.npz") for out in outs)
        assert one["computed"] + two["computed"] == 24
        assert min(one["computed"], two["computed"]) >= 4
        assert np.array_equal(one["features"], two["features"])
        alone = extract(tagger_of("gem"), read_table(table)).features[:]
        np.testing.assert_allclose(one["features"].astype(float), alone.astype(float), rtol=2e-3, atol=1e-5)
    assert not list((tmp_path / "cache" / "features").glob("*/claims/*"))


@contextmanager
def another(tagger: Tagger, keys: list[bytes]) -> Iterator[feature_bank.FeatureBank]:
    """Another run on the same bank, which claims these images."""
    bank = feature_bank.open_bank(
        folder_of(tagger), bank_about(tagger, "avg"), np.float32, (tagger.backbone.num_features,), Silent()
    )
    with Claims(bank.folder, bank.missing) as claims:
        claims.take(keys)
        yield bank


def test_it_waits_for_what_another_run_computes(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "PAUSE", 0.01)
    tagger, said, keys = tagger_of(), Said(), keys_of(index)
    with another(tagger, keys[1:3]) as bank:
        later = threading.Timer(0.3, lambda: bank.add(keys[1:3], np.full((2, 96), 7.0, dtype=np.float32)))
        later.start()
        found = extract(tagger, index, said)
        later.join()
    assert found.computed == 4
    assert (np.asarray(found.features)[1:3] == 7).all()
    assert said.lines[1:] == ["features: another run computes 2 of these images; waiting for it"]


def test_it_takes_over_from_a_run_that_gave_up(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "PAUSE", 0.01)
    tagger, keys, giving_up = tagger_of(), keys_of(index), threading.Event()

    def run() -> None:
        with another(tagger, keys):
            giving_up.wait(0.3)

    other = threading.Thread(target=run)
    other.start()
    while not list(folder_of(tagger).glob("claims/*")):
        time.sleep(0.01)
    assert extract(tagger, index).computed == 6
    other.join()


def test_it_does_not_wait_for_ever(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(extraction, "PAUSE", 0.01)
    monkeypatch.setattr(extraction, "PATIENCE", 0.1)
    tagger = tagger_of()
    with another(tagger, keys_of(index)):
        assert extract(tagger, index).computed == 6
    assert extract(tagger, index).computed == 0


def test_without_a_place_for_claims_it_computes_all_the_same(index: Index) -> None:
    tagger = tagger_of()
    extract(tagger, index)
    folder = folder_of(tagger)
    shutil.rmtree(next(folder.glob("part-*")))
    (folder / "claims").rmdir()
    (folder / "claims").write_text("")
    assert extract(tagger, index).computed == 6


def test_a_part_that_others_only_read_is_left_alone(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    tagger, read_part = tagger_of(), feature_bank._read_part
    extract(tagger, index)
    (part,) = folder_of(tagger).glob("part-*")

    def forbidden(path: Path) -> Any:
        if path == part:
            raise PermissionError(errno.EACCES, "Permission denied")
        return read_part(path)

    said = Said()
    with monkeypatch.context() as patch:
        patch.setattr(feature_bank, "_read_part", forbidden)
        assert extract(tagger, index, said).computed == 6
    assert said.lines[0] == f"features: not used, computed anew: {part}: could not be read (Permission denied)"
    assert part.exists()


def test_what_a_killed_run_left_is_cleaned_up(index: Index) -> None:
    tagger = tagger_of()
    extract(tagger, index)
    folder = folder_of(tagger)
    (folder / "claims" / "77-abcd").write_bytes(b"".join(keys_of(index)))
    half = folder / ".part-0123.77-0123abcd.part"
    half.mkdir()
    shutil.rmtree(next(folder.glob("part-*")))
    with FileLock(folder / "in-use", shared=True):
        assert extract(tagger, index).computed == 6
        assert half.exists()
    assert not list((folder / "claims").iterdir())
    extract(tagger, index)
    assert not half.exists()
