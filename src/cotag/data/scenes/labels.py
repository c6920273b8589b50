"""The labels of a scene: what its visible objects and its background are called."""

from __future__ import annotations

from cotag.data.scenes.scene import Scene
from cotag.data.scenes.vocabulary import LABELS, background_label


def labels_of(scene: Scene) -> list[int]:
    """The ids of the labels that a scene has, ascending; hidden things give none."""
    names = {background_label(scene.background)}
    for placed in scene.objects:
        thing = placed.thing
        names |= {thing.shape, thing.color, thing.texture, thing.size}
    return sorted(LABELS.id(name) for name in names if name in LABELS)
