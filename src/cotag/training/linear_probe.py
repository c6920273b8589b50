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
ENTRIES_AT_ONCE = 2**26
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
    tolerance: float = 1e-5,
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
    problem = _Problem(features_ND, targets_NK, known_NK, strengths)
    found, steps, converged = [], 0, 0
    for labels in problem.blocks(copies=1):
        columns = problem.columns(labels)
        steps = max(steps, columns.descend(iterations, tolerance))
        converged += columns.converged
        found.append(columns.solution.unflatten(1, (len(strengths), -1)))
    solution_RKD = torch.cat(found, dim=2).permute(1, 2, 0)
    weights = problem.in_given_coordinates(solution_RKD[..., :-1])
    bias = solution_RKD[..., -1] - weights @ problem.mean
    share = converged / (len(strengths) * targets_NK.shape[1])
    return LinearProbe(tuple(float(v) for v in strengths), weights.contiguous(), bias.contiguous(), steps, share)


def cross_validated_logits(
    features_ND: Tensor,
    targets_NK: Tensor,
    known_NK: Tensor,
    folds_N: Tensor,
    strengths: Sequence[float] = STRENGTHS,
    iterations: int = 200,
    tolerance: float = 1e-2,
) -> Tensor:
    """For each sample the logits of a probe that was fitted without the sample's fold; float32 (R, N, K).

    All folds are columns of the same solver. Centering and scale, which see no labels, come from all samples.

    Args:
        folds_N: int; the fold of each sample, from 0.
        tolerance: looser than for a fit, since it only ranks strengths.
    """
    problem = _Problem(features_ND, targets_NK, known_NK, strengths)
    folds = int(folds_N.max()) + 1
    trained_FN = torch.stack([folds_N != fold for fold in range(folds)]).to(problem.features.device)
    found = []
    for labels in problem.blocks(copies=folds):
        columns = problem.columns(labels, trained_FN)
        columns.descend(iterations, tolerance)
        logits = (columns.inputs @ columns.solution).unflatten(1, (folds, len(strengths), -1))
        found.append(logits[torch.arange(len(folds_N)), folds_N.to(logits.device)])
    return torch.cat(found, dim=2).transpose(0, 1)


class _Problem:
    """The features in the solver's coordinates, and the columns of a block of labels."""

    def __init__(self, features_ND: Tensor, targets_NK: Tensor, known_NK: Tensor, strengths: Sequence[float]) -> None:
        features = features_ND.float()
        # In double precision a constant feature centers to exactly 0, and not to noise that is then scaled up.
        self.mean = features.double().mean(0).float()
        features = features - self.mean
        self.scale = features.square().mean().sqrt().clamp(min=1e-12)
        self.features, self._back = _rotated(features / self.scale)
        self.targets, self.known = targets_NK.float(), known_NK.float()
        self.strengths = torch.as_tensor(list(strengths), dtype=torch.float32, device=features.device)

    def blocks(self, copies: int) -> list[slice]:
        """Slices of labels that keep the number of columns within bounds."""
        columns = min(COLUMNS_AT_ONCE, ENTRIES_AT_ONCE // len(self.features))
        size = max(1, columns // (copies * len(self.strengths)))
        count = self.targets.shape[1]
        return [slice(start, min(start + size, count)) for start in range(0, count, size)]

    def columns(self, labels: slice, trained_FN: Tensor | None = None) -> _Columns:
        """A column for each fold, strength and label, in this order."""
        path = len(self.strengths)
        targets, known = self.targets[:, labels].repeat(1, path), self.known[:, labels].repeat(1, path)
        strengths = self.strengths.repeat_interleave(labels.stop - labels.start)
        if trained_FN is not None:
            known = torch.cat([known * trained[:, None] for trained in trained_FN], dim=1)
            targets, strengths = targets.repeat(1, len(trained_FN)), strengths.repeat(len(trained_FN))
        return _Columns(self.features, targets, known, strengths)

    def in_given_coordinates(self, weights: Tensor) -> Tensor:
        """Weights (..., D) for the features as they were given."""
        return (weights if self._back is None else weights @ self._back.T) / self.scale


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
        # Sums in single precision do not tell smaller gradients from 0.
        limit = (tolerance * gradient.norm(dim=0)).clamp(min=1e-7)
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
