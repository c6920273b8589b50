"""The groups of a recipe's settings as typed models."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

# numpy and scikit-learn take no larger seed, and the split that chooses takes the next one.
MAX_SEED = 2**32 - 2


class Settings(BaseModel):
    """A group of settings; unknown keys are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())

    @field_validator("*", mode="before")
    @classmethod
    def _refuse_truth_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        """pydantic takes true as 1."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("another value than true or false")
        return value


Normalization = tuple[float, float, float] | Literal["imagenet", "data", "model"] | None


class ModelSettings(Settings):
    """What is trained."""

    backbone: str = Field("mobilenetv2_100", description="any timm name")
    backbone_args: dict[str, Any] = Field(default_factory=dict, description="keywords of timm.create_model")
    weights: str = Field("hub", description="hub, none, or a safetensors file")
    head: str = Field("linear", description="a head's name; see cotag list heads")
    head_args: dict[str, Any] = Field(default_factory=dict, description="the head's own settings")


class DataSettings(Settings):
    """How pictures and labels reach the model, and which split does what."""

    image_size: int | None = Field(None, ge=8, le=4096, description="pixels; null takes the backbone's own")
    resize: Literal["squash", "crop", "letterbox"] = Field(
        "squash", description="squash to a square, crop its center, or pad what is whole"
    )
    interpolation: Literal["model", "bilinear", "bicubic"] = "model"
    decode: Literal["exact", "fast"] = Field("exact", description="all of a JPEG, or at the smallest size that covers")
    mean: Normalization = Field(None, description="of [0, 1] RGB; imagenet, data, or null (model): the backbone's own")
    std: Normalization = Field(None, description="as mean; data takes the images that train")
    augment: tuple[str | dict[str, dict[str, Any]], ...] = Field(
        (), description="names, or {name: {setting: value}}; see cotag list augmentations"
    )
    views: Literal["auto"] | Annotated[int, Field(ge=1)] = Field(
        "auto", description="on features: augmented views of each training image beside itself; auto is 4"
    )
    mix: str = Field("none", description="end to end: none, or see cotag list mixtures")
    mix_args: dict[str, Any] = Field(default_factory=dict, description="the mixture's own settings")
    read: dict[str, Any] = Field(default_factory=dict, description="options of the reader")
    train: str | None = Field(None, description="split that trains; null finds it by its usual name")
    choose: str | float | None = Field(None, description="split, or share of the training images, that chooses")
    test: str | float | None = Field(None, description="split, or share of all images, that judges")
    difficult: Literal["unknown", "positive", "absent"] = Field("unknown", description="difficult labels, in training")
    bad_images: Literal["stop", "skip", "substitute"] = Field(
        "stop", description="stop at a bad image, skip and count it, or (end to end) count it and train on another"
    )
    cache: str | None = Field(
        None, description="end to end: folder that keeps resized pictures, or auto (in COTAG_CACHE); see docs/input.md"
    )
    workers: Literal["auto"] | Annotated[int, Field(ge=0)] = Field("auto", description="processes that decode pictures")


class GraphSettings(Settings):
    """How the labels that come together become a graph, for heads that need one; see ``cotag graph``."""

    kind: Literal["reweighted", "binary", "conditional", "symmetric", "identity"] = "reweighted"
    tau: float = Field(0.4, ge=0, le=1, description="an edge where the conditional probability is this or more")
    p: float = Field(0.2, ge=0, lt=1, description="share of a label's weight that its neighbors have")
    axis: Literal["column", "row"] = Field("column", description="what p is shared over; row as in the paper's text")
    unknown: Literal["absent", "left_out"] = Field("absent", description="what an unknown label counts as")
    file: str | None = Field(None, description="counts from a file (.npz, .graphml, .pkl) in place of the own ones")


class VectorSettings(Settings):
    """What stands for the labels at the graph's nodes, for heads that need vectors."""

    source: str = Field("one_hot", description="one_hot, random, learned, clip:ARCHITECTURE/WEIGHTS, or a text file")
    size: int | None = Field(None, ge=1, description="of random and learned vectors; 300")
    fallback: Literal["refuse", "mean", "random", "zero"] = Field(
        "refuse", description="what a name without a vector gets"
    )


