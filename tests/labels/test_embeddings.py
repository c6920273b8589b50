"""Label vectors: what each source gives, how names are put together, and what a name without a vector gets."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from cotag.errors import CotagError, DataError, FormatError, LabelSpaceError, MissingExtra, SettingError, WeightsError
from cotag.labels.embeddings import LabelVectors, label_vectors
from cotag.labels.names import spellings_of, words_of
from cotag.types.labels import LabelSpace

WORDS = {
    "person": [1, 0, 0],
    "Paris": [0, 0, 7],
    "traffic": [2, 0, 0],
    "light": [0, 4, 0],
    "hot-dog": [0, 0, 5],
    "hot": [9, 9, 9],
    "dog": [8, 8, 8],
    "tennis": [1, 1, 0],
    "racket": [0, 1, 1],
    "dining_table": [3, 3, 3],
    "table": [6, 6, 6],
    "hair": [0, 2, 2],
    "n": [1, 2, 3],
    "a": [3, 2, 1],
}


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.txt"
    path.write_text("".join(f"{word} {' '.join(map(str, row))}\n" for word, row in WORDS.items()), encoding="utf-8")
    return path


def of(words: Path, *names: str, fallback: str = "refuse") -> LabelVectors:
    return label_vectors(LabelSpace(names), words, fallback=fallback)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("traffic light", ["traffic", "light"]),
        ("hot-dog", ["hot", "dog"]),
        ("TennisRacket", ["Tennis", "Racket"]),
        ("tennisRacket2", ["tennis", "Racket2"]),
        ("TVMonitor", ["TV", "Monitor"]),
        ("dining_table", ["dining", "table"]),
        ("n/a", ["n", "a"]),
        ("bärlauch (wild)", ["bärlauch", "wild"]),
        ("+", []),
    ],
)
def test_words_of_a_name(name: str, expected: list[str]) -> None:
    assert words_of(name) == expected


def test_spellings_of_a_name() -> None:
    assert spellings_of("+") == ["+"]
    assert spellings_of("TennisRacket") == [
        *("TennisRacket", "tennisracket", "Tennis_Racket", "tennis_racket", "Tennis-Racket", "tennis-racket")
    ]


def test_names_are_found_whole_then_by_their_words(words: Path) -> None:
    found = of(words, "Person", "Paris", "traffic light", "hot dog", "TennisRacket", "dining table", "n/a")
    assert found.vectors_KE.dtype == np.float32
    assert found.vectors_KE.tolist() == [
        *([1, 0, 0], [0, 0, 7], [1, 2, 0], [0, 0, 5], [0.5, 1, 0.5], [3, 3, 3], [2, 2, 2])
    ]
    assert found.composed == {
        "traffic light": ["traffic", "light"],
        "hot dog": ["hot-dog"],
        "TennisRacket": ["tennis", "racket"],
        "dining table": ["dining_table"],
        "n/a": ["n", "a"],
    }
    assert (found.missing, found.learned) == ([], False)
    assert "traffic light (traffic, light)" in found.notes[-1]


def test_a_name_with_some_of_its_words_is_told(words: Path) -> None:
    found = of(words, "hair drier", "person")
    assert found.vectors_KE[0].tolist() == WORDS["hair"]
    assert found.composed == {"hair drier": ["hair"]}
    assert "a word is lacking (1): hair drier (of hair alone)" in found.notes[-1]


def test_a_name_without_a_word_is_refused_or_gets_what_was_declared(words: Path) -> None:
    names = ("person", "zebra", "giraffe", "Paris")
    with pytest.raises(
        DataError, match=r"no vector for 2 of 4 labels: zebra, giraffe; .* set vectors.fallback to mean"
    ):
        of(words, *names)
    mean = of(words, *names, fallback="mean")
    assert mean.vectors_KE[1:3].tolist() == [[0.5, 0, 3.5]] * 2
    assert mean.missing == ["zebra", "giraffe"]
    assert "got mean (2): zebra, giraffe" in mean.notes[-1]
    assert not of(words, *names, fallback="zero").vectors_KE[1:3].any()
    random = of(words, *names, fallback="random").vectors_KE
    assert np.linalg.norm(random[1:3], axis=1) == pytest.approx([4, 4])
    assert not np.allclose(random[1], random[2])
    assert np.array_equal(random, of(words, *names, fallback="random").vectors_KE)
    other = label_vectors(LabelSpace(names), words, fallback="random", seed=1)
    assert not np.allclose(random[1], other.vectors_KE[1])


@pytest.mark.parametrize("fallback", ["refuse", "mean", "random", "zero"])
def test_a_file_that_knows_no_label_is_refused(words: Path, fallback: str) -> None:
    with pytest.raises(DataError, match="a vector for none of the 2 labels"):
        of(words, "zebra", "+", fallback=fallback)


def test_sources_that_need_no_file() -> None:
    space = LabelSpace(("a", "b", "c"))
    one_hot = label_vectors(space)
    assert one_hot.vectors_KE.tolist() == np.eye(3).tolist()
    assert not one_hot.learned
    random, learned = label_vectors(space, "random", 5), label_vectors(space, "learned")
    assert (random.vectors_KE.shape, random.learned) == ((3, 5), False)
    assert (learned.vectors_KE.shape, learned.learned) == ((3, 300), True)
    assert learned.vectors_KE.std() == pytest.approx(1, abs=0.1)
    assert np.array_equal(random.vectors_KE, label_vectors(space, "random", 5).vectors_KE)
    assert not np.array_equal(random.vectors_KE, label_vectors(space, "random", 5, seed=1).vectors_KE)
    assert {one.vectors_KE.dtype for one in (one_hot, random, learned)} == {np.dtype(np.float32)}
    assert label_vectors(LabelSpace(("a",)), "one_hot").vectors_KE.shape == (1, 1)


WRONG = [
    ({"source": "one-hot"}, "there is no such file; did you mean one_hot"),
    ({"fallback": "none"}, "vectors.fallback = 'none' is not known"),
    ({"size": 5}, "vectors.size = 5: one_hot has vectors of 3 values"),
]


@pytest.mark.parametrize(("settings", "said"), WRONG)
def test_wrong_settings(settings: dict[str, object], said: str) -> None:
    with pytest.raises(SettingError, match=said):
        label_vectors(LabelSpace(("a", "b", "c")), **settings)  # type: ignore[arg-type]


def matrix(folder: Path, value: object) -> Path:
    path = folder / "vectors.pkl"
    path.write_bytes(pickle.dumps(value))
    return path


def test_a_matrix_without_names(tmp_path: Path) -> None:
    rows_KE = np.arange(1.0, 7.0).reshape(3, 2)
    found = label_vectors(LabelSpace(("a", "b", "c")), matrix(tmp_path, rows_KE))
    assert found.vectors_KE.tolist() == rows_KE.tolist()
    assert found.vectors_KE.dtype == np.float32
    assert "taken as a to c, in alphabetical order" in found.notes[0]


MATRICES: list[tuple[object, tuple[str, ...], type[CotagError], str]] = [
    (np.ones((2, 4)), ("a", "b", "c"), LabelSpaceError, "vectors of 2 labels and names none of them; 3 labels"),
    (np.ones((2, 4)), ("b", "a"), LabelSpaceError, r"at 0 stands b, not a\): read COCO with order=name"),
    ({"adj": np.ones((2, 2)), "nums": np.ones(2)}, ("a", "b"), FormatError, "holds no matrix of label vectors"),
    (np.array([[1.0, np.nan], [1, 1]]), ("a", "b"), DataError, "zero or not finite: a;"),
    (np.array([[1.0, 2], [0, 0]]), ("a", "b"), DataError, "zero or not finite: b;"),
    (print, ("a", "b"), FormatError, "code"),
]


@pytest.mark.parametrize(("value", "names", "kind", "said"), MATRICES)
def test_a_matrix_that_does_not_fit(
    value: object, names: tuple[str, ...], kind: type[CotagError], said: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=said):
        label_vectors(LabelSpace(names), matrix(tmp_path, value))


@pytest.mark.real
def test_the_published_vectors(shared_data: Path) -> None:
    """Rows in the order that is declared: the nearest of each row is a relative."""
    annotations = json.loads((shared_data / "coco604" / "annotations" / "instances_val.json").read_text("utf-8"))
    by_id = tuple(one["name"] for one in annotations["categories"])
    path = shared_data / "mlgcn" / "coco_glove_word2vec.pkl"
    with pytest.raises(LabelSpaceError, match="at 0 stands person, not airplane"):
        label_vectors(LabelSpace(by_id), path)
    space = LabelSpace(tuple(sorted(by_id)))
    vectors_KE = label_vectors(space, path).vectors_KE
    assert vectors_KE.shape == (80, 300)
    unit_KE = vectors_KE / np.linalg.norm(vectors_KE, axis=1, keepdims=True)
    near_KK = unit_KE @ unit_KE.T - np.eye(80)
    for name, relative in {"cat": "dog", "bus": "train", "fork": "spoon", "elephant": "giraffe"}.items():
        assert space.names[near_KK[space.id(name)].argmax()] == relative


def small_encoder(folder: Path) -> str:
    """The name of a text encoder that is made in no time."""
    import open_clip

    vision = {"image_size": 32, "layers": 1, "width": 64, "patch_size": 16}
    text = {"context_length": 16, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1}
    path = folder / "small-of-test.json"
    path.write_text(json.dumps({"embed_dim": 24, "vision_cfg": vision, "text_cfg": text}))
    open_clip.add_model_config(path)
    return "clip:small-of-test/none"


def test_a_text_encoder(tmp_path: Path) -> None:
    encoder = small_encoder(tmp_path)
    space = LabelSpace(("TennisRacket", "tennis_racket", "Tennis Racket", "dog", "+"))
    found = label_vectors(space, encoder)
    assert (found.vectors_KE.shape, found.vectors_KE.dtype) == ((5, 24), np.float32)
    assert np.linalg.norm(found.vectors_KE, axis=1) == pytest.approx(np.ones(5))
    assert np.allclose(found.vectors_KE[0], found.vectors_KE[2])
    assert not np.allclose(found.vectors_KE[0], found.vectors_KE[3], atol=1e-3)
    assert np.array_equal(found.vectors_KE, label_vectors(space, encoder).vectors_KE)
    assert "a photo of a NAME." in found.source
    for source, said in {
        "clip:RN51/none": "no architecture 'RN51'; did you mean RN50",
        "clip:RN50": "RN50 has to be told the weights; allowed: openai",
        "clip:RN50/opnai": "did you mean openai",
    }.items():
        with pytest.raises(SettingError, match=said):
            label_vectors(space, source)
    other = tmp_path / "other.pt"
    torch.save({"positional_embedding": torch.zeros(2, 2)}, other)
    with pytest.raises(WeightsError, match=r"could not be loaded \(.*\); give the weights of this architecture"):
        label_vectors(space, encoder.replace("none", str(other)))


def test_a_missing_text_encoder_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "open_clip", None)
    with pytest.raises(MissingExtra, match=r"pip install 'cotag\[clip\]'"):
        label_vectors(LabelSpace(("a",)), "clip:RN50/none")
