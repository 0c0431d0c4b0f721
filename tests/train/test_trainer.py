"""The loop: one big batch or many small ones, one process or two, killed or not, the weights are the same."""

import json
import math
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from dataprep.core import optional
from dataprep.core.errors import (
    FileError,
    InputError,
    MissingDependencyError,
    TokenizerError,
    TrainingError,
    UsageError,
)
from dataprep.tokens.tokenize import ShardOptions, tokenize_files
from dataprep.tokens.tokenizers.training import train_tokenizer
from dataprep.train.hardware.device import explain_out_of_memory
from dataprep.train.hardware.distributed import World
from dataprep.train.options import TrainOptions, learning_rate_factor, make_optimizer
from dataprep.train.run import train
from dataprep.train.trainer import BatchSampler, Trainer
from tests.students import WORDS, rows, unfinish, write_model, write_rows


def chosen(place, **settings):
    """Options for a small run."""
    given = {
        "model": str(place / "model"),
        "tokenizer": str(place / "tokenizer.json"),
        "chat_format": "llama3",
    }
    given |= {"learning_rate": 0.01, "epochs": None if "steps" in settings else 2, "save_every": 0}
    return TrainOptions(**{**given, **settings})


def run(place, output, *, resume=False, data="train.jsonl", **settings):
    """A run in this process; its weights, and its results."""
    options = chosen(place, **settings)
    done = train(place / data, place / "eval.jsonl", output, options=options, resume=resume)
    return load_file(output / "model.safetensors"), done.results


def metrics(output):
    """The lines of metrics of a run."""
    return [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]


def same(found, expected, tolerance=0.0):
    """Whether weights are equal, or nearly so."""
    assert found.keys() == expected.keys()
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], rtol=tolerance, atol=tolerance)


def test_training_lowers_the_loss_and_repeats_itself(place, tmp_path):
    """A run learns; the same seed gives the same weights, another one others."""
    first, results = run(place, tmp_path / "a")
    again, _ = run(place, tmp_path / "b")
    other, _ = run(place, tmp_path / "c", seed=7)
    assert results["eval_loss"] < 0.9 * results["eval_loss_before"]
    same(first, again)
    assert any(not torch.equal(first[name], other[name]) for name in first)


@pytest.mark.medium
@pytest.mark.sampled(2)
@pytest.mark.parametrize("pack", [None, 64])
def test_accumulated_batches_are_one_big_batch(place, tmp_path, monkeypatch, pack):
    """The loss is a mean over the tokens of the whole step, however the step is divided."""
    gradients = []
    clip = Trainer._clip_gradients

    def recorded(self):
        gradients.append([weights.grad.clone() for weights in self.module.parameters()])
        return clip(self)

    def steady(*given):
        # Adam divides a gradient by its own size plus eps, which is 1e-8. Sums of 8 rows and of 4 times 2
        # rows differ in their last digit, here by 2.6e-10. One weight of 15,248 had the first gradient
        # -3.94e-8 the one way and -3.91e-8 the other: g / (|g| + 1e-8) makes 5.3e-6 of that, and the later
        # steps 1.6e-5. With an eps far above the last digit and below most gradients (their median is
        # 2.2e-4), weights move as far, and the last digit of a gradient stays one: weights differ by 1.2e-7.
        optimizer = make_optimizer(*given)
        for group in optimizer.param_groups:
            group["eps"] = 1e-4
        return optimizer

    monkeypatch.setattr(Trainer, "_clip_gradients", recorded)
    monkeypatch.setattr("dataprep.train.trainer.make_optimizer", steady)
    whole, _ = run(place, tmp_path / "whole", batch_size=8, pack=pack)
    first, gradients[:] = gradients[0], []
    parts, _ = run(place, tmp_path / "parts", batch_size=2, accumulate=4, pack=pack)
    # At equal weights: the gradient's norm is about 1, so this is the sixth digit of the largest ones.
    for gradient, other in zip(first, gradients[0], strict=True):
        torch.testing.assert_close(gradient, other, rtol=0, atol=1e-6)
    for line, other in zip(metrics(tmp_path / "whole"), metrics(tmp_path / "parts"), strict=True):
        for name in {"loss", "gradient_norm", "eval_loss"} & line.keys():
            assert math.isclose(line[name], other[name], rel_tol=1e-5), name
    same(parts, whole, 1e-5)


