"""Index: columns, their checks, dense targets, splits, and the file that is mapped into memory."""

from __future__ import annotations

import itertools
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cotag.errors import DataError, FormatError, LabelSpaceError
from cotag.types import columns as columns_module
from cotag.types import index as index_module
from cotag.types.index import Index
from cotag.types.labels import LabelSpace

ABC = LabelSpace(("a", "b", "c"))


def build(**columns: Any) -> Index:
    return Index.build({"image": ["x.jpg", "y.jpg", "z.jpg"], "positives": [[0], [1, 2], []], **columns}, ABC)


def with_objects(**columns: Any) -> Index:
    one = {"category": 1, "box": [0.0, 1.0, 2.5, 4.0], "mask": b"rle", "crowd": False, "segment": None}
    two = {"category": 0, "box": [1.0, 1.0, 1.0, 1.0], "mask": None, "crowd": True, "segment": 70000}
    given = {
        "image": ["x.jpg", "y.jpg"],
        "positives": [[0], []],
        "objects": [[one, two], []],
        "triplets": [[{"subject": 0, "predicate": 2, "object": 1}], []],
        **columns,
    }
    return Index.build(given, ABC, object_space=LabelSpace(("person", "dog")))


# Building


def test_columns_that_are_filled_in() -> None:
    index = build()
    assert len(index) == 3
    assert index.ids == ["x.jpg", "y.jpg", "z.jpg"]
    assert index.table.column_names == ["id", "image", "positives", "unknowns", "split"]
    assert index.splits() == {}
    assert repr(index) == "Index(3 images, 3 labels; no splits)"


