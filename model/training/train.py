"""Train the bundled release from nothing: ``python -m magnetar.model.training.train --data FOLDER --work FOLDER``.

The data is the six novels in Debian's ``r-cran-janeaustenr`` (see ``austen_corpus.py``). On one machine and build of
torch, the tokenizer, the sampling and the weights depend on the seed alone. A run that was killed continues from its
last checkpoint when the same command is given again.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from magnetar.convert.layout.architecture import Architecture
from magnetar.convert.read.checkpoint_source import open_source
from magnetar.convert.transform.view import view_as
from magnetar.errors import UsageError
from magnetar.files import replace_file
from magnetar.model.architecture.mixtral import Mixtral, Routing
from magnetar.model.bundled import NAME
from magnetar.model.run.generate import generate_greedily
from magnetar.model.run.load import load_model
from magnetar.model.run.run_facts import routing_entropy
from magnetar.model.training.corpus import Corpus, evaluate, read_corpus
from magnetar.model.training.loss_curve import Point, draw_curve
from magnetar.model.training.model_card import RELEASE_NOTES, ReleaseScore, write_card
from magnetar.model.training.muon import Muon
from magnetar.model.training.pack_release import write_release
from magnetar.model.training.recipe import Recipe

BUNDLED = Architecture(
    dim=128,
    n_layers=4,
    head_dim=32,
    hidden_dim=256,
    n_heads=4,
    n_kv_heads=2,
    norm_eps=1e-5,
    vocab_size=1024,
    rope_theta=1e6,
    n_experts=8,
    experts_per_token=2,
)

MAX_EVALUATED_WINDOWS = 24
"""Windows of the held-out text that are scored during the run; at the end all of it is scored."""


class TrainingRun:
    """A model in training: its weights, its optimizers, the step it is at and the curve so far."""

    def __init__(self, architecture: Architecture, recipe: Recipe) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.step, self.cpu_seconds = recipe, 0, 0.0
        self.curve: list[Point] = []
        self.model = Mixtral(architecture)
        _initialise(self.model)
        named = dict(self.model.named_parameters())
        matrices = {name for name, weight in named.items() if _is_hidden_matrix(name, weight)}
        muon = Muon(
            [named[name] for name in named if name in matrices], recipe.muon_rate, weight_decay=recipe.weight_decay
        )
        adam = torch.optim.AdamW(
            [weight for name, weight in named.items() if name not in matrices],
            lr=recipe.adam_rate,
            betas=(0.9, 0.95),
            weight_decay=0.0,
        )
        self.optimizers: tuple[torch.optim.Optimizer, ...] = (muon, adam)

    def advance(self, inputs: Tensor, targets: Tensor) -> float:
        """One step of training; returns its cross-entropy in nats per token."""
        began = time.process_time()
        routings: list[Routing] = []
        logits = self.model(inputs, watches=[routings.append] * len(self.model.layers))
        loss = functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
        torch.autograd.backward(loss + self.recipe.balance * sum(map(imbalance, routings)))
        for optimizer, highest in zip(self.optimizers, (self.recipe.muon_rate, self.recipe.adam_rate), strict=True):
            for group in optimizer.param_groups:
                group["lr"] = highest * self.recipe.rate(self.step)
            optimizer.step()
        self.model.zero_grad(set_to_none=True)
        self.step += 1
        self.cpu_seconds += time.process_time() - began
        return float(loss.detach())

    def evaluate(self, corpus: Corpus, loss: float) -> None:
        """ReleaseScore a few windows of the held-out text, and add the point to the curve."""
        recipe = self.recipe
        bits_per_byte, shares = evaluate(self.model, corpus, recipe.context, MAX_EVALUATED_WINDOWS)
        tokens = self.step * recipe.sequences * recipe.context
        entropy = routing_entropy(shares)
        self.curve.append(Point(self.step, tokens, self.cpu_seconds, loss, bits_per_byte, entropy))

    def save(self, path: Path) -> None:
        """Write everything that is needed to continue, atomically."""
        state = {
            "step": self.step,
            "cpu_seconds": self.cpu_seconds,
            "recipe": asdict(self.recipe),
            "curve": [asdict(point) for point in self.curve],
            "model": self.model.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }
        temporary = path.with_suffix(".partial")
        torch.save(state, temporary)
        temporary.replace(path)

    def resume(self, path: Path) -> None:
        """Continue from what ``save`` wrote. Raises ``UsageError`` if that run had another recipe."""
        state: dict[str, Any] = torch.load(path, weights_only=True)
        if state["recipe"] != asdict(self.recipe):
            raise UsageError(f"{path}: this run began with another recipe", hint="give another --work folder")
        self.step, self.cpu_seconds = state["step"], state["cpu_seconds"]
        self.curve = [Point(**point) for point in state["curve"]]
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)


def imbalance(routing: Routing) -> Tensor:
    """The balancing loss of the Switch Transformer (arXiv:2101.03961, eq. 4).

    It is 1 where a router spreads its tokens evenly, and up to E where one expert gets all.
    """
    n_experts = routing.logits.shape[-1]
    picks = routing.chosen.flatten()
    share = picks.bincount(minlength=n_experts) / len(picks)
    return n_experts * (share * routing.logits.softmax(-1).mean(0)).sum()


def train(run: TrainingRun, corpus: Corpus, checkpoint: Path) -> Iterator[Point]:
    """Train to the last step, and yield the points of the curve. Continues from ``checkpoint`` if it exists."""
    recipe = run.recipe
    if checkpoint.exists():
        run.resume(checkpoint)
    losses = []
    while run.step < recipe.steps:
        batch = corpus.batch(run.step, recipe.sequences, recipe.context, recipe.seed)
        losses.append(run.advance(*batch))
        if run.step % recipe.evaluate_every == 0 or run.step == recipe.steps:
            run.evaluate(corpus, sum(losses) / len(losses))
            run.save(checkpoint)
            losses.clear()
            yield run.curve[-1]


def _initialise(model: Mixtral) -> None:
    """Every layer begins as the identity: the matrices that write into the residual stream begin at zero."""
    torch.nn.init.normal_(model.tok_embeddings.weight, std=0.1)
    torch.nn.init.zeros_(model.output.weight)
    for name, weight in model.named_parameters():
        if name.endswith(("attention.wo.weight", ".w2.weight")):
            torch.nn.init.zeros_(weight)


def _is_hidden_matrix(name: str, weight: Tensor) -> bool:
    return name.startswith("layers.") and weight.ndim == 2 and not name.endswith("gate.weight")


def main() -> None:
    """Train, print the curve as it grows, and write the release."""
    parser = argparse.ArgumentParser(description="Train the bundled release from nothing.")
    parser.add_argument("--data", type=Path, required=True, help="the data folder of the R package janeaustenr")
    parser.add_argument("--work", type=Path, required=True, help="folder for the checkpoint of the run")
    parser.add_argument("--release", type=Path, required=True, help="folder for the release, its card and its text")
    parser.add_argument(
        "--threads", type=int, default=1, help="threads of the arithmetic; another number gives other roundings"
    )
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    arguments.work.mkdir(parents=True, exist_ok=True)
    corpus = read_corpus(arguments.data, BUNDLED.vocab_size)
    run = TrainingRun(BUNDLED, Recipe())
    for point in train(run, corpus, arguments.work / "training.pt"):
        print(point.line, flush=True)
    score = publish(run, corpus, arguments.release)
    entropy = routing_entropy(score.expert_load)
    print(f"the release, on all of the held-out text: {score.bits_per_byte:.4f} bits/byte, routing {entropy:.3f} bits")


def publish(run: TrainingRun, corpus: Corpus, folder: Path) -> ReleaseScore:
    """Write the release, its text, its card and the picture of its curve; return the score of what was written."""
    write_release(folder / NAME, run.model.state_dict(), run.model.architecture, corpus.pieces, RELEASE_NOTES)
    replace_file(folder / "held-out.txt", corpus.held_out.encode())
    with open_source(folder / NAME) as source:
        model = load_model(view_as(source, "mistral"), source.architecture)
    bits_per_byte, load = evaluate(model, corpus, run.recipe.context)
    prompt = corpus.tokenizer.encode(corpus.held_out[:100])
    score = ReleaseScore(
        bits_per_byte,
        load,
        text_bytes=len(corpus.held_out.encode()),
        epochs=run.curve[-1].tokens / len(corpus.training),
        sample=corpus.tokenizer.decode([*prompt, *generate_greedily(model, prompt, 48)]),
    )
    replace_file(folder / "curve.svg", draw_curve(run.curve, load).encode())
    card = write_card(source.architecture, run.recipe, run.curve, score)
    replace_file(folder / "MODEL_CARD.md", card.encode())
    return score


if __name__ == "__main__":
    main()
