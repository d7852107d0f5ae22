"""Training learns, repeats itself bit by bit, and says clearly when it cannot go on."""

import fcntl
import json
import math
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from training_kernels.__main__ import main
from training_kernels.checkpoint import load_for_training
from training_kernels.config import DivergenceConfig, LoraTuning, OptimizerConfig
from training_kernels.documents import Document, Segment
from training_kernels.encoder import Encoder
from training_kernels.errors import AlreadyTraining, IncompleteArtifact, TrainingDiverged
from training_kernels.examples import Example, ExampleSet, write_examples
from training_kernels.manifest import read_manifest
from training_kernels.objective import ContrastiveObjective
from training_kernels.recipes import tiny
from training_kernels.sampling import plan_batches
from training_kernels.state import outdated
from training_kernels.trainer import backward, fault_of, learning_rate, train

COLOURS = {"red": (215, 40, 40), "green": (40, 160, 60), "blue": (50, 70, 210), "yellow": (230, 215, 50)}
PLACES = ("left", "right", "top", "bottom")
THINGS = ("moon", "egg", "bridge", "river", "engine", "frog", "nerve", "treaty", "plot", "castle", "stove", "comet")


class Scenes:
    """Pictures named `colour-place-number`: a block of that colour on that side of a grey ground, with noise."""

    def open(self, digest: str) -> Image.Image:
        colour, place, number = digest.split("-")
        generator = np.random.default_rng(int(number))
        pixels = np.full((112, 112, 3), 128.0)
        half = {"left": np.s_[:, :56], "right": np.s_[:, 56:], "top": np.s_[:56], "bottom": np.s_[56:]}[place]
        pixels[half] = COLOURS[colour]
        return Image.fromarray((pixels + generator.normal(0, 8, pixels.shape)).clip(0, 255).astype(np.uint8))


def scene_task() -> tuple[ExampleSet, list[Document], list[Document]]:
    """Captions to pictures; the held-out pictures are of the same 16 scenes, drawn anew."""
    documents, examples = {}, []
    scenes = [(colour, place) for colour in COLOURS for place in PLACES]
    for number in range(60):  # of eight drawings each, the model learns the noise by heart
        for colour, place in scenes:
            name = f"{colour}-{place}-{number}"
            documents[f"q-{name}"] = Document.of(f"{colour} at the {place}")
            documents[name] = Document.of(Segment(image=name))
            examples.append(_example(f"q-{name}", name))
    queries = [Document.of(f"{colour} at the {place}") for colour, place in scenes]
    candidates = [Document.of(Segment(image=f"{colour}-{place}-{900 + i}")) for i, (colour, place) in enumerate(scenes)]
    return ExampleSet(documents, tuple(examples)), queries, candidates


def text_task() -> tuple[ExampleSet, list[Document], list[Document]]:
    """Two things named in a query, in the other order in a long text; held-out pairs of things were never trained."""
    generator = np.random.default_rng(0)
    pairs = [(one, other) for one in THINGS for other in THINGS if one < other]
    order = generator.permutation(len(pairs))
    documents, examples = {}, []
    for position in order[16:]:
        one, other = pairs[position]
        for number in range(3):
            name = f"{one}-{other}-{number}"
            documents[f"q-{name}"] = Document.of(f"which page has a {one} with a {other}")
            documents[name] = _page(one, other, generator)
            examples.append(_example(f"q-{name}", name))
    held_out = [pairs[position] for position in order[:16]]
    queries = [Document.of(f"which page has a {one} with a {other}") for one, other in held_out]
    return ExampleSet(documents, tuple(examples)), queries, [_page(one, other, generator) for one, other in held_out]


def _page(one: str, other: str, generator: np.random.Generator) -> Document:
    filler = [f"word{number}" for number in generator.integers(0, 30, size=12)]
    return Document.of(" ".join([*filler[:4], "the", other, *filler[4:8], "and the", one, *filler[8:]]))


def _example(query: str, positive: str) -> Example:
    return Example(example_id=query, query=query, positive=positive, negatives=(), source="made")


