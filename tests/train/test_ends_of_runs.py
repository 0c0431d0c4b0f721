"""What comes after the last step, and what damages a run: nothing of it loses the training."""

import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import GenerationConfig, LlamaForCausalLM

from dataprep.core.errors import DataprepError, FileError, InputError, UsageError
from dataprep.models.student import Student, load_student, savable
from dataprep.train import report
from dataprep.train.options import TrainOptions
from dataprep.train.report import curve_scale, draw_curve
from dataprep.train.run import train
from dataprep.train.run_dir import RunDir, working_in
from dataprep.train.trainer import Trainer
from tests.students import unfinish


def options(place, **settings):
    """Options for a run of three steps."""
    given = {"model": str(place / "model"), "tokenizer": str(place / "tokenizer.json")}
    given |= {"chat_format": "llama3", "steps": 3, "learning_rate": 0.01, "batch_size": 4}
    return TrainOptions(**{**given, **settings})


def run(place, output, *, resume=False, log=None, **settings):
    """A run in this process; its results."""
    chosen = options(place, **settings)
    done = train(place / "train.jsonl", place / "eval.jsonl", output, options=chosen, resume=resume, log=log)
    return done.results


def same(output, other):
    """Whether two runs' students are equal to the bit."""
    one, two = (load_file(folder / "model.safetensors") for folder in (output, other))
    return all(torch.equal(one[name], two[name]) for name in two)


def test_a_sample_that_cannot_be_generated_is_a_warning(place, tmp_path, monkeypatch):
    """The student is saved before it is asked for a sample, and the run is finished without one."""
    told = []

    def fail(*_args):
        raise IndexError("list index out of range")

    monkeypatch.setattr(Student, "generate_samples", fail)
    results = run(place, tmp_path / "a", log=told.append)
    (warning,) = results["warnings"]
    assert warning.startswith("no sample and metrics: IndexError: list index out of range")
    assert f"warning: {warning}" in told
    assert "sample" not in results
    assert LlamaForCausalLM.from_pretrained(tmp_path / "a").config.vocab_size == 330
    assert (tmp_path / "a" / "README.md").is_file()


def full(*_args, **_settings):
    """Fail as on a full disk."""
    raise OSError(28, "No space left on device")


@pytest.mark.slow
def test_whatever_fails_after_the_last_step_is_done_again(place, tmp_path, monkeypatch):
    """A full disk at each of the last writes, or an evaluation that fails: --resume only repeats the end."""
    run(place, tmp_path / "whole")
    real, step_of = Trainer.evaluate, Trainer.train_step
    taken, wrong = [], []

    def evaluate(self, step):
        return full() if step else real(self, step)

    def counted(self, step, items):
        taken.append(step)
        return step_of(self, step, items)

    faults = {
        "save": (Student, "save", full),
        "evaluate": (Trainer, "evaluate", evaluate),
        "card": (report, "write_card", full),
        "results": (RunDir, "finish", full),
    }
    for name, fault in faults.items():
        output = tmp_path / name
        with monkeypatch.context() as patch:
            patch.setattr(*fault)
            with pytest.raises(OSError, match="No space left"):
                run(place, output)
        if name != "save" and not (output / "config.json").is_file():
            wrong.append(f"{name}: the student is not saved")
        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "train_step", counted)
            results = run(place, output, resume=True)
        if taken or results["steps"] != 3 or not same(output, tmp_path / "whole"):
            wrong.append((name, taken))
        if (output / "checkpoints").exists():
            wrong.append(f"{name}: checkpoints are left")
    assert not wrong


def test_a_checkpoint_that_does_not_fit_does_not_keep_the_student_from_being_saved(
    place, tmp_path, monkeypatch
):
    """The last checkpoint is several times as large as the student: a disk can be full for one of them."""

    def full(_state, _file):
        raise OSError(28, "No space left on device")

    told = []
    monkeypatch.setattr(torch, "save", full)
    run(place, tmp_path / "a", log=told.append)
    assert any(
        "warning" in line and "the checkpoint cannot be written: No space left" in line for line in told
    )
    assert (tmp_path / "a" / "model.safetensors").is_file()