@pytest.mark.parametrize(
    "positives",
    [
        [[0], [1, 2], []],
        [(0,), (1, 2), ()],
        [np.array([0]), np.array([1, 2]), np.array([])],
        [[0], np.array([1, 2], dtype=np.int16), []],
        pa.array([[0], [1, 2], []]),
        pa.chunked_array([pa.array([[0], [1, 2]], pa.list_(pa.int64())), pa.array([[]], pa.list_(pa.int64()))]),
    ],
)
def test_any_kind_of_label_lists(positives: Any) -> None:
    index = build(positives=positives)
    assert index.targets().tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
    assert index.table.schema.field("positives").type == pa.list_(pa.int32())


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"positives": [[0], [3], []]}, "row 1: label id 3 in 'positives' is outside 0 to 2"),
        ({"positives": [[], [], [-1]]}, "row 2: label id -1 in 'positives'"),
        ({"unknowns": [[], [], [7]]}, "row 2: label id 7 in 'unknowns'"),
        ({"difficult": [[9], [], []]}, "row 0: label id 9 in 'difficult'"),
        ({"positives": [[0, 0], [], []]}, r"row 0 \(x.jpg\): label 'a' stands twice"),
        ({"unknowns": [[], [2], []]}, r"row 1 \(y.jpg\): label 'c' stands twice, or as present and as unknown"),
        ({"difficult": [[0], [], []]}, r"row 0 \(x.jpg\): label 'a' stands twice"),
        ({"positives": [[0.5], [], []]}, "column 'positives'.*0.5"),
        ({"positives": [["a"], [], []]}, "column 'positives': label ids are numbers"),
        ({"positives": [["1"], [], []]}, "column 'positives': label ids are numbers"),
        ({"positives": [0, 1, 2]}, "column 'positives'"),
        ({"positives": [[2**40], [], []]}, "column 'positives'"),
        ({"positives": [[None], [], []]}, "row 0: label id None"),
        ({"positives": [[], None, []]}, "row 1: 'positives' is null; give an empty list"),
        ({"positives": [[], []]}, "column 'positives' has 2 rows and image has 3"),
        ({"id": ["p", "q", "p"]}, "image id 'p' stands twice"),
        ({"id": ["p", None, "q"]}, "row 1: 'id' is empty"),
        ({"id": [1, 2, 3]}, "column 'id'"),
        ({"image": ["x.jpg", "y.jpg", None]}, "row 2: 'image' is empty"),
        ({"width": [1, 2.5, 3]}, "column 'width'"),
        ({"split": [1, 2, 3]}, "column 'split'"),
        ({"positive": [[], [], []]}, r"column 'positive' is not one of an index; did you mean positives\?"),
    ],
)
def test_wrong_columns_are_refused(columns: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        build(**columns)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["image", "positives"])
def test_needed_column_is_missing(name: str) -> None:
    columns = {"image": ["x"], "positives": [[]]}
    del columns[name]
    with pytest.raises(DataError, match=f"column '{name}' is missing"):
        Index.build(columns, ABC)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"subject": 2}, "row 0: a triplet's subject is object 2, and it has 2 objects"),
        ({"object": -1}, "row 0: a triplet's object is object -1"),
        ({"predicate": 3}, "row 0: predicate 3 in 'triplets' is outside 0 to 2"),
        ({"predicate": None}, "row 0: predicate None in 'triplets'"),
    ],
)
def test_wrong_triplets_are_refused(change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        with_objects(triplets=[[{"subject": 0, "predicate": 2, "object": 1, **change}], []])


def test_wrong_objects_are_refused() -> None:
    far = {"category": 2, "box": [0, 0, 1, 1], "mask": None, "crowd": False, "segment": None}
    with pytest.raises(DataError, match="row 1: category 2 in 'objects' is outside 0 to 1"):
        with_objects(objects=[[], [far]], triplets=[[], []])
    with pytest.raises(DataError, match="without object_space"):
        build(objects=[[far], [], []])


# Targets


def test_targets() -> None:
    index = build(unknowns=[[1], [], [2]])
    targets = index.targets()
    assert targets.dtype == np.int8
    assert targets.tolist() == [[1, -1, 0], [0, 1, 1], [0, 0, -1]]
    assert index.targets(np.array([2, 0, 2])).tolist() == [[0, 0, -1], [1, -1, 0], [0, 0, -1]]


@pytest.mark.parametrize(("how", "value"), [("unknown", -1), ("positive", 1), ("absent", 0)])
def test_difficult_labels_count_as_declared(how: str, value: int) -> None:
    index = build(difficult=[[2], [], [0, 1]], unknowns=[[1], [], []])
    assert index.targets(difficult=how).tolist() == [[1, -1, value], [0, 1, 1], [value, value, 0]]


def test_difficult_is_unknown_by_default() -> None:
    assert build(difficult=[[2], [], []]).targets()[0, 2] == -1


def test_difficult_as_something_else_is_refused() -> None:
    with pytest.raises(DataError, match="difficult='negative' is not known"):
        build().targets(difficult="negative")


@pytest.mark.parametrize("rows", [[], np.array([]), np.array([], dtype=np.int64)])
def test_no_rows(rows: Any) -> None:
    assert build().targets(rows).shape == (0, 3)
    assert len(build().subset(rows)) == 0


@pytest.mark.parametrize(
    ("rows", "said"),
    [([3], "row 3 does not exist"), ([0, -1], "row -1 does not exist"), ([True, False, True], "rows are bool")],
)
def test_rows_that_are_not_there(rows: list[int], said: str) -> None:
    with pytest.raises(DataError, match=said):
        build().targets(rows)
    with pytest.raises(DataError, match=said):
        build().subset(rows)


def test_no_positives_at_all() -> None:
    index = build(positives=[[], [], []])
    assert index.counts().tolist() == [0, 0, 0]
    assert not index.targets().any()


def test_no_images_at_all(tmp_path: Path) -> None:
    index = Index.build({"image": [], "positives": []}, ABC)
    index.save(tmp_path / "index.arrow")
    for empty in (index, Index.load(tmp_path / "index.arrow")):
        assert empty.targets().shape == (0, 3)
        assert empty.counts().tolist() == [0, 0, 0]
        assert empty.splits() == {}


def test_one_label() -> None:
    index = Index.build(
        {"image": ["x", "y", "z"], "positives": [[0], [], []], "unknowns": [[], [0], []]}, LabelSpace(("a",))
    )
    assert index.targets().tolist() == [[1], [-1], [0]]
    assert index.counts().tolist() == [1]


def test_counts_of_each_list() -> None:
    index = build(unknowns=[[1, 2], [], [1]])
    assert index.counts().tolist() == [1, 1, 1]
    assert index.counts("unknowns").tolist() == [0, 2, 1]
    assert index.counts("difficult").tolist() == [0, 0, 0]


ROW = st.lists(st.sampled_from([1, 0, -1, 2]), min_size=4, max_size=4)


@given(st.lists(ROW, min_size=1, max_size=12), st.data())
def test_targets_come_back(cells: list[list[int]], data: st.DataObject) -> None:
    """Any table of present, absent, unknown and difficult cells is what targets, subset and counts say."""
    table = np.array(cells, dtype=np.int8)
    columns: dict[str, Any] = {"image": [str(row) for row in range(len(cells))]}
    for name, value in (("positives", 1), ("unknowns", -1), ("difficult", 2)):
        columns[name] = [np.flatnonzero(row == value) for row in table]
    index = Index.build(columns, LabelSpace(("p", "q", "r", "s")))
    for how, value in (("unknown", -1), ("positive", 1), ("absent", 0)):
        assert (index.targets(difficult=how) == np.where(table == 2, value, table)).all()
    rows = data.draw(st.lists(st.integers(0, len(cells) - 1), max_size=8, unique=True))
    expected = np.where(table == 2, -1, table)[rows]
    assert (index.targets(rows) == expected).all()
    assert (index.subset(rows).targets() == expected).all()
    assert (index.counts() == (table == 1).sum(axis=0)).all()


def test_many_rows_agree_with_a_plain_loop() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.integers(0, 6, 200_000)
    offsets = np.concatenate(([0], np.cumsum(lengths))).astype(np.int32)
    first = rng.integers(0, 50, 200_000)
    steps = np.concatenate([np.arange(length) for length in lengths])
    labels = ((np.repeat(first, lengths) + 7 * steps) % 50).astype(np.int32)
    index = Index.build(
        {
            "image": pa.array(np.arange(200_000)).cast(pa.string()),
            "positives": pa.ListArray.from_arrays(pa.array(offsets), pa.array(labels)),
        },
        LabelSpace(tuple(f"label {number}" for number in range(50))),
    )
    rows = rng.choice(200_000, 64, replace=False)
    expected = np.zeros((64, 50), dtype=np.int8)
    for place, row in enumerate(rows):
        for label in labels[offsets[row] : offsets[row + 1]]:
            expected[place, label] = 1
    assert (index.targets(rows) == expected).all()
    assert index.counts().sum() == len(labels)


# Splits, subsets, images


def test_splits_in_the_order_of_their_first_row() -> None:
    index = build(split=["val", "train", None])
    assert index.splits() == {"val": 1, "train": 1}
    assert index.rows_of("train").tolist() == [1]
    assert index.split("val").ids == ["x.jpg"]
    assert repr(index) == "Index(3 images, 3 labels; val 1, train 1)"


def test_unknown_split_is_refused() -> None:
    with pytest.raises(DataError, match=r"split 'tran' has no images; did you mean train\?"):
        build(split=["val", "train", None]).split("tran")
    with pytest.raises(DataError, match="split 'train' has no images"):
        build().rows_of("train")


def test_split_that_a_subset_lost() -> None:
    rest = build(split=["val", "train", "train"]).subset([1, 2])
    assert rest.splits() == {"train": 2}
    with pytest.raises(DataError, match="split 'val' has no images"):
        rest.rows_of("val")


def test_other_split_names() -> None:
    index = build(split=["val", "train", None]).with_split(["test", None, "test"])
    assert index.splits() == {"test": 2}
    with pytest.raises(DataError, match="2 split names are given for 3 images"):
        index.with_split(["a", "b"])


def test_subset_keeps_the_given_order_and_everything_else() -> None:
    index = with_objects(split=["train", "val"], segments=["x.png", None])
    turned = index.subset([1, 0])
    assert turned.ids == ["y.jpg", "x.jpg"]
    assert turned.targets().tolist() == index.targets()[[1, 0]].tolist()
    assert turned.table["objects"].to_pylist() == index.table["objects"].to_pylist()[::-1]
    assert (turned.label_space, turned.object_space, turned.root) == (index.label_space, index.object_space, index.root)


def test_subset_of_a_subset() -> None:
    index = build(unknowns=[[1], [], [2]])
    assert index.subset([2, 1]).subset([1]).targets().tolist() == [[0, 1, 1]]


def test_images_start_from_the_root() -> None:
    index = Index.build({"image": ["x.jpg", "/far/y.jpg"], "positives": [[], []]}, ABC, root="here")
    assert index.image(0) == Path("here/x.jpg")
    assert index.images() == [Path("here/x.jpg"), Path("/far/y.jpg")]


# On disk


def test_file_round_trip(tmp_path: Path) -> None:
    index = with_objects(split=["train", None], unknowns=[[1], [0]], difficult=[[2], []], width=[4, 5], height=[6, 7])
    index = Index(index.table, index.label_space, tmp_path / "photos", index.object_space, ("one label only",))
    index.save(tmp_path / "deep" / "index.arrow")
    again = Index.load(tmp_path / "deep" / "index.arrow")
    assert again.table.to_pylist() == index.table.to_pylist()
    assert again.table.schema.types == index.table.schema.types
    assert (again.targets() == index.targets()).all()
    assert again.label_space == index.label_space
    assert again.object_space == index.object_space
    assert again.notes == ("one label only",)
    assert again.images() == [tmp_path / "photos" / "x.jpg", tmp_path / "photos" / "y.jpg"]


def test_relative_root_is_saved_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Index.build({"image": ["x.jpg"], "positives": [[]]}, ABC, root="photos").save("index.arrow")
    assert Index.load("index.arrow").image(0) == tmp_path / "photos" / "x.jpg"


def test_loaded_columns_stay_on_disk(tmp_path: Path) -> None:
    count = 50_000
    names = [f"folder/{row:020d}.jpg" for row in range(count)]
    build_one = Index.build({"image": names, "positives": [[0, 1]] * count}, ABC)
    build_one.save(tmp_path / "index.arrow")
    size = (tmp_path / "index.arrow").stat().st_size
    before = pa.total_allocated_bytes()
    index = Index.load(tmp_path / "index.arrow")
    assert len(index.lists("positives")[1]) == 2 * count
    assert pa.total_allocated_bytes() - before < size / 20


def test_subset_is_saved_over_the_file_it_was_loaded_from(tmp_path: Path) -> None:
    path = tmp_path / "index.arrow"
    build(split=["a", "b", "a"]).save(path)
    whole = Index.load(path)
    whole.split("a").save(path)
    assert Index.load(path).ids == ["x.jpg", "z.jpg"]
    assert whole.ids == ["x.jpg", "y.jpg", "z.jpg"]


def test_several_chunks_are_saved_as_one(tmp_path: Path) -> None:
    index = build(split=["a", "b", "a"])
    table = pa.concat_tables([index.subset([0]).table, index.subset([1, 2]).table])
    chunked = Index(table, ABC)
    assert (chunked.targets() == index.targets()).all()
    chunked.save(tmp_path / "index.arrow")
    assert Index.load(tmp_path / "index.arrow").splits() == {"a": 2, "b": 1}


@pytest.mark.parametrize("content", [b"", b"hello", b"\x89PNG\r\n" * 50])
def test_other_files_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(FormatError, match="file: is not a saved index") as caught:
        Index.load(tmp_path / "file")
    assert "\n" not in str(caught.value)


def test_arrow_file_of_something_else_is_refused(tmp_path: Path) -> None:
    table = pa.table({"a": [1]})
    with pa.ipc.new_file(str(tmp_path / "other.arrow"), table.schema) as writer:
        writer.write_table(table)
    with pytest.raises(FormatError, match="is an Arrow file of something else"):
        Index.load(tmp_path / "other.arrow")


@pytest.mark.parametrize("name", ["absent.arrow", "."])
def test_missing_file_and_folder_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError):
        Index.load(tmp_path / name)


