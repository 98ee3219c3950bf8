"""LitServe with batches of what waits; BATCH, WAIT_S and WORKERS come from the environment."""

import os
import sys
from pathlib import Path

import litserve

sys.path.insert(0, str(Path(__file__).parents[1]))


class Api(litserve.LitAPI):
    """One classifier a worker process."""

    def setup(self, device):
        """Load the classifier, within the worker."""
        from model import Classifier

        self.classifier = Classifier()

    def decode_request(self, request):
        """The text of a request."""
        return request["text"]

    def batch(self, inputs):
        """A list is what the classifier takes."""
        return list(inputs)

    def predict(self, texts):
        """Answer a batch."""
        return self.classifier.predict(texts)

    def unbatch(self, output):
        """One answer a request."""
        return output


if __name__ == "__main__":
    api = Api(max_batch_size=int(os.environ["BATCH"]), batch_timeout=float(os.environ["WAIT_S"]))
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=int(os.environ["WORKERS"]), fast_queue=True
    )
    server.run(
        host="127.0.0.1",
        port=int(os.environ["PORT"]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )
