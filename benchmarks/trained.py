"""The tuned classifier that serving is measured with: a project trained on Banking77, exported for peers."""

import csv
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import torch
from record import BENCH, DATA
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from millwright.project import open_project
from millwright.registry.classifiers import load_classifier
from millwright.registry.versions import resolve
from millwright.serve.runtime_record import read_runtime
from millwright.train.network import POOLED_BELOW, Network

BANKING = DATA / "banking77"
MODELING = Path(__file__).parent / "peers" / "modeling_pooled.py"


def trained_project(method: str) -> Path:
    """The folder of a project with one version, trained if it is not there yet."""
    folder = BENCH / f"project-{method}"
    if not (folder / "reports").exists():
        shutil.rmtree(folder, ignore_errors=True)
        files = ["--data", str(BANKING / "train.csv"), "--test-data", str(BANKING / "test.csv")]
        millwright("new", str(folder), *files, "--text", "text", "--label", "category")
        print(f"training a classifier on Banking77, method {method}", flush=True)
        millwright("train", "--project", str(folder), "--method", method)
        millwright("evaluate", "--project", str(folder), "--data", str(BANKING / "test.csv"))
    millwright("versions", "promote", "v1", "--project", str(folder))  # measures runtimes where it must
    return folder


def runtime(project: Path) -> str:
    """What the champion is served by: what was measured as fastest on this machine."""
    opened = open_project(project)
    record = read_runtime(opened, resolve(opened, "champion"))
    return record.runtime if record else "torch"


def export(project: Path) -> Path:
    """Write the champion as a sequence classifier in the Hub's layout, in float32; the folder.

    The temperature is divided out of the head's weights, so that probabilities are equal too.
    """
    folder = BENCH / f"model-{project.name.removeprefix('project-')}"
    classifier = load_classifier(open_project(project), "champion")
    encoder = classifier.network.encoder.float()
    tensors = {
        f"bert.{name}": tensor for name, tensor in encoder.state_dict().items() if "pooler" not in name
    }
    head = classifier.network.head
    tensors["head.weight"] = head.weight.detach() / classifier.temperature
    tensors["head.bias"] = head.bias.detach() / classifier.temperature
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_file(
        {name: t.contiguous() for name, t in tensors.items()}, folder / "model.safetensors", {"format": "pt"}
    )
    config = encoder.config.to_dict() | {
        "architectures": ["PooledForSequenceClassification"],
        "auto_map": {"AutoModelForSequenceClassification": "modeling_pooled.PooledForSequenceClassification"},
        "id2label": dict(enumerate(classifier.labels)),
        "label2id": {label: place for place, label in enumerate(classifier.labels)},
        "problem_type": "single_label_classification",
        "pooled_states": pooled_states(classifier.network),
    }
    for key in ("dtype", "torch_dtype", "_name_or_path"):
        config.pop(key, None)
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    _write_tokenizer(folder, classifier.backbone.tokenizer.to_str(), classifier.backbone.max_tokens)
    shutil.copy(MODELING, folder)
    return folder


def pooled_states(network: Network) -> list[int]:
    """Which of an encoder's hidden states the network pools, in the order of its features."""
    below = [-1 - POOLED_BELOW] if network.encoder.config.num_hidden_layers >= POOLED_BELOW else []
    return [*([0] if network.words else []), *below, -1]


def reference_labels(model: Path, texts: list[str]) -> list[str]:
    """The best label of each text as the exported network says in float32, one text at a time.

    Kept beside the model, by its weights and the texts.
    """
    key = hashlib.sha256((model / "model.safetensors").read_bytes() + "\0".join(texts).encode()).hexdigest()
    kept = BENCH / f"reference-{key[:16]}.json"
    if not kept.exists():
        kept.write_text(json.dumps(_labels_in_float32(model, texts)))
    return list(json.loads(kept.read_text()))


def messages() -> list[str]:
    """The test sentences of Banking77."""
    with (BANKING / "test.csv").open(newline="", encoding="utf-8") as file:
        return [row["text"].strip() for row in csv.DictReader(file)]


def millwright(*arguments: str) -> dict[str, object]:
    """Run a verb with --json and return what it printed."""
    command = [sys.executable, "-m", "millwright.surfaces.cli", *arguments, "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout))


def _labels_in_float32(model: Path, texts: list[str]) -> list[str]:
    network = AutoModelForSequenceClassification.from_pretrained(model, trust_remote_code=True).eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    found = []
    with torch.inference_mode():
        for text in texts:
            tokens = tokenizer([text], truncation=True, max_length=128, return_tensors="pt")
            logits = network(tokens["input_ids"], tokens["attention_mask"]).logits
            found.append(network.config.id2label[int(logits.argmax())])
    return found


def _write_tokenizer(folder: Path, tokenizer: str, max_tokens: int) -> None:
    (folder / "tokenizer.json").write_text(tokenizer)
    about = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "model_max_length": max_tokens,
        "model_input_names": ["input_ids", "attention_mask"],
        "pad_token": "[PAD]",
        "unk_token": "[UNK]",
        "cls_token": "[CLS]",
        "sep_token": "[SEP]",
        "mask_token": "[MASK]",
    }
    (folder / "tokenizer_config.json").write_text(json.dumps(about, indent=1))