def test_a_finished_run_leaves_no_checkpoint_unless_asked(place, tmp_path):
    """Neither its own nor those of the first student of --qat; resuming it trains nothing."""
    run(place, tmp_path / "a", save_every=1)
    assert not list((tmp_path / "a").rglob("*.pt"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("*.safetensors")}
    told = []
    assert run(place, tmp_path / "a", save_every=1, resume=True, log=told.append)["steps"] == 3
    assert "there is nothing to resume" in told[-1]
    assert before == {path: path.stat().st_mtime_ns for path in before}
    run(place, tmp_path / "b", save_every=1, keep_checkpoints=True)
    assert len(list((tmp_path / "b" / "checkpoints").iterdir())) == 2
    # Whoever removed the weights wants them again.
    (tmp_path / "a" / "model.safetensors").unlink()
    run(place, tmp_path / "a", save_every=1, resume=True)
    assert same(tmp_path / "a", tmp_path / "b")


@pytest.mark.slow
def test_a_finished_run_for_quantization_leaves_no_checkpoint(place, tmp_path):
    """Those of both students and the one they share."""
    pytest.importorskip("torchao")
    run(place, tmp_path / "a", save_every=1, qat="int4-weight", model=str(place / "wide"))
    assert not list((tmp_path / "a").rglob("*.pt"))
    assert (tmp_path / "a" / "quantized" / "config.json").is_file()


def test_qat_without_rows_to_compare_on_is_refused_before_any_work(place, tmp_path):
    """No model is loaded and no row tokenized for it."""
    told = []
    with pytest.raises(UsageError, match="--qat compares losses on evaluation rows: give --eval FILE"):
        train(
            place / "train.jsonl", (), tmp_path / "a",
            options=options(place, qat="int4-weight", model=str(tmp_path / "missing")), log=told.append,
        )  # fmt: skip
    assert not told
    assert not (tmp_path / "a").exists()


@pytest.mark.sampled(3)
@pytest.mark.parametrize("mask", [0o022, 0o027, 0o077])
def test_weights_follow_the_umask(place, tmp_path, mask):
    """Weights are as readable as every other file of the run."""
    before = os.umask(mask)
    try:
        run(place, tmp_path / "a")
    finally:
        os.umask(before)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "a").iterdir() if path.is_file()}
    assert modes["model.safetensors"] == 0o666 & ~mask
    assert set(modes.values()) == {0o666 & ~mask}


SETTINGS = (
    {"do_sample": True, "temperature": 5.0, "top_k": 3},
    {"num_beams": 4, "length_penalty": 2.0, "no_repeat_ngram_size": 1},
    {"repetition_penalty": 5.0, "min_new_tokens": 8, "suppress_tokens": [1, 2, 3]},
    {"forced_eos_token_id": 5, "max_length": 3, "stop_strings": ["a"]},
    {"temperature": 0.5},
)


def test_samples_are_greedy_whatever_the_models_settings_say(place):
    """Sampling, beams, penalties, forced and suppressed tokens of generation_config.json change no sample."""
    import numpy as np

    from dataprep.tokens.formats.loading import chat_format_of
    from dataprep.tokens.tokenizers.loading import load_tokenizer

    tokenizer = load_tokenizer(place / "tokenizer.json")
    student = load_student(str(place / "model"), tokenizer, chat_format_of("llama3"))
    prompts = [np.array(ids) for ids in ([5, 6, 7], [9], list(range(40, 60)))]
    expected = student.generate_samples(prompts, 12)
    for settings in SETTINGS:
        student.model.generation_config = GenerationConfig(**settings)
        assert student.generate_samples(prompts, 12) == expected, settings
        assert student.model.generation_config.to_dict() == GenerationConfig(**settings).to_dict()


def test_samples_stay_within_the_context(place):
    """A long prompt gets a shorter answer, and takes no room from the prompts beside it."""
    import numpy as np
    from transformers import GPT2Config, GPT2LMHeadModel

    from dataprep.tokens.formats.loading import chat_format_of
    from dataprep.tokens.tokenizers.loading import load_tokenizer

    sizes = {"vocab_size": 330, "n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 24}
    torch.manual_seed(1)
    model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=None, eos_token_id=None)).eval()
    tokenizer = load_tokenizer(place / "tokenizer.json")
    student = Student(model, tokenizer, chat_format_of("llama3"), "eager")
    short, long = np.array([5, 6]), np.arange(40, 62)
    alone = student.generate_samples([short], 12)
    assert student.generate_samples([short, long], 12)[0] == alone[0]
    assert len(student.generate_samples([long], 12)) == 1


def test_settings_that_transformers_does_not_save_do_not_end_a_training(place, tmp_path):
    """Published models have a temperature without `do_sample`, which transformers refuses to save."""
    model = tmp_path / "model"
    shutil.copytree(place / "model", model)
    wrong = ({"temperature": 0.6, "top_p": 0.9}, {"length_penalty": 2.0}, {"pad_token_id": -1})
    for number, settings in enumerate(wrong):
        (model / "generation_config.json").write_text(json.dumps(settings))
        run(place, tmp_path / str(number), model=str(model), steps=1)
        saved = json.loads((tmp_path / str(number) / "generation_config.json").read_text())
        assert saved["eos_token_id"], settings
    assert savable(GenerationConfig(temperature=0.6)).do_sample is True


