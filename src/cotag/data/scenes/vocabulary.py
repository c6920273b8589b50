"""What can be in a scene, by name: shapes, colors, textures, sizes, backgrounds, relations and themes.

The label spaces of all views are made here and nowhere else. Changing anything in this package that changes
a picture or a label needs another ``VERSION``: it is part of the name of the folder in which scenes are kept.
"""

from __future__ import annotations

from cotag.types.labels import LabelSpace

VERSION = 3

SHAPES = (
    "circle",
    "square",
    "triangle",
    "ring",
    "star",
    "cross",
    "heart",
    "crescent",
    "flower",
    "arrow",
    "fish",
    "bolt",
)

COLORS = {
    "red": (212, 38, 38),
    "orange": (250, 130, 15),
    "yellow": (250, 218, 45),
    "green": (40, 158, 62),
    "cyan": (60, 215, 220),
    "blue": (48, 88, 220),
    "purple": (135, 58, 172),
    "pink": (255, 145, 200),
    "white": (250, 250, 250),
}

PLAIN = "plain"
TEXTURES = ("striped", "dotted", "checkered")

# Radii as a share of the picture's side, with gaps between the classes so that the eye can tell them apart.
SIZES = {"small": (0.105, 0.122), "medium": (0.158, 0.188), "large": (0.245, 0.285)}
SIZE_LABELS = ("small", "large")

BACKGROUNDS = ("plain", "gradient", "grid", "noise", "dark")

PREDICATES = (
    "left of",
    "above",
    "level with",
    "far from",
    "near",
    "touching",
    "standing on",
    "on top of",
    "inside",
    "in the hole of",
    "larger than",
    "pointing at",
    "facing",
    "same shape as",
    "same color as",
    "same texture as",
)

# A theme is never drawn; it decides what is. What each prefers stands in ``sample``.
THEME_NAMES = ("blocks", "night", "signs", "garden", "sea", "storm")

SPLITS = {"train": 0.7, "val": 0.1, "test": 0.2}


def background_label(kind: str) -> str:
    """The label of a kind of background; a plain one has none."""
    return f"{kind} background"


_GROUPS = {
    "shape": SHAPES,
    "color": tuple(COLORS),
    "texture": TEXTURES,
    "size": SIZE_LABELS,
    "background": tuple(background_label(kind) for kind in BACKGROUNDS if kind != "plain"),
}

OBJECT_SPACE = LabelSpace(SHAPES, tuple(range(1, len(SHAPES) + 1)), ("shape",) * len(SHAPES))
LABELS = LabelSpace(
    tuple(name for names in _GROUPS.values() for name in names),
    groups=tuple(group for group, names in _GROUPS.items() for _ in names),
)
RELATIONS = LabelSpace(PREDICATES, tuple(range(len(PREDICATES))))
# The labels of ``LABELS`` keep their ids; the themes stand after them.
THEMED = LABELS.union(LabelSpace(THEME_NAMES, groups=("theme",) * len(THEME_NAMES)))
VIEWS = {"objects": LABELS, "relations": RELATIONS, "themes": THEMED}
