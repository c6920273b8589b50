"""The label graph: how often labels come together, and the matrix that a graph network makes of it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from cotag.errors import SettingError, listing, suggestion
from cotag.labels.counts import LabelCounts, count_labels
from cotag.types.index import Index
from cotag.types.labels import LabelSpace

if TYPE_CHECKING:
    from scipy.sparse import csr_array

KINDS = ("reweighted", "binary", "conditional", "symmetric", "identity")
AXES = ("column", "row")
SETTINGS = ("kind", "tau", "p", "axis")
MOST_EDGES = 20_000_000
# what the published program adds to a sum before it divides by it; it shows in the sixth decimal of A_hat
PROGRAM_EPSILON = 1e-6


@dataclass(frozen=True, eq=False)
class LabelGraph:
    """Counts of labels and of pairs of labels, and the settings that make a matrix of them.

    The stages are ``conditional`` P, ``binary`` B, ``weighted`` A and ``normalized`` A_hat. An edge goes from one label
    to another one, never to itself. What A is depends on ``kind``:

    ``reweighted``   off the diagonal p B_ij / sum of B over a column (or a row), on it 1 - p
    ``binary``       B + I
    ``conditional``  P with 1 on the diagonal, since P(i | i) = 1; uses no tau
    ``symmetric``    max(B, B^T) + I, whose normalized form is D^(-1/2) (S + I) D^(-1/2) of graph convolutional networks
    ``identity``     I: each label knows of itself alone; the control that says what the graph is worth

    Args:
        counts: of the labels and their pairs.
        kind: one of ``KINDS``.
        tau: an edge where P(B | A) is this or more, in [0, 1].
        p: share of its weight that a label leaves to its neighbors, in [0, 1); for ``reweighted``.
        axis: ``column`` as in the published program, or ``row`` as in the paper's text; for ``reweighted``.

    Raises:
        SettingError: a setting is not one of those.

    Source: Chen et al., CVPR 2019 (ML-GCN), equations 7 and 8; Kipf and Welling, ICLR 2017, equation 2 (symmetric).
    """

    counts: LabelCounts
    kind: str = "reweighted"
    tau: float = 0.4
    p: float = 0.2
    axis: str = "column"

    def __post_init__(self) -> None:
        for name, value, allowed in (("kind", self.kind, KINDS), ("axis", self.axis, AXES)):
            if value not in allowed:
                raise SettingError(f"graph.{name} = {value!r} is not known{suggestion(value, allowed)}")
        if not 0 <= self.tau <= 1:
            raise SettingError(f"graph.tau = {self.tau}: a conditional probability is wanted; give one in [0, 1]")
        if not 0 <= self.p < 1:
            raise SettingError(f"graph.p = {self.p}: is the share of the neighbors; give one in [0, 1), such as 0.2")

    @property
    def label_space(self) -> LabelSpace:
        """The K labels."""
        return self.counts.label_space

    @property
    def images(self) -> int | None:
        """How many images were counted; None where a file does not say."""
        return self.counts.images

    @property
    def counts_K(self) -> np.ndarray:  # noqa: N802
        """Images with each label; int64."""
        return self.counts.counts_K

    @property
    def pairs_KK(self) -> csr_array:  # noqa: N802
        """Images with both labels; sparse int64, zero on the diagonal."""
        return self.counts.pairs_KK

    def __len__(self) -> int:
        return len(self.label_space)

    def __repr__(self) -> str:
        return f"LabelGraph({self.describe()})"

    def conditional(self) -> csr_array:
        """P(B | A) in row A and column B; float64 (K, K). A label without images has a row of zeros."""
        return self.counts.conditional()

    def binary(self) -> csr_array:
        """1 where P(B | A) >= tau; float64 (K, K), zero on the diagonal. At tau = 0 every pair is an edge.

        Raises:
            SettingError: tau is 0 and the labels are so many that all pairs would fill the memory.
        """
        from scipy.sparse import csr_array

        size = len(self)
        if self.tau == 0:
            if size * (size - 1) > MOST_EDGES:
                raise SettingError(
                    f"graph.tau = 0 makes edges of all {size * (size - 1):,} pairs of {size:,} labels, more than "
                    f"{MOST_EDGES:,}; raise tau, such as to 0.01"
                )
            return csr_array(1.0 - np.eye(size))
        found = self.conditional()
        found.data = (found.data >= self.tau).astype(np.float64)
        found.eliminate_zeros()
        return found

    def edges(self) -> csr_array:
        """1 where A has an entry off its diagonal; float64 (K, K)."""
        from scipy.sparse import csr_array

        if self.kind == "identity":
            return csr_array((len(self), len(self)))
        if self.kind == "conditional":
            return self.pairs_KK.sign().astype(np.float64)
        found = self.binary()
        return found.maximum(found.T).tocsr() if self.kind == "symmetric" else found

    def weighted(self) -> csr_array:
        """The matrix A of the graph's kind; float64 (K, K).

        Differs: the published program writes p / (1 - p) = 0.25 off the diagonal and 1 on it. That is the same
        matrix divided by 1 - p, and ``normalized`` cancels the factor. Its 1e-6 beside the sum of B is kept.
        """
        from scipy.sparse import diags_array, eye_array

        own = eye_array(len(self), format="csr")
        if self.kind == "conditional":
            return (self.conditional() + own).tocsr()
        found = self.edges()
        if self.kind != "reweighted":
            return (found + own).tocsr()
        over = 0 if self.axis == "column" else 1
        share_K = self.p / (np.asarray(found.sum(axis=over)).ravel() + PROGRAM_EPSILON)
        scale = diags_array(share_K)
        shared = found @ scale if self.axis == "column" else scale @ found
        return (shared + (1 - self.p) * own).tocsr()

    def normalized(self) -> csr_array:
        """A_hat = D A^T D with D the inverse square roots of the row sums of A; float64 (K, K).

        The transpose decides which way knowledge flows: row B of A_hat takes from every A that makes B likely.
        """
        from scipy.sparse import diags_array

        found = self.weighted()
        scale = diags_array(1 / np.sqrt(np.asarray(found.sum(axis=1)).ravel()))
        made = (scale @ found.T @ scale).tocsr()
        made.eliminate_zeros()
        made.sort_indices()
        return made

    def isolated(self) -> np.ndarray:
        """The label ids without an edge from or to another label; int64."""
        edges = self.edges()
        degree_K = np.asarray(edges.sum(axis=0)).ravel() + np.asarray(edges.sum(axis=1)).ravel()
        return np.flatnonzero(degree_K == 0)

    def proposed_tau(self) -> float | None:
        """The largest tau at which at most half of the labels are isolated; None where there is none above 0."""
        p_KK = self.conditional()
        both = p_KK.maximum(p_KK.T).tocsr()
        strongest_K = np.sort(both.max(axis=1).toarray().ravel())[::-1]
        found = float(strongest_K[math.ceil(len(self) / 2) - 1])
        return found or None

    def with_settings(self, **changes: Any) -> LabelGraph:
        """The same counts with another kind, tau, p or axis.

        Raises:
            SettingError: there is no such setting, or not with such a value.
        """
        for name in changes:
            if name not in SETTINGS:
                raise SettingError(f"graph.{name}: there is no such setting{suggestion(name, SETTINGS)}")
        return replace(self, **changes)

    def shuffled(self, seed: int = 0) -> LabelGraph:
        """The same graph with the labels dealt to its nodes at random: a control that must not help a model."""
        order = np.random.default_rng(seed).permutation(len(self))
        return replace(self, counts=self.counts.taken(order))

    def describe(self) -> str:
        """The settings and what they made, in one line."""
        source = "" if self.images is None else f" from {self.images:,} images"
        left_out = "" if self.counts.unsure_KK is None else ", unknown labels left out"
        parts = [f"{self.kind} graph of {len(self):,} labels{source}{left_out}"]
        if self.kind == "identity":
            return f"{parts[0]}: no edges, each label knows of itself alone"
        rule = "P(B|A) above 0" if self.kind == "conditional" else f"P(B|A) of {self.tau:g} or more"
        either = ", in either direction" if self.kind == "symmetric" else ""
        parts.append(f"{self.edges().nnz:,} edges ({rule}{either}), {len(self.isolated()):,} labels without an edge")
        if self.kind == "reweighted":
            parts.append(f"neighbors share p = {self.p:g} by {self.axis}")
        return "; ".join(parts)

    def notes(self) -> list[str]:
        """What a person should know before using the graph: lines, mostly none."""
        names, found = self.label_space.names, []
        if len(self) == 1:
            return ["there is one label: its graph has no edges and can say nothing"]
        if not self.pairs_KK.nnz:
            return ["no image has two labels: the graph knows of no label what it says about another"]
        absent = np.flatnonzero(self.counts_K == 0)
        if len(absent):
            found.append(f"{len(absent)} labels have no image: {listing(names[label] for label in absent)}")
        isolated = len(self.isolated())
        if self.kind in ("reweighted", "binary", "symmetric") and 2 * isolated > len(self):
            found.append(self._proposal(isolated))
        return found

    def _proposal(self, isolated: int) -> str:
        start = f"{isolated:,} of {len(self):,} labels have no edge at tau = {self.tau:g}, so the graph says little"
        tau = self.proposed_tau()
        if tau is None:
            return f"{start}; no tau above 0 connects half of them, since most labels never come with another"
        # down to three figures, so that the label at the border keeps its edge
        digits = 2 - math.floor(math.log10(tau))
        shown = math.floor(tau * 10**digits) / 10**digits
        other = self.with_settings(tau=shown)
        left = len(other.isolated())
        return f"{start}; tau = {shown:g} leaves {left:,} without one ({other.edges().nnz:,} edges)"


def build_graph(
    index: Index,
    rows: np.ndarray | None = None,
    kind: str = "reweighted",
    tau: float = 0.4,
    p: float = 0.2,
    axis: str = "column",
    unknown: str = "absent",
) -> LabelGraph:
    """Count in one pass which labels come together; see ``LabelGraph`` for the settings.

    Args:
        rows: the row numbers to count, those that train; all rows where not given.
        unknown: what an unknown or difficult label counts as; see ``cotag.labels.counts.count_labels``.

    Raises:
        SettingError: a setting is not allowed.
        DataError: there is no image, or a row does not exist.
    """
    return LabelGraph(count_labels(index, rows, unknown), kind, tau, p, axis)
