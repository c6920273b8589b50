"""Step time and peak memory of every head over the bare backbone, in training and in inference.

    .venv/bin/python benchmarks/heads.py
    .venv/bin/python benchmarks/heads.py --quick

Random weights and random pixels on the CPU, so nothing is needed beside the program. Two measures of time, since a
head's share is below the noise of a whole step on a shared machine:
  step    bare and with head in turns (and in the other order every second round), median of the rounds' ratios;
  alone   1 + (the head alone on a kept map, median) / (the bare step, median). The targets are judged by this one.
A training step is forward, loss, backward and SGD; alone, too, the head gives its gradient to the map. Memory is the
peak of a process of its own, beside that of the bare backbone in another.
Targets: gcn at most 1.02 in training with 80 labels; folded at most 1.005 of linear in inference; query with groups at
most 1.10 in training with 10,000 labels.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

BARE, FOLDED = "bare", "gcn, folded"
HEADS: dict[str, dict[str, Any]] = {
    "linear": {"pooling": "max"},
    "gcn": {},
    FOLDED: {},
    "csra": {},
    "query": {},
    "q2l": {},
}
# Attention among labels costs the square of their number.
MOST_LABELS = {"q2l": 1000}


def seconds_of(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


class Subject:
    """The backbone with one head or none, and the steps that are measured."""

    def __init__(self, backbone: Any, name: str, labels: int, images_BCHW: Any) -> None:
        import torch

        from cotag.models.tagger import head_needs
        from cotag.registry import HEADS as TABLE

        self.backbone, self.images_BCHW = backbone, images_BCHW
        self.targets_BK = (torch.rand(len(images_BCHW), labels) < 0.05).float()
        self.head = None
        if name != BARE:
            table_name = "gcn" if name == FOLDED else name
            given = supplies(labels)
            needed = {need: given[need] for need in head_needs(table_name)}
            sizes = {"num_features": backbone.num_features, "num_labels": labels}
            self.head = TABLE.build(table_name, **sizes, **needed, **HEADS[name])
            if name == FOLDED:
                self.head = self.head.fold()
        parts = [backbone] if self.head is None else [backbone, self.head]
        self.optimizers = [torch.optim.SGD(part.parameters(), 1e-6, 0.9, weight_decay=1e-4) for part in parts]
        with torch.no_grad():
            self.map_BDHW = backbone(images_BCHW).full_map().clone()

    def loss_of(self, features: Any) -> Any:
        import torch

        if self.head is None:
            return features.full_map().square().mean()
        return torch.nn.functional.binary_cross_entropy_with_logits(self.head(features), self.targets_BK)

    def train_step(self) -> None:
        self.backbone.train()
        self.loss_of(self.backbone(self.images_BCHW)).backward()
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()

    def train_alone(self) -> None:
        from cotag.models.features import Features

        self.loss_of(Features(self.map_BDHW.requires_grad_())).backward()
        self.map_BDHW.grad = None
        self.optimizers[-1].step()
        self.optimizers[-1].zero_grad()

    def infer(self) -> None:
        import torch

        self.backbone.eval()
        with torch.inference_mode():
            features = self.backbone(self.images_BCHW)
            if self.head is not None:
                self.head.eval()(features)

    def infer_alone(self) -> None:
        import torch

        from cotag.models.features import Features

        assert self.head is not None
        with torch.inference_mode():
            self.head.eval()(Features(self.map_BDHW))


def supplies(labels: int) -> dict[str, Any]:
    """A graph in which each label has itself and 3 others, and vectors of 300 numbers."""
    import torch

    rows = torch.arange(labels).repeat(4)
    sources = torch.cat([torch.arange(labels), torch.randint(labels, (3 * labels,))])
    edges, weights = torch.stack([rows, sources]), torch.full((4 * labels,), 0.25)
    graph = torch.sparse_coo_tensor(edges, weights, (labels, labels), check_invariants=True).coalesce()
    return {"graph": graph, "vectors": torch.randn(labels, 300)}


def backbone_and_images(arguments: argparse.Namespace) -> tuple[Any, Any]:
    import torch

    from cotag.models.backbone import Backbone

    torch.manual_seed(0)
    images = torch.randn(arguments.batch, 3, arguments.size, arguments.size)
    return Backbone(arguments.backbone), images


def measure(bare: Subject, subject: Subject, mode: str, rounds: int) -> dict[str, float]:
    """The two measures of one mode, as ratios to the bare backbone, and the seconds that they are of."""
    step, alone = ("train_step", "train_alone") if mode == "train" else ("infer", "infer_alone")
    bare_seconds, ratios = [], []
    for number in range(rounds):
        pair = [(BARE, getattr(bare, step)), ("head", getattr(subject, step))]
        taken = {name: seconds_of(work) for name, work in (pair if number % 2 == 0 else reversed(pair))}
        bare_seconds.append(taken[BARE])
        ratios.append(taken["head"] / taken[BARE])
    getattr(subject, alone)()
    alone_seconds = statistics.median(seconds_of(getattr(subject, alone)) for _ in range(max(5, rounds)))
    middle = statistics.median(bare_seconds)
    return {"step": statistics.median(ratios), "alone": 1 + alone_seconds / middle, "bare_s": middle}


def time_child(arguments: argparse.Namespace) -> None:
    """Print both measures of one head in both modes as one line of JSON."""
    backbone, images = backbone_and_images(arguments)
    bare = Subject(backbone, BARE, arguments.labels[0], images)
    subject = Subject(backbone, arguments.one, arguments.labels[0], images)
    found: dict[str, Any] = {"parameters": sum(p.numel() for p in subject.head.parameters())}
    bare.infer()
    found["infer"] = measure(bare, subject, "infer", arguments.rounds)
    if arguments.one != FOLDED:
        subject.head.train()
        bare.train_step()
        subject.train_step()
        found["train"] = measure(bare, subject, "train", arguments.rounds)
    print(json.dumps(found))


def memory_child(arguments: argparse.Namespace) -> None:
    """Print the peak of this process in MB after a few steps of one mode."""
    backbone, images = backbone_and_images(arguments)
    subject = Subject(backbone, arguments.one, arguments.labels[0], images)
    for _ in range(2):
        subject.train_step() if arguments.memory == "train" else subject.infer()
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def in_a_process(arguments: argparse.Namespace, head: str, labels: int, *more: str) -> Any:
    settings = ["--backbone", arguments.backbone, "--size", arguments.size, "--batch", arguments.batch]
    settings += ["--rounds", arguments.rounds, "--labels", labels, "--one", head, *more]
    command = [sys.executable, "-W", "ignore", __file__, *map(str, settings)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def ratio(found: dict[str, Any], mode: str, measure_name: str) -> str:
    return f"{found[mode][measure_name]:.4f}" if mode in found else ""


def report(arguments: argparse.Namespace) -> None:
    print(f"{arguments.backbone} at {arguments.size}, batch {arguments.batch}, {arguments.rounds} rounds\n")
    print("| K | head | M parameters | bare s | train step | train alone | MB over bare | ", end="")
    print("infer bare s | infer step | infer alone | MB over bare |")
    print("|---|" + "---|" * 10)
    modes = ("train", "infer")
    memory = {mode: in_a_process(arguments, BARE, 1, "--memory", mode) for mode in modes}
    results: dict[tuple[int, str], dict[str, Any]] = {}
    for labels in arguments.labels:
        for head in arguments.heads:
            if labels > MOST_LABELS.get(head, labels):
                print(f"| {labels} | {head} | left out: its cost grows with the square of K " + "| " * 9)
                continue
            found = results[labels, head] = in_a_process(arguments, head, labels)
            over = {}
            for mode in modes:
                if mode in found:
                    over[mode] = f"{in_a_process(arguments, head, labels, '--memory', mode) - memory[mode]:+.0f}"
            cells = [str(labels), head, f"{found['parameters'] / 1e6:.2f}"]
            for mode in modes:
                bare = f"{found[mode]['bare_s']:.3f}" if mode in found else ""
                cells += [bare, ratio(found, mode, "step"), ratio(found, mode, "alone"), over.get(mode, "")]
            print(f"| {' | '.join(cells)} |", flush=True)
    print(f"\nbare, peak of memory: {memory['train']:.0f} MB in training, {memory['infer']:.0f} MB in inference")
    judge(results)


def judge(results: dict[tuple[int, str], dict[str, Any]]) -> None:
    """Say of each target whether it was met, where it was measured."""
    values: list[tuple[str, float, float]] = []
    for (labels, head), found in results.items():
        if (labels, head) == (80, "gcn"):
            values.append(("gcn, training, K = 80", found["train"]["alone"], 1.02))
        if (labels, head) == (10_000, "query"):
            values.append(("query, training, K = 10000", found["train"]["alone"], 1.10))
        if head == FOLDED and (labels, "linear") in results:
            of_linear = found["infer"]["alone"] / results[labels, "linear"]["infer"]["alone"]
            values.append((f"folded over linear, inference, K = {labels}", of_linear, 1.005))
    for title, value, target in values:
        print(f"{title}: {value:.4f}, target at most {target}: {'met' if value <= target else 'MISSED'}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", default="resnet101")
    parser.add_argument("--size", type=int, default=448)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--labels", type=int, nargs="+", default=[20, 80, 1000, 10_000])
    parser.add_argument("--heads", nargs="+", choices=list(HEADS), default=list(HEADS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="resnet18 at 224, 80 and 10,000 labels, 3 rounds")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.quick:
        arguments.backbone, arguments.size, arguments.labels, arguments.rounds = "resnet18", 224, [80, 10_000], 3
    if arguments.memory:
        memory_child(arguments)
    elif arguments.one:
        time_child(arguments)
    else:
        report(arguments)


if __name__ == "__main__":
    main()
