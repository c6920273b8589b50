"""Which images train, which choose (settings, epochs) and which judge; declared, never mixed."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass

import numpy as np

from cotag.errors import DataError
from cotag.types.index import Index

USUAL = {
    "train": ("train", "training", "trainval"),
    "choose": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
ROLES = ("train", "choose", "test")
MOST_IMAGES, MOST_CELLS = 200_000, 100_000_000
"""More images, or more images times labels, are split by the rarest label of each."""
TEST_SHARE = 0.2
CHOOSE_SHARE = 0.2


@dataclass(frozen=True)
class Roles:
    """Row numbers of an Index by what they are used for; no row has two roles.

    Attributes:
        train: rows that train.
        choose: rows that choose among epochs and settings.
        test: rows that judge, and nothing else.
        told: one line for each role that says where its rows come from.
        split_off: whether the rows that choose were split off those that train, and are not a split of their own.
    """

    train: np.ndarray
    choose: np.ndarray
    test: np.ndarray
    told: tuple[str, ...]
    split_off: bool = True

    def codes(self, count: int) -> np.ndarray:
        """The role of each of ``count`` rows as its place in ``ROLES``, -1 for a row that is not used; int8 (N,)."""
        found = np.full(count, -1, dtype=np.int8)
        for code, name in enumerate(ROLES):
            found[getattr(self, name)] = code
        return found


def assign_roles(
    index: Index,
    train: str | None = None,
    choose: str | float | None = None,
    test: str | float | None = None,
    seed: int = 0,
) -> Roles:
    """Decide which rows train, choose and judge.

    Args:
        train: the split that trains; where not given, the one with a usual name (train, training, trainval).
        choose: a split, or the share of the training images that is split off. Where not given: the validation
            split if there is a test split besides, else a fifth of the training images.
        test: a split, or the share of all images that is split off. Where not given: the test split, or the
            validation split, or, without any splits, a fifth of all images.
        seed: of the parts that are split off, stratified over labels.

    A split whose labels are all unknown (withheld) can neither choose nor judge and is passed over.

    Raises:
        DataError: a split does not exist, or none has a usual name; says which there are.
    """
    splits = index.splits()
    if splits:
        rest, test_rows, test_told, choose = _named_test(index, splits, train, choose, test, seed)
    else:
        for role, given in (("train", train), ("choose", choose), ("test", test)):
            if isinstance(given, str):
                raise DataError(f"data.{role} = {given!r}: the data have no splits; give a share such as 0.2")
        rest, test_rows, test_told = _split_off_test(index, np.arange(len(index)), "all images", test, seed)
    if isinstance(choose, str):
        train_rows, choose_rows = rest, index.rows_of(choose)
        choose_told = f"chooses: split {choose}, {len(choose_rows)} images"
    else:
        share = CHOOSE_SHARE if choose is None else float(choose)
        train_rows, choose_rows = stratified_parts(index, rest, share, seed + 1)
        how = stratified_how(index, rest)
        choose_told = f"chooses: {len(choose_rows)} of the {len(rest)} training images, {how}, seed {seed + 1}"
    told = (f"trains: {len(train_rows)} images", choose_told, test_told)
    roles = Roles(train_rows, choose_rows, test_rows, told, not isinstance(choose, str))
    _require_apart(index, roles)
    return roles


def _named_test(
    index: Index,
    splits: dict[str, int],
    train: str | None,
    choose: str | float | None,
    test: str | float | None,
    seed: int,
) -> tuple[np.ndarray, np.ndarray, str, str | float | None]:
    """The rows that are left for training, those that judge, where they come from, and what chooses."""
    train_name = train or _usual("train", splits) or _refuse("train", splits)
    rows = index.rows_of(train_name)
    used = (train_name, choose, test)
    others = {name: count for name, count in splits.items() if name not in used and _has_targets(index, name)}
    if test is None:
        test = _usual("test", others) or _usual("choose", others)
    if not isinstance(test, str):
        return *_split_off_test(index, rows, f"split {train_name}", test, seed), choose
    if choose is None:
        choose = _usual("choose", {name: count for name, count in others.items() if name != test})
    test_rows = index.rows_of(test)
    return rows, test_rows, f"judges: split {test}, {len(test_rows)} images", choose


def judging_split(index: Index) -> str | None:
    """The split that usually judges: test, or else validation; None where there is neither with known labels."""
    judging = {name: count for name, count in index.splits().items() if _has_targets(index, name)}
    return _usual("test", judging) or _usual("choose", judging)


def _split_off_test(
    index: Index, rows: np.ndarray, of: str, share: str | float | None, seed: int
) -> tuple[np.ndarray, np.ndarray, str]:
    share = TEST_SHARE if share is None else float(share)
    rest, test_rows = stratified_parts(index, rows, share, seed)
    how = stratified_how(index, rows)
    return rest, test_rows, f"judges: {len(test_rows)} images, a share of {share:g} of {of}, {how}, seed {seed}"


def stratified_parts(index: Index, rows: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split rows in two so that each label keeps its share in both; returns (rest, part), sorted.

    Args:
        share: of the rows that go into the part, above 0 and under 1.

    Source: Sechidis, Tsoumakas, Vlahavas, On the stratification of multi-label data, ECML PKDD 2011.
    Differs: many images, see ``MOST_IMAGES``, are ordered by their rarest label, and each 1/share-th is taken, which
        takes memory and time for the labels that there are alone.

    Raises:
        DataError: there are too few rows, or the share is not between 0 and 1.
    """
    from iterstrat.ml_stratifiers import MultilabelStratifiedShuffleSplit

    if not 0 < share < 1:
        raise DataError(f"a share of {share:g} cannot be split off; give a number between 0 and 1")
    rows = np.asarray(rows)
    if len(rows) < 4:
        raise DataError(f"{len(rows)} images are too few to split; at least 4 are needed, or name the splits yourself")
    if math.ceil(share * len(rows)) >= len(rows):
        raise DataError(f"a share of {share:g} of {len(rows)} images leaves none; give a smaller share")
    if _are_many(index, rows):
        return _parted_by_rarest(index, rows, share, seed)
    splitter = MultilabelStratifiedShuffleSplit(n_splits=1, test_size=share, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rest, part = next(splitter.split(np.zeros(len(rows)), _stratified_columns(index, rows)))
    return np.sort(rows[rest]), np.sort(rows[part])


def stratified_how(index: Index, rows: np.ndarray) -> str:
    """How ``stratified_parts`` splits these rows, in words."""
    return "stratified by the rarest label of each" if _are_many(index, rows) else "stratified"


def _are_many(index: Index, rows: np.ndarray) -> bool:
    return len(rows) > MOST_IMAGES or len(rows) * len(index.label_space) > MOST_CELLS


def _parted_by_rarest(index: Index, rows: np.ndarray, share: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    size = len(index.label_space)
    rank_K = np.argsort(np.argsort(index.counts(rows=rows), kind="stable")).astype(np.int32)
    places_E, labels_E = index.entries("positives", rows)
    rarest_N = np.full(len(rows), size, dtype=np.int32)
    np.minimum.at(rarest_N, places_E, rank_K[labels_E])
    del places_E, labels_E
    random = np.random.default_rng(seed)
    order = random.permutation(len(rows))
    order = order[np.argsort(rarest_N[order], kind="stable")]
    count = math.ceil(share * len(rows))
    taken = order[((np.arange(count) + random.random()) * (len(rows) / count)).astype(np.int64)]
    part_N = np.zeros(len(rows), dtype=bool)
    part_N[taken] = True
    return np.sort(rows[~part_N]), np.sort(rows[part_N])


def stratified_folds(index: Index, rows: np.ndarray, folds: int, seed: int) -> np.ndarray:
    """The fold of each of some rows, from 0, so that each label keeps its share in every fold; int64 (N,).

    Source: as ``stratified_parts``.

    Raises:
        DataError: there are fewer rows than folds.
    """
    from iterstrat.ml_stratifiers import MultilabelStratifiedKFold

    if not 2 <= folds <= len(rows):
        raise DataError(f"{len(rows)} images cannot be put into {folds} folds; give 2 to {len(rows)}")
    splitter = MultilabelStratifiedKFold(n_splits=folds, shuffle=True, random_state=seed)
    found = np.zeros(len(rows), dtype=np.int64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for number, (_, part) in enumerate(splitter.split(np.zeros(len(rows)), _stratified_columns(index, rows))):
            found[part] = number
    return found


def _stratified_columns(index: Index, rows: np.ndarray) -> np.ndarray:
    """What stratification keeps the shares of: the labels, and whether an image has none; int64 (N, columns)."""
    targets = (index.targets(rows) == 1).astype(np.int64)
    used = targets.any(0)
    # The constant column gives the stratifier two columns in any case.
    return np.concatenate([targets[:, used], ~targets.any(1, keepdims=True), np.ones((len(rows), 1), int)], axis=1)


def _has_targets(index: Index, split: str) -> bool:
    """Whether any label is known of any image of a split."""
    rows = index.rows_of(split)
    return any((index.targets(rows[start : start + 4096]) >= 0).any() for start in range(0, len(rows), 4096))


def _usual(role: str, splits: dict[str, int]) -> str | None:
    for usual in USUAL[role]:
        for name in splits:
            if name.lower().rstrip("0123456789") == usual:
                return name
    return None


def _refuse(role: str, splits: dict[str, int]) -> str:
    shown = ", ".join(f"{name} ({count})" for name, count in splits.items())
    raise DataError(f"no split has a usual name for {role}; there are {shown}; set data.{role}=NAME")


def _require_apart(index: Index, roles: Roles) -> None:
    used = np.concatenate([roles.train, roles.choose, roles.test])
    if len(np.unique(used)) == len(used):
        return
    values, counts = np.unique(used, return_counts=True)
    (name,) = index.ids_of(values[counts > 1][:1])
    raise DataError(
        f"image {name!r} would have two roles; give data.train, data.choose and data.test splits of their own"
    )