def torchrun(place, output, *flags, processes=2, data="train.jsonl"):
    """A run in several processes, on the CPU."""
    launch = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command = [sys.executable, *launch, "-m", "dataprep", "train", str(place / data)]
    command += ["--eval", str(place / "eval.jsonl"), "--model", str(place / "model"), "-o", str(output)]
    command += [
        "--tokenizer",
        str(place / "tokenizer.json"),
        "--chat-format",
        "llama3",
        "--learning-rate",
        "0.01",
    ]
    command += ["--epochs", "2", "--save-every", "0", *flags]
    found = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        timeout=300,
        check=False,
    )
    assert found.returncode == 0, found.stderr[-3000:]
    return load_file(output / "model.safetensors")


@pytest.mark.slow
@pytest.mark.parametrize("flags", [(), ("--fsdp",)])
def test_two_processes_are_one_with_a_bigger_batch(place, tmp_path, flags):
    """Data parallelism changes nothing about loss and weights, sharded or not."""
    whole, _ = run(place, tmp_path / "whole", batch_size=8)
    parts = torchrun(place, tmp_path / "parts", "--batch-size", "4", *flags)
    same(parts, whole, 1e-5)
    assert [line["step"] for line in metrics(tmp_path / "parts") if "loss" in line] == list(range(1, 11))


@pytest.mark.slow
def test_a_killed_run_of_two_processes_goes_on(place, tmp_path):
    """Every process gets its own state back: the weights are those of a run that was never stopped."""
    whole = torchrun(place, tmp_path / "whole", "--batch-size", "2", "--save-every", "3")
    torchrun(place, tmp_path / "parts", "--batch-size", "2", "--save-every", "3", "--keep-checkpoints")
    unfinish(tmp_path / "parts")
    for name in ("model.safetensors", "config.json"):
        (tmp_path / "parts" / name).unlink()
    again = torchrun(place, tmp_path / "parts", "--batch-size", "2", "--save-every", "3", "--resume")
    same(again, whole)


SLOWED = """
import sys, time
from dataprep.train import trainer
step_of = trainer.Trainer.train_step
def slow(self, step, items):
    time.sleep(0.02)
    return step_of(self, step, items)
trainer.Trainer.train_step = slow
from dataprep.__main__ import main
main()
"""


@pytest.mark.medium
@pytest.mark.sampled(3)
@pytest.mark.parametrize("steps", [4, 1, 8])
def test_a_run_that_is_killed_goes_on_to_the_same_weights(place, tmp_path, steps):
    """SIGKILL at any step and `--resume`: identical weights and metrics, dropout's generator included."""
    dropping = write_model(tmp_path / "model", attention_dropout=0.2)
    whole, _ = run(place, tmp_path / "whole", model=dropping, save_every=2)
    output = tmp_path / "killed"
    command = [sys.executable, "-c", SLOWED, "train", str(place / "train.jsonl"), "--eval"]
    command += [str(place / "eval.jsonl"), "--model", dropping, "--tokenizer", str(place / "tokenizer.json")]
    command += ["--chat-format", "llama3", "--learning-rate", "0.01", "--epochs", "2", "--save-every", "2"]
    command += ["-o", str(output)]
    threads = os.environ | {"OMP_NUM_THREADS": "1"}  # as in this process: sums depend on their number
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, env=threads) as process:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if (output / "metrics.jsonl").is_file() and len(metrics_of(output)) > steps:
                break
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert not (output / "config.json").exists()
    again, _ = run(place, output, model=dropping, save_every=2, resume=True)
    same(again, whole)
    timeless = [
        [
            {key: value for key, value in line.items() if key in ("step", "loss", "eval_loss")}
            for line in found
        ]
        for found in (metrics(output), metrics(tmp_path / "whole"))
    ]
    assert timeless[0] == timeless[1]


def metrics_of(output):
    """The whole lines of metrics that are there while a run goes on."""
    return (output / "metrics.jsonl").read_bytes().split(b"\n")[:-1]


def test_resuming_what_never_began_is_a_new_run(place, tmp_path):
    """`--resume` may stand in a script from the first time on."""
    first, _ = run(place, tmp_path / "a", resume=True)
    expected, _ = run(place, tmp_path / "b")
    same(first, expected)


