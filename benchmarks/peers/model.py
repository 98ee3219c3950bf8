"""Loads the exported classifier and answers texts with it: what every peer's server calls.

Its settings come from the environment: MODEL (a folder), DTYPE (float32 or bfloat16), THREADS.
"""

import os

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer


class Classifier:
    """Tokenizer and network in evaluation mode; one call, one batch."""

    def __init__(self) -> None:
        torch.set_num_threads(int(os.environ["THREADS"]))
        folder = os.environ["MODEL"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
        self.model.bert.to(
            getattr(torch, os.environ["DTYPE"])
        )  # the head stays in float32, as it does in ours
        self.labels = [self.model.config.id2label[place] for place in range(self.model.config.num_labels)]

    def predict(self, texts):
        """The best label of each text with its probability."""
        with torch.inference_mode():
            tokens = self.tokenizer(texts, padding=True, truncation=True, max_length=128, return_tensors="pt")
            best = self.model(tokens["input_ids"], tokens["attention_mask"]).logits.softmax(1).max(1)
        found = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        return [{"label": self.labels[place], "score": score} for place, score in found]
