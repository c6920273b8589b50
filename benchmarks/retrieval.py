"""Image retrieval by plain features and by what a linear head learned on them: with intervals, and against chance.

    python benchmarks/retrieval.py --shared ../shared/data --k 10

For each data set the recipe ``quick`` is trained on its training images with the frozen backbone, and the images that
judge are the queries. They are looked for among all images, most of which trained the head, and among the other
queries alone, none of which did. Intervals and paired differences are over the queries.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from cotag.run.reproduce.retrieval import retrieval
from cotag.run.train import train
from cotag.types.progress import Silent

DATA = {"miml2000": "table:{shared}/miml2000/labels.csv", "coco604": "coco:{shared}/coco604"}
SETTINGS = (
    "model.weights={shared}/weights/mobilenetv2_100.imagenet1k.safetensors",
    "model.backbone_args={{pad_type: same}}",
    *("data.mean=[0.5,0.5,0.5]", "data.std=[0.5,0.5,0.5]", "data.image_size=224"),
)


def shown(value: float, low: float, high: float, signed: bool = False) -> str:
    return f"{value:{'+' if signed else ''}.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--data", choices=list(DATA), nargs="+", default=list(DATA))
    parser.add_argument("--k", type=int, nargs="+", default=[1, 10])
    given = parser.parse_args()
    settings = [text.format(shared=given.shared) for text in SETTINGS]
    for name in given.data:
        data = DATA[name].format(shared=given.shared)
        with tempfile.TemporaryDirectory() as folder:
            train(data, "quick", Path(folder) / "run", settings, progress=Silent())
            for gallery in ("all", "queries"):
                found = retrieval(data, [str(Path(folder) / "run")], gallery=gallery, k=given.k, progress=Silent())
                print(f"\n{name}, searched: {gallery}\n\n| space | measure | value | difference | p |")
                print("| --- | --- | --- | --- | --- |")
                for space, measure, value, low, high, difference, lower, higher, p in found.sections[2].rows:
                    against = "" if difference is None else shown(difference, lower, higher, signed=True)
                    line = (space, measure, shown(value, low, high), against, "" if p is None else f"{p:.3f}")
                    print(f"| {' | '.join(line)} |", flush=True)


if __name__ == "__main__":
    main()
