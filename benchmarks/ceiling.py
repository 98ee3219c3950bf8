"""What this machine could do at most, and how near to it the encoder runs.

    python benchmarks/ceiling.py

Measured in one run, in turns, several rounds: the rate of matrix products in float32, bfloat16 and int8,
the memory's bandwidth, the tokenizer, and the encoder on the test sentences of Banking77 in torch and
OpenVINO. The bound of a precision is its best matrix-product rate over the operations that a sentence
needs, counted from the encoder's configuration; nothing that multiplies matrices can be faster.

Shape suffixes: N rows, K inner width.
"""

import argparse
import json
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import nncf
import numpy as np
import openvino as ov
import torch
from openvino import opset15 as ops
from record import Row, print_table, write_record
from tokenizers import Tokenizer
from trained import BANKING, export, messages, trained_project
from transformers import AutoModelForSequenceClassification

BATCH = 64
CALIBRATION = 512
SIZES = (512, 1024, 2048)
TOKENS = 1024  # rows of a product in the encoder: a batch of 64 sentences of about 16 tokens
CHAIN = 8
LEAST_S = 0.3
COPIED_BYTES = 2**28
COLUMNS = (
    "what",
    "precision",
    "measured",
    "low",
    "high",
    "unit",
    "ceiling",
    "times_from_ceiling",
    "agreement",
)

Work = Callable[[], object]
Run = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Task:
    """Something to time: `amount` units of work in one call."""

    what: str
    precision: str
    unit: str
    amount: float
    work: Work


def operations_a_sentence(config: dict[str, int], lengths: Sequence[int]) -> float:
    """Mean number of multiplications and additions that the encoder needs for a sentence, without padding."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    tokens = np.array(lengths, float)
    projections = 2 * tokens * (4 * hidden * hidden + 2 * hidden * inner)
    attention = 4 * tokens * tokens * hidden
    return float(config["num_hidden_layers"] * (projections + attention).mean())


def product_tasks(config: dict[str, int]) -> list[Task]:
    """Matrix products: square ones of three sizes, and the encoder's own shape."""
    hidden, inner = config["hidden_size"], config["intermediate_size"]
    shapes = [(size, size, size) for size in SIZES] + [(TOKENS, hidden, inner), (TOKENS, inner, hidden)]
    makers = {
        "float32": (_torch_product(torch.float32), 1),
        "bfloat16": (_torch_product(torch.bfloat16), 1),
        "int8": (_int_product, 1),
        "int8, OpenVINO": (_openvino_int8_product, CHAIN),
    }
    return [
        Task(
            f"product {rows}x{inside}x{columns}",
            name,
            "GFLOP/s",
            2e-9 * products * rows * inside * columns,
            work,
        )
        for name, (make, products) in makers.items()
        for rows, inside, columns in shapes
        for work in [make(rows, inside, columns)]
    ]