def recall_at_1(folder, queries, candidates) -> float:
    encoder = Encoder.load(folder)
    similarity = (
        encoder.encode(queries, Scenes(), side="query") @ encoder.encode(candidates, Scenes(), side="candidate").T
    )
    return float((similarity.argmax(1) == np.arange(len(queries))).mean())


def short_recipe(**changes):
    return replace(tiny(), batch_size=16, epochs=100, **changes)


@pytest.mark.parametrize(
    ("task", "steps", "rate"),
    [(scene_task, 100, 1e-3), (text_task, 40, 2e-3)],
    ids=["text to picture", "text to text"],
)
def test_recall_of_held_out_documents_rises_far_above_the_untrained(tiny_folder, tmp_path, task, steps, rate):
    training, queries, candidates = task()
    recipe = short_recipe(max_steps=steps, optimizer=replace(tiny().optimizer, learning_rate=rate))
    report = train(
        recipe,
        training,
        Scenes(),
        start_from=tiny_folder,
        out=tmp_path / "out",
        log=lambda line: None,
    )
    before, after = (recall_at_1(folder, queries, candidates) for folder in (tiny_folder, tmp_path / "out"))
    assert after >= before + 0.3
    assert after >= 0.6
    assert report["last_loss"] < report["first_loss"]


@pytest.fixture(scope="module")
def training() -> ExampleSet:
    return text_task()[0]


def run(training, start_from, out, **changes):
    lines = []
    report = train(
        short_recipe(**{"max_steps": 3} | changes), training, Scenes(), start_from=start_from, out=out, log=lines.append
    )
    return report, lines


def test_equal_seeds_give_equal_weights_and_others_do_not(training, tiny_folder, tmp_path):
    for name, seed in (("one", 5), ("same", 5), ("other", 6)):
        torch.manual_seed(len(name))
        state = torch.get_rng_state()
        run(training, tiny_folder, tmp_path / name, seed=seed, tuning=LoraTuning(rank=2, alpha=4, dropout=0.3))
        assert torch.equal(state, torch.get_rng_state())
    one, same, other = (load_file(tmp_path / name / "adapter_model.safetensors") for name in ("one", "same", "other"))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_the_report_stands_in_the_folder_and_counts_what_was_done(training, tiny_folder, tmp_path):
    report, lines = run(training, tiny_folder, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "metrics.json").read_text()) == report
    assert report["steps"] == len(report["curve"]) == 3
    assert report["tokens"] > 3 * 2 * 16 * 8
    assert (report["device"], report["precision"], report["cut_documents"]) == ("cpu", "float32", 0)
    assert [set(map(int, point["loss_by_dim"])) for point in report["curve"]] == [{128, 64, 32, 16}] * 3
    assert lines[-2].startswith("step 3/3  loss ")
    for said in ("128:", "gradient norm", "rate ", "queries/s", "tokens/s", "MiB", "0 s left"):
        assert said in lines[-2]
    assert lines[0].startswith("recipe tiny on cpu in float32, seed 42: 3 steps")


def test_the_report_and_the_log_say_what_was_left_out_of_every_batch(training, tiny_folder, tmp_path):
    recurring = [replace(training.examples[0], example_id=f"again {number}") for number in range(3)]
    more = replace(training, examples=(*training.examples[:16], *recurring))
    report, lines = run(more, tiny_folder, tmp_path / "out", max_steps=1)
    (drop,) = report["drops"]
    assert (drop["source"], drop["rule"], drop["times"]) == ("made", "alone", 3)
    assert f"left out of source 'made', 3 times, as alone: {drop['reason']}" in lines


