"""The linear probe: L2-regularized logistic regression of all labels, for many strengths at once.

Each pair of a label and a regularization strength is one column of a batched L-BFGS, so that a whole
path of strengths costs a few dozen matrix products instead of one solver run for each label and strength.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
COLUMNS_AT_ONCE = 4096
MEMORY = 8


@dataclass(frozen=True)
class LinearProbe:
    """Fitted weights: logits = features_BD @ weights_RKD[r].T + bias_RK[r].

    Attributes:
        strengths: R regularization strengths.
        weights_RKD: float32, in the scale of the features as they were given.
        bias_RK: float32.
        iterations: how many steps the slowest column took.
        converged: the share of columns whose gradient fell under the tolerance, in [0, 1].
    """

    strengths: tuple[float, ...]
    weights_RKD: Tensor
    bias_RK: Tensor
    iterations: int
    converged: float


def fit_linear_probe(
    features_ND: Tensor,
    targets_NK: Tensor,
    known_NK: Tensor,
    strengths: Sequence[float] = STRENGTHS,
    iterations: int = 200,
    tolerance: float = 1e-3,
) -> LinearProbe:
    """Minimize, for each label and strength, mean BCE over the known samples + strength / 2 * ||w||^2.

    The penalty acts on features that are centered and divided by one number, their root mean square, so
    that a strength means the same for every backbone; the bias is free.

    Args:
        features_ND: float; N samples of D features.
        targets_NK: 1 present, 0 absent or unknown.
        known_NK: bool; an unknown entry takes no part.
        strengths: R values above 0.
        iterations: the most steps of L-BFGS.
        tolerance: a column ends when its gradient is this small against the one that it began with.

    Source: L-BFGS, Nocedal and Wright, Numerical Optimization (2nd ed.), algorithm 7.4, with an exact line
    search: along a direction the logits are linear, so a search costs no matrix product.
    """
    features = features_ND.float()
    mean = features.mean(0)
    features = features - mean
    scale = features.square().mean().sqrt().clamp(min=1e-12)
    features = features / scale
    features, back = _rotated(features)
    targets, known = targets_NK.float(), known_NK.float()
    values = torch.as_tensor(list(strengths), dtype=torch.float32, device=features.device)
    size, path = targets.shape[1], len(values)
    found, steps, converged = [], 0, 0
    block = max(1, COLUMNS_AT_ONCE // path)
    for start in range(0, size, block):
        labels = slice(start, min(start + block, size))
        width = labels.stop - labels.start
        columns = _Columns(
            features,
            targets[:, labels].repeat(1, path),
            known[:, labels].repeat(1, path),
            values.repeat_interleave(width),
        )
        steps = max(steps, columns.descend(iterations, tolerance))
        converged += columns.converged
        found.append(columns.solution.reshape(-1, path, width))
    solution = torch.cat(found, dim=2).permute(1, 2, 0)
    weights = (solution[..., :-1] if back is None else solution[..., :-1] @ back.T) / scale
    bias = solution[..., -1] - weights @ mean
    return LinearProbe(
        tuple(float(v) for v in strengths), weights.contiguous(), bias.contiguous(), steps, converged / (size * path)
    )


def _rotated(features_ND: Tensor) -> tuple[Tensor, Tensor | None]:
    """Fewer coordinates where samples are fewer than features; exact, since the penalty does not see rotations."""
    count, width = features_ND.shape
    if count >= width:
        return features_ND, None
    values, vectors = torch.linalg.eigh((features_ND @ features_ND.T).double())
    sizes = values.clamp(min=0).sqrt()
    kept = sizes > sizes.max() * 1e-6
    vectors, sizes = vectors[:, kept], sizes[kept]
    back = features_ND.T.double() @ (vectors / sizes)
    return (vectors * sizes).float(), back.float()


class _Columns:
    """M independent logistic regressions on the same features, stepped together; those that are done drop out."""

    def __init__(self, features_ND: Tensor, targets_NM: Tensor, known_NM: Tensor, strengths_M: Tensor) -> None:
        count, width = features_ND.shape
        device = features_ND.device
        self.inputs = torch.cat([features_ND, torch.ones(count, 1, device=device)], 1)
        totals = known_NM.sum(0).clamp(min=1)
        self.weights = known_NM / totals
        self.targets = targets_NM
        penalized = torch.ones(width + 1, 1, device=device)
        penalized[-1] = 0
        self.penalty = penalized * strengths_M
        self.solution = torch.zeros(width + 1, len(strengths_M), device=device)
        share = ((targets_NM * known_NM).sum(0) + 0.5) / (totals + 1)
        self.solution[-1] = torch.logit(share)
        self.converged = 0

    def descend(self, iterations: int, tolerance: float) -> int:
        """Step until every column is done; returns the number of steps."""
        active = torch.arange(self.solution.shape[1], device=self.solution.device)
        point = self.solution.clone()
        logits = self.inputs @ point
        gradient = self._gradient(logits, point)
        limit = tolerance * gradient.norm(dim=0).clamp(min=1e-6)
        history: list[tuple[Tensor, Tensor, Tensor]] = []
        taken = 0
        for taken in range(1, iterations + 1):  # noqa: B007
            direction = _two_loop(gradient, history)
            uphill = (direction * gradient).sum(0) >= 0
            direction = torch.where(uphill, -gradient, direction)
            along = self.inputs @ direction
            size = self._line_search(logits, point, along, direction)
            change = size * direction
            point, logits = point + change, logits + size * along
            new_gradient = self._gradient(logits, point)
            history = [*history[-(MEMORY - 1) :], _pair(change, new_gradient - gradient)]
            gradient = new_gradient
            done = gradient.norm(dim=0) <= limit
            if done.all() or (done.sum() > 0.25 * len(active)):
                self.solution[:, active] = point
                self.converged += int(done.sum())
                kept = ~done
                active, limit = active[kept], limit[kept]
                point, logits, gradient = point[:, kept], logits[:, kept], gradient[:, kept]
                history = [(a[:, kept], b[:, kept], c[kept]) for a, b, c in history]
                self.weights, self.targets = self.weights[:, kept], self.targets[:, kept]
                self.penalty = self.penalty[:, kept]
                if not len(active):
                    break
        self.solution[:, active] = point
        self.converged += int((gradient.norm(dim=0) <= limit).sum()) if len(active) else 0
        return taken

    def _gradient(self, logits: Tensor, point: Tensor) -> Tensor:
        return self.inputs.T @ (self.weights * (torch.sigmoid(logits) - self.targets)) + self.penalty * point

    def _line_search(self, logits: Tensor, point: Tensor, along: Tensor, direction: Tensor) -> Tensor:
        """The minimum along each direction: Newton's method on the convex slope, kept inside a bracket."""
        linear = (self.penalty * point * direction).sum(0)
        square = (self.penalty * direction * direction).sum(0)
        weighted = self.weights * along
        size = torch.zeros_like(linear)
        low, high = torch.zeros_like(linear), torch.full_like(linear, torch.inf)
        for _ in range(6):
            share = torch.sigmoid(logits + size * along)
            slope = (weighted * (share - self.targets)).sum(0) + linear + size * square
            curvature = (weighted * along * share * (1 - share)).sum(0) + square
            low, high = torch.where(slope < 0, size, low), torch.where(slope > 0, size, high)
            proposal = size - slope / curvature.clamp(min=1e-20)
            middle = torch.where(high.isinf(), 2 * low + 1, (low + high) / 2)
            proposal = torch.where((proposal > low) & (proposal < high), proposal, middle)
            if ((proposal - size).abs() <= 0.05 * proposal.abs()).all():
                return proposal
            size = proposal
        return size


def _two_loop(gradient: Tensor, history: list[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """The direction of L-BFGS for each column."""
    direction = -gradient
    if not history:
        return direction
    factors = []
    for change, bend, rho in reversed(history):
        factor = rho * (change * direction).sum(0)
        direction = direction - factor * bend
        factors.append(factor)
    change, bend, _ = history[-1]
    direction = direction * ((change * bend).sum(0).clamp(min=0) / bend.square().sum(0).clamp(min=1e-20))
    for (change, bend, rho), factor in zip(history, reversed(factors), strict=True):
        direction = direction + change * (factor - rho * (bend * direction).sum(0))
    return direction


def _pair(change: Tensor, bend: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A step, the change of the gradient, and the inverse of their product; 0 where it is not positive."""
    product = (change * bend).sum(0)
    rho = torch.where(product > 0, 1 / product.clamp(min=1e-30), torch.zeros_like(product))
    return change, bend, rho
