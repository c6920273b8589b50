"""How fast a saved model gives labels to pictures."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice

import numpy as np
import torch

from cotag.data.decoding import prepare_file
from cotag.data.images import find_images
from cotag.inference.predictor import load
from cotag.run.bench.advice import predict_advice
from cotag.run.bench.stages import Measured, Stage, rounds


def bench_predict(model: str, images: Sequence[str], seconds: float = 20.0, batch_size: int = 32) -> Measured:
    """Time preparing pictures, the model's arithmetic, and ``predict`` as a whole.

    Args:
        images: files, folders and patterns; those of one batch are taken, repeated where they are fewer.
        seconds: that are spent measuring.

    Raises:
        CotagError: there is no model, or no picture, or one that cannot be read.
    """
    predictor = load(model)
    found = find_images(images)
    paths = list(islice(cycle(found), batch_size))
    prepare = predictor.tagger.preprocessing
    pixels_BCHW = np.stack([prepare_file(path, prepare) for path in paths])

    def compute() -> None:
        with torch.inference_mode():
            predictor.tagger(torch.from_numpy(pixels_BCHW).to(predictor.device))

    stages = [
        Stage(
            "preparing, one process", rounds(lambda: [prepare_file(p, prepare) for p in paths], batch_size, seconds / 3)
        ),
        Stage("compute alone", rounds(compute, batch_size, seconds / 3)),
        Stage("predict", rounds(lambda: list(predictor.predict(paths, batch_size)), batch_size, seconds / 3)),
    ]
    limit = max(stages[:2], key=lambda stage: stage.seconds).name
    title = f"Prediction: {model} on {predictor.device}, batches of {batch_size}, {prepare.image_size} pixels"
    return Measured(title, stages, limit, predict_advice(stages, prepare, predictor.device.type, len(found)))
