"""The verb that repeats experiments of published papers."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from cotag.cli.arguments import Force, Json, Read, reader_options
from cotag.errors import SettingError

Name = Annotated[str, typer.Argument(metavar="NAME", help="Of an experiment; listed above, and by cotag list.")]
AnyData = Annotated[str | None, typer.Argument(metavar="DATA", help="format:path, or a path.")]
Models = Annotated[list[str] | None, typer.Option("--model", metavar="RUN", help="Run or model folder; repeatable.")]
Split = Annotated[str | None, typer.Option(metavar="NAME", help="retrieval: the queries; as evaluate.")]
Gallery = Annotated[
    str | None, typer.Option(metavar="WHAT", help="retrieval: search queries, others (no queries) or all; queries.")
]
Ks = Annotated[str | None, typer.Option("--k", metavar="K,K", help="retrieval: how many neighbors; 1,5,10.")]
Metric = Annotated[str | None, typer.Option(metavar="NAME", help="retrieval: cosine or euclidean; cosine.")]
Weights = Annotated[
    str | None, typer.Option(metavar="FILE", help="retrieval: of the plain backbone; those the run began with.")
]
Against = Annotated[str | None, typer.Option(metavar="NAME", help="comparison: rows of coco2014 or voc2007; coco2014.")]
Method = Annotated[str | None, typer.Option(metavar="NAME", help="comparison: the row to set others against; ML-GCN.")]
Seeds = Annotated[
    int | None, typer.Option(metavar="N", min=1, help="Ablation, tuning: trainings of each setting; 5, 3.")
]
Grid = Annotated[
    list[str] | None,
    typer.Option(metavar="KEY=A,B,...", help="Ablation, tuning: values in place of the usual ones; repeatable."),
]
Vectors = Annotated[
    list[str] | None,
    typer.Option(metavar="NAME=FILE", help="mlgcn-ablation: glove, word2vec, fasttext or text; repeatable."),
]
EndToEnd = Annotated[
    bool, typer.Option("--end-to-end", help="Ablation, tuning: the whole network, not a head on features.")
]
Small = Annotated[bool, typer.Option("--small", help="mlgcn-coco: on frozen features, of any data.")]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Ablation, tuning, mlgcn-coco: change a setting; repeatable."),
]
Runs = Annotated[
    str | None, typer.Option(metavar="DIR", help="Of the trainings; an ablation or a tuning goes on in it.")
]
Out = Annotated[str | None, typer.Option(metavar="FILE", help="Also write an HTML file with pictures.")]


def reproduce(
    name: Name,
    data: AnyData = None,
    models: Models = None,
    split: Split = None,
    gallery: Gallery = None,
    k: Ks = None,
    metric: Metric = None,
    weights: Weights = None,
    against: Against = None,
    method: Method = None,
    small: Small = False,
    settings: Settings = None,
    runs: Runs = None,
    seeds: Seeds = None,
    grid: Grid = None,
    vectors: Vectors = None,
    end_to_end: EndToEnd = False,
    read: Read = None,
    out: Out = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Repeat an experiment of a published paper on any data.

    retrieval: similar images by plain features, and by what a model learned. classifiers: the labels' classifiers in
    two dimensions. comparison: published rows beside own runs. mlgcn-ablation: what ML-GCN's graph, tau, p, label
    vectors and depth are worth. mlgcn-coco: ML-GCN and its baseline on COCO 2014. psg-tuning: learning curves over
    rate, batch, optimizer, momentum, schedule, L1 and weight decay.

    Example: cotag reproduce retrieval table:photos/labels.csv --model runs/first --out retrieval.html
    """
    from cotag.cli.terminal import TerminalProgress, print_json, print_sections
    from cotag.evaluation.report import write_report
    from cotag.registry import EXPERIMENTS
    from cotag.storage import require_free

    run = EXPERIMENTS.get(name)
    given: dict[str, Any] = {"data": data, "models": models, "options": reader_options(read) if read else None}
    given |= {"split": split, "gallery": gallery, "k": None if k is None else whole_numbers(k), "metric": metric}
    given |= {"weights": weights, "against": against, "method": method}
    given |= {"small": small or None, "settings": settings, "runs": runs}
    given |= {"seeds": seeds, "grid": grid, "vectors": vectors, "end_to_end": end_to_end or None}
    taken = fitting(name, {key: value for key, value in given.items() if value is not None})
    if "force" in EXPERIMENTS.parameters(name):
        taken["force"] = force
    if out:
        require_free(out, force)
    found = run(**taken, progress=TerminalProgress())
    if out:
        write_report(found.sections, out, found.title, found.about, force)
    if as_json:
        print_json({"experiment": name, "report": out, "sections": [section.to_json() for section in found.sections]})
        return
    print_sections([section for section in found.sections if section.columns or section.text])
    print(f"\nreport: {out}" if out else "\npictures and figures: --out FILE writes them")


def whole_numbers(text: str) -> list[int]:
    """The numbers of a text such as ``1,5,10``, each once, in their order.

    Raises:
        SettingError: one is not a whole number of at least 1.
    """
    try:
        found = [int(part) for part in text.split(",")]
    except ValueError:
        found = [0]
    if min(found) < 1:
        raise SettingError(f"--k {text!r}: expected whole numbers of at least 1, such as 1,5,10")
    return sorted(set(found))


# How options are called on the command line where it is not --name.
OPTIONS = {"data": "DATA", "models": "--model", "options": "--read", "settings": "--set", "end_to_end": "--end-to-end"}


def fitting(name: str, given: dict[str, Any]) -> dict[str, Any]:
    """The given options, if the experiment takes all of them and lacks none.

    Raises:
        SettingError: it does not take one, or needs another.
    """
    from cotag.registry import EXPERIMENTS

    taken = EXPERIMENTS.parameters(name)
    for key in given:
        if key not in taken:
            raise SettingError(f"experiment {name} takes no {_option(key)}; leave it out")
    missing = [_option(key) for key, needed in taken.items() if needed and key not in given and key != "progress"]
    if missing:
        raise SettingError(f"experiment {name} needs {' and '.join(missing)}; see cotag reproduce --help")
    return given


def _option(key: str) -> str:
    return OPTIONS.get(key, f"--{key}")
