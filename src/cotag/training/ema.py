"""The exponential average of a model's weights, which is judged and kept in the place of the weights themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from cotag.errors import SettingError

UPDATES = "updates"


class ExponentialAverage:
    """Keeps average = d average + (1 - d) weights over the steps, with d = min(decay, (1 + n) / (10 + n)) at step n.

    All floating-point entries of the state are averaged, running statistics of batch norms too; whole numbers, such
    as their counts of batches, are those of the last step.

    Args:
        model: gives the first values.
        decay: from 0 up to and without 1; 0.9997 is about the last 3,300 steps.

    Raises:
        SettingError: the decay is out of its range.

    Source: Polyak, Juditsky, Acceleration of stochastic approximation by averaging, 1992; the smaller decay of the
        first steps as in TensorFlow's ExponentialMovingAverage, so that a short training is not mostly its start.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 <= decay < 1:
            raise SettingError(f"train.ema = {decay}: must be from 0 up to and without 1, such as 0.9997")
        self.decay = decay
        self.updates = 0
        self._averages = _copied(model)

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Take in the weights after a step."""
        self.updates += 1
        decay = min(self.decay, (1 + self.updates) / (10 + self.updates))
        pairs = [(self._averages[key], value) for key, value in model.state_dict().items()]
        floating = [pair for pair in pairs if pair[1].is_floating_point()]
        counts = [pair for pair in pairs if not pair[1].is_floating_point()]
        # All at once: on a GPU one by one costs more than the arithmetic.
        if floating:
            torch._foreach_lerp_([average for average, _ in floating], [value for _, value in floating], 1 - decay)
        if counts:
            torch._foreach_copy_([average for average, _ in counts], [value for _, value in counts])

    @contextmanager
    def applied(self, model: nn.Module) -> Iterator[None]:
        """The model has the average inside, and its own weights, to the bit, after it."""
        own = _copied(model)
        _put(self._averages, model)
        try:
            yield
        finally:
            _put(own, model)

    def state(self) -> dict[str, Tensor]:
        """All that ``load`` needs, by name."""
        return {**self._averages, UPDATES: torch.tensor(self.updates)}

    @torch.no_grad()
    def load(self, state: dict[str, Tensor]) -> None:
        """Take up a state that was saved.

        Raises:
            ValueError: it is of another model.
        """
        values = {key: value for key, value in state.items() if key != UPDATES}
        fits = UPDATES in state and {k: v.shape for k, v in values.items()} == {
            k: v.shape for k, v in self._averages.items()
        }
        if not fits:
            raise ValueError("the average is of another model")
        self.updates = int(state[UPDATES])
        for key, value in values.items():
            self._averages[key].copy_(value)


def _copied(model: nn.Module) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in model.state_dict().items()}


@torch.no_grad()
def _put(values: dict[str, Tensor], model: nn.Module) -> None:
    for key, value in model.state_dict().items():
        value.copy_(values[key])
