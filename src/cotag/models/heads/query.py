"""The query head of ML-Decoder: queries look at the map, each for a group of labels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from cotag.errors import SettingError
from cotag.models.features import Features
from cotag.models.heads.decoder import Attention, FeedForward, GroupedLinear, check_sizes

MOST_QUERIES = 100


class QueryHead(nn.Module):
    """ML-Decoder: one decoder layer without self-attention, and a linear layer for each query's group of labels.

    With Q the queries and E = relu(W_e map + b_e) the places of the map:
    Q_1 = norm(Q + dropout(Q)); Q_2 = norm(Q_1 + attention(Q_1, E, E)); Q_3 = norm(Q_2 + feed_forward(Q_2));
    the logits of the labels of group g are W_g Q_3,g + b. The cost grows with the number of groups, not of labels.

    Args:
        num_features: D, the backbone's width.
        num_labels: K.
        width: of queries and places; a multiple of ``attention_heads``.
        attention_heads: of the attention.
        feedforward: the hidden width of the feed-forward layer.
        dropout: in [0, 1).
        groups: how many queries; None: one for each label up to 100 labels, then 100.
        learn_queries: whether the queries are trained; else they stay as they were drawn.

    Raises:
        SettingError: a setting is out of range.

    Source: Ridnik, Sharir, Ben-Cohen, Ben-Baruch, Noy, ML-Decoder: Scalable and Versatile Classification Head,
        WACV 2023, section 2.3 (group decoding, queries that are not learned).
    Differs: groups that would have no label are left out; the bias can start from the labels' shares.
    """

    needs: tuple[str, ...] = ()
    reads = "map"
    queries_GD: Tensor

    def __init__(
        self,
        num_features: int,
        num_labels: int,
        width: int = 768,
        attention_heads: int = 8,
        feedforward: int = 2048,
        dropout: float = 0.1,
        groups: int | None = None,
        learn_queries: bool = False,
    ) -> None:
        super().__init__()
        check_sizes(width, attention_heads, feedforward, dropout)
        groups = min(num_labels, MOST_QUERIES) if groups is None else groups
        if not 1 <= groups <= num_labels:
            raise SettingError(f"head_args.groups = {groups}: must be from 1 to {num_labels}, the number of labels")
        self.embed = nn.Linear(num_features, width)
        self.start_dropout, self.start_norm = nn.Dropout(dropout), nn.LayerNorm(width)
        self.attention = Attention(width, attention_heads, dropout)
        self.feed_forward = FeedForward(width, feedforward, dropout)
        self.classifier = GroupedLinear(groups, width, num_labels)
        queries_GD = torch.randn(self.classifier.groups, width)
        if learn_queries:
            self.queries_GD = nn.Parameter(queries_GD)
        else:
            self.register_buffer("queries_GD", queries_GD)

    def forward(self, features: Features) -> Tensor:
        """Logits, float (B, K)."""
        places_BTD = functional.relu(self.embed(features.tokens))
        queries_BGD = self.queries_GD.expand(places_BTD.shape[0], -1, -1)
        states_BGD = self.start_norm(queries_BGD + self.start_dropout(queries_BGD))
        states_BGD = self.attention(states_BGD, states_BGD, places_BTD, places_BTD)
        logits: Tensor = self.classifier(self.feed_forward(states_BGD))
        return logits

    def start_from(self, shares_K: Tensor) -> None:
        """Set the bias to the logit of each label's share of positives, so that training begins at the base rate."""
        self.classifier.start_from(shares_K)
