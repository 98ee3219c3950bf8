"""Writes a version's model card from its manifest: measured facts only, in the Hub's layout."""

import json

from millwright.records import JsonObject
from millwright.settings import SPANS

SPAN_METRICS = ("precision", "recall", "f1", "macro_f1", "exact_rows")
METRICS = ("accuracy", "macro_f1", "weighted_f1", "calibration_error", "log_loss")


def model_card(manifest: JsonObject, membership: JsonObject | None = None) -> str:
    """The card as Markdown with the YAML front matter that the Hugging Face Hub reads.

    Args:
        manifest: a version's manifest.
        membership: what an audit of membership found, if there was one.

    Returns:
        The text of README.md.
    """
    splits, has_spans = manifest["dataset"]["splits"], manifest.get("task") == SPANS
    pipeline = SPANS if has_spans else "text-classification"
    does = "Finds spans of {} labels in text." if has_spans else "Classifies text into {} labels."
    lines = [
        "---",
        "library_name: millwright",
        f"pipeline_tag: {pipeline}",
        f"base_model: {json.dumps(manifest['backbone']['name'], ensure_ascii=False)}",  # YAML reads JSON
        f"tags: [{pipeline}, millwright]",
        "---",
        f"# {manifest['project']} {manifest['name']}",
        "",
        f"{does.format(len(manifest['labels']))} Made {manifest['created_at']}.",
        "",
        "## How it was made",
        f"- Method: `{manifest['method']}`; {manifest['why']}.",
        *_shards(manifest),
        f"- Backbone: `{manifest['backbone']['name']}`, weights sha256 `{manifest['backbone']['sha256']}`.",
        f"- Dataset `{manifest['dataset']['id']}`: {splits['train']} training, {splits['validation']} "
        f"validation and {splits['test']} test rows.",
        f"- Libraries: {', '.join(f'{name} {number}' for name, number in manifest['libraries'].items())}.",
        "",
        "## What was measured",
    ]
    if "weak" in manifest["facts"]:
        lines.insert(-2, f"- Weak rows: {manifest['facts']['weak']['why']}.")
    metrics = manifest["metrics"]
    if metrics is None:
        lines.append("Nothing: the dataset has no test rows.")
    else:
        lines += [f"On {metrics['rows']} test rows, with 95 % bootstrap intervals:", ""]
        lines += ["| metric | value | low | high |", "|---|---|---|---|"]
        for name in SPAN_METRICS if has_spans else METRICS:
            figure = metrics[name]
            lines.append(f"| {name} | {figure['value']:.4f} | {figure['low']:.4f} | {figure['high']:.4f} |")
    lines += _privacy(manifest)
    lines += [] if membership is None else _membership(membership)
    lines += ["", "## What it costs", "", "| stage | seconds | rows/s |", "|---|---|---|"]
    for stage, cost in manifest["facts"]["stages"].items():
        lines.append(f"| {stage} | {cost['seconds']} | {cost['rows_per_second']} |")
    lines += ["", f"Peak memory: {manifest['facts']['peak_memory_bytes'] / 1e6:.0f} MB.", "", "## Labels", ""]
    lines += [f"- `{' '.join(label.split())}`" for label in manifest["labels"]]
    return "\n".join(lines) + "\n"


def _shards(manifest: JsonObject) -> list[str]:
    shards = manifest["facts"].get("shards")
    if not shards:
        return []
    sizes = ", ".join(str(shard["rows"]) for shard in shards)
    return [f"- {len(shards)} shards by person, of {sizes} rows, learnt apart; their answers are averaged."]


def _privacy(manifest: JsonObject) -> list[str]:
    """What a differentially private version promises, and what the promise leaves out."""
    if (privacy := manifest["facts"].get("privacy")) is None:
        return []
    spent = manifest["spent"]
    return [
        "",
        "## Differential privacy",
        f"- ε = {privacy['epsilon']:g}, δ = {privacy['delta']:g} ({_noise(privacy)}), for "
        f"{privacy['people']:,} people.",
        f"- Unit: {privacy['unit']}. Neighbours: {privacy['neighbours']}.",
        f"- {privacy['mechanism']}."
        + (f" Noise and draws come from {privacy['randomness']}." if "randomness" in privacy else "")
        + ("" if manifest["facts"]["is_calibrated"] else " People were too few to choose a temperature by."),
        f"- Covered: {'; '.join(privacy['covered'])}.",
        f"- Not covered: {'; '.join(privacy['not_covered'])}.",
        f"- Private versions that the project has released, this one included: {spent['releases']:,}. To a "
        f"person who taught all of them they promise ε = {spent['epsilon']:.3g} with δ = {spent['delta']:g}.",
    ]


def _noise(privacy: JsonObject) -> str:
    """How much noise there was: that of one release, or that of each step of a descent."""
    if "steps" not in privacy:
        return f"μ = {privacy['mu']:.4f}"
    return (
        f"{privacy['steps']} steps, sample rate {privacy['sample_rate']:g}, noise multiplier "
        f"{privacy['noise_multiplier']:.4f}, gradients cut to length {privacy['clip']:g}"
    )


def _membership(audit: JsonObject) -> list[str]:
    """How well attacks tell who taught the version."""
    rates = " | ".join(f"found at {rate:.1%} false" for rate in audit["rates"])
    lines = [
        "",
        "## Membership inference",
        f"{audit['members']:,} rows that taught against {audit['others']:,} that did not, {audit['shadows']} "
        "shadow heads; 95 % intervals.",
        "",
        f"| attack | area under ROC | {rates} |",
        "|---|---|" + "---|" * len(audit["rates"]),
    ]
    for attack in audit["attacks"]:
        points = [
            "others too few" if point is None else _interval(point["true_positives"])
            for point in attack["points"]
        ]
        lines.append(f"| {attack['name']} | {_interval(attack['area'])} | {' | '.join(points)} |")
    if audit["promised"] is not None:
        promised = " | ".join(f"{most:.4f}" for most in audit["promised"])
        lines.append(f"| the most that its promise allows | | {promised} |")
    return [*lines, *(f"\n{note[0].upper()}{note[1:]}." for note in audit["notes"])]


def _interval(figure: JsonObject) -> str:
    return f"{figure['value']:.4f} ({figure['low']:.4f} to {figure['high']:.4f})"
