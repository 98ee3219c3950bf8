"""infinity-emb's own server, which classifies; BATCH and DTYPE come from the environment."""

import os
import sys
from pathlib import Path

infinity = str(Path(sys.executable).with_name("infinity_emb"))
flags = {
    "--model-id": os.environ["MODEL"],
    "--served-model-name": "model",
    "--host": "127.0.0.1",
    "--port": os.environ["PORT"],
    "--engine": "torch",
    "--device": "cpu",
    "--dtype": os.environ["DTYPE"],
    "--batch-size": os.environ["BATCH"],
}
os.execv(
    infinity, [infinity, "v2", *(part for flag in flags.items() for part in flag), "--no-bettertransformer"]
)
