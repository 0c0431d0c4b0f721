"""The same chat rows give the same tokens, whatever the file that they come from."""

import json

from dataprep import read_rows, write_rows
from dataprep.tokens.encoder import Encoder
from dataprep.tokens.formats.loading import chat_format_of
from tests.tokens_fakes import Bytes

TEMPLATE = (
    "{% if tools %}{{ tools | tojson }}<|eot_id|>{% endif %}{{ mood }}{% for m in messages %}"
    "<|start_header_id|>{{ m.role }}<|end_header_id|>{{ m.content or '' }}"
    "{% for c in m.tool_calls or [] %}{{ c.function.name }}{{ c.function.arguments | tojson }}{% endfor %}"
    "<|eot_id|>{% endfor %}"
)
ADD = {"type": "function", "function": {"name": "add", "parameters": {"type": "object", "x": None}}}
CALL = {"type": "function", "function": {"name": "add", "arguments": {"b": 2, "a": 1}}}
ROW = {
    "messages": [
        {"role": "user", "content": "What is 1 + 2?"},
        {"role": "assistant", "content": None, "tool_calls": [CALL]},
        {"role": "tool", "name": "add", "content": "3"},
        {"role": "assistant", "content": "It is 3."},
    ],
    "tools": [ADD],
    "chat_template_kwargs": {"mood": "kind"},
}
PLAIN = {"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}


def test_every_format_of_files_gives_the_same_tokens(tmp_path):
    """Neither nulls of columns nor JSON texts change what the model learns."""
    tokenizer = Bytes()
    (tmp_path / "t.jinja").write_text(TEMPLATE)
    names = tuple(tokenizer.special_tokens)
    chat_format = chat_format_of("template", path=str(tmp_path / "t.jinja"), special_tokens=names)
    encoder = Encoder(tokenizer, chat_format)
    expected = encoder.encode_rows([ROW, PLAIN])
    assert [bool(encoded.ids) for encoded in expected] == [True, True]
    assert tokenizer.decode(expected[0].ids).startswith(json.dumps([ADD]) + "<|eot_id|>kind<|start")
    as_text = ROW | {name: json.dumps(ROW[name]) for name in ("tools", "chat_template_kwargs")}
    for rows in ([ROW, PLAIN], [as_text, PLAIN]):
        for name in ("a.jsonl", "a.json", "a.parquet"):
            write_rows(rows, str(tmp_path / name))
            read = [row for _, row in read_rows(str(tmp_path / name))]
            assert encoder.encode_rows(read) == expected
    path = str(tmp_path / "a.csv")
    write_rows([ROW, PLAIN | {"tools": None, "chat_template_kwargs": None}], path)
    assert encoder.encode_rows([row for _, row in read_rows(path)]) == expected