def test_truncated_file_is_refused(tmp_path: Path) -> None:
    build().save(tmp_path / "index.arrow")
    content = (tmp_path / "index.arrow").read_bytes()
    for share in (0.3, 0.6, 0.99):
        (tmp_path / "cut").write_bytes(content[: int(len(content) * share)])
        with pytest.raises(FormatError):
            Index.load(tmp_path / "cut")


def test_changed_label_names_are_refused(tmp_path: Path) -> None:
    index = build()
    index.save(tmp_path / "index.arrow")
    content = (tmp_path / "index.arrow").read_bytes()
    changed = content.replace(b'"names": ["a", "b", "c"]', b'"names": ["b", "a", "c"]')
    assert changed != content
    (tmp_path / "index.arrow").write_bytes(changed)
    with pytest.raises(LabelSpaceError, match="the label names were changed"):
        Index.load(tmp_path / "index.arrow")


def test_lists_fit_their_offsets() -> None:
    offsets, labels = build().subset([1, 0, 2]).lists("positives")
    assert [labels[a:b].tolist() for a, b in itertools.pairwise(offsets)] == [[1, 2], [0], []]


def test_lists_of_a_slice_start_at_zero() -> None:
    index = build()
    offsets, labels = Index(index.table.slice(1), ABC).lists("positives")
    assert offsets.tolist() == [0, 2, 2]
    assert labels.tolist() == [1, 2]