def test_resuming_with_other_options_or_data_is_refused(place, tmp_path):
    """A run that went on with other options would be neither one nor the other: the flags are named."""
    run(place, tmp_path / "a", save_every=2)
    with pytest.raises(UsageError, match=r"another --batch-size, --learning-rate: give the same"):
        run(place, tmp_path / "a", save_every=2, batch_size=4, learning_rate=0.02, resume=True)
    write_rows(place / "other.jsonl", rows(40, seed=9))
    with pytest.raises(UsageError, match="by their SHA-256"):
        run(place, tmp_path / "a", save_every=2, data="other.jsonl", resume=True)
    with pytest.raises(UsageError, match="holds a run already; --resume"):
        run(place, tmp_path / "a", save_every=2)


def test_checkpoints_are_kept_as_asked_and_damaged_ones_named(place, tmp_path):
    """The last two are kept; one that is cut short is named, with what to do, and nothing is trained."""
    run(place, tmp_path / "a", save_every=2, keep_checkpoints=True)
    found = sorted(path.name for path in (tmp_path / "a" / "checkpoints").iterdir())
    assert found == ["step-00000008.pt", "step-00000010.pt"]
    unfinish(tmp_path / "a")
    last = tmp_path / "a" / "checkpoints" / found[0]
    last.write_bytes(last.read_bytes()[:5000])
    with pytest.raises(FileError, match=r"damaged: .*remove it, and --resume continues with the one before"):
        run(place, tmp_path / "a", save_every=2, resume=True)


def test_a_checkpoint_of_another_model_is_refused(place, tmp_path):
    """Weights of other shapes are never put into a model."""
    run(place, tmp_path / "a", save_every=2, keep_checkpoints=True)
    unfinish(tmp_path / "a")
    write_model(tmp_path / "wide", hidden_size=24, head_dim=8)
    path = tmp_path / "a" / "options.toml"
    wide = f'model = "{tmp_path / "wide"}"'
    path.write_text(re.sub(r"^model = .*", wide, path.read_text(), flags=re.MULTILINE))
    with pytest.raises(TrainingError, match="a checkpoint of another model"):
        run(place, tmp_path / "a", save_every=2, model=str(tmp_path / "wide"), resume=True)


def test_a_full_disk_leaves_the_checkpoints_that_are_there(place, tmp_path, monkeypatch):
    """A checkpoint that cannot be written is an error; those before it are whole."""
    real = torch.save

    def full(state, file):
        if state["step"] == 4:
            file.write(b"half of it")
            raise OSError(28, "No space left on device")
        real(state, file)

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(FileError, match=r"cannot be written: No space left.*--resume"):
        run(place, tmp_path / "a", save_every=2)
    assert [path.name for path in (tmp_path / "a" / "checkpoints").iterdir()] == ["step-00000002.pt"]
    monkeypatch.setattr(torch, "save", real)
    again, _ = run(place, tmp_path / "a", save_every=2, resume=True)
    expected, _ = run(place, tmp_path / "b", save_every=2)
    same(again, expected)


