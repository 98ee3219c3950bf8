"""The training loop: one for all methods; what moves is what requires a gradient in the network.

Every step seeds its own randomness and the learning rate is a function of the step, so a run that
was killed and resumed from its checkpoint ends with the same weights as one that was not.

Shape suffixes: N rows, B rows of a batch, T tokens, C labels.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from millwright.errors import Corrupt
from millwright.store.files import write_bytes
from millwright.train.calibrate import fit_temperature
from millwright.train.events import Events
from millwright.train.methods import orthogonality, tuned_tensors
from millwright.train.network import Network, pad
from millwright.train.states import batches_by_length, device

HEAD_RATE = 5e-3
WARMUP = 0.1
ORTHOGONALITY_WEIGHT = 0.5
CHECKPOINT_STEPS = 500
BATCHES_SORTED_TOGETHER = 50


@dataclass(frozen=True)
class Plan:
    """What the loop needs to know besides the network and the rows."""

    method: str
    learning_rate: float
    epochs: int
    patience: int
    batch_size: int
    label_smoothing: float
    seed: int
    pad_id: int


@dataclass(frozen=True)
class Rows:
    """Inputs (token ids [T], or states [T, H]) and their label numbers [N]."""

    inputs: list[Tensor]
    truth_N: np.ndarray


@dataclass
class _State:
    """Where a run stands: what a checkpoint holds besides tensors."""

    step: int = 0
    best_loss: float = math.inf
    best_epoch: int = 0
    stopped: bool = False


def tune(
    network: Network, train: Rows, validation: Rows, plan: Plan, run: Path, progress: Callable[[float], None]
) -> tuple[dict[str, Tensor], int]:
    """Train what requires a gradient until validation stops improving.

    Args:
        network: on the CPU; moved to the GPU where there is one.
        train: rows to learn from.
        validation: rows that decide when to stop; without any, the last epoch counts.
        plan: rates, lengths and seed.
        run: folder for the checkpoint and the TensorBoard events; a checkpoint there is resumed.
        progress: called with the fraction done.

    Returns:
        The tuned tensors of the best epoch, by name, and that epoch's number.

    Raises:
        Corrupt: the checkpoint in `run` is damaged.
    """
    network.to(device())
    if device().type == "cpu":  # where the backward pass of fused attention costs ten times as much
        network.encoder.set_attn_implementation("eager")
    optimizer = _optimizer(network, plan)
    state, best = (
        _resume(network, optimizer, run) if (run / "checkpoint.safetensors").exists() else (_State(), {})
    )
    lengths = [len(item) for item in train.inputs]
    steps_an_epoch = math.ceil(len(lengths) / plan.batch_size)
    with Events(run) as events, torch.random.fork_rng():
        for epoch in range(state.step // steps_an_epoch, plan.epochs):
            if state.stopped:
                break
            for batch in list(_shuffled(lengths, plan, epoch))[state.step % steps_an_epoch :]:
                loss = _step(network, optimizer, train, batch, plan, state.step, steps_an_epoch * plan.epochs)
                state.step += 1
                events.add_scalar("train/loss", loss, state.step)
                progress(state.step / (steps_an_epoch * plan.epochs))
                if state.step % CHECKPOINT_STEPS == 0 and state.step % steps_an_epoch:
                    _checkpoint(network, optimizer, state, best, run)
            best = _end_of_epoch(network, validation, plan, state, best, epoch + 1, events)
            events.flush()
            _checkpoint(network, optimizer, state, best, run)
    return best, state.best_epoch


def logits(network: Network, inputs: Sequence[Tensor], pad_id: int) -> np.ndarray:
    """Logits [N, C] of a network in training precision, in the order of `inputs`."""
    network.eval()
    found = np.zeros((len(inputs), network.head.out_features), np.float32)
    with torch.inference_mode():
        for batch in batches_by_length([len(item) for item in inputs]):
            input_BT, mask_BT = padded([inputs[index] for index in batch], pad_id, network.precision)
            with _autocast(network):
                found[batch] = network(input_BT, mask_BT).float().cpu().numpy()
    return found


def features(network: Network, inputs: Sequence[Tensor], pad_id: int) -> np.ndarray:
    """Features [N, D] as the untrained network makes them, to start the head from; it is moved to the GPU
    where there is one.
    """
    network.to(device()).eval()
    found = np.zeros((len(inputs), network.head.in_features), np.float32)
    with torch.inference_mode():
        for batch in batches_by_length([len(item) for item in inputs]):
            input_BT, mask_BT = padded([inputs[index] for index in batch], pad_id, network.precision)
            with _autocast(network):
                found[batch] = network.features(input_BT, mask_BT).float().cpu().numpy()
    return found


def _step(
    network: Network,
    optimizer: torch.optim.Optimizer,
    train: Rows,
    batch: list[int],
    plan: Plan,
    step: int,
    steps: int,
) -> float:
    torch.manual_seed(plan.seed * 1_000_003 + step)
    for group in optimizer.param_groups:
        group["lr"] = group["peak"] * schedule(step, steps)
    network.train()
    input_BT, mask_BT = padded([train.inputs[index] for index in batch], plan.pad_id, network.precision)
    truth_B = torch.from_numpy(train.truth_N[batch]).to(device())
    with _autocast(network):
        logit_BC = network(input_BT, mask_BT)
    loss = nn.functional.cross_entropy(logit_BC.float(), truth_B, label_smoothing=plan.label_smoothing)
    if plan.method == "adalora":
        loss = loss + ORTHOGONALITY_WEIGHT * orthogonality(network)
    loss.backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(
        [parameter for parameter in network.parameters() if parameter.requires_grad], 1.0
    )
    optimizer.step()
    if plan.method == "adalora":
        network.encoder.base_model.update_and_allocate(step)
    optimizer.zero_grad()
    return loss.item()


def schedule(step: int, steps: int) -> float:
    """Linear rise over the first tenth, then half a cosine down to zero."""
    rise = max(1, round(WARMUP * steps))
    if step < rise:
        return (step + 1) / rise
    return 0.5 * (1 + math.cos(math.pi * (step - rise) / max(1, steps - rise)))


def _end_of_epoch(
    network: Network,
    validation: Rows,
    plan: Plan,
    state: _State,
    best: dict[str, Tensor],
    epoch: int,
    events: Events,
) -> dict[str, Tensor]:
    loss = -float(epoch)
    if len(validation.truth_N):
        logit_NC = torch.from_numpy(logits(network, validation.inputs, plan.pad_id))
        truth_N = torch.from_numpy(validation.truth_N)
        # The loss at the best temperature: calibration comes after, so sharpness alone must not stop us.
        scaled = logit_NC / fit_temperature(logit_NC.numpy(), validation.truth_N)
        loss = nn.functional.cross_entropy(scaled, truth_N).item()
        events.add_scalar("validation/loss", loss, state.step)
        events.add_scalar(
            "validation/accuracy", (logit_NC.argmax(1) == truth_N).float().mean().item(), state.step
        )
    if loss < state.best_loss:
        state.best_loss, state.best_epoch = loss, epoch
        best = {name: tensor.cpu().clone() for name, tensor in tuned_tensors(network).items()}
    # AdaLoRA must reach its budget before anything may stop it.
    state.stopped = plan.method != "adalora" and epoch - state.best_epoch >= plan.patience
    return best


def moved_parameters(network: Network) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """What requires a gradient in the body of a network, and its head's parameters."""
    head = list(network.head.parameters())
    of_head = {id(parameter) for parameter in head}
    return [p for p in network.parameters() if p.requires_grad and id(p) not in of_head], head


