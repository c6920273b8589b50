"""What a launcher tells its processes: torchrun and accelerate do it themselves, SLURM's srun in words of its own."""

from __future__ import annotations

import re
from collections.abc import MutableMapping

from cotag.errors import SettingError

# From here on so many ports, below those that systems give away by themselves.
FIRST_PORT, PORTS = 10_000, 20_000


def launched(environment: MutableMapping[str, str]) -> bool:
    """Whether this process is one of several; what srun says is put in the words of torchrun.

    srun's variables count only within a step of several tasks, and where no other launcher spoke: a batch script that
    calls torchrun, or nothing at all, has SLURM's variables too.

    Args:
        environment: of this process, ``os.environ``; RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR and MASTER_PORT are
            added for a task of srun; an address or port that was given is kept.
    """
    if "RANK" in environment or "LOCAL_RANK" in environment:
        return True
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    if not tasks.isdigit() or int(tasks) < 2 or "SLURM_PROCID" not in environment:
        return False
    hosts = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST") or "localhost"
    job, step = environment.get("SLURM_JOB_ID", "0"), environment.get("SLURM_STEP_ID", "0")
    environment["RANK"], environment["WORLD_SIZE"] = environment["SLURM_PROCID"], tasks
    environment["LOCAL_RANK"] = environment.get("SLURM_LOCALID", "0")
    environment.setdefault("MASTER_ADDR", first_host(hosts))
    environment.setdefault("MASTER_PORT", str(port_of(job, step)))
    return True


def first_host(hosts: str) -> str:
    """The first host of SLURM's compressed list.

    >>> first_host("gpu[008-011,15],login1")
    'gpu008'

    Raises:
        SettingError: it is no such list.
    """
    found = re.match(r"^((?:[^,\[\]]|\[[0-9,-]+\])+)", hosts.strip())
    if found is None:
        raise SettingError(f"SLURM_JOB_NODELIST = {hosts!r}: no host can be read from it; set MASTER_ADDR")
    return re.sub(r"\[([0-9]+)[0-9,-]*\]", r"\1", found[1])


def port_of(job: str, step: str) -> int:
    """A port that the steps of a job do not share, and jobs beside each other hardly ever.

    >>> port_of("4711", "0"), port_of("4711", "1")
    (14711, 14712)
    """
    return FIRST_PORT + (_number(job) + _number(step)) % PORTS


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