@pytest.mark.slow
def test_a_disk_that_is_full_when_the_student_is_saved(place, tmp_path):
    """Weights that do not fit on the disk: an error, no half-written student, no partial files."""
    limited = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
    limited += "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    limited += "from dataprep.__main__ import main; main()"
    command = [sys.executable, "-c", limited, "train", str(place / "train.jsonl"), "--model"]
    command += [str(place / "model"), "--tokenizer", str(place / "tokenizer.json"), "--chat-format", "llama3"]
    command += ["-o", str(tmp_path / "a"), "--save-every", "0", "--steps", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((tmp_path / "a").glob("*.safetensors"))
    assert not list((tmp_path / "a").glob(".*"))


def test_a_loss_that_is_no_number_names_step_and_row(place, tmp_path):
    """The row at fault is named: here one with a word that only it has, and whose embedding is too large."""
    bad = rows(20)
    bad[13]["messages"][0]["content"] = "zzz"
    write_rows(place / "bad.jsonl", bad)
    from transformers import GPT2Config, GPT2LMHeadModel

    from dataprep.tokens.tokenizers.loading import load_tokenizer

    sizes = {"vocab_size": 330, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 128}
    model = GPT2LMHeadModel(
        GPT2Config(**sizes, bos_token_id=None, eos_token_id=None, tie_word_embeddings=False)
    )
    word = load_tokenizer(place / "tokenizer.json").encode("z")[0]
    # A number, but its square is none, and GPT-2's norms compute it.
    with torch.no_grad():
        model.transformer.wte.weight[word] = torch.tensor([3e38, -3e38] * 8)
    model.save_pretrained(tmp_path / "broken")
    with pytest.raises(TrainingError, match=r"step \d+: the loss is nan, on .*bad\.jsonl row 14; lower"):
        run(place, tmp_path / "a", data="bad.jsonl", model=str(tmp_path / "broken"))


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_full_memory_says_what_helps(error):
    """The options that help are named, with numbers, in the order in which to try them."""
    wanted = r"--batch-size 4 --accumulate 4 .*--gradient-checkpointing, a shorter --max-length.*--lora"
    with (
        pytest.raises(TrainingError, match=wanted),
        explain_out_of_memory(TrainOptions(batch_size=8, accumulate=2)),
    ):
        raise error


def test_other_errors_pass():
    """Only a lack of memory is explained as one."""
    with pytest.raises(RuntimeError, match="shapes"), explain_out_of_memory(TrainOptions()):
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "the file is empty"),
        ('{"question": "q"}\n', r"the row's fields are 'question'; expected chat rows"),
        (
            '{"Question": "q", "Answer": "a"}\n',
            r"chat rows of the same journal with `dataprep collect --to chat`",
        ),
        ('{"messages": []}\n', "bad.jsonl:1"),
        ('{"text": "t", "label": 1}\n', "--objective sft needs chat rows"),
    ],
)
def test_rows_of_another_kind_are_an_error_before_training(place, tmp_path, line, message):
    """What is wrong with the data is said before anything is trained, with its place."""
    (place / "bad.jsonl").write_text(line)
    with pytest.raises((InputError, UsageError), match=message):
        run(place, tmp_path / "a", data="bad.jsonl", objective="sft" if "label" in line else "auto")
    assert not (tmp_path / "a" / "model.safetensors").exists()


def test_an_unknown_objective_is_an_error_that_lists_the_known_ones(place, tmp_path):
    """The registry knows the names; nothing is read for one that it does not have."""
    known = "auto, distillation, sft, rationale, soft-label"
    with pytest.raises(UsageError, match=f"--objective x: must be one of {known}"):
        run(place, tmp_path / "a", objective="x")


@pytest.mark.parametrize(("objective", "found"), [("sft", "sft"), ("distillation", None), ("auto", "sft")])
def test_a_chosen_objective_must_match_the_rows(place, tmp_path, objective, found):
    """Distillation needs a teacher; rows without log-probabilities have none."""
    if found is None:
        with pytest.raises(InputError, match=r"needs chat rows with 'logprobs'.*; found chat rows"):
            run(place, tmp_path / "a", objective=objective)
    else:
        options = chosen(place, steps=1, objective=objective)
        assert train(place / "train.jsonl", (), tmp_path / "a", options=options).objective == found


def test_rows_longer_than_the_model_are_an_error_that_names_one(place, tmp_path):
    """A row that the model has no room for is named; `--truncation drop` leaves it out."""
    long = rows(12)
    long[5]["messages"][0]["content"] = "one two " * 200
    write_rows(place / "long.jsonl", long)
    with pytest.raises(InputError, match=r"long\.jsonl:6: .*tokens"):
        run(place, tmp_path / "a", data="long.jsonl")
    _, results = run(place, tmp_path / "b", data="long.jsonl", truncation="drop", epochs=1)
    assert json.loads((tmp_path / "b" / "facts.json").read_text())["rows"]["train"] == 11
    assert results["steps"] == 2


def shards_of(place, path, found, **settings):
    """Shards of rows, made with the tokenizer of this file's models unless another is given."""
    source = write_rows(path.with_suffix(".jsonl"), found)
    tokenizer = settings.pop("tokenizer", place / "tokenizer.json")
    tokenize_files(source, path, tokenizer=tokenizer, options=ShardOptions(**settings))
    return path


def test_shards_longer_than_the_model_are_an_error(place, tmp_path):
    """What `tokenize` made for a larger model is not cut, nor sent through positions that there are not."""
    long = rows(4)
    long[2]["messages"][0]["content"] = "one two " * 200
    shards = shards_of(place, tmp_path / "shards", long)
    with pytest.raises(InputError, match=r"a document of \d+ tokens; the model's context length is 128"):
        train(shards, output=tmp_path / "a", options=chosen(place))
    with pytest.raises(UsageError, match="are for rows: shards stay"):
        train(shards, output=tmp_path / "b", options=chosen(place, max_length=100))


