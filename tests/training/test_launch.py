"""What srun tells its tasks, in the words of torchrun."""

from __future__ import annotations

import pytest

from cotag.errors import SettingError
from cotag.training.launch import first_host, launched, port_of
from cotag.training.processes import limit_minutes

SRUN = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "2",
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NODELIST": "gpu[008-009]",
    "SLURM_JOB_NODELIST": "gpu[001-009]",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
}


def test_a_task_of_srun_knows_its_place() -> None:
    variables = dict(SRUN)
    assert launched(variables)
    assert {key: value for key, value in variables.items() if key not in SRUN} == {
        "RANK": "5",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "MASTER_ADDR": "gpu008",
        "MASTER_PORT": "14713",
    }
    assert launched(variables)
    given = {**SRUN, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "77"}
    launched(given)
    assert (given["MASTER_ADDR"], given["MASTER_PORT"]) == ("10.0.0.1", "77")


@pytest.mark.parametrize(
    "variables",
    [
        {},
        # A batch script itself, which srun did not start.
        {key: value for key, value in SRUN.items() if "STEP" not in key} | {"SLURM_NTASKS": "8"},
        {**SRUN, "SLURM_STEP_NUM_TASKS": "1"},
    ],
)
def test_one_task_is_no_training_of_several(variables: dict[str, str]) -> None:
    before = dict(variables)
    assert not launched(variables)
    assert variables == before


def test_what_torchrun_said_counts_before_slurm() -> None:
    variables = {**SRUN, "RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2"}
    before = dict(variables)
    assert launched(variables)
    assert variables == before


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("localhost", "localhost"),
        ("node[01-04,7]", "node01"),
        ("node[7]", "node7"),
        ("a1,b[2-3]", "a1"),
        ("rack[1-2]n[05-09],x", "rack1n05"),
        ("gpu[008-011].cluster", "gpu008.cluster"),
        ("node-3-[10,12]", "node-3-10"),
    ],
)
def test_the_first_host(hosts: str, first: str) -> None:
    assert first_host(hosts) == first


def test_what_is_no_list_of_hosts() -> None:
    with pytest.raises(SettingError, match=r"SLURM_JOB_NODELIST = '\[\]': no host.*set MASTER_ADDR"):
        first_host("[]")


def test_ports_are_below_those_that_systems_give_away() -> None:
    assert all(10_000 <= port_of(str(job), "4294967294") < 30_000 for job in range(0, 90_000, 999))
    assert port_of("7", "") == 10_007


def test_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COTAG_TIMEOUT_MINUTES", raising=False)
    assert limit_minutes() == 30
    monkeypatch.setenv("COTAG_TIMEOUT_MINUTES", "2.5")
    assert limit_minutes() == 2.5
    for given in ("0", "-1", "soon", "nan", "inf"):
        monkeypatch.setenv("COTAG_TIMEOUT_MINUTES", given)
        with pytest.raises(SettingError, match="COTAG_TIMEOUT_MINUTES = "):
            limit_minutes()
