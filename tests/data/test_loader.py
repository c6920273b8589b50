from __future__ import annotations

import multiprocessing
import os
import signal
import time
import tracemalloc
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pytest
import torch

from cotag.data.augmentations import build_augmentations
from cotag.data.loader import BatchOrder, ImageRows, Loader
from cotag.data.sampling import EpochPlan
from cotag.data.table import read_table
from cotag.data.transforms import Preprocessing
from cotag.data.workers import death_of, stay_for_main, surviving, worker_count
from cotag.errors import ImageError, SettingError, WorkerError
from cotag.registry import MIXTURES
from cotag.types.batch import Batch
from cotag.types.index import Index
from cotag.types.labels import LabelSpace

Drawn = Callable[[int], Index]
PREPARE = Preprocessing(16)


@pytest.fixture
def drawn(draw: Callable[..., Path], tmp_path: Path) -> Drawn:
    """The Index of so many pictures, drawn for this test."""
    return lambda count: read_table(draw(tmp_path / "pictures", count, splits=False))


def rows_of(order: BatchOrder, epoch: int = 0) -> list[list[int]]:
    order.epoch = epoch
    return [[row for _, row, _ in batch] for batch in order]


def loader(index: Index, batch_size: int = 3, seed: int = 0, augment: bool = True, **settings: object) -> Loader:
    images = ImageRows(index, PREPARE, build_augmentations(["flip", "crop", "color"]) if augment else [], seed)
    order = BatchOrder(np.arange(len(index)), batch_size, bool(settings.pop("shuffle", False)), seed)
    return Loader(images, order, workers=settings.pop("workers", 0), **settings)  # type: ignore[arg-type]


def by_row(batches: list[Batch]) -> dict[int, torch.Tensor]:
    return {int(row): image for batch in batches for row, image in zip(batch.rows_B, batch.images_BCHW, strict=True)}


# The order


def test_in_order_unless_shuffled() -> None:
    order = BatchOrder(np.array([5, 3, 9, 1, 7]), 2)
    assert rows_of(order) == rows_of(order, epoch=4) == [[5, 3], [9, 1], [7]]
    assert len(order) == 3


def test_the_order_depends_on_seed_and_epoch_and_takes_each_row_once() -> None:
    first, second = (BatchOrder(np.arange(50), 8, shuffle=True, seed=seed) for seed in (1, 2))
    again = BatchOrder(np.arange(50), 8, shuffle=True, seed=1)
    assert rows_of(first, 3) == rows_of(again, 3)
    assert rows_of(first, 3) != rows_of(first, 4)
    assert rows_of(first, 3) != rows_of(second, 3)
    assert sorted(chain(*rows_of(first, 3))) == list(range(50))


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("count", [24, 25, 29])
def test_processes_share_what_one_takes_with_larger_batches(processes: int, count: int) -> None:
    whole = rows_of(BatchOrder(np.arange(count), 4 * processes, shuffle=True, seed=1), 2)
    orders = [BatchOrder(np.arange(count), 4, True, 1, rank, processes) for rank in range(processes)]
    shares = [rows_of(order, 2) for order in orders]
    assert [len(order) for order in orders] == [len(share) for share in shares] == [len(whole)] * processes
    for step, rows in enumerate(whole):
        assert set(chain(*(share[step] for share in shares))) == set(rows)
        if len(rows) >= processes:
            assert sum(len(share[step]) for share in shares) == len(rows)


def test_a_last_step_of_fewer_rows_than_processes_repeats_rows() -> None:
    shares = [rows_of(BatchOrder(np.arange(5), 1, False, 0, rank, 4)) for rank in range(4)]
    assert shares == [[[0], [4]], [[1], [4]], [[2], [4]], [[3], [4]]]


# The batches


