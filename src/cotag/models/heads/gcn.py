"""The graph head of ML-GCN: classifiers computed from the label graph and the label vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from cotag.errors import SettingError, suggestion
from cotag.models.features import POOLINGS, Features
from cotag.models.heads.linear import LinearHead


class GraphHead(nn.Module):
    """ML-GCN: a graph convolution over the labels computes each label's classifier from its neighbours' vectors.

    H_0 = vectors, H_l+1 = leaky_relu(A H_l W_l), after the last layer without the leaky_relu, gives the classifiers
    (K, D); logits = pool(features) classifiers^T. No bias.

    Args:
        num_features: D, the backbone's width.
        num_labels: K.
        graph: the normalized adjacency A, sparse COO float (K, K).
        vectors: the label vectors H_0, float (K, E).
        widths: of the hidden layers; the last layer goes to D. One hidden layer is the paper's depth 2.
        slope: of the leaky_relu below 0.
        pooling: ``max`` or ``avg``.
        learn_vectors: whether the label vectors are trained too.

    Attributes:
        reads: what must be kept of an image's features for this head: ``max`` or ``avg``.

    Raises:
        SettingError: the graph or the vectors are not those of K labels, or a setting is out of range.

    Source: Chen, Wei, Wang, Guo, Multi-Label Image Recognition with Graph Convolutional Networks, CVPR 2019,
        equations 2 and 4.
    Differs: the graph is kept by its edges, so 10,000 labels are small; sums over them go in the order of the edges.
    """

    needs: tuple[str, ...] = ("graph", "vectors")
    vectors_KE: Tensor
    edge_starts_K: Tensor
    edge_sources_M: Tensor
    edge_weights_M: Tensor

    def __init__(
        self,
        num_features: int,
        num_labels: int,
        graph: Tensor,
        vectors: Tensor,
        widths: Sequence[int] = (1024,),
        slope: float = 0.2,
        pooling: str = "max",
        learn_vectors: bool = False,
    ) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise SettingError(f"head_args.pooling {pooling!r} is not known{suggestion(pooling, POOLINGS)}")
        if any(not isinstance(width, int) or width < 1 for width in widths):
            raise SettingError(f"head_args.widths = {list(widths)}: must be whole numbers of at least 1")
        if tuple(graph.shape) != (num_labels, num_labels):
            raise SettingError(f"head gcn: the graph has shape {tuple(graph.shape)}, with {num_labels} labels")
        if vectors.ndim != 2 or len(vectors) != num_labels:
            raise SettingError(f"head gcn: the vectors have shape {tuple(vectors.shape)}, with {num_labels} labels")
        self.num_features, self.slope, self.pooling = num_features, slope, pooling
        rows_M, sources_M = graph.coalesce().indices()
        # Edges by the row that they go to: each row's begin where those of the rows before end.
        starts_K = torch.searchsorted(rows_M, torch.arange(num_labels, device=rows_M.device))
        self.register_buffer("edge_starts_K", starts_K)
        self.register_buffer("edge_sources_M", sources_M.clone())
        self.register_buffer("edge_weights_M", graph.coalesce().values().detach().clone())
        start = vectors.detach().clone()
        if learn_vectors:
            self.vectors_KE = nn.Parameter(start)
        else:
            self.register_buffer("vectors_KE", start)
        sizes = (start.shape[1], *widths, num_features)
        self.weights = nn.ParameterList(torch.empty(ins, outs) for ins, outs in pairwise(sizes))
        for weight in self.weights:
            nn.init.uniform_(weight, -(weight.shape[1] ** -0.5), weight.shape[1] ** -0.5)

    @property
    def reads(self) -> str:
        return self.pooling

    def forward(self, features: Features) -> Tensor:
        """Logits, float (B, K)."""
        return functional.linear(features.pool(self.pooling), self.classifiers())

    def classifiers(self) -> Tensor:
        """The weight vector of each label, float (K, D)."""
        hidden = self.vectors_KE
        for number, weight in enumerate(self.weights):
            # A (H W) = (A H) W: the sum over neighbours costs less on the narrower side.
            if weight.shape[0] <= weight.shape[1]:
                hidden = self._from_neighbours(hidden) @ weight
            else:
                hidden = self._from_neighbours(hidden @ weight)
            if number + 1 < len(self.weights):
                hidden = functional.leaky_relu(hidden, self.slope)
        return hidden

    def _from_neighbours(self, hidden_KE: Tensor) -> Tensor:
        """A H; float (K, E)."""
        # As a weighted sum over bags: 2 to 3 times as fast as torch.sparse.mm with 10,000 labels, 10 times in half
        # precision, and unlike it for every type, for export and in a fixed order.
        weights = self.edge_weights_M.to(hidden_KE.dtype)
        return functional.embedding_bag(
            self.edge_sources_M, hidden_KE, self.edge_starts_K, mode="sum", per_sample_weights=weights
        )

    @torch.no_grad()
    def fold(self) -> LinearHead:
        """The linear head that this one amounts to, with the classifiers as its weight and without a bias."""
        classifiers = self.classifiers()
        folded = LinearHead(self.num_features, len(classifiers), self.pooling).to(classifiers)
        folded.classifier.weight.copy_(classifiers)
        folded.classifier.bias.zero_()
        return folded

    @classmethod
    def supplies_of(cls, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The ``graph`` and the ``vectors`` that a head with this state was made with.

        Raises:
            KeyError, RuntimeError: the state is not that of such a head.
        """
        starts_K, sources_M, vectors_KE = state["edge_starts_K"], state["edge_sources_M"], state["vectors_KE"]
        counts_K = torch.diff(starts_K, append=starts_K.new_tensor([len(sources_M)]))
        rows_M = torch.repeat_interleave(torch.arange(len(starts_K), device=starts_K.device), counts_K)
        edges = torch.stack([rows_M, sources_M])
        size = (len(starts_K), len(starts_K))
        graph = torch.sparse_coo_tensor(edges, state["edge_weights_M"].float(), size, check_invariants=True)
        return {"graph": graph.coalesce(), "vectors": vectors_KE.float()}
