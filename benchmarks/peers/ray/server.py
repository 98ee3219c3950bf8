"""Ray Serve with @serve.batch; BATCH, WAIT_S and WORKERS come from the environment."""

import os
import signal
import sys
import threading
from pathlib import Path

import ray
from ray import serve
from starlette.requests import Request

PEERS = str(Path(__file__).parents[1])
WORKERS = int(os.environ["WORKERS"])
PASSED_ON = {name: os.environ[name] for name in ("MODEL", "DTYPE", "THREADS")}


@serve.deployment(
    num_replicas=WORKERS,
    max_ongoing_requests=256,
    ray_actor_options={
        "num_cpus": 1,
        "runtime_env": {"env_vars": PASSED_ON | {"OMP_NUM_THREADS": PASSED_ON["THREADS"]}},
    },
)
class Deployment:
    """One classifier a replica."""

    def __init__(self):
        sys.path.insert(0, PEERS)
        from model import Classifier

        self.classifier = Classifier()

    @serve.batch(max_batch_size=int(os.environ["BATCH"]), batch_wait_timeout_s=float(os.environ["WAIT_S"]))
    async def predict(self, texts):
        """Answer a batch."""
        return self.classifier.predict(texts)

    async def __call__(self, request: Request):
        """Answer a request."""
        return await self.predict((await request.json())["text"])


if __name__ == "__main__":
    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(http_options={"host": "127.0.0.1", "port": int(os.environ["PORT"])})
    serve.run(Deployment.bind(), route_prefix="/predict")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stop.wait()
    serve.shutdown()
    ray.shutdown()
