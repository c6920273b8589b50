"""Weights, gradients and optimizer in shares over the processes: fully sharded data parallelism (FSDP)."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

from cotag.errors import SettingError
from cotag.training.processes import this_process

# A part of the network with so many weights is put together when it is computed, and let go after it.
PART_WEIGHTS = 1 << 20


class Sharded:
    """A model that trains in shares, beside the whole one that is judged and saved.

    The whole one has no gradients and no optimizer, and its weights only after ``gather``; while it is not asked for
    it waits on the CPU. Accelerate would take a plugin for this on CPUs and leave it unused, so torch's is called.

    Args:
        model: the whole one.
        optimizer: over its parameters; goes on with those in shares. It must not have made a step.

    Attributes:
        whole: the model that was given.
        model: the one in shares.

    Raises:
        SettingError: there is one process only, or the model cannot be shared.

    Source: Zhao et al., PyTorch FSDP: experiences on scaling fully sharded data parallel, VLDB 2023, by torch's
        ``fully_shard``.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        process = this_process()
        if process.num_processes == 1:
            raise SettingError("train.parallel = fsdp: needs several processes; start them with torchrun, or set ddp")
        self.whole, self.optimizer = model, optimizer
        # Weights in channels-last order cannot be shared.
        self.model = copy.deepcopy(model).to(process.device).to(memory_format=torch.contiguous_format)
        mesh = init_device_mesh(process.device.type, (process.num_processes,))
        try:
            for part in _parts(self.model):
                fully_shard(part, mesh=mesh)
            fully_shard(self.model, mesh=mesh)
        except (ValueError, NotImplementedError) as error:
            reason = str(error).splitlines()[0]
            raise SettingError(
                f"train.parallel = fsdp: this model cannot be shared ({reason}); set train.parallel=ddp"
            ) from None
        self._follow()

    def _follow(self) -> None:
        """Give the optimizer the parameters in shares in the place of those of the whole model."""
        names = {id(parameter): name for name, parameter in self.whole.named_parameters()}
        shares = dict(self.model.named_parameters())
        for group in self.optimizer.param_groups:
            group["params"] = [shares[names[id(parameter)]] for parameter in group["params"]]

    def rest(self) -> None:
        """Put the whole model aside."""
        self.whole.to("cpu")

    @torch.no_grad()
    def gather(self) -> None:
        """Bring the whole model up to date, in all processes; all have to call this."""
        self.whole.to(this_process().device)
        values = self.whole.state_dict()
        for name, share in self.model.state_dict().items():
            values[name].copy_(_full(share))

    @torch.no_grad()
    def scatter(self) -> None:
        """Take the shares from the whole model, which all processes have."""
        values = self.whole.state_dict()
        for name, share in self.model.state_dict().items():
            share.copy_(_like(values[name], share))

    @torch.no_grad()
    def kept_optimizer(self) -> WholeOptimizer:
        """The optimizer with its state as without shares; all processes have to call this."""
        return WholeOptimizer(self.optimizer)


class WholeOptimizer:
    """An optimizer of shares whose state is kept, and given back, as that of whole weights.

    Args:
        optimizer: of shares; all processes have to make this at the same time.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer = optimizer
        found = optimizer.state_dict()
        state = {
            number: {name: _full(value) for name, value in entries.items()}
            for number, entries in found["state"].items()
        }
        self._state = {**found, "state": state}

    def state_dict(self) -> dict[str, Any]:
        """As it was when this was made."""
        return self._state

    def load_state_dict(self, saved: dict[str, Any], /) -> None:
        """Give the optimizer a state of whole weights."""
        shares = [parameter for group in self.optimizer.param_groups for parameter in group["params"]]
        state = {
            number: {name: _like(value, shares[number]) for name, value in entries.items()}
            for number, entries in saved["state"].items()
        }
        self.optimizer.load_state_dict({**saved, "state": state})


def _parts(model: nn.Module) -> list[nn.Module]:
    """The outermost parts of sequences that are large enough, such as a transformer's blocks."""
    found: list[nn.Module] = []

    def look(module: nn.Module) -> None:
        for child in module.children():
            weights = sum(parameter.numel() for parameter in child.parameters())
            if isinstance(module, nn.Sequential | nn.ModuleList) and weights >= PART_WEIGHTS:
                found.append(child)
            else:
                look(child)

    look(model)
    return found


def _full(value: Any) -> Any:
    return value.full_tensor() if isinstance(value, DTensor) else value


def _like(value: Any, share: Tensor) -> Any:
    """A whole value in shares as those of a tensor of its shape; others as they are."""
    if not isinstance(share, DTensor) or not isinstance(value, Tensor) or value.shape != share.shape:
        return value
    mesh, placements = share.device_mesh, share.placements
    return distribute_tensor(value.detach().to(share.device).contiguous(), mesh, placements, src_data_rank=None)
