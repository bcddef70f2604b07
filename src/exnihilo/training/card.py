"""The model card of a run: a README with a YAML head, as hubs read it."""

from __future__ import annotations

import json
from typing import Any

from exnihilo.core import find_recipe


def model_card(record: dict[str, Any], journal: list[dict[str, Any]]) -> str:
    """Markdown that says what the model is, on what and how it was trained, and how to use it."""
    recipe = find_recipe(record["recipe"])
    data, spec = record["data"], record["spec"]
    budget = ", ".join(f"{value} {name}" for name, value in record["budget"].items())
    options = "\n".join(f"| {name} | {value} |" for name, value in record["options"].items())
    last = {name: value for name, value in journal[-1].items() if isinstance(value, float)} if journal else {}
    figures = "\n".join(f"| {name} | {value:.5g} |" for name, value in last.items()) or "| (closed form) | |"
    warnings = "\n".join(f"- {text}" for text in record["warnings"]) or "- none"
    advice = f"\nWhen to stop: {record['advice']}\n" if "advice" in record else ""
    paper = f"{recipe.title} ({recipe.authors})" + (f", arXiv:{recipe.arxiv}" if recipe.arxiv else "")
    return f"""---
library_name: exnihilo
tags: [generative-model, {recipe.family}, {recipe.name}]
---

# {recipe.name} on {data["source"]}

{recipe.summary}

{paper}.

Trained on {spec.get("examples", 0)} examples ({spec["kind"]}, shape {tuple(spec["shape"])}) of `{data["source"]}`
(options {json.dumps(data["options"], default=str)}, fingerprint {data["fingerprint"]}) for {budget}: rounds
{record["rounds"]}, {record["seconds"]:.1f} s of training, {record["parameters"]:,} parameters, seed {record["seed"]},
{record["threads"]} thread(s) on {record["device"]}, torch {record["versions"]["torch"]}.

```python
import exnihilo as xn
model = xn.load("PATH/TO/THIS/FOLDER")
x = model.sample(16, seed=0)
raw = model.spec.decode(x)
```

| option | value |
|---|---|
{options}

| last logged term | value |
|---|---|
{figures}

Warnings during training:

{warnings}
{advice}"""