class BalanceSettings(Settings):
    """Which labels are infrequent, and how they are shown more often; see docs/longtail.md."""

    infrequent: str = Field("tail", description="tail, half, below:N, share:S or rarest:N, of the images that train")
    sampler: str = Field("none", description="see cotag list samplers")
    sampler_args: dict[str, Any] = Field(default_factory=dict)
    epoch: Literal["natural", "same"] = Field("natural", description="as long as it comes, or as without a sampler")
    labels_without_images: Literal["refuse", "ignore"] = "refuse"


class TrainSettings(Settings):
    """How the model is fitted."""

    mode: Literal["features", "end_to_end"] = Field("features", description="a head on frozen features, or all of it")
    epochs: int = Field(30, ge=1)
    batch_size: int = Field(64, ge=1)
    accumulate: int = Field(1, ge=1, description="batches whose gradients make one step")
    precision: Literal["fp32", "bf16", "fp16"] = Field("fp32", description="of the arithmetic; weights are float32")
    compile: bool = Field(False, description="compile the model for the device, once at the start")
    parallel: Literal["ddp", "fsdp"] = Field(
        "ddp", description="of several processes each holds all weights, or a share of them"
    )
    recompute: bool = Field(False, description="compute the backbone's blocks twice, for less memory")
    loss: str = "bce"
    loss_args: dict[str, Any] = Field(default_factory=dict)
    optimizer: str = Field("lbfgs", description="lbfgs (linear head on features), or see cotag list optimizers")
    optimizer_args: dict[str, Any] = Field(default_factory=dict)
    learning_rate: float = Field(1e-3, gt=0)
    backbone_rate: float = Field(1.0, ge=0, description="the backbone's learning rate as a factor of the head's")
    layer_decay: float = Field(1.0, gt=0, le=1, description="factor of each layer's learning rate to the one above it")
    freeze: tuple[str | Annotated[int, Field(strict=True)], ...] = Field(
        (), description="backbone, stem, a number of stages, or timm's names"
    )
    norm_statistics: Literal["batch", "frozen"] = Field("batch", description="of the backbone's batch norms")
    sync_batch_norm: bool = Field(False, description="of several processes on GPUs: statistics of all their batches")
    weight_decay: Literal["auto"] | Annotated[float, Field(ge=0)] = Field(
        "auto", description="auto: chosen on the split that chooses"
    )
    l1: float = Field(0.0, ge=0, description="factor of the penalty sum |w| over matrices and filters")
    schedule: str = "cosine"
    schedule_args: dict[str, Any] = Field(default_factory=dict)
    warmup_epochs: float = Field(0.0, ge=0)
    clip_norm: float | None = Field(None, gt=0, description="largest norm of the gradient")
    ema: float | None = Field(None, ge=0, lt=1, description="decay of the weights' average, which is then kept")
    checkpoint_minutes: float | None = Field(
        10.0, gt=0, allow_inf_nan=False, description="end to end: written so often; null: at the end of epochs only"
    )
    patience: int | None = Field(None, ge=1, description="stop after so many epochs without a better choice")
    choose_by: Literal["mAP", "loss"] = "mAP"
    refit: bool = Field(True, description="on features: fit once more with the images that chose, then judge")
    folds: int | None = Field(None, ge=1, description="lbfgs: choose by so many folds (5); 1: by a part alone")
    seed: int = Field(0, ge=0, le=MAX_SEED)
    trackers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = Field(
        (), description="what hears of the training"
    )


class DecideSettings(Settings):
    """How scores become labels."""

    rule: Literal[
        "threshold",
        "top_k",
        "top_k_and_threshold",
        "label_thresholds",
        "group_offset",
        "group_multiplier",
        "label_offsets",
        "label_multipliers",
    ] = Field("threshold", description="the first three are declared, or fitted for an objective; the others fitted")
    threshold: float = Field(0.5, gt=0, lt=1, description="a label is given at this probability or more")
    k: int | None = Field(None, ge=1, description="labels that a top-k rule looks at")
    objective: str | None = Field(None, description="fit on the images that choose, for CF1, OF1, mR@3 ...")
    multiplier: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="of infrequent labels' probabilities; null fits it"
    )
    at_least: float | None = Field(None, gt=0, le=1, description="for the objectives precision and recall")
    false_positive: float = Field(1.0, ge=0, allow_inf_nan=False, description="cost of a wrong label")
    false_negative: float = Field(1.0, ge=0, allow_inf_nan=False, description="cost of a missed label")
    shrinkage: float | None = Field(None, ge=0, allow_inf_nan=False, description="of values for each label; 10")
    evaluated_only: bool = Field(False, description="never give labels that the data set does not evaluate")