def test_curves_are_tensorboard_files_in_the_runs_folder(training, tiny_folder, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    report, _ = run(training, tiny_folder, tmp_path / "out")
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard")).Reload()
    assert {"loss", "loss_by_dim/128", "loss_by_dim/16", "learning_rate", "gradient_norm", "temperature"} < set(
        events.Tags()["scalars"]
    )
    got = [(event.step, event.value) for event in events.Scalars("loss_by_dim/16")]
    expected = [(point["step"], point["loss_by_dim"]["16"]) for point in report["curve"]]
    assert got == [(step, pytest.approx(value)) for step, value in expected]
    assert not (tmp_path / "out.state").exists()
    assert Encoder.load(tmp_path / "out").dim == 128, "files beside the weights are no part of the checkpoint"


def test_a_document_that_is_cut_in_every_epoch_counts_once(training, tiny_folder, tmp_path):
    inputs = replace(tiny().inputs, max_tokens=20, min_pixels=784, max_pixels=784)
    examples = training.examples[:20]
    named = {one for example in examples for one in (example.query, example.positive)}
    few = ExampleSet({name: training.documents[name] for name in named}, examples)
    encoder = Encoder(Encoder.load(tiny_folder).backbone, inputs, dims=(128,))
    encoder.render(list(few.documents.values()), Scenes(), side="candidate")
    report, _ = run(few, tiny_folder, tmp_path / "out", inputs=inputs, max_steps=6)
    assert 0 < report["cut_documents"] == encoder.num_cut < len(few.documents)


def test_a_run_that_diverges_says_so_and_writes_nothing(training, tiny_folder, tmp_path):
    optimizer = replace(tiny().optimizer, learning_rate=1e30, warmup_share=0.0)
    with pytest.raises(TrainingDiverged, match=r"step 2 of 3: loss nan.*lower the learning rate"):
        run(training, tiny_folder, tmp_path / "out", optimizer=optimizer)
    assert not (tmp_path / "out").exists()


def test_after_a_divergence_the_last_saved_weights_are_a_checkpoint_to_go_on_from(training, tiny_folder, tmp_path):
    never = replace(tiny().divergence, max_rise=1e-6, steps=2)
    rising = replace(tiny().optimizer, learning_rate=0.5, warmup_share=0.9)
    state = replace(tiny().state, every_steps=1)
    with pytest.raises(
        TrainingDiverged, match=r"nats above its lowest mean .* for 2 steps; the weights after step"
    ) as failed:
        run(training, tiny_folder, tmp_path / "out", max_steps=30, optimizer=rising, divergence=never, state=state)
    assert not (tmp_path / "out").exists()
    good = tmp_path / "out.state" / "last_good"
    assert str(good) in str(failed.value)
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_folder, good))
    assert any(not torch.equal(before[name], after[name]) for name in before)
    report, _ = run(training, good, tmp_path / "better")
    assert report["steps"] == 3
    step = json.loads((good / "metrics.json").read_text())["steps"]
    told = re.search(r"step (\d+) of 30: the loss, now .*, has been more than 1e-06 nats", str(failed.value))
    assert told is not None
    assert step <= int(told[1]) - 1 - never.steps, "the weights of the steps that were too bad are not good ones"


def test_weights_that_gave_no_number_are_not_called_good(training, tiny_folder, tmp_path):
    optimizer = replace(tiny().optimizer, learning_rate=1e30, warmup_share=0.0)
    state = replace(tiny().state, every_steps=1)
    with pytest.raises(TrainingDiverged, match="of no state that was saved is it known that its weights were good"):
        run(training, tiny_folder, tmp_path / "out", optimizer=optimizer, state=state)
    assert not (tmp_path / "out.state" / "last_good").exists()


def test_of_older_states_one_from_before_a_divergence_stays():
    saved: list[Path] = []
    for step in range(10, 400, 10):
        for path in outdated(saved, step, 100):
            saved.remove(path)
        saved.append(Path(f"step-{step:08d}"))
        steps = [int(path.name[5:]) for path in saved]
        assert len(steps) <= 3
        assert steps[0] == 10 if step < 200 else 100 <= step - steps[0] < 200


def test_a_backbone_wider_than_the_dims_of_the_recipe_learns_its_whole_width(training, tiny_folder, tmp_path):
    narrow = replace(tiny().loss, weight_by_dim=((64, 1.0), (32, 0.2)))
    report, _ = run(training, tiny_folder, tmp_path / "out", loss=narrow)
    assert sorted(map(int, report["curve"][0]["loss_by_dim"])) == [32, 64, 128]
    assert read_manifest(tmp_path / "out").dims == (128, 64, 32)
    recipe = json.loads((tmp_path / "out" / "recipe.json").read_text())
    assert recipe["loss"]["weight_by_dim"] == [[128, 1.0], [64, 1.0], [32, 0.2]]


