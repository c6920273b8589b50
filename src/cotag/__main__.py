"""``python -m cotag``, for launchers that start modules: ``torchrun --nproc-per-node 2 -m cotag train ...``."""

from cotag.cli.main import main

if __name__ == "__main__":
    main()
