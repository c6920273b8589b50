"""What the heads with attention are made of."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from cotag.errors import SettingError


def check_sizes(width: int, attention_heads: int, feedforward: int, dropout: float) -> None:
    """Raise SettingError where the sizes of an attention layer cannot be."""
    for name, value in (("width", width), ("attention_heads", attention_heads), ("feedforward", feedforward)):
        if value < 1:
            raise SettingError(f"head_args.{name} = {value}: must be at least 1")
    if width % attention_heads:
        raise SettingError(
            f"head_args.width = {width}: must be a multiple of attention_heads = {attention_heads}; change one of them"
        )
    if not 0 <= dropout < 1:
        raise SettingError(f"head_args.dropout = {dropout}: must be at least 0 and under 1")


class Attention(nn.Module):
    """Attention with several heads, added to what it began with, and normalized.

    Args:
        width: D of all that goes in and comes out.
        heads: of the attention; divides ``width``.
        dropout: of the attention's weights and of what is added.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, states_BQD: Tensor, queries_BQD: Tensor, keys_BTD: Tensor, values_BTD: Tensor) -> Tensor:
        """The states with what they attended to, float (B, Q, D)."""
        attended_BQD, _ = self.attention(queries_BQD, keys_BTD, values_BTD, need_weights=False)
        found: Tensor = self.norm(states_BQD + self.dropout(attended_BQD))
        return found


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between them, added to what they began with, and normalized."""

    def __init__(self, width: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.widen = nn.Linear(width, hidden)
        self.narrow = nn.Linear(hidden, width)
        self.dropout = nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(self, states_BQD: Tensor) -> Tensor:
        """The states after it, float (B, Q, D)."""
        hidden = self.dropout(functional.relu(self.widen(states_BQD)))
        found: Tensor = self.norm(states_BQD + self.dropout(self.narrow(hidden)))
        return found


class GroupedLinear(nn.Module):
    """Each label's logit from the state of its group: label k belongs to group k // (labels in a group).

    Args:
        groups: at most this many; none is empty.
        width: D.
        num_labels: K.

    Attributes:
        groups: G, how many there are.
    """

    def __init__(self, groups: int, width: int, num_labels: int) -> None:
        super().__init__()
        share = math.ceil(num_labels / groups)
        self.groups = math.ceil(num_labels / share)
        self.weight_GDF = nn.Parameter(torch.empty(self.groups, width, share))
        self.bias_K = nn.Parameter(torch.zeros(num_labels))
        nn.init.xavier_normal_(self.weight_GDF)

    def forward(self, states_BGD: Tensor) -> Tensor:
        """Logits, float (B, K)."""
        logits_BGF = torch.einsum("bgd,gdf->bgf", states_BGD, self.weight_GDF)
        return logits_BGF.flatten(1)[:, : len(self.bias_K)] + self.bias_K

    @torch.no_grad()
    def start_from(self, shares_K: Tensor) -> None:
        """Set the bias to the logit of each label's share of positives."""
        self.bias_K.copy_(torch.logit(shares_K.clamp(1e-4, 1 - 1e-4)))