def test_a_run_that_is_broken_off_and_goes_on_ends_with_the_same_bytes(training, tiny_folder, tmp_path, monkeypatch):
    settings = {"max_steps": 6, "state": replace(tiny().state, every_steps=1)}
    run(training, tiny_folder, tmp_path / "calm", **settings)
    whole_step, steps = ContrastiveObjective.backward, []

    def break_off(self, batch):
        steps.append(batch)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return whole_step(self, batch)

    monkeypatch.setattr(ContrastiveObjective, "backward", break_off)
    with pytest.raises(KeyboardInterrupt):
        run(training, tiny_folder, tmp_path / "broken", **settings)
    report, _ = run(training, tiny_folder, tmp_path / "broken", **settings)
    assert report["resumed_at_step"] == 3
    calm, broken = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("calm", "broken"))
    assert calm == broken


def test_a_loss_that_rises_for_a_moment_or_stays_flat_is_no_divergence():
    rule = DivergenceConfig(max_rise=1.0, steps=3)

    def fault(losses):
        return fault_of(losses[-1], 1.0, [{"loss": loss} for loss in losses[:-1]], rule)

    assert fault([5.0, 4.0, 3.0, 9.0, 9.0, 2.0, 9.0, 9.0]) == ""
    assert fault([5.0] * 20) == ""
    assert fault([3.0, 2.0, 1.0, 1.0, 1.0, 1.9, 1.9, 1.9]) == ""
    assert "has been more than 1.0 nats above its lowest mean 1.000 for 3 steps" in fault(
        [3.0, 1.0, 1.0, 1.0, 2.1, 2.2, 2.1]
    )
    assert fault([2.0, float("nan")]) == "loss nan, gradient norm 1.0"
    assert fault_of(1.0, math.inf, [], rule) == "loss 1.0, gradient norm inf"


def test_a_step_of_several_batches_has_the_mean_of_their_gradients(training, tiny_folder):
    config = short_recipe()
    backbone = load_for_training(tiny_folder, config, device=torch.device("cpu"))
    objective = ContrastiveObjective(
        Encoder(backbone, config.inputs, dims=config.loss.dims), training, Scenes(), config
    )
    weights = dict(backbone.model.named_parameters())
    batches = [training.examples[:10], training.examples[20:36]]
    single, losses = [], []
    for batch in batches:
        backbone.model.zero_grad()
        losses.append(objective.backward(batch))
        single.append({name: one.grad.clone() for name, one in weights.items() if one.grad is not None})
    backbone.model.zero_grad()
    got = backward(objective, batches, weights)
    assert got.loss == pytest.approx((losses[0].loss + losses[1].loss) / 2)
    assert got.num_tokens == losses[0].num_tokens + losses[1].num_tokens
    for name in single[0]:
        torch.testing.assert_close(weights[name].grad, (single[0][name] + single[1][name]) / 2, atol=1e-6, rtol=1e-4)


