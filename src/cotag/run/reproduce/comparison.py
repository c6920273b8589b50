"""ML-GCN's comparison table: published rows beside own runs, and the relative difference in per cent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cotag.errors import DataError
from cotag.evaluation.metrics import evaluate
from cotag.evaluation.protocols import Protocol, protocol_of
from cotag.evaluation.published import Benchmark, benchmark, comparison_sections
from cotag.run.folder import RunFolder
from cotag.run.reproduce.experiment import Experiment
from cotag.types.progress import Progress
from cotag.types.scores import Scores

PROTOCOL = "mlgcn-top3"


def comparison(
    models: Sequence[str], against: str = "coco2014", method: str = "ML-GCN", *, progress: Progress
) -> Experiment:
    """Published results beside own runs, with the relative difference in per cent.

    Args:
        models: run folders, or Scores files.
        against: whose published rows: coco2014 or voc2007.
        method: the published method that the differences are from.

    Raises:
        SettingError: no published rows of that name.
        DataError: a folder holds no scores.
        ScoresError: a label has no image that judges.
    """
    known = benchmark(against)
    scores = {name: scores_of(name) for name in dict.fromkeys(models)}
    sections = comparison_sections(known, method, measures(scores), unlike(scores, known))
    progress.say(f"judged by the protocol of ML-GCN's program: {', '.join(scores)}")
    return Experiment("Published and own results", f"{known.title}; {', '.join(scores)}", sections)


def scores_of(name: str) -> Scores:
    """The scores of the images that judged a run, or of a Scores file.

    Raises:
        DataError: the folder holds none.
    """
    run = RunFolder.of_model(name)
    if not run.folder.is_dir():
        return Scores.load(name)
    if not run.scores("test").is_file():
        raise DataError(f"{name}: holds no scores of a run ({run.scores('test').name}); give a run folder or a file")
    return Scores.load(run.scores("test"))


def measures(scores: Mapping[str, Scores], **options: str | int | None) -> dict[str, Mapping[str, float | None]]:
    """The measures of each, by the protocol of ML-GCN's program, with ``options`` of it changed."""
    every, top = (protocol_of(name).changed(**options) for name in ("mlgcn", PROTOCOL))
    return {name: evaluate(one, protocol=every).metrics | _top(one, top) for name, one in scores.items()}


def _top(scores: Scores, protocol: Protocol) -> dict[str, float | None]:
    metrics = evaluate(scores, protocol=protocol).metrics
    return {name: metrics[name] for name in metrics if name.endswith("@3")}


def unlike(scores: Mapping[str, Scores], known: Benchmark) -> list[str]:
    """What makes own numbers another thing than the published ones: other labels, or other images."""
    return [
        f"{name} is not of {known.title}: {len(one):,} images and {len(one.label_space)} labels, where that has "
        f"{known.images[0]:,} and {known.labels}. The numbers stand side by side, and their difference says nothing of "
        "the methods."
        for name, one in scores.items()
        if len(one.label_space) != known.labels or len(one) not in known.images
    ]
