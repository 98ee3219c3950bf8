"""TorchServe's handler: a batch of requests in, one answer for each out."""

import json
import os
import sys

from ts.torch_handler.base_handler import BaseHandler


class Handler(BaseHandler):
    """One classifier a worker process."""

    def initialize(self, context):
        """Load the classifier."""
        sys.path.insert(0, os.environ["PEERS"])
        from model import Classifier

        self.classifier = Classifier()
        self.initialized = True

    def handle(self, data, context):
        """Answer a batch."""
        bodies = [row.get("body") or row.get("data") for row in data]
        return self.classifier.predict(
            [(body if isinstance(body, dict) else json.loads(body))["text"] for body in bodies]
        )
