"""The verb ``graph``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cotag.cli.arguments import Data, Force, Json, Read, reader_options

if TYPE_CHECKING:
    from cotag.types.index import Index


def graph(
    data: Data,
    read: Read = None,
    split: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="The split to count; 'all' for every image; train, where there is one."),
    ] = None,
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="reweighted, binary, conditional, symmetric or identity.")
    ] = "reweighted",
    tau: Annotated[float, typer.Option(metavar="TAU", help="An edge where P(B|A) is this or more.")] = 0.4,
    p: Annotated[float, typer.Option("--p", metavar="P", help="Share that neighbors have; reweighted only.")] = 0.2,
    axis: Annotated[
        str, typer.Option(metavar="AXIS", help="What p is shared over: column, or row as in the paper's text.")
    ] = "column",
    unknown: Annotated[
        str, typer.Option(metavar="HOW", help="An unknown label counts as absent, or is left_out of P(B|A).")
    ] = "absent",
    out: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also write an HTML file with heat map and network.")
    ] = None,
    save: Annotated[
        str | None, typer.Option(metavar="FILE", help="Also save counts and settings: .npz, .graphml or .pkl.")
    ] = None,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Which labels come together, as the graph that label-graph heads use.

    Example: cotag graph coco:photos/annotations.json --tau 0.3 --out graph.html
    """
    from cotag.cli.terminal import TerminalProgress, print_json, print_sections
    from cotag.data.read import read as read_data
    from cotag.evaluation.report import write_report
    from cotag.labels.graph import build_graph
    from cotag.labels.graph_files import check_suffix, save_graph
    from cotag.labels.graph_sections import graph_sections
    from cotag.storage import require_free

    if save:
        check_suffix(save)
    for path in filter(None, (out, save)):
        require_free(path, force)
    index, counted = _chosen(read_data(data, **reader_options(read)), split)
    found = build_graph(index, None, kind, tau, p, axis, unknown)
    sections = graph_sections(found)
    if out:
        write_report(sections, out, f"Label graph of {data}", f"{counted}: {index!r}", force)
    if save:
        save_graph(found, save, force)
    if as_json:
        print_json(_as_json(found, counted, sections[0].to_json()))
        return
    print_sections(sections[:1])
    progress = TerminalProgress()
    progress.say(f"counted {counted}")
    for what, written in (("plots", out), ("graph", save)):
        if written:
            print(f"\n{what}: {written}")


def _chosen(index: Index, split: str | None) -> tuple[Index, str]:
    """The images to count, and what they are, in words."""
    if split == "all" or (split is None and "train" not in index.splits()):
        return index, "all images"
    name = split or "train"
    return index.split(name), f"split {name}"


def _as_json(found: Any, counted: str, section: dict[str, Any]) -> dict[str, Any]:
    names = found.label_space.names
    return {
        "settings": {"kind": found.kind, "tau": found.tau, "p": found.p, "axis": found.axis},
        "counted": counted,
        "images": found.images,
        "labels": len(found),
        "edges": int(found.edges().nnz),
        "isolated": [names[label] for label in found.isolated()],
        "proposed_tau": found.proposed_tau(),
        "notes": found.notes(),
        "strongest": section.get("rows", []),
    }
