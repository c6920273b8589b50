"""The Query2Label head: a transformer in which each label is a learned query."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from cotag.errors import SettingError
from cotag.models.features import Features
from cotag.models.heads.decoder import Attention, FeedForward, GroupedLinear, check_sizes


def sine_positions(height: int, width: int, channels: int, device: torch.device | None = None) -> Tensor:
    """Encodings of the places of a map of any size, float (H * W, C): half of the row, half of the column.

    A row y of H is the angle 2 pi y / H; channels 2i and 2i + 1 of a half of n channels are the sine and the cosine
    of angle / 10000^(2i / n).

    Source: Carion and others, End-to-End Object Detection with Transformers, ECCV 2020, supplement A.4.
    """
    frequencies = 10000 ** (-torch.arange(0, channels // 2, 2, device=device) / (channels // 2))

    def encoded(size: int) -> Tensor:
        angles = torch.arange(1, size + 1, device=device)[:, None] * (2 * math.pi / size) * frequencies
        return torch.stack([angles.sin(), angles.cos()], 2).flatten(1)

    rows_HC, columns_WC = encoded(height), encoded(width)
    rows_HWC = rows_HC[:, None].expand(-1, width, -1)
    columns_HWC = columns_WC[None].expand(height, -1, -1)
    return torch.cat([rows_HWC, columns_HWC], 2).flatten(0, 1)


class EncoderLayer(nn.Module):
    """The places of a map look at each other."""

    def __init__(self, width: int, attention_heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.attention = Attention(width, attention_heads, dropout)
        self.feed_forward = FeedForward(width, feedforward, dropout)

    def forward(self, places_BTD: Tensor, positions_TD: Tensor) -> Tensor:
        """The places after it, float (B, T, D)."""
        located_BTD = places_BTD + positions_TD
        found: Tensor = self.feed_forward(self.attention(places_BTD, located_BTD, located_BTD, places_BTD))
        return found


class DecoderLayer(nn.Module):
    """The labels look at each other, where ``among_labels``, and then at the map."""

    def __init__(self, width: int, attention_heads: int, feedforward: int, dropout: float, among_labels: bool) -> None:
        super().__init__()
        self.among_labels = Attention(width, attention_heads, dropout) if among_labels else None
        self.attention = Attention(width, attention_heads, dropout)
        self.feed_forward = FeedForward(width, feedforward, dropout)

    def forward(self, states_BKD: Tensor, labels_KD: Tensor, located_BTD: Tensor, places_BTD: Tensor) -> Tensor:
        """The labels' states after it, float (B, K, D)."""
        if self.among_labels is not None:
            named_BKD = states_BKD + labels_KD
            states_BKD = self.among_labels(states_BKD, named_BKD, named_BKD, states_BKD)
        states_BKD = self.attention(states_BKD, states_BKD + labels_KD, located_BTD, places_BTD)
        found: Tensor = self.feed_forward(states_BKD)
        return found


class Query2LabelHead(nn.Module):
    """Query2Label: a transformer decoder with a learned query for each label, then a classifier for each label.

    With S_0 = 0, L the label embeddings, F the projected map and P its positions, in each decoder layer:
    S' = norm(S + attention(S + L, S + L, S)); S'' = norm(S' + attention(S' + L, F + P, F));
    S = norm(S'' + feed_forward(S'')). After the last, logit_k = w_k S_k + b_k. The first layer has no attention
    among the labels, whose states are all 0 there. The cost grows with the square of K: for thousands of labels,
    ``query`` is the head.

    Args:
        num_features: D, the backbone's width.
        num_labels: K.
        width: of label embeddings and places; a multiple of 4 and of ``attention_heads``.
        attention_heads: of every attention.
        feedforward: the hidden width of the feed-forward layers.
        dropout: in [0, 1).
        decoder_layers: at least 1.
        encoder_layers: in which the places of the map look at each other; may be 0.

    Raises:
        SettingError: a setting is out of range.

    Source: Liu, Zhang, Yang, Su, Zhu, Query2Label: A Simple Transformer Way to Multi-Label Classification, 2021,
        equations 1 to 4.
    Differs: the published program has width 2048 (ResNet-101), 4 heads, feedforward 8192, one encoder layer, no
        attention among labels in any layer, and one more norm at the end; the bias can start from the labels' shares.
    """

    needs: tuple[str, ...] = ()
    reads = "map"

    def __init__(
        self,
        num_features: int,
        num_labels: int,
        width: int = 512,
        attention_heads: int = 8,
        feedforward: int = 2048,
        dropout: float = 0.1,
        decoder_layers: int = 2,
        encoder_layers: int = 0,
    ) -> None:
        super().__init__()
        check_sizes(width, attention_heads, feedforward, dropout)
        if width % 4:
            raise SettingError(f"head_args.width = {width}: must be a multiple of 4, for sine positions")
        if decoder_layers < 1 or encoder_layers < 0:
            raise SettingError(
                f"head_args: decoder_layers = {decoder_layers} and encoder_layers = {encoder_layers}: "
                "must be at least 1 and at least 0"
            )
        sizes = (width, attention_heads, feedforward, dropout)
        self.project = nn.Linear(num_features, width)
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in range(encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*sizes, among_labels=n > 0) for n in range(decoder_layers))
        for weight in (*self.encoder.parameters(), *self.decoder.parameters()):
            if weight.ndim > 1:
                nn.init.xavier_uniform_(weight)
        self.labels_KD = nn.Parameter(torch.randn(num_labels, width))
        self.classifier = GroupedLinear(num_labels, width, num_labels)
        nn.init.uniform_(self.classifier.weight_GDF, -(width**-0.5), width**-0.5)

    def forward(self, features: Features) -> Tensor:
        """Logits, float (B, K)."""
        places_BTD = self.project(features.tokens)
        height, width = features.full_map().shape[2:]
        positions_TD = sine_positions(height, width, places_BTD.shape[2], places_BTD.device).to(places_BTD.dtype)
        for layer in self.encoder:
            places_BTD = layer(places_BTD, positions_TD)
        located_BTD = places_BTD + positions_TD
        labels_KD = self.labels_KD.to(places_BTD.dtype)
        states_BKD = torch.zeros_like(labels_KD).expand(places_BTD.shape[0], -1, -1)
        for layer in self.decoder:
            states_BKD = layer(states_BKD, labels_KD, located_BTD, places_BTD)
        logits: Tensor = self.classifier(states_BKD)
        return logits

    def start_from(self, shares_K: Tensor) -> None:
        """Set the bias to the logit of each label's share of positives, so that training begins at the base rate."""
        self.classifier.start_from(shares_K)