def test_two_runs_do_not_train_into_one_folder(training, tiny_folder, tmp_path):
    with (tmp_path / ".out.state.lock").open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(AlreadyTraining, match="another process trains into"):
            run(training, tiny_folder, tmp_path / "out")
    run(training, tiny_folder, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("most", [0.5, 1e6], ids=["clipped", "unclipped"])
def test_two_steps_equal_adamw_by_hand_on_fresh_gradients(training, tiny_folder, tmp_path, most):
    optimizer = OptimizerConfig(
        learning_rate=3e-3, warmup_share=0.0, max_gradient_norm=most, weight_decay=0.3, betas=(0.8, 0.9)
    )
    config = short_recipe(max_steps=2, optimizer=optimizer)
    run(training, tiny_folder, tmp_path / "out", max_steps=2, optimizer=optimizer)
    backbone = load_for_training(tiny_folder, config, device=torch.device("cpu"))
    objective = ContrastiveObjective(
        Encoder(backbone, config.inputs, dims=config.loss.dims), training, Scenes(), config
    )
    weights = {name: weight.detach().clone() for name, weight in backbone.model.named_parameters()}
    mean, square = ({name: torch.zeros_like(weight) for name, weight in weights.items()} for _ in range(2))
    for step, (batch, rate) in enumerate(zip(plan_batches(training, config), (3e-3, 1.5e-3), strict=True), 1):
        backbone.model.load_state_dict(weights)
        backbone.model.zero_grad()
        objective.backward(batch)
        gradients = {name: weight.grad for name, weight in backbone.model.named_parameters() if weight.grad is not None}
        norm = math.sqrt(sum(float(gradient.double().square().sum()) for gradient in gradients.values()))
        assert 0.5 < norm < 1e6
        for name, gradient in gradients.items():
            clipped = gradient * min(1.0, most / norm)
            mean[name] = 0.8 * mean[name] + 0.2 * clipped
            square[name] = 0.9 * square[name] + 0.1 * clipped.square()
            ratio = (mean[name] / (1 - 0.8**step)) / ((square[name] / (1 - 0.9**step)).sqrt() + 1e-8)
            weights[name] = weights[name] * (1 - rate * 0.3) - rate * ratio
    trained = load_file(tmp_path / "out" / "model.safetensors")
    assert trained.keys() == weights.keys()
    assert any(not torch.equal(trained[name], load_file(tiny_folder / "model.safetensors")[name]) for name in trained)
    compared = 0
    for name, weight in weights.items():
        clear = square[name].sqrt() > 1e-6  # a gradient of rounding noise makes Adam step a full step anywhere
        compared += int(clear.sum())
        torch.testing.assert_close(trained[name][clear], weight[clear], atol=1e-4, rtol=0)
        torch.testing.assert_close(trained[name][square[name] == 0], weight[square[name] == 0], atol=1e-6, rtol=0)
    assert compared > 50_000


def test_the_learning_rate_rises_then_falls_in_lines_and_is_never_zero():
    config = replace(tiny(), optimizer=replace(tiny().optimizer, learning_rate=1.0, warmup_share=0.25))
    rates = [learning_rate(step, 16, config) for step in range(16)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5:] == pytest.approx([1 - step / 12 for step in range(1, 12)])
    assert all(rate > 0 for rate in rates)
    assert learning_rate(0, 1, config) > 0
    assert math.isclose(max(rates), 1.0)


def test_the_command_trains_and_names_what_is_wrong(training, tiny_folder, tmp_path, monkeypatch, capsys):
    few = ExampleSet(training.documents, training.examples[:20])
    write_examples(tmp_path / "examples", few.documents, few.examples)
    command = [
        "training_kernels",
        "tiny",
        tmp_path / "examples",
        tmp_path / "out",
        "--images",
        tmp_path,
        "--start-from",
    ]
    monkeypatch.setattr(sys, "argv", [*map(str, command), str(tiny_folder), "--seed", "3"])
    assert main() == 0
    assert json.loads((tmp_path / "out" / "metrics.json").read_text())["seed"] == 3
    assert "checkpoint" in capsys.readouterr().out
    monkeypatch.setattr(sys, "argv", [*map(str, command), str(tmp_path)])
    assert main() == 1
    assert "IncompleteArtifact: checkpoint" in capsys.readouterr().err


def test_the_command_lists_its_recipes():
    done = subprocess.run(
        [sys.executable, "-m", "training_kernels", "--help"], capture_output=True, text=True, check=True
    )
    assert (
        "one of cpu, nyx, nyx_paper, nyx_published, small_gpu, smoke, smoke_feedback, tiny, tiny_feedback"
        in " ".join(done.stdout.split())
    )


def test_a_start_without_manifest_is_refused(training, tmp_path):
    with pytest.raises(IncompleteArtifact, match=r"has no manifest\.json"):
        run(training, tmp_path / "nothing", tmp_path / "out")
