"""Tables of names: found on first use, checked before the call, open to other packages."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import OrderedDict
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from cotag import registry
from cotag.errors import SettingError
from cotag.registry import Registry

TABLES = {found.kind: found for found in vars(registry).values() if isinstance(found, Registry)}
TOYS = Registry("toy", {"mock": "unittest.mock:Mock", "split": "re:split", "stack": "contextlib:ExitStack"})


def test_name_is_found_on_first_use() -> None:
    assert TOYS.get("split") is re.split
    assert TOYS.names() == ["mock", "split", "stack"]


def test_unknown_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(SettingError, match=r"toy 'spilt' is not known; did you mean split\?"):
        TOYS.get("spilt")


def test_build_passes_everything_on() -> None:
    assert TOYS.build("split", ",", "a,b,c", maxsplit=1) == ["a", "b,c"]


@pytest.mark.parametrize(
    ("positional", "settings", "said"),
    [
        ((",", "a,b"), {"maxsplits": 1}, r"toy split: setting 'maxsplits' is not known; did you mean maxsplit\?"),
        ((",", "a,b"), {"pattern": "x"}, "toy split: multiple values for argument 'pattern'"),
        ((",",), {}, "toy split: missing a required argument: 'string'"),
    ],
)
def test_wrong_settings_are_refused_before_the_call(
    positional: tuple[Any, ...], settings: dict[str, Any], said: str
) -> None:
    with pytest.raises(SettingError, match=said):
        TOYS.build("split", *positional, **settings)


def test_check_alone() -> None:
    TOYS.check("split", {"maxsplit": 1})
    TOYS.check("mock", {"anything": 1})
    with pytest.raises(SettingError, match="toy stack: setting 'depth' is not known; it takes none"):
        TOYS.check("stack", {"depth": 1})


@pytest.mark.parametrize(("kind", "group"), [("head", "cotag.heads"), ("loss", "cotag.losses")])
def test_other_packages_add_names(kind: str, group: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def found(group: str) -> list[EntryPoint]:
        asked.append(group)
        return [
            EntryPoint("theirs", "collections:OrderedDict", group),
            EntryPoint("ours", "collections:Counter", group),
        ]

    monkeypatch.setattr(registry, "entry_points", found)
    table = Registry(kind, {"ours": "collections:deque"})
    assert table.names() == ["ours", "theirs"]
    assert table.get("theirs") is OrderedDict
    assert table.get("ours").__name__ == "deque"
    assert asked == [group]


def test_every_table_is_here() -> None:
    assert {"reader", "head", "loss", "optimizer", "schedule", "augmentation"} <= set(TABLES)


@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, table in TABLES.items() for name in table.table])
def test_every_name_has_its_object(kind: str, name: str) -> None:
    assert callable(TABLES[kind].get(name))


def test_names_are_listed_without_importing_what_they_stand_for() -> None:
    code = (
        "import sys\nfrom cotag import registry\n"
        "tables = [t for t in vars(registry).values() if isinstance(t, registry.Registry)]\n"
        "assert all(table.names() for table in tables)\n"
        "sys.exit('torch' in sys.modules or 'numpy' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