# Another process


def test_a_loaded_index_is_opened_again_by_another_process(tmp_path: Path) -> None:
    many = 20_000
    columns = {"image": [f"train/{row:09d}.jpg" for row in range(many)], "positives": [[0, 2]] * many}
    index = Index.build(columns, ABC, tmp_path)
    index.save(tmp_path / "index.arrow")
    loaded = Index.load(tmp_path / "index.arrow")
    assert len(loaded.ids) == many
    sent = pickle.dumps(loaded)
    assert len(sent) < 1000
    again = pickle.loads(sent)
    assert again.table.equals(index.table)
    assert (again.root, again.label_space) == (index.root.resolve(), ABC)
    assert len(pickle.dumps(index)) > 500_000


def test_an_index_of_no_file_is_sent_as_its_columns(tmp_path: Path) -> None:
    whole = with_objects(split=["train", None])
    for index in (whole, build(split=["b", None, "a"], unknowns=[[1], [], []]), build().subset([2, 0])):
        assert index.splits() == pickle.loads(pickle.dumps(index)).splits()
        again = pickle.loads(pickle.dumps(index))
        assert again.table.equals(index.table)
        assert again.targets().tolist() == index.targets().tolist()
        assert (again.label_space, again.object_space, again.notes) == (ABC, index.object_space, index.notes)
    # A part of a loaded index is that part.
    whole.save(tmp_path / "index.arrow")
    part = pickle.loads(pickle.dumps(Index.load(tmp_path / "index.arrow").subset([1])))
    assert part.ids == ["y.jpg"]


