"""Packs the handler and starts TorchServe; BATCH, WAIT_MS and WORKERS come from the environment."""

import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
folder = Path(os.environ["SCRATCH"])
binaries = Path(sys.executable).parent
port = int(os.environ["PORT"])
packing = ["--model-name", "texts", "--version", "1.0", "--handler", str(HERE / "handler.py")]
subprocess.run([binaries / "torch-model-archiver", *packing, "--export-path", folder], check=True)
model = {
    "1.0": {
        "defaultVersion": True,
        "marName": "texts.mar",
        "minWorkers": int(os.environ["WORKERS"]),
        "maxWorkers": int(os.environ["WORKERS"]),
        "batchSize": int(os.environ["BATCH"]),
        "maxBatchDelay": int(os.environ["WAIT_MS"]),
        "responseTimeout": 120,
    }
}
(folder / "config.properties").write_text(
    f"inference_address=http://127.0.0.1:{port}\n"
    f"management_address=http://127.0.0.1:{port + 1}\n"
    f"metrics_address=http://127.0.0.1:{port + 2}\n"
    f"grpc_inference_port={port + 3}\ngrpc_management_port={port + 4}\ninitial_worker_port={port + 10}\n"
    "enable_envvars_config=false\ndisable_token_authorization=true\nload_models=texts.mar\n"
    f"model_store={folder}\n"
    f"models={json.dumps({'texts': model})}\n"
)
os.environ.update(PEERS=str(HERE.parent), LOG_LOCATION=str(folder), METRICS_LOCATION=str(folder))
os.environ["PATH"] = f"{binaries}{os.pathsep}{os.environ['PATH']}"
os.chdir(folder)
flags = ["--start", "--foreground", "--ncs", "--ts-config", str(folder / "config.properties")]
os.execv(binaries / "torchserve", [str(binaries / "torchserve"), *flags, "--model-store", str(folder)])
