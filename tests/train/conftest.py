"""Training data, a tokenizer and tiny models, built once for all tests of training."""

import shutil

import pytest

from tests.students import rows, write_model, write_rows, write_tokenizer


@pytest.fixture(scope="session")
def place(tmp_path_factory):
    """A folder with rows, evaluation rows, a tokenizer and models; tests may add files, never change these.

    `model` has no tokenizer; `student` is the same with one; `teacher` is larger and has it too; the
    layers of `wide` can be quantized.
    """
    folder = tmp_path_factory.mktemp("students")
    write_rows(folder / "train.jsonl", rows(40))
    write_rows(folder / "eval.jsonl", rows(10, seed=2))
    write_tokenizer(folder / "tokenizer.json")
    write_model(folder / "model")
    write_model(folder / "wide", hidden_size=32, intermediate_size=64, tie_word_embeddings=True)
    write_model(folder / "teacher", hidden_size=32, initializer_range=0.3)
    shutil.copytree(folder / "model", folder / "student")
    for name in ("student", "teacher"):
        shutil.copyfile(folder / "tokenizer.json", folder / name / "tokenizer.json")
    return folder
