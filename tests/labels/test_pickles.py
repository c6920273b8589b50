"""Pickles of numpy arrays are read; whatever else they hold is refused, and none of it is run."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from cotag.errors import FormatError
from cotag.labels.pickles import read_numpy_pickle

ARRAYS = {
    "nums": np.array([3, 0, 2**40]),
    "adj": np.arange(6, dtype=np.float32).reshape(2, 3),
    "turned": np.asfortranarray(np.arange(6, dtype=">i2").reshape(2, 3)),
    "empty": np.zeros((0, 4)),
    "flags": np.array([True, False]),
    "names": np.array(["dog", "größer"]),
    "list": [1, 2.5, "text", b"\xff", None, True, ("a", [])],
    "none": b"",
}


def same(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and np.array_equal(a, b)
    return type(a) is type(b) and a == b


def stored(folder: Path, value: object, protocol: int = 4) -> Path:
    path = folder / "value.pkl"
    path.write_bytes(value if isinstance(value, bytes) else pickle.dumps(value, protocol))
    return path


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_arrays_in_containers_come_back(protocol: int, tmp_path: Path) -> None:
    found = read_numpy_pickle(stored(tmp_path, ARRAYS, protocol))
    assert isinstance(found, dict)
    assert list(found) == list(ARRAYS)
    for name, value in ARRAYS.items():
        assert same(value, found[name]), name
    found["adj"][0, 0] = 5


def test_a_scalar_is_a_number(tmp_path: Path) -> None:
    assert read_numpy_pickle(stored(tmp_path, {"x": np.float64(0.5)})) == {"x": 0.5}


def test_python_2(tmp_path: Path) -> None:
    """What ``pickle.dumps({'adj': numpy.array([1, 2], 'i2'), 'caf\\xe9': 'dog'}, 2)`` gave in Python 2.7."""
    written = (
        b"\x80\x02}q\x00(U\x03adjq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03K\x00\x85q\x04"
        b"U\x01bq\x05\x87q\x06Rq\x07(K\x01K\x02\x85q\x08cnumpy\ndtype\nq\tU\x02i2q\nK\x00K\x01\x87q\x0bRq\x0c(K\x03"
        b"U\x01<q\rNNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x0eb\x89U\x04\x01\x00\x02\x00q\x0ftq\x10b"
        b"U\x04caf\xe9q\x11U\x03dogq\x12u."
    )
    found = read_numpy_pickle(stored(tmp_path, written))
    assert isinstance(found, dict)
    assert found["adj"].tolist() == [1, 2]
    assert found["café"] == "dog"


def test_the_published_files(shared_data: Path) -> None:
    counts = read_numpy_pickle(shared_data / "mlgcn" / "coco_adj.pkl")
    assert isinstance(counts, dict)
    assert (counts["nums"].shape, counts["adj"].shape) == ((80,), (80, 80))
    vectors = read_numpy_pickle(shared_data / "mlgcn" / "voc_glove_word2vec.pkl")
    assert isinstance(vectors, np.ndarray)
    assert vectors.shape == (20, 300)


class Runs:
    """A pickle of this makes a file when it is read by pickle.load."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.system, (f"touch '{self.path}'",)


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_code_is_refused_and_not_run(protocol: int, tmp_path: Path) -> None:
    made = tmp_path / "made"
    path = stored(tmp_path, {"nums": np.ones(2), "adj": Runs(made)}, protocol)
    with pytest.raises(FormatError, match=r"value\.pkl: the pickle names \w+\.system, which is code") as caught:
        read_numpy_pickle(path)
    assert "\n" not in str(caught.value)
    assert not made.exists()
    with path.open("rb") as file:
        pickle.load(file)
    assert made.exists(), "the pickle does nothing, so the test shows nothing"


@pytest.mark.parametrize(
    "name", ["numpy load", "numpy.testing._private.utils runstring", "builtins eval", "builtins getattr"]
)
def test_other_names_of_numpy_and_python_are_refused(name: str, tmp_path: Path) -> None:
    module, word = name.split()
    with pytest.raises(FormatError, match=f"names {module}.{word}"):
        read_numpy_pickle(stored(tmp_path, f"c{module}\n{word}\n(S'1'\ntR.".encode()))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (np.array([{}, None]), "array of Python objects"),
        (np.array([1 + 2j]), "array of type 'c16'"),
        ({1, 2}, "holds set"),
        (bytearray(b"abc"), "bytearray"),
        (OrderedDict(a=1), "collections.OrderedDict"),
        (np.dtype("i4"), "part of an array"),
        (np.ma.masked_array([1, 2]), "numpy.ma"),
    ],
)
def test_other_values_are_refused(value: object, said: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=said):
        read_numpy_pickle(stored(tmp_path, [value]))


def test_damage_is_one_line(tmp_path: Path) -> None:
    whole = pickle.dumps(ARRAYS, 3)
    for size in range(0, len(whole), 7):
        with pytest.raises(FormatError) as caught:
            read_numpy_pickle(stored(tmp_path, whole[:size]))
        assert "\n" not in str(caught.value)
    with pytest.raises(FormatError, match="no pickle"):
        read_numpy_pickle(stored(tmp_path, b"PK\x03\x04 something else"))
    with pytest.raises(FormatError, match="no such file"):
        read_numpy_pickle(tmp_path / "nothing.pkl")
    with pytest.raises(FormatError, match="folder"):
        read_numpy_pickle(tmp_path)


def test_shape_and_data_that_differ(tmp_path: Path) -> None:
    changed = pickle.dumps(np.arange(3, dtype="i2"), 3).replace(b"K\x03\x85", b"K\x09\x85")
    with pytest.raises(FormatError, match="shape and data differ"):
        read_numpy_pickle(stored(tmp_path, changed))


def test_what_holds_itself_or_grows_is_refused_or_shared(tmp_path: Path) -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(FormatError, match="holds itself"):
        read_numpy_pickle(stored(tmp_path, loop))
    grown: list[Any] = [1]
    for _ in range(40):
        grown = [grown, grown]
    found = read_numpy_pickle(stored(tmp_path, grown))
    assert isinstance(found, list)
    assert found[0] is found[1]


def test_parts_of_the_reader_cannot_be_changed(tmp_path: Path) -> None:
    """BUILD sets attributes of whatever stands on the stack."""
    for state in (b"}S'x'\nI1\ns", b"(N}S'__call__'\nI1\nst"):
        with pytest.raises(FormatError):
            read_numpy_pickle(stored(tmp_path, b"cnumpy\ndtype\n" + state + b"b."))
