"""Tables of names: what a recipe or a command may name, and where it lives.

A new reader, head, loss or optimizer is one file and one line here; the contract tests enroll it by
themselves. Other packages add their own through entry points of the group ``cotag.<table>``.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any

from cotag.errors import SettingError, suggestion


@dataclass(frozen=True)
class Registry:
    """A table of name -> ``module:object``, resolved on first use.

    Args:
        kind: what the names are (``head``); for messages, and for the entry points' group ``cotag.heads``.
        table: the names that Cotag itself brings.
    """

    kind: str
    table: Mapping[str, str]

    @cached_property
    def entries(self) -> dict[str, str]:
        """All names with their places, those of other packages included; Cotag's own win."""
        plural = self.kind + ("es" if self.kind.endswith("s") else "s")
        found = {entry.name: entry.value for entry in entry_points(group=f"cotag.{plural}")}
        return {**found, **self.table}

    def names(self) -> list[str]:
        """The names in alphabetical order."""
        return sorted(self.entries)

    def get(self, name: str) -> Callable[..., Any]:
        """The object of a name.

        Raises:
            SettingError: there is no such name; the message gives the nearest.
        """
        place = self.entries.get(name)
        if place is None:
            raise SettingError(f"{self.kind} {name!r} is not known{suggestion(name, self.names())}")
        module, _, attribute = place.partition(":")
        found: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
        return found

    def described(self) -> dict[str, str]:
        """Each name with the first line of what its object says of itself, without the marks of code."""
        lines = {name: (inspect.getdoc(self.get(name)) or "").partition("\n")[0] for name in self.names()}
        return {name: line.replace("``", "") for name, line in lines.items()}

    def build(self, name: str, *positional: Any, **settings: Any) -> Any:
        """Call the object of a name, after its signature was checked.

        Raises:
            SettingError: no such name, a setting that the object does not take, one that it needs and lacks, or a
                value that it cannot use.
        """
        target = self.get(name)
        self.check(name, settings)
        try:
            inspect.signature(target).bind(*positional, **settings)
        except TypeError as error:
            raise SettingError(f"{self.kind} {name}: {error}") from None
        try:
            return target(*positional, **settings)
        except (TypeError, ValueError, IndexError) as error:
            shown = ", ".join(f"{key}={value!r}" for key, value in settings.items())
            raise SettingError(f"{self.kind} {name}: cannot be made with {shown} ({error})") from error

    def parameters(self, name: str) -> dict[str, bool]:
        """What the object of a name takes, and whether it must be given."""
        taken = inspect.signature(self.get(name)).parameters.values()
        return {parameter.name: parameter.default is parameter.empty for parameter in taken}

    def check(self, name: str, settings: Mapping[str, Any]) -> None:
        """Raise SettingError where ``settings`` holds a key that the object of ``name`` does not take."""
        parameters = inspect.signature(self.get(name)).parameters.values()
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            return
        allowed = [p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)]
        optional = [p.name for p in parameters if p.name in allowed and p.default is not p.empty]
        for key in settings:
            if key not in allowed:
                hint = suggestion(key, optional) or "; it takes none"
                raise SettingError(f"{self.kind} {name}: setting {key!r} is not known{hint}")


READERS = Registry(
    "reader",
    {
        "coco": "cotag.data.coco:read_coco",
        "voc": "cotag.data.voc:read_voc",
        "psg": "cotag.data.psg:read_psg",
        "table": "cotag.data.table:read_table",
        "folder": "cotag.data.folder:read_folder",
        "wds": "cotag.data.webdataset:read_webdataset",
        "scenes": "cotag.data.scenes.reader:read_scenes",
    },
)

HEADS = Registry(
    "head",
    {
        "linear": "cotag.models.heads.linear:LinearHead",
        "gcn": "cotag.models.heads.gcn:GraphHead",
        "csra": "cotag.models.heads.csra:ResidualAttentionHead",
        "query": "cotag.models.heads.query:QueryHead",
        "q2l": "cotag.models.heads.q2l:Query2LabelHead",
    },
)

LOSSES = Registry(
    "loss",
    {
        "bce": "cotag.training.losses.bce:BCE",
        "asymmetric": "cotag.training.losses.asymmetric:Asymmetric",
        "focal": "cotag.training.losses.focal:Focal",
        "class_balanced": "cotag.training.losses.class_balanced:ClassBalanced",
        "distribution_balanced": "cotag.training.losses.distribution_balanced:DistributionBalanced",
        "zlpr": "cotag.training.losses.zlpr:ZLPR",
        "two_way": "cotag.training.losses.two_way:TwoWay",
        "soft_margin": "cotag.training.losses.soft_margin:SoftMargin",
        "assume_negative": "cotag.training.losses.assume_negative:AssumeNegative",
        "large_loss": "cotag.training.losses.large_loss:LargeLoss",
        "hill": "cotag.training.losses.hill:Hill",
        "expected_positives": "cotag.training.losses.expected_positives:ExpectedPositives",
    },
)

OPTIMIZERS = Registry(
    "optimizer",
    {
        "sgd": "cotag.training.optim:sgd",
        "adam": "cotag.training.optim:adam",
        "adamw": "cotag.training.optim:adamw",
    },
)

SCHEDULES = Registry(
    "schedule",
    {
        "constant": "cotag.training.schedules:constant",
        "cosine": "cotag.training.schedules:cosine",
        "cosine_restarts": "cotag.training.schedules:cosine_restarts",
        "cyclic": "cotag.training.schedules:cyclic",
        "linear": "cotag.training.schedules:linear",
        "step": "cotag.training.schedules:step",
        "multi_step": "cotag.training.schedules:multi_step",
        "one_cycle": "cotag.training.schedules:one_cycle",
    },
)

SAMPLERS = Registry(
    "sampler",
    {
        "none": "cotag.data.samplers:none",
        "under": "cotag.data.samplers:under",
        "over": "cotag.data.samplers:over",
        "under_over": "cotag.data.samplers:under_over",
        "repeat_factor": "cotag.data.samplers:repeat_factor",
        "class_aware": "cotag.data.samplers:class_aware",
        "square_root": "cotag.data.samplers:square_root",
    },
)

AUGMENTATIONS = Registry(
    "augmentation",
    {
        "flip": "cotag.data.augmentations:flip",
        "crop": "cotag.data.augmentations:crop",
        "color": "cotag.data.augmentations:color",
        "perspective": "cotag.data.augmentations:perspective",
        "multiscale_crop": "cotag.data.augmentations:multiscale_crop",
        "cutout": "cotag.data.augmentations:cutout",
        "randaugment": "cotag.data.policies:randaugment",
        "augmix": "cotag.data.policies:augmix",
    },
)

MIXTURES = Registry(
    "mixture",
    {
        "mixup": "cotag.data.mixtures:mixup",
        "cutmix": "cotag.data.mixtures:cutmix",
    },
)

EXPERIMENTS = Registry(
    "experiment",
    {
        "retrieval": "cotag.run.reproduce.retrieval:retrieval",
        "classifiers": "cotag.run.reproduce.classifiers:classifiers",
        "comparison": "cotag.run.reproduce.comparison:comparison",
        "mlgcn-ablation": "cotag.run.reproduce.mlgcn_ablation:mlgcn_ablation",
        "mlgcn-coco": "cotag.run.reproduce.mlgcn_coco:mlgcn_coco",
        "psg-tuning": "cotag.run.reproduce.psg_tuning:psg_tuning",
    },
)