def test_shards_of_another_tokenizer_do_not_train_a_model_that_has_its_own(place, tmp_path):
    """Ids that mean other texts to the model would silently train it on nonsense."""
    student = tmp_path / "student"
    train(place / "train.jsonl", output=student, options=chosen(place, steps=1))
    (tmp_path / "other.json").write_bytes(train_tokenizer(["other words here"] * 8, 290, "bpe", shrink=True))
    own, other = tmp_path / "own", tmp_path / "other"
    shards_of(place, own, rows(8))
    shards_of(place, other, rows(8), tokenizer=tmp_path / "other.json")
    settings = {"model": str(student), "tokenizer": None, "chat_format": None, "steps": 1}
    train(own, output=tmp_path / "a", options=chosen(place, **settings))
    message = r"other: its tokenizer is not the student's: .*; tokenize the rows with the student's own"
    with pytest.raises(TokenizerError, match=message):
        train(other, output=tmp_path / "b", options=chosen(place, **settings))
    with pytest.raises(TokenizerError, match=message):
        train(place / "train.jsonl", other, tmp_path / "b", options=chosen(place, **settings))
    with pytest.raises(TokenizerError, match=message):
        train(other, output=tmp_path / "b", options=chosen(place, steps=1))


def test_a_student_is_trained_on_shards_of_its_tokenizers_other_file(place, tmp_path):
    """A student is saved with a tokenizer.json; the .model that its shards were made with is the same."""
    pytest.importorskip("sentencepiece")
    model = tmp_path / "tokenizer.model"
    model.write_bytes(train_tokenizer([" ".join(WORDS)] * 8, 400, shrink=True))
    shards, student = shards_of(place, tmp_path / "shards", rows(8), tokenizer=model), tmp_path / "student"
    settings = {"chat_format": None, "steps": 1}
    first = chosen(place, model="llama-tiny", tokenizer=None, **settings)
    train(shards, output=student, options=first)
    assert not (student / "tokenizer.model").exists()
    again = chosen(place, model=str(student), tokenizer=None, **settings)
    train(shards, output=tmp_path / "a", options=again)
    train(place / "train.jsonl", shards, tmp_path / "b", options=again)
    given = chosen(place, model=str(student), tokenizer=str(student), **settings)
    train(shards, output=tmp_path / "c", options=given)


@pytest.mark.parametrize("settings", [{"qat": "int4-weight"}, {"fsdp": True}])
def test_what_cannot_be_served_leaves_no_directory(place, tmp_path, settings):
    """The corrected command can use the same -o."""
    with pytest.raises(UsageError):
        train(place / "train.jsonl", output=tmp_path / "a", options=chosen(place, **settings))
    assert not (tmp_path / "a").exists()


def test_a_tokenizer_larger_than_the_model_is_refused(place, tmp_path):
    """Ids that the model has no embedding for would be an index error in the middle of a run."""
    small = write_model(tmp_path / "small", vocab_size=100)
    with pytest.raises(
        TokenizerError, match=r"the tokenizer has 3\d\d tokens, and the model's vocabulary 100"
    ):
        run(place, tmp_path / "a", model=small)


def test_a_missing_gpu_is_said_at_once(place, tmp_path):
    """`--device cuda` without one is an error before anything is read."""
    if torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(UsageError, match="no GPU on this machine"):
        run(place, tmp_path / "a", device="cuda")


