"""Settings of a teacher: what an answer's key depends on, where settings come from, and the key's secrecy."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dataprep.core.errors import FileError, UsageError
from dataprep.models.sampling import GenerationConfig
from dataprep.teacher.settings import Endpoint, endpoints_of, environment


def endpoint_of(variables, base_url=None, **options):
    """The only endpoint, by one flag or none."""
    (endpoint,) = endpoints_of(variables, base_urls=[base_url] if base_url else [], **options)
    return endpoint


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
    own = endpoint_of(environment(tmp_path), base_url="http://flag/v1", key_variable="MINE")
    assert own.api_key == "my-own-key"


EVIL = "TEACHER_MODEL_ENDPOINT_URL=http://evil/v1"
# The lines of a .env file; the environment's variables; flags; and the key that is sent, or the error.
FILES = [
    (EVIL, {"OPENAI_API_KEY": "mine"}, {}, "not sent to an address"),
    (EVIL, {"TEACHER_MODEL_API_KEY": "mine"}, {}, "not sent"),
    (EVIL, {"MINE": "mine"}, {"key_variable": "MINE"}, "not sent"),
    (EVIL, {"MINE": "mine"}, {"azure": True, "api_version": "1"}, "no API"),
    (EVIL, {"OPENAI_API_KEY": "mine"}, {"base_url": "http://x"}, ("mine",)),
    (EVIL, {}, {}, ("",)),
    (EVIL + "\nOPENAI_API_KEY=its", {"OPENAI_API_KEY": "mine"}, {}, ("its",)),
    (EVIL + "\nTEACHER_MODEL_API_KEY=its",
     {"TEACHER_MODEL_API_KEY": "mine"}, {}, ("its",)),
    (EVIL,
     {"TEACHER_MODEL_ENDPOINT_URL": "http://own/v1", "OPENAI_API_KEY": "mine"}, {}, ("mine",)),
    ("TEACHER_MODEL_ENDPOINT_URL=https://api.openai.com/v1", {"OPENAI_API_KEY": "mine"}, {}, ("mine",)),
    ("TEACHER_MODEL_ENDPOINT_URL=", {"OPENAI_API_KEY": "mine"}, {}, ("mine",)),
    ("TEACHER_MODEL_ENDPOINT_URL=http://evil/${OPENAI_API_KEY}\nTEACHER_MODEL_API_KEY=its",
     {"OPENAI_API_KEY": "mine"}, {}, "write the value itself"),
    (EVIL + "\nTEACHER_MODEL_API_KEY=${OPENAI_API_KEY}",
     {"OPENAI_API_KEY": "mine"}, {}, "write the value itself"),
    ("TEACHER_MODEL_API_KEY=its", {}, {"base_url": "http://own/v1"}, ("its",)),
]  # fmt: skip


def test_a_file_in_the_folder_gets_no_key_of_the_environment(tmp_path, monkeypatch):
    """Whoever wrote it: its address is used with its own key, or where the user names it."""
    wrong = []
    for content, variables, options, expected in FILES:
        for name in ("TEACHER_MODEL_ENDPOINT_URL", "TEACHER_MODEL_API_KEY", "OPENAI_API_KEY", "MINE"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        (tmp_path / ".env").write_text(content)
        try:
            endpoint = endpoint_of(environment(tmp_path), **options)
        except UsageError as error:
            said = str(error)
            if type(expected) is not str or expected not in said or "mine" in said.split():
                wrong.append((content, said))
        else:
            if (endpoint.api_key,) != expected or "mine" in endpoint.base_url:
                wrong.append((content, endpoint.api_key, endpoint.base_url))
    assert not wrong


def test_a_file_that_is_no_text_is_an_error(tmp_path):
    """With its path, and no traceback."""
    (tmp_path / ".env").write_bytes(b"A=\xff\xfe\n")
    with pytest.raises(FileError, match=r"\.env: cannot be read"):
        environment(tmp_path)


def test_addresses_on_this_machine_are_known():
    """No proxy of the environment is used for them."""
    own = "localhost LOCALHOST localhost. a.localhost 127.0.0.1 127.9.9.9 [::1] 0.0.0.0 [::ffff:127.0.0.1]"
    others = "example.org localhost.example.org 10.0.0.1 [2001:db8::1] 1270.0.0.1"
    assert all(Endpoint(f"http://{host}:80/v1").is_loopback for host in own.split())
    assert not any(Endpoint(f"http://{host}/v1").is_loopback for host in others.split())


@pytest.mark.parametrize(
    ("variables", "options", "said"),
    [
        ({}, {}, "no API key"),
        ({"OPENAI_API_KEY": "  "}, {}, "no API key"),
        ({}, {"key_variable": "MINE"}, "no such variable"),
        ({}, {"azure": True}, "the resource's address"),
        ({"OPENAI_API_KEY": "k"}, {"azure": True, "base_url": "https://x"}, "--api-version"),
        ({"OPENAI_API_KEY": "k"}, {"base_url": "localhost:8000"}, "expected http"),
        ({"OPENAI_API_KEY": "k"}, {"base_url": "http://x/\x1b[2Jv1"}, r"\\x1b"),
        ({"OPENAI_API_KEY": "k"}, {"base_url": "http://x/v1\nasks y"}, "expected http"),
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


def test_several_answers_at_temperature_0_are_refused_before_anything_is_sent():
    """They would all be the same. Settings of earlier journals are still accepted for reading."""
    GenerationConfig("a", n=3, temperature=0.7).check_samples()
    GenerationConfig("a", n=3, temperature=None).check_samples()
    GenerationConfig("a").check_samples()
    with pytest.raises(UsageError, match=r"--n 3 needs --temperature above 0.*the same"):
        GenerationConfig("a", n=3).check_samples()


def test_samples_that_are_asked_alone_have_seeds_of_their_own():
    """With one seed they would all be the same; the first keeps the one that was given."""
    config = GenerationConfig("a", temperature=1.0, extra={"seed": 7, "x": 1})
    assert [config.body(ASKED, 1, first=first)["seed"] for first in (0, 1, 2)] == [7, 8, 9]
    assert "seed" not in GenerationConfig("a").body(ASKED, 1, first=2)


@pytest.mark.parametrize(
    ("model", "field", "online", "batch"),
    [
        ("gpt-4o-mini", "auto", "max_tokens", "max_tokens"),
        ("o3-mini", "auto", "max_tokens", "max_completion_tokens"),
        ("openai/o1", "auto", "max_tokens", "max_completion_tokens"),
        ("gpt-5", "auto", "max_tokens", "max_completion_tokens"),
        ("ft:gpt-5-nano:me", "auto", "max_tokens", "max_completion_tokens"),
        ("qwen-o1", "auto", "max_tokens", "max_tokens"),
        ("my-deployment", "max_completion_tokens", "max_completion_tokens", "max_completion_tokens"),
        ("o3-mini", "max_tokens", "max_tokens", "max_tokens"),
    ],
)
def test_the_name_of_the_limit(model, field, online, batch):
    """No reply can correct a batch file, so there it follows the model's name or the flag."""
    config = GenerationConfig(model, max_tokens=9, max_tokens_field=field)
    for name, body in ((online, config.body(ASKED, 1)), (batch, config.body(ASKED, 1, batch=True))):
        assert body[name] == 9
        assert len({"max_tokens", "max_completion_tokens"} & body.keys()) == 1
    assert config.key(ASKED) == GenerationConfig(model).key(ASKED)