def _optimizer(network: Network, plan: Plan) -> torch.optim.Optimizer:
    body, head = moved_parameters(network)
    groups = [
        {"params": body, "peak": plan.learning_rate, "weight_decay": 0.01},
        {"params": head, "peak": HEAD_RATE, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr=plan.learning_rate, fused=True
    )


def _shuffled(lengths: Sequence[int], plan: Plan, epoch: int) -> Iterator[list[int]]:
    """Batches in random order whose rows have similar lengths; a function of seed and epoch alone."""
    generator = np.random.default_rng([plan.seed, epoch])
    order = generator.permutation(len(lengths))
    stretch = plan.batch_size * BATCHES_SORTED_TOGETHER
    batches = []
    for start in range(0, len(order), stretch):
        part = sorted(order[start : start + stretch].tolist(), key=lengths.__getitem__)
        batches += [part[at : at + plan.batch_size] for at in range(0, len(part), plan.batch_size)]
    for place in generator.permutation(len(batches)):
        yield batches[place]


def padded(items: Sequence[Tensor], pad_id: int, precision: torch.dtype) -> tuple[Tensor, Tensor]:
    """Token ids [B, T], or states [B, T, H] in `precision`, and their mask [B, T], where the network is."""
    is_tokens = not items[0].is_floating_point()
    input_BT, mask_BT = pad(items, pad_id if is_tokens else 0.0)
    if not is_tokens:
        input_BT = input_BT.to(precision)
    return input_BT.to(device()), mask_BT.to(device())


def _autocast(network: Network) -> torch.autocast:
    return torch.autocast(device().type, torch.bfloat16, enabled=network.precision == torch.bfloat16)


def _checkpoint(
    network: Network, optimizer: torch.optim.Optimizer, state: _State, best: dict[str, Tensor], run: Path
) -> None:
    tensors = {f"now/{name}": tensor for name, tensor in tuned_tensors(network).items()}
    tensors |= {f"best/{name}": tensor for name, tensor in best.items()}
    for place, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{place}/{name}": tensor for name, tensor in moments.items()}
    about = {**vars(state), "best_loss": min(state.best_loss, 1e30)}
    if hasattr(getattr(network.encoder, "base_model", None), "rankallocator"):
        adalora = network.encoder.base_model
        for kind in ("ipt", "exp_avg_ipt", "exp_avg_unc"):
            tensors |= {f"{kind}/{name}": t for name, t in getattr(adalora.rankallocator, kind).items()}
        about["rank_pattern"] = adalora.peft_config["default"].rank_pattern
    content = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    write_bytes(run / "checkpoint.safetensors", save(content, metadata={"state": json.dumps(about)}))


def _resume(
    network: Network, optimizer: torch.optim.Optimizer, run: Path
) -> tuple[_State, dict[str, Tensor]]:
    path = run / "checkpoint.safetensors"
    try:
        with safe_open(path, "pt") as file:
            about = json.loads(file.metadata()["state"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118, not a dict
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise Corrupt(f"{path} is damaged ({error}); delete it to train from the start") from None
    kinds: dict[str, dict[str, Tensor]] = {}
    for full_name, tensor in tensors.items():
        kind, _, name = full_name.partition("/")
        kinds.setdefault(kind, {})[name] = tensor
    network.load_state_dict(kinds["now"], strict=False)
    moments: dict[int, dict[str, Tensor]] = {}
    for key, tensor in kinds.get("optimizer", {}).items():
        place, _, name = key.partition("/")
        moments.setdefault(int(place), {})[name] = tensor
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    rank_pattern = about.pop("rank_pattern", None)
    if hasattr(getattr(network.encoder, "base_model", None), "rankallocator"):
        adalora = network.encoder.base_model
        adalora.peft_config["default"].rank_pattern = rank_pattern
        for kind in ("ipt", "exp_avg_ipt", "exp_avg_unc"):
            found = {name: tensor.to(device()) for name, tensor in kinds.get(kind, {}).items()}
            setattr(adalora.rankallocator, kind, found)
    return _State(**about), kinds.get("best", {})
