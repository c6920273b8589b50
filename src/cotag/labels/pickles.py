"""Other people's pickles: numpy arrays in plain containers, and nothing else; no code of theirs is run."""

from __future__ import annotations

import math
import os
import pickle
import re
from pathlib import Path
from typing import Any, Never

import numpy as np

from cotag.errors import FormatError

NUMBERS_AND_TEXT = re.compile(r"b1|[iu][1248]|f[248]|[SU][1-9]\d{0,5}")
LARGEST_NESTING = 50
ADVICE = "give dictionaries, lists, text, numbers and numpy arrays of numbers, or an npz file"


def read_numpy_pickle(path: str | os.PathLike[str]) -> object:
    """What a pickle holds, where that is numpy arrays, text, numbers and bytes in dictionaries, lists and tuples.

    Neither numpy nor any other module is asked to rebuild its objects: the few names that numpy writes into a pickle
    stand for parts of this module, and any other name is refused before it is looked up. Pickles of Python 2 are
    read too; their text is Latin-1.

    Raises:
        FormatError: there is no such file, it is damaged, or it holds anything else, such as code.
    """
    try:
        with Path(path).open("rb") as file:
            return _value(_Reader(file, encoding="latin1").load(), {}, LARGEST_NESTING)
    except FileNotFoundError:
        raise FormatError(f"{path}: there is no such file; check the path") from None
    except IsADirectoryError:
        raise FormatError(f"{path}: is a folder; give the path of a pickle") from None
    except _Refused as error:
        raise FormatError(f"{path}: the pickle {error}; {ADVICE}") from None
    except PermissionError:
        raise
    except Exception as error:  # damaged bytes make the unpickler raise almost anything
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(f"{path}: is no pickle, or a damaged one ({reason}); {ADVICE}") from error


class _Refused(Exception):
    pass


def _refuse(what: str) -> Never:
    raise _Refused(what)


# What numpy's names stand for while a pickle is read. They have no __dict__ and are no types, so that a pickle can
# neither change them nor make anything of them but what __call__ and __setstate__ do.


class _Name:
    __slots__ = ()


class _Dtype:
    __slots__ = ("text",)

    def __init__(self, text: object) -> None:
        if not isinstance(text, str) or not NUMBERS_AND_TEXT.fullmatch(text):
            _refuse(f"holds an array of {'Python objects' if text in ('O8', 'O4', 'O') else f'type {text!r}'}")
        self.text = text

    def __setstate__(self, state: Any) -> None:
        order = state[1]
        if order not in ("<", ">", "|", "="):
            _refuse(f"holds an array with byte order {order!r}")
        self.text = f"{order}{self.text}"


class _Array:
    __slots__ = ("array",)

    def __init__(self) -> None:
        self.array: np.ndarray | None = None

    def __setstate__(self, state: Any) -> None:
        _, shape, dtype, is_fortran, data = state
        self.array = _array(data, dtype, shape, "F" if is_fortran else "C")


class _MakeDtype:
    __slots__ = ()

    def __call__(self, text: object, *rest: object) -> _Dtype:
        return _Dtype(text)


class _MakeArray:
    __slots__ = ()

    def __call__(self, *rest: object) -> _Array:
        return _Array()


class _MakeArrayOfBuffer:
    __slots__ = ()

    def __call__(self, data: object, dtype: object, shape: object, order: object) -> _Array:
        made = _Array()
        made.array = _array(bytes(data) if isinstance(data, bytearray) else data, dtype, shape, order)
        return made


class _MakeScalar:
    __slots__ = ()

    def __call__(self, dtype: object, data: object) -> Any:
        return _array(data, dtype, (), "C").item()


class _Encode:
    """Bytes in a pickle of protocol 2 that Python 3 wrote."""

    __slots__ = ()

    def __call__(self, text: str = "", encoding: str = "latin1") -> bytes:
        return text.encode("latin1") if encoding == "latin1" else _refuse(f"holds bytes as {encoding}")


ALLOWED = {
    ("numpy", "ndarray"): _Name(),
    ("numpy", "dtype"): _MakeDtype(),
    ("_codecs", "encode"): _Encode(),
    **{(module, "bytes"): _Encode() for module in ("builtins", "__builtin__")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _MakeArray() for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): _MakeScalar() for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _MakeArrayOfBuffer() for core in ("core", "_core")},
}


class _Reader(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        found = ALLOWED.get((module, name))
        return found or _refuse(f"names {module}.{name}, which is code and no number; nothing of it was run")


def _array(data: object, dtype: object, shape: Any, order: Any) -> np.ndarray:
    """The array that raw bytes are; they are counted first."""
    if not isinstance(dtype, _Dtype):
        _refuse("holds an array without a type")
    if isinstance(data, str):
        data = data.encode("latin1")
    kind = np.dtype(dtype.text)
    sizes = isinstance(shape, tuple) and len(shape) <= 32 and all(type(size) is int and size >= 0 for size in shape)
    if not sizes or not isinstance(data, bytes) or math.prod(shape) * kind.itemsize != len(data):
        _refuse("holds an array whose shape and data differ")
    return np.ndarray(shape, kind, buffer=data, order="F" if order == "F" else "C").copy(order="C")


def _value(found: Any, done: dict[int, Any], deeper: int) -> Any:
    """The same with arrays for what stood for them; each part once, however often it is named."""
    if found is None or type(found) in (bool, int, float, str, bytes):
        return found
    if id(found) in done:
        return done[id(found)]
    if not deeper:
        _refuse(f"is nested more than {LARGEST_NESTING} deep or holds itself")
    made: Any
    if isinstance(found, _Array) and found.array is not None:
        made = found.array
    elif type(found) is dict:
        made = {_value(key, done, deeper - 1): _value(item, done, deeper - 1) for key, item in found.items()}
    elif type(found) in (list, tuple):
        made = type(found)(_value(item, done, deeper - 1) for item in found)
    else:
        _refuse(f"holds {'part of an array' if isinstance(found, _Array | _Dtype | _Name) else type(found).__name__}")
    done[id(found)] = made
    return made
