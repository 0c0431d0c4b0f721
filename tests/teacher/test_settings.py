"""Settings of a teacher: what an answer's key depends on, where settings come from, and the key's secrecy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import UsageError
from dataprep.models.sampling import GenerationConfig
from dataprep.teacher.settings import Endpoint, endpoint_of, environment

ASKED = [{"role": "user", "content": "Why?"}]


def test_the_key_changes_with_all_that_changes_an_answer():
    """Changed prompts, models and settings are asked anew."""
    settings = [
        GenerationConfig("a"),
        GenerationConfig("b"),
        *(GenerationConfig("a", temperature=value) for value in (1.0, None)),
        GenerationConfig("a", logprobs=5),
        *(GenerationConfig("a", extra={"seed": value}) for value in (1, 2)),
    ]
    keys = [each.key(ASKED) for each in settings]
    keys += [
        GenerationConfig("a").key([{"role": "system", "content": "Why?"}]),
        GenerationConfig("a").key(ASKED * 2),
    ]
    assert len(set(keys)) == len(keys)


def test_the_key_does_not_change_with_what_changes_no_answer():
    """Raising max_tokens or asking for more answers throws none away; the order of fields says nothing."""
    key = GenerationConfig("a", extra={"x": 1, "y": 2}).key(ASKED)
    assert GenerationConfig("a", max_tokens=9, n=3, extra={"y": 2, "x": 1}).key(ASKED) == key
    assert len(key) == 32


@given(st.text(), st.text())
def test_other_messages_have_other_keys(first, second):
    """Any two texts."""
    keys = [GenerationConfig("a").key([{"role": "user", "content": text}]) for text in (first, second)]
    assert (keys[0] == keys[1]) == (first == second)


@pytest.mark.parametrize(
    "options", [{"model": ""}, {"n": 0}, {"max_tokens": 0}, {"logprobs": 21}, {"extra": {"model": 1}}]
)
def test_settings_that_cannot_be_served_are_refused(options):
    """Before anything is sent."""
    with pytest.raises(UsageError):
        GenerationConfig(**{"model": "a", **options})


def test_flags_win_over_the_environment_and_it_over_env_files(tmp_path, monkeypatch):
    """As the notebooks for Azure AI have it: a .env file, which the environment overrides."""
    for name in (
        "TEACHER_MODEL_NAME",
        "TEACHER_MODEL_ENDPOINT_URL",
        "TEACHER_MODEL_API_KEY",
        "OPENAI_API_KEY",
    ):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / ".env").write_text(
        'TEACHER_MODEL_NAME=file\nTEACHER_MODEL_ENDPOINT_URL="http://file/v1"\nTEACHER_MODEL_API_KEY=key-of-file\n'
    )
    monkeypatch.setenv("TEACHER_MODEL_NAME", "variable")
    found = environment(tmp_path)
    assert found["TEACHER_MODEL_NAME"] == "variable"
    endpoint = endpoint_of(found)
    assert (endpoint.base_url, endpoint.api_key) == ("http://file/v1", "key-of-file")
    assert endpoint_of(found, base_url="http://flag/v1").base_url == "http://flag/v1"
    monkeypatch.setenv("MINE", "my-own-key")
    assert endpoint_of(environment(tmp_path), key_variable="MINE").api_key == "my-own-key"


@pytest.mark.parametrize(
    ("variables", "options", "said"),
    [
        ({}, {}, "no API key"),
        ({"OPENAI_API_KEY": "  "}, {}, "no API key"),
        ({}, {"key_variable": "MINE"}, "no such variable"),
        ({}, {"azure": True}, "the resource's address"),
        ({"OPENAI_API_KEY": "k"}, {"azure": True, "base_url": "https://x"}, "--api-version"),
        ({"OPENAI_API_KEY": "k"}, {"base_url": "localhost:8000"}, "expected http"),
        ({"OPENAI_API_KEY": "k y"}, {}, "white space"),
    ],
)
def test_what_is_missing_is_said(variables, options, said):
    """Before anything is sent, with the flag or the variable."""
    with pytest.raises(UsageError, match=said):
        endpoint_of(variables, **options)


def test_a_local_server_needs_no_key():
    """vLLM, Ollama and llama.cpp ask for none."""
    assert endpoint_of({}, base_url="http://localhost:11434/v1").api_key == ""


@pytest.mark.parametrize("quoted", ["{}", "Authorization: Bearer {}", '{{"header":"{}"}}', "key={}&x"])
def test_the_key_is_cleared_out_of_texts(quoted):
    """However a server quotes it."""
    endpoint = Endpoint("http://x/v1", 'sk-"odd\\key+/=')
    for form in ('sk-"odd\\key+/=', 'sk-\\"odd\\\\key+/=', "sk-%22odd%5Ckey%2B%2F%3D", "c2stIm9kZFxrZXkrLz0"):
        assert form not in endpoint.redact(quoted.format(form))
    assert "odd" not in repr(endpoint)


def test_an_address_is_shown_without_what_it_hides():
    """Neither a password nor a key in the query."""
    endpoint = Endpoint("https://me:secret@host:8443/v1?api-key=abc", "sk-12345678")
    assert endpoint.shown_url == "https://host:8443/v1"