def test_a_file_that_was_replaced_is_not_opened_in_its_place(tmp_path: Path) -> None:
    path = tmp_path / "index.arrow"
    build().save(path)
    loaded = Index.load(path)
    before = pickle.dumps(loaded)
    build(image=["1", "2", "34567"]).save(path)
    # What is sent now are the columns that were mapped.
    assert pickle.loads(pickle.dumps(loaded)).ids == ["x.jpg", "y.jpg", "z.jpg"]
    with pytest.raises(DataError, match=r"index\.arrow: was changed while it was used"):
        pickle.loads(before)


# Many rows


def test_labels_of_some_rows() -> None:
    index = build(positives=[[0, 2], [1], []])
    places, labels = index.entries("positives", np.array([2, 0, 1, 0]))
    assert (places.tolist(), labels.tolist()) == ([1, 1, 2, 3, 3], [0, 2, 1, 0, 2])
    assert index.counts(rows=np.array([2, 0, 0])).tolist() == [2, 0, 2]
    assert index.entries("difficult", np.array([0]))[0].tolist() == []
    assert index.ids_of(np.array([2, 0])) == ["z.jpg", "x.jpg"]
    calls = (index.ids_of, lambda rows: index.counts(rows=rows), lambda rows: index.entries("positives", rows))
    for call in calls:
        with pytest.raises(DataError, match="row 3 does not exist"):
            call(np.array([3]))


def test_rows_are_gathered_block_by_block(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    has = random.random((50, 3)) < 0.5
    index = Index.build({"image": [str(n) for n in range(50)], "positives": [np.flatnonzero(row) for row in has]}, ABC)
    rows = random.permutation(np.repeat(np.arange(50), 2))
    whole = [part.tolist() for part in index.entries("positives", rows)]
    for module in (columns_module, index_module):
        monkeypatch.setattr(module, "BLOCK", 7)
    assert [part.tolist() for part in index.entries("positives", rows)] == whole
    assert np.array_equal(index.targets(rows), has[rows])
    assert index.counts(rows=rows).tolist() == (2 * has.sum(0)).tolist()


def test_much_text_has_wide_offsets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(columns_module, "MOST_TEXT", 40)
    index = build(image=["a" * 20, "b" * 20, "c"], id=["x", "y", "z"])
    assert index.table.schema.field("image").type == pa.large_string()
    assert index.table.schema.field("id").type == pa.string()
    index.save(tmp_path / "index.arrow")
    loaded = Index.load(tmp_path / "index.arrow")
    assert loaded.image(1).name == "b" * 20
    assert loaded.subset([2, 1]).images()[1].name == "b" * 20


def test_splits_of_columns_in_pieces() -> None:
    index = build(split=["b", None, "a"])
    pieces = pa.concat_tables([index.table, build(split=["a", "c", None]).table])
    index = Index(pieces, ABC)
    assert index.splits() == {"b": 1, "a": 2, "c": 1}
    assert index.rows_of("a").tolist() == [2, 3]
    assert index.subset([0, 1]).splits() == {"b": 1}