def test_a_tokenizer_that_cannot_be_saved_is_said_before_training(place, tmp_path, monkeypatch):
    """What would fail at the end is tried at the beginning."""
    from dataprep.core.errors import TokenizerError
    from dataprep.tokens import export

    def refuse(*_args, **_settings):
        raise TokenizerError("the tokenizer cannot be saved for other programs")

    told = []
    monkeypatch.setattr(export, "check_saved", refuse)
    with pytest.raises(TokenizerError, match="cannot be saved"):
        train(place / "train.jsonl", (), tmp_path / "a", options=options(place), on_metrics=told.append)
    assert not told
    assert not (tmp_path / "a").exists()


# --- damage


def test_a_flipped_byte_of_a_checkpoint_is_an_error(place, tmp_path):
    """Anywhere in the file: in weights, in what lies between them, in the digest itself."""
    run(place, tmp_path / "a", save_every=1, keep_checkpoints=True)
    unfinish(tmp_path / "a")
    (path,) = (tmp_path / "a" / "checkpoints").iterdir()
    whole = path.read_bytes()
    wrong = []
    for place_of in (
        0,
        30,
        61,
        3000,
        len(whole) // 2,
        len(whole) - 300,
        len(whole) - 45,
        len(whole) - 41,
        -1,
    ):
        damaged = bytearray(whole)
        damaged[place_of] ^= 1
        path.write_bytes(damaged)
        try:
            run(place, tmp_path / "a", save_every=1, resume=True)
            wrong.append(place_of)
        except FileError as error:
            if "damaged" not in str(error) or "--resume continues with the one before" not in str(error):
                wrong.append((place_of, str(error)))
    assert not wrong
    path.write_bytes(whole)
    assert run(place, tmp_path / "a", save_every=1, resume=True)["steps"] == 3


def test_a_checkpoint_without_a_digest_is_read(place, tmp_path):
    """Earlier versions wrote none."""
    run(place, tmp_path / "a", save_every=1, keep_checkpoints=True)
    unfinish(tmp_path / "a")
    (path,) = (tmp_path / "a" / "checkpoints").iterdir()
    state = torch.load(path, weights_only=True)
    del state["digest"]
    torch.save(state, path)
    assert run(place, tmp_path / "a", save_every=1, resume=True)["steps"] == 3


def _changed(path, change):
    state = torch.load(path, weights_only=True)
    state.pop("digest")
    torch.save(change(state), path)


OTHERS = {
    "a list": lambda _: [1],
    "nothing": lambda _: {},
    "no weights": lambda state: state | {"weights": 3},
    "a step that is a text": lambda state: state | {"step": "four"},
    "other generators": lambda state: state | {"generators": [{"cpu": 3}]},
    "no generator": lambda state: state | {"generators": []},
    "no place in the metrics": lambda state: state | {"facts": {}},
    "another optimizer": lambda state: state | {"optimizer": {"state": 3, "param_groups": 4}},
}


def test_a_checkpoint_of_another_shape_is_an_error(place, tmp_path):
    """A file that torch reads need not be a checkpoint of ours."""
    run(place, tmp_path / "a", save_every=1, keep_checkpoints=True)
    unfinish(tmp_path / "a")
    (path,) = (tmp_path / "a" / "checkpoints").iterdir()
    whole, wrong = path.read_bytes(), []
    for name, change in OTHERS.items():
        path.write_bytes(whole)
        _changed(path, change)
        try:
            run(place, tmp_path / "a", save_every=1, resume=True)
            wrong.append(name)
        except DataprepError as error:
            if path.name not in str(error):
                wrong.append((name, str(error)))
    assert not wrong


@pytest.mark.slow
def test_a_damaged_file_of_a_run_is_an_error_with_its_name(place, tmp_path):
    """Options, facts, metrics and results: cut short, of another shape, or nested without end."""
    run(place, tmp_path / "a", save_every=1, keep_checkpoints=True)
    unfinish(tmp_path / "a")
    wrong, files = [], ("options.toml", "facts.json", "metrics.jsonl", "results.json")
    deep = "[" * 100_000
    for name in files:
        for text in (
            "[1, 2]\n",
            '{"step": 1\n',
            f"a = {deep}\n",
            f"{deep}\n",
            '{"step": 1}\n' * 40,
            "\ufffd\0",
        ):
            shutil.rmtree(tmp_path / "b", ignore_errors=True)
            shutil.copytree(tmp_path / "a", tmp_path / "b")
            (tmp_path / "b" / name).write_text(text)
            try:
                run(place, tmp_path / "b", save_every=1, resume=True)
            except DataprepError as error:
                said = (name, "was begun with another", "the data of the run")
                if not any(part in str(error) for part in said):
                    wrong.append((name, text[:20], str(error)[:200]))
            else:
                wrong.append((name, text[:20]))
    (tmp_path / "a" / "metrics.jsonl").write_bytes(b"")
    with pytest.raises(InputError, match=r"metrics\.jsonl: found 0 bytes; the checkpoint was written after"):
        run(place, tmp_path / "a", save_every=1, resume=True)
    assert not wrong