def test_a_batch_holds_pictures_targets_and_what_is_known(drawn: Drawn) -> None:
    four = drawn(4)
    columns = {"image": four.table["image"], "positives": [[0], [], [2], [1, 2]], "unknowns": [[1], [], [0], []]}
    columns["difficult"] = [[], [1], [], []]
    index = Index.build(columns, four.label_space, four.root)
    (batch,) = loader(index, batch_size=9)
    assert batch.images_BCHW.shape == (4, 3, 16, 16)
    assert batch.images_BCHW.dtype == torch.uint8
    assert batch.rows_B.tolist() == [0, 1, 2, 3]
    assert batch.targets_BK.tolist() == [[1, 0, 0], [0, 0, 0], [0, 0, 1], [0, 1, 1]]
    assert batch.known_BK.tolist() == [[True, False, True], [True, False, True], [False, True, True], [True] * 3]
    (batch,) = loader(index, batch_size=9, difficult="positive")
    assert batch.targets_BK[1].tolist() == [0, 1, 0]
    assert batch.known_BK[1].all()


@pytest.mark.parametrize("workers", [1, 2])
def test_the_number_of_workers_changes_nothing(drawn: Drawn, workers: int) -> None:
    index = drawn(8)
    alone, shared = loader(index, shuffle=True), loader(index, shuffle=True, workers=workers)
    for epoch in (1, 2):
        pairs = list(zip(alone.epoch(epoch), shared.epoch(epoch), strict=True))
        assert len(pairs) == len(alone) == len(shared) == 3
        for first, second in pairs:
            assert first.rows_B.tolist() == second.rows_B.tolist()
            assert torch.equal(first.images_BCHW, second.images_BCHW)
            assert torch.equal(first.targets_BK, second.targets_BK)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_epoch_can_begin_at_a_later_batch(drawn: Drawn, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    batches = loader(drawn(11), 3, shuffle=True, workers=workers, mixture=MIXTURES.build("mixup", alpha=1.0))
    whole = list(batches.epoch(2))
    decoded: list[int] = []
    prepare = ImageRows.prepare

    def noted(self: ImageRows, place: tuple[int, int, int], out_HWC: np.ndarray) -> None:
        decoded.append(place[1])
        prepare(self, place, out_HWC)

    monkeypatch.setattr(ImageRows, "prepare", noted)
    found = list(batches.epoch(2, 2))
    assert [batch.place for batch in whole] == [0, 1, 2, 3]
    assert [batch.place for batch in found] == [2, 3]
    for one, other in zip(found, whole[2:], strict=True):
        assert one.rows_B.tolist() == other.rows_B.tolist()
        assert torch.equal(one.images_BCHW, other.images_BCHW)
        assert torch.equal(one.targets_BK, other.targets_BK)
    if workers == 0:
        assert decoded == [row for batch in whole[2:] for row in batch.rows_B.tolist()]
    assert list(batches.epoch(2, 4)) == []
    assert [batch.rows_B.tolist() for batch in batches.epoch(2)] == [batch.rows_B.tolist() for batch in whole]


def test_places_of_batches_without_a_picture_are_counted(drawn: Drawn) -> None:
    index = drawn(7)
    for row in (2, 3):
        Path(str(index.image(row))).unlink()
    places = [batch.place for batch in loader(index, 2, bad_images="skip").epoch(1)]
    # Of the batch (2, 3) nothing can be read.
    assert places == [0, 2, 3]


def test_workers_outlive_a_signal_to_the_whole_group(drawn: Drawn) -> None:
    batches = loader(drawn(12), 1, workers=2)
    given = batches.epoch(1)
    next(given)
    workers = batches._loader._iterator._workers  # type: ignore[union-attr]
    for number in (signal.SIGINT, signal.SIGTERM):
        for worker in workers:
            os.kill(worker.pid, number)
    assert len(list(given)) == 11
    assert all(worker.is_alive() for worker in workers)


def test_a_worker_that_does_not_leave_is_ended_by_the_second_sigterm() -> None:
    """So torch asks where a worker hangs: once when the loader goes, once when the main process ends."""
    context = multiprocessing.get_context("fork")
    ready, came = context.Event(), context.Value("i", 0)

    def work() -> None:
        stay_for_main(0)
        ready.set()
        while True:
            came.value = int(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
            time.sleep(0.01)

    worker = context.Process(target=work, daemon=True)
    worker.start()
    assert ready.wait(30)
    os.kill(worker.pid, signal.SIGINT)
    worker.terminate()
    while not came.value:
        assert worker.is_alive()
        time.sleep(0.01)
    worker.terminate()
    worker.join(30)
    assert worker.exitcode == -signal.SIGTERM


@pytest.mark.parametrize("name", MIXTURES.names())
def test_a_mixture_depends_on_seed_epoch_and_batch_alone(drawn: Drawn, name: str) -> None:
    index = drawn(8)
    plain = list(loader(index, 3, 5).epoch(2))
    found = {}
    for key, seed, epoch, workers in (("first", 5, 2, 0), ("again", 5, 2, 2), ("epoch", 5, 3, 0), ("seed", 6, 2, 0)):
        order = loader(index, 3, seed, augment=False, workers=workers, mixture=MIXTURES.build(name, alpha=1.0))
        list(order.epoch(7))
        found[key] = list(order.epoch(epoch))
    for first, again, before in zip(found["first"], found["again"], plain, strict=True):
        assert torch.equal(first.images_BCHW, again.images_BCHW)
        assert torch.equal(first.targets_BK, again.targets_BK)
        assert first.rows_B.tolist() == before.rows_B.tolist()
        # As convolutions want them, without a copy on the way.
        for one in (first.to("cpu"), before):
            assert one.images_BCHW.is_contiguous(memory_format=torch.channels_last)
    for key in ("epoch", "seed"):
        pairs = list(zip(found["first"], found[key], strict=True))
        assert any(not torch.equal(a.images_BCHW, b.images_BCHW) for a, b in pairs)
    shares = [float(value) for one in found["first"] for value in one.targets_BK.flatten()]
    assert any(0 < value < 1 for value in shares)
    # Batches of an epoch draw numbers of their own, and so do processes.
    first, second = (BatchOrder(np.arange(8), 2, seed=5, rank=rank, processes=2) for rank in (0, 1))
    drawn_numbers = {order.random(place).random() for order in (first, second) for place in range(3)}
    assert len(drawn_numbers) == 6


def test_augmentation_depends_on_seed_epoch_and_row_alone(drawn: Drawn) -> None:
    index = drawn(8)
    first = by_row(list(loader(index, 3, seed=5, shuffle=True).epoch(2)))
    other_batches = by_row(list(loader(index, 8, seed=5, shuffle=False).epoch(2)))
    assert all(torch.equal(first[row], other_batches[row]) for row in range(8))
    for batches in (loader(index, 3, seed=5).epoch(3), loader(index, 3, seed=6).epoch(2)):
        changed = by_row(list(batches))
        assert not any(torch.equal(first[row], changed[row]) for row in range(8))


def test_equal_pictures_in_two_rows_are_augmented_differently(drawn: Drawn) -> None:
    one = drawn(1)
    columns = {"id": ["a", "b"], "image": ["p00.png", "p00.png"], "positives": [[0], [0]]}
    (batch,) = loader(Index.build(columns, LabelSpace(("cat",)), one.root))
    assert not torch.equal(batch.images_BCHW[0], batch.images_BCHW[1])


def test_without_augmentation_a_picture_is_only_prepared(drawn: Drawn) -> None:
    index = drawn(2)
    first, second = (by_row(list(loader(index, augment=False).epoch(epoch))) for epoch in (1, 2))
    assert all(torch.equal(first[row], second[row]) for row in range(2))


@pytest.mark.parametrize("workers", [0, 1])
def test_loading_leaves_the_random_state_of_training_alone(drawn: Drawn, workers: int) -> None:
    batches = loader(drawn(4), workers=workers)
    before = torch.get_rng_state()
    list(batches)
    assert torch.equal(torch.get_rng_state(), before)


# Bad pictures


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_picture_stops(drawn: Drawn, workers: int) -> None:
    index = drawn(6)
    index.image(4).write_bytes(b"no picture")
    with pytest.raises(ImageError) as caught:
        list(loader(index, workers=workers))
    said = str(caught.value)
    assert said.startswith(f"{index.image(4)} (row 4): is no image of a known format")
    assert said.endswith("or set data.bad_images=skip to leave such images out")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bad_picture_is_left_out_and_counted(drawn: Drawn, workers: int) -> None:
    index = drawn(7)
    for row in (1, 3, 4, 5):
        index.image(row).write_bytes(b"")
    batches = loader(index, bad_images="skip", workers=workers)
    found = list(batches)
    # Rows 3, 4 and 5 are a whole batch, which is passed over.
    assert [batch.rows_B.tolist() for batch in found] == [[0, 2], [6]]
    assert torch.equal(found[0].targets_BK, torch.from_numpy(index.targets(np.array([0, 2]))).float())
    assert sorted(batches.skipped.reasons) == [1, 3, 4, 5]
    assert "row 3): is empty" in batches.skipped.reasons[3]


def test_a_process_whose_whole_batch_is_bad_does_not_let_the_others_wait(drawn: Drawn) -> None:
    index = drawn(4)
    for row in range(4):
        Path(index.image(row)).write_bytes(b"nothing")
    order = BatchOrder(np.arange(4), 2, rank=1, processes=2)
    with pytest.raises(ImageError, match=r"none of the 2 images of a batch.*the other processes wait"):
        list(Loader(ImageRows(index, PREPARE), order, bad_images="skip", workers=0))
    alone = BatchOrder(np.arange(4), 2)
    assert list(Loader(ImageRows(index, PREPARE), alone, bad_images="skip", workers=0)) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_picture_is_substituted_and_counted(drawn: Drawn, workers: int) -> None:
    index = drawn(12)
    for row in (1, 4, 5):
        index.image(row).write_bytes(b"")
    batches = loader(index, bad_images="substitute", shuffle=True, workers=workers)
    found = list(batches.epoch(3))
    # Batches keep their size, and what stands in has its own targets.
    assert [len(batch) for batch in found] == [3, 3, 3, 3]
    assert not {1, 4, 5} & set(chain.from_iterable(batch.rows_B.tolist() for batch in found))
    for batch in found:
        assert torch.equal(batch.targets_BK, torch.from_numpy(index.targets(batch.rows_B.numpy())).float())
    assert sorted(batches.skipped.reasons) == [1, 4, 5]
    assert "row 4): is empty" in batches.skipped.reasons[4]
    assert batches.skipped.reasons[4].endswith("took its place")
    again = list(loader(index, bad_images="substitute", shuffle=True, workers=0).epoch(3))
    assert [batch.rows_B.tolist() for batch in again] == [batch.rows_B.tolist() for batch in found]
    assert all(torch.equal(a.images_BCHW, b.images_BCHW) for a, b in zip(again, found, strict=True))


def test_where_no_picture_can_be_read_none_is_substituted(drawn: Drawn) -> None:
    index = drawn(3)
    for row in range(3):
        index.image(row).unlink()
    batches = loader(index, bad_images="substitute")
    assert list(batches) == []
    assert sorted(batches.skipped.reasons) == [0, 1, 2]
    assert "there is no such file" in batches.skipped.reasons[0]


def test_a_file_that_vanishes_during_the_epoch_is_a_bad_picture(drawn: Drawn) -> None:
    index = drawn(9)
    batches = loader(index, bad_images="skip", batch_size=3)
    epoch = batches.epoch(0)
    assert len(next(epoch)) == 3
    index.image(7).unlink()
    assert [batch.rows_B.tolist() for batch in epoch] == [[3, 4, 5], [6, 8]]
    assert "there is no such file" in batches.skipped.reasons[7]


# Workers


def test_a_worker_that_is_killed_is_one_line(drawn: Drawn) -> None:
    batches = loader(drawn(60), batch_size=1, workers=1)
    epoch = batches.epoch(0)
    next(epoch)
    (worker,) = batches._loader._iterator._workers  # type: ignore[union-attr]
    os.kill(worker.pid, signal.SIGKILL)
    with pytest.raises(WorkerError, match=r"^a process that decodes pictures was killed.*set data.workers lower"):
        list(epoch)


@pytest.mark.parametrize("kind", [EOFError, ConnectionResetError, FileNotFoundError])
def test_a_batch_that_cannot_be_fetched_from_a_worker_that_left_is_the_same_line(kind: type[Exception]) -> None:
    def fails(said: str) -> Iterator[int]:
        yield 1
        raise kind(said)

    with pytest.raises(WorkerError, match=r"^a process that decodes pictures was killed"):
        list(surviving(fails("")))
    with pytest.raises(kind, match="Caught"):
        list(surviving(fails(f"Caught {kind.__name__} in DataLoader worker process 0.")))


def test_what_else_goes_wrong_is_not_taken_for_it() -> None:
    assert death_of(RuntimeError("DataLoader worker (pid(s) 7) exited unexpectedly")) is not None
    assert "/dev/shm" in str(death_of(RuntimeError("DataLoader worker (pid 7) is killed by signal: Bus error. Shm.")))
    assert death_of(RuntimeError("CUDA out of memory")) is None
    assert death_of(ValueError("DataLoader worker")) is None

    def fails() -> Iterator[int]:
        yield 1
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        list(surviving(fails()))


@pytest.mark.skipif(not Path("/proc/self/smaps").exists(), reason="counts memory by /proc")
def test_workers_hold_no_copy_of_an_index_in_a_file(drawn: Drawn, tmp_path: Path) -> None:
    small = drawn(40)
    count = 100_000
    columns = {
        "id": [str(number) for number in range(count)],
        "image": [f"{number % 40:02d}{'x' * 60}" for number in range(count)],
        "positives": [[0, 1, 2]] * count,
    }
    Index.build(columns, small.label_space, small.root).save(tmp_path / "big.arrow")
    index = Index.load(tmp_path / "big.arrow")
    for number in range(40):
        (small.root / f"{number:02d}{'x' * 60}").write_bytes(small.image(number).read_bytes())
    size = (tmp_path / "big.arrow").stat().st_size
    held = {}
    for name, given, rows, epochs in (
        ("small", small, np.arange(40), 1),
        ("big", index, np.arange(0, count, 2500), 10),
    ):
        batches = Loader(ImageRows(given, PREPARE), BatchOrder(rows, 8, shuffle=True), workers=2)
        for epoch in range(epochs):
            assert sum(len(batch) for batch in batches.epoch(epoch)) == 40
        held[name] = max(anonymous_kilobytes(one.pid) for one in batches._loader._iterator._workers)  # type: ignore[union-attr]
    # It grows a little, as Python counts references in pages that were shared at first; rows as Python objects would
    # take several times the size of the file.
    assert size > 8_000_000
    assert held["big"] - held["small"] < size / 2000


def test_an_epoch_keeps_nothing_for_a_row(drawn: Drawn) -> None:
    small = drawn(4)

    def held(count: int) -> tuple[int, int]:
        """Bytes after three epochs, and at most within them."""
        columns = {"id": [f"{number:06d}" for number in range(count)], "image": ["00.png"] * count}
        index = Index.build({**columns, "positives": [[0]] * count}, small.label_space, small.root)
        plan = EpochPlan(np.full(count, 0.5), count // 2)
        batches = Loader(Unread(index, PREPARE), BatchOrder(np.arange(count), 64, plan=plan), workers=0)
        tracemalloc.start()
        for epoch in range(3):
            assert sum(len(batch) for batch in batches.epoch(epoch)) == count // 2
        now, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert "ids" not in vars(index)
        return now, peak

    # Once in a while Python's own table of texts, in which paths are kept, grows by megabytes.
    few, many = held(2_000), min(held(22_000), held(22_000))
    # The rows as texts would take 60 bytes each, their ids as much.
    assert (many[0] - few[0]) / 20_000 < 1
    # While an epoch's order is drawn, some numbers of 8 bytes.
    assert (many[1] - few[1]) / 20_000 < 80


class Unread(ImageRows):
    """Rows whose pictures are not read."""

    def prepare(self, place: tuple[int, int, int], out_HWC: np.ndarray) -> None:
        assert self.index.image(place[1]).name == "00.png"
        out_HWC[:] = 0


def anonymous_kilobytes(pid: int) -> int:
    """Memory of a process that no other shares and no file holds."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_Dirty"))


# Settings


def test_unknown_settings_are_refused(drawn: Drawn) -> None:
    with pytest.raises(SettingError, match=r"data.bad_images = 'skp' is not known; did you mean skip"):
        loader(drawn(1), bad_images="skp")


def test_workers() -> None:
    assert worker_count(0) == 0
    assert worker_count(3) == 3
    assert 1 <= worker_count("auto") <= 8
