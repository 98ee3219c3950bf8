"""Trains and is killed on the way: python -m tests.train.killed_run FOLDER METHODS STEPS EVERY

Each method trains in a child of its own, which SIGKILL ends after so many steps; what the checkpoint holds
then is all that is left of it. EVERY says after how many steps there is one besides the end of an epoch.
"""

import os
import signal
import sys
from pathlib import Path

import numpy as np
import peft  # noqa: F401  # takes a second, which each child would need by itself
import torch

from millwright.settings import TrainSection
from millwright.train import tune as tuning
from millwright.train.methods import build_network
from millwright.train.tune import Plan, Rows, tune
from tests.train.conftest import inputs_for, make_backbone

SETTINGS = TrainSection(top_layers=1, rank=4, adapter_size=8, seed=3)
TEXTS = [
    "card lost",
    "my card is stolen",
    "the card lost help",
    "pin forgot",
    "my pin is blocked",
    "forgot pin",
] * 4
TRUTH = np.array([0, 0, 0, 1, 1, 1] * 4)
STEPS = 24  # four epochs of six batches


def run(method: str, folder: Path, die_at: int | None = None) -> tuple[dict[str, torch.Tensor], int]:
    """Train in `folder`, from the checkpoint there if there is one; SIGKILL comes after `die_at` steps."""
    network = build_network(method, make_backbone("bert"), 2, SETTINGS, STEPS)
    torch.nn.init.normal_(network.head.weight, generator=torch.Generator().manual_seed(4))
    rows = Rows(inputs_for(network, make_backbone("bert"), TEXTS), TRUTH)
    plan = Plan(
        method, learning_rate=5e-3, epochs=4, patience=9, batch_size=4, label_smoothing=0.1, seed=3, pad_id=0
    )

    def progress(done: float) -> None:
        if die_at is not None and round(done * STEPS) == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    return tune(network, rows, rows, plan, folder, progress)


def main(folder: Path, methods: list[str], steps: list[int], checkpoint_steps: int) -> None:
    tuning.CHECKPOINT_STEPS = checkpoint_steps
    torch.set_num_threads(1)
    for method in methods:
        for step in steps:
            child = os.fork()
            if not child:
                run(method, folder / f"{method}-{step}", step)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == -signal.SIGKILL, (method, step, status)


if __name__ == "__main__":
    main(
        Path(sys.argv[1]),
        sys.argv[2].split(","),
        [int(step) for step in sys.argv[3].split(",")],
        int(sys.argv[4]),
    )