def memory_task() -> Task:
    """A copy that no cache holds; bytes read and bytes written both count."""
    source = torch.ones(COPIED_BYTES // 4)
    target = torch.empty_like(source)
    return Task("memory", "", "GB/s", 2e-9 * COPIED_BYTES, lambda: target.copy_(source))


def tokenizer_task(tokenizer: Tokenizer, texts: list[str]) -> Task:
    """Tokenization of all texts in one call."""
    return Task("tokenizer", "", "sentences/s", len(texts), lambda: tokenizer.encode_batch_fast(texts))


class Encoder:
    """The exported network in one runtime, answering texts in batches by length, tokenization included."""

    def __init__(self, tokenizer: Tokenizer, run: Run, streams: int) -> None:
        self.tokenizer = tokenizer
        self.run = run
        self.threads = ThreadPoolExecutor(streams)

    def labels(self, texts: Sequence[str]) -> np.ndarray:
        """The best label's number for each text."""
        encoded = self.tokenizer.encode_batch_fast(list(texts))
        order = np.argsort([len(one.ids) for one in encoded], kind="stable")
        batches = [order[start : start + BATCH] for start in range(0, len(order), BATCH)]
        found = np.empty(len(texts), int)

        def answer(batch: np.ndarray) -> None:
            found[batch] = self.run(*padded([encoded[place].ids for place in batch])).argmax(1)

        list(self.threads.map(answer, batches))
        return found


def padded(ids: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Token ids [B, T] and their mask [B, T]."""
    width = max(map(len, ids))
    mask = np.array([[1] * len(one) + [0] * (width - len(one)) for one in ids], np.int64)
    return np.array([one + [0] * (width - len(one)) for one in ids], np.int64), mask


def encoders(model: Path, tokenizer: Tokenizer, calibration: list[str]) -> dict[tuple[str, str], Encoder]:
    """The network in every runtime and precision that is measured."""
    network = AutoModelForSequenceClassification.from_pretrained(model, trust_remote_code=True).eval()
    quick = AutoModelForSequenceClassification.from_pretrained(model, trust_remote_code=True).eval()
    quick.bert.to(torch.bfloat16)
    graph = _graph(network)
    encoded = [one.ids for one in tokenizer.encode_batch_fast(calibration)]
    inputs = [dict(zip(("input_ids", "attention_mask"), padded([ids]), strict=True)) for ids in encoded]
    quantized = nncf.quantize(
        graph, nncf.Dataset(inputs), model_type=nncf.ModelType.TRANSFORMER, subset_size=len(inputs)
    )
    found = {
        ("torch", "float32"): Encoder(tokenizer, _torch_run(network), 1),
        ("torch", "bfloat16"): Encoder(tokenizer, _torch_run(quick), 1),
    }
    for precision, (converted, hint) in {
        "float32": (graph, "f32"),
        "bfloat16": (graph, "bf16"),
        "int8": (quantized, "bf16"),
    }.items():
        settings = {"INFERENCE_PRECISION_HINT": hint, "PERFORMANCE_HINT": "THROUGHPUT"}
        compiled = ov.Core().compile_model(converted, "CPU", settings)
        streams = int(compiled.get_property("NUM_STREAMS"))
        found["OpenVINO", precision] = Encoder(tokenizer, _openvino_run(compiled), streams)
    return found


def measure(tasks: Sequence[Task], rounds: int) -> list[list[float]]:
    """Rates of each task in every round; the tasks take turns."""
    for task in tasks:
        task.work()
    found: list[list[float]] = [[] for _ in tasks]
    for _ in range(rounds):
        for task, rates in zip(tasks, found, strict=True):
            calls, start = 0, time.perf_counter()
            while (spent := time.perf_counter() - start) < LEAST_S:
                task.work()
                calls += 1
            rates.append(task.amount * calls / spent)
    return found


def _torch_product(dtype: torch.dtype) -> Callable[[int, int, int], Work]:
    def make(rows: int, inside: int, columns: int) -> Work:
        left, right = torch.randn(rows, inside).to(dtype), torch.randn(columns, inside).to(dtype)
        return lambda: torch.nn.functional.linear(left, right)

    return make


def _int_product(rows: int, inside: int, columns: int) -> Work:
    left = torch.randint(-127, 127, (rows, inside), dtype=torch.int8)
    right = torch.randint(-127, 127, (inside, columns), dtype=torch.int8)
    return lambda: torch._int_mm(left, right)


def _openvino_int8_product(rows: int, inside: int, columns: int) -> Work:
    """CHAIN products there and back in one call, quantized in between as an int8 encoder's are."""
    chance = np.random.default_rng(0)
    weights = [
        ops.constant(chance.uniform(-1, 1, shape).astype(np.float32))
        for shape in ((columns, inside), (inside, columns))
    ]
    given = ops.parameter([rows, inside], ov.Type.f32)
    state = given
    for place in range(CHAIN):
        pair = [
            ops.fake_quantize(one, *(np.float32(edge) for edge in (-1, 1, -1, 1)), levels=256)
            for one in (state, weights[place % 2])
        ]
        state = ops.matmul(*pair, False, True)
    request = ov.Core().compile_model(ov.Model([state], [given]), "CPU").create_infer_request()
    request.set_input_tensor(ov.Tensor(chance.uniform(-1, 1, (rows, inside)).astype(np.float32)))
    return request.infer


class _Logits(torch.nn.Module):
    """The network with a tensor for an answer, as conversion wants it."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network.requires_grad_(False)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(input_ids, attention_mask).logits
        return logits


def _graph(network: torch.nn.Module) -> ov.Model:
    example = {name: torch.ones(2, 8, dtype=torch.int64) for name in ("input_ids", "attention_mask")}
    graph = ov.convert_model(_Logits(network).eval(), example_input=example)
    graph.reshape({port: ov.PartialShape([-1, -1]) for port in graph.inputs})
    return graph


def _torch_run(network: torch.nn.Module) -> Run:
    def run(ids_BT: np.ndarray, mask_BT: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            logits: np.ndarray = network(torch.from_numpy(ids_BT), torch.from_numpy(mask_BT)).logits.numpy()
        return logits

    return run


def _openvino_run(compiled: ov.CompiledModel) -> Run:
    own = threading.local()

    def run(ids_BT: np.ndarray, mask_BT: np.ndarray) -> np.ndarray:
        if not hasattr(own, "request"):
            own.request = compiled.create_infer_request()
        logits: np.ndarray = own.request.infer([ids_BT, mask_BT], share_inputs=True)[0]
        return logits

    return run


def _row(task: Task, rates: list[float]) -> Row:
    return {
        "what": task.what,
        "precision": task.precision,
        "measured": statistics.median(rates),
        "low": min(rates),
        "high": max(rates),
        "unit": task.unit,
    }


def ceilings(
    tasks: Sequence[Task], rates: Sequence[list[float]], needed: float, rounds: int
) -> dict[str, list[float]]:
    """Sentences a second that the best product of a precision would allow, in each round."""
    found: dict[str, list[float]] = {}
    for precision in ("float32", "bfloat16", "int8"):
        products = [
            rate
            for task, rate in zip(tasks, rates, strict=True)
            if task.what.startswith("product") and task.precision.split(",")[0] == precision
        ]
        found[precision] = [1e9 * max(rate[at] for rate in products) / needed for at in range(rounds)]
    return found


def main() -> None:
    """Measure, print, write the record."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--method", default="head", help="how the network was tuned: head or top")
    given = parser.parse_args()
    model, texts = export(trained_project(given.method)), messages()
    tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(128)
    config = json.loads((model / "config.json").read_text())
    needed = operations_a_sentence(config, [len(one.ids) for one in tokenizer.encode_batch_fast(texts)])
    train = (BANKING / "train.csv").read_text(encoding="utf-8").splitlines()[1 : 1 + 8 * CALIBRATION : 8]
    runs = encoders(model, tokenizer, train)
    truth = runs["torch", "float32"].labels(texts)
    tasks = [*product_tasks(config), memory_task(), tokenizer_task(tokenizer, texts)]
    tasks += [
        Task(f"encoder, {runtime}", precision, "sentences/s", len(texts), lambda run=run: run.labels(texts))  # type: ignore[misc]
        for (runtime, precision), run in runs.items()
    ]
    rates = measure(tasks, given.rounds)
    bounds = ceilings(tasks, rates, needed, given.rounds)
    rows = [{"what": "a sentence needs", "measured": needed / 1e9, "unit": "GFLOP"}]
    for task, rate in zip(tasks, rates, strict=True):
        row = _row(task, rate)
        if task.what.startswith("encoder"):
            bound = bounds[task.precision]
            row["ceiling"] = statistics.median(bound)
            row["times_from_ceiling"] = statistics.median(b / r for b, r in zip(bound, rate, strict=True))
            runtime = task.what.removeprefix("encoder, ")
            row["agreement"] = float((runs[runtime, task.precision].labels(texts) == truth).mean())
        rows.append(row)
    print_table(rows, COLUMNS)
    write_record("ceiling", rows)


if __name__ == "__main__":
    main()
