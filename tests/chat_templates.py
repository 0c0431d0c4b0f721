"""Chat templates as model directories hold them, and the directories; and Llama 3 as transformers has it."""

import functools
import json

from tests.toy_tokenizer import NAMES, OTHERS, PATTERN, llama3

_HEADER = "{{ '<|start_header_id|>' + message['role'] + '<|end_header_id|>\n\n' }}"
PROMPT = "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}"

LLAMA3 = (
    "{{ bos_token }}{% for message in messages %}"
    + _HEADER
    + "{{ message['content'] + '<|eot_id|>' }}{% endfor %}"
    + PROMPT
)
LLAMA3_MARKED = (
    "{{ bos_token }}{% for message in messages %}"
    + _HEADER
    + "{% if message['role'] == 'assistant' %}{% generation %}{{ message['content'] + '<|eot_id|>' }}"
    "{% endgeneration %}{% else %}{{ message['content'] + '<|eot_id|>' }}{% endif %}{% endfor %}" + PROMPT
)
# As Llama 3.2's own: contents trimmed, a date in a system message that is always there.
LLAMA32 = (
    "{{- bos_token }}\n"
    "{%- if not date_string is defined %}{%- set date_string = strftime_now('%d %b %Y') %}{%- endif %}\n"
    "{%- if messages[0]['role'] == 'system' %}\n"
    "    {%- set system_message = messages[0]['content']|trim %}{%- set messages = messages[1:] %}\n"
    "{%- else %}{%- set system_message = '' %}{%- endif %}\n"
    '{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}\n'
    '{{- "Cutting Knowledge Date: December 2023\\n" }}{{- "Today Date: " + date_string + "\\n\\n" }}\n'
    '{{- system_message }}{{- "<|eot_id|>" }}\n'
    "{%- for message in messages %}\n"
    "    {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' "
    "+ message['content'] | trim + '<|eot_id|>' }}\n"
    "{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n"
    "    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n"
)
CHATML = (
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] "
    "+ '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
VICUNA = (
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] + ' ' }}"
    "{% set messages = messages[1:] %}{% endif %}{% for message in messages %}"
    "{% if message['role'] == 'user' %}{{ 'USER: ' + message['content'] + ' ' }}"
    "{% else %}{{ 'ASSISTANT: ' + message['content'] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ 'ASSISTANT:' }}{% endif %}"
)


def model_directory(folder, template, names=(*NAMES, *OTHERS), **flags):
    """A model directory with a chat template and special tokens; flags such as ``rstrip`` by their names."""
    folder.mkdir(exist_ok=True)
    added = {
        str(300 + number): {"content": name, "special": True}
        | {flag: name in listed for flag, listed in flags.items()}
        for number, name in enumerate(names)
    }
    config = {"added_tokens_decoder": added, "bos_token": names[0], "eos_token": {"content": "</s>"}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(template, encoding="utf-8")
    return folder


@functools.cache
def transformers_llama3(template):
    """Llama 3's tokenizer as transformers has it, with a chat template."""
    import os

    os.environ["HF_HUB_OFFLINE"] = "1"
    from tokenizers import AddedToken
    from transformers import PreTrainedTokenizerFast
    from transformers.convert_slow_tokenizer import TikTokenConverter

    from tests.real import LLAMA3 as MODEL

    special_tokens = llama3().special_tokens
    names = [AddedToken(name, normalized=False, special=True) for name in special_tokens]
    backend = TikTokenConverter(str(MODEL), pattern=PATTERN).converted()
    backend.add_special_tokens(names)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>"
    )
    tokenizer.chat_template = template
    assert tokenizer.convert_tokens_to_ids("<|eot_id|>") == special_tokens["<|eot_id|>"]
    return tokenizer