def test_two_runs_do_not_work_in_one_directory(place, tmp_path):
    """The second one is refused, whether it resumes or begins; the first goes on."""
    with working_in(tmp_path / "a"):
        for resume in (False, True):
            with pytest.raises(FileError, match="another run works in it: wait for it"):
                run(place, tmp_path / "a", resume=resume)
    run(place, tmp_path / "a")
    told = []

    def on_metrics(line):
        if line.get("step") == 2 and not told:
            told.append(True)
            with pytest.raises(FileError, match="another run works in it"):
                run(place, tmp_path / "b", resume=True)

    data = place / "train.jsonl"
    train(data, place / "eval.jsonl", tmp_path / "b", options=options(place), on_metrics=on_metrics)
    assert told
    assert same(tmp_path / "a", tmp_path / "b")


def test_a_run_of_an_earlier_version_can_be_resumed(place, tmp_path):
    """Its options.toml lacks the options that came later."""
    run(place, tmp_path / "a", save_every=1, keep_checkpoints=True)
    unfinish(tmp_path / "a")
    path = tmp_path / "a" / "options.toml"
    later = ("strip", "date", "keep_checkpoints")
    kept = [line for line in path.read_text().splitlines() if not line.startswith(later)]
    path.write_text("\n".join(kept) + "\n")
    assert run(place, tmp_path / "a", save_every=1, resume=True)["steps"] == 3
    with pytest.raises(UsageError, match="another --strip"):
        run(place, tmp_path / "a", save_every=1, strip=True, resume=True)


def test_weights_that_are_no_numbers_are_said_as_such(place, tmp_path):
    """Before training, of students, teachers and classifiers, with the name of the weights."""
    for value in (float("nan"), float("inf")):
        model = LlamaForCausalLM.from_pretrained(place / "model")
        with torch.no_grad():
            model.model.layers[1].mlp.up_proj.weight[3, 4] = value
        model.save_pretrained(folder := tmp_path / str(value))
        with pytest.raises(FileError, match=r"its weights model\.layers\.1\.mlp\.up_proj\.weight hold NaN"):
            run(place, tmp_path / "a", model=str(folder))
    shutil.copyfile(place / "tokenizer.json", tmp_path / "nan" / "tokenizer.json")
    with pytest.raises(FileError, match=r"--teacher-model .*hold NaN or infinite numbers"):
        run(place, tmp_path / "a", teacher_model=str(tmp_path / "nan"))


# --- the curve


def test_the_first_steps_do_not_set_the_scale():
    """A new model's first losses are above the axis, and said in words; what falls later is seen."""
    steps = [(1, 9.0), *((step, 2.0 - step / 100) for step in range(2, 101))]
    low, high = curve_scale(steps, [(0, 9.5), (100, 1.2)])
    assert (low, high) == (pytest.approx(1.0, abs=0.1), pytest.approx(1.9, abs=0.1))
    # All of a run of a few steps is shown, and one that stands still has a scale too.
    assert curve_scale([(1, 9.0), (2, 3.0)], [])[1] > 9
    low, high = curve_scale([(1, 2.0), (2, 2.0)], [(0, 2.0)])
    assert low < 2 < high
    assert curve_scale([(1, 0.0)], []) == (0.0, 1.0)


def test_two_evaluations_are_points_and_more_are_a_line(tmp_path, monkeypatch):
    """A line between the first and the last would say that the loss fell evenly between them."""
    pytest.importorskip("matplotlib")
    from matplotlib.axes import Axes

    drawn = []
    real = Axes.plot
    monkeypatch.setattr(Axes, "plot", lambda self, *a, **k: drawn.append(k) or real(self, *a, **k))
    for count in (2, 3):
        lines = [{"step": 1, "loss": 9.0, "tokens": 1, "seconds": 1.0}]
        lines += [{"step": step, "loss": 2.0, "tokens": 1, "seconds": 1.0} for step in range(2, 30)]
        lines += [{"step": 10 * number, "eval_loss": 9.0 / (number + 1)} for number in range(count)]
        run_dir = RunDir(tmp_path)
        (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert draw_curve(run_dir).stat().st_size > 1000
    styles = [settings["linestyle"] for settings in drawn if settings.get("label") == "evaluation rows"]
    assert styles == ["none", "-"]