@pytest.mark.parametrize("wrong", ["model.safetensors", "config.json"])
def test_a_damaged_model_is_an_error(place, tmp_path, wrong):
    """A model whose files are cut short is named; nothing is filled with random numbers."""
    model = Path(write_model(tmp_path / "model"))
    content = (model / wrong).read_bytes()
    (model / wrong).write_bytes(content[: len(content) // 2])
    with pytest.raises(FileError, match="the model in it cannot be loaded"):
        run(place, tmp_path / "a", model=str(model))


@given(
    st.integers(1, 50),
    st.integers(1, 8),
    st.integers(1, 3),
    st.integers(1, 3),
    st.floats(0.1, 3),
)
def test_every_row_is_seen_once_an_epoch(items, batch, accumulate, processes, epochs):
    """Whole epochs hold every item once; the order differs from epoch to epoch, not from run to run."""
    world = World(0, processes, torch.device("cpu"))
    plan = BatchSampler.of(
        range(items), TrainOptions(batch_size=batch, accumulate=accumulate, epochs=epochs), world
    )
    seen = [item for _, found in plan.of_steps(0) for item in found]
    assert len(seen) == max(round(epochs * items), 1)
    for start in range(0, len(seen) - items + 1, items):
        assert sorted(seen[start : start + items]) == list(range(items))
    later = [found for number, found in plan.of_steps(plan.steps // 2)]
    assert later == [found for number, found in plan.of_steps(0)][plan.steps // 2 :]


@given(st.integers(1, 60), st.integers(1, 5))
def test_processes_share_a_step(count, processes):
    """Every item of a step is worked on by one process, and by no other."""
    shares = [
        World(rank, processes, torch.device("cpu")).shard(list(range(count))) for rank in range(processes)
    ]
    assert [item for share in shares for item in share] == list(range(count))


def test_the_learning_rate_rises_and_falls():
    """Warm-up is linear; the cosine is halfway down in the middle, the line too, and both end near 0."""
    rates = [learning_rate_factor(step, 100, 0.1, "cosine") for step in range(100)]
    assert rates[0] == pytest.approx(1 / 11)
    assert rates[:11] == sorted(rates[:11])
    assert max(rates) == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[99] < 0.001
    assert learning_rate_factor(55, 100, 0.1, "linear") == pytest.approx(0.5)
    assert {learning_rate_factor(step, 100, 0.0, "constant") for step in range(100)} == {1.0}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "--batch-size 0: must be 1 or more"),
        ({"learning_rate": -1.0}, "--learning-rate -1.0: must be a number above 0"),
        ({"warmup": 2.0}, "--warmup 2.0: must be 1 or less"),
        ({"epochs": 0.0}, "--epochs 0.0"),
        ({"qat": "int3"}, "--qat int3: must be one of int8-dynamic-int4, int4-weight"),
        ({"teacher_weights": {"a": -1.0}}, "--teacher-weight a=-1.0"),
        ({"clip": float("nan")}, "--clip nan"),
        ({"teacher_share": -1.0}, "--teacher-share -1.0: must be 0 or more"),
        ({"teacher_share": float("nan")}, "--teacher-share nan"),
        ({"seed": 1 << 70}, "--seed 1180591620717411303424: must be a number from 0"),
        ({"fsdp": True, "lora": 2}, "--lora needs the whole model"),
    ],
)
def test_options_are_checked(settings, message):
    """An option that cannot be served is refused before anything is loaded."""
    with pytest.raises(UsageError, match=message):
        TrainOptions(**settings)


def shown_on_board(folder):
    """The scalars that TensorBoard would show, by name: steps and values."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    return {
        name: [(each.step, each.value) for each in events.Scalars(name)] for name in events.Tags()["scalars"]
    }


@pytest.mark.medium
@pytest.mark.parametrize("begun_with", [True, False])
def test_tensorboard_shows_what_was_measured(place, tmp_path, begun_with):
    """`--tensorboard`: each number once, at its step, in a resumed run as well."""
    pytest.importorskip("tensorboard")
    run(place, tmp_path / "a", save_every=4, tensorboard=begun_with)
    run(place, tmp_path / "a", save_every=4, tensorboard=True, resume=True)
    found, lines = shown_on_board(tmp_path / "a"), metrics(tmp_path / "a")
    assert found["loss"] == [(each["step"], pytest.approx(each["loss"])) for each in lines if "loss" in each]
    measured = [each for each in lines if "eval_loss" in each]
    assert found["eval_loss"] == [(each["step"], pytest.approx(each["eval_loss"])) for each in measured]
    assert {"learning_rate", "tokens_per_second", "memory_mb"} < found.keys()


def test_tensorboard_that_is_not_installed_is_said_first(place, tmp_path, monkeypatch):
    """An option that needs a package says how to install it before anything is trained."""
    real = optional.find_spec
    monkeypatch.setattr(optional, "find_spec", lambda name: real(name) if name != "tensorboard" else None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'dataprep\[tensorboard\]'"):
        run(place, tmp_path / "a", tensorboard=True)
    assert not (tmp_path / "a").exists()
