"""Chat templates in the manner of the model families, and conversations for them.

The texts are written for this file: each does what the templates of its family do (headers, tools,
tool calls, reasoning, dates, checks of roles) with the constructs that they use, in fewer words.
"""

TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Weather at a place, \"now\".",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Name: é"},
                "unit": {"type": "string", "enum": ["C", "F"]},
                "days": {"type": "integer"},
            },
            "required": ["city"],
        },
    },
}


def turn(role, content, **more):
    return {"role": role, "content": content, **more}


def chat(messages, prompt=False, **more):
    return {
        "messages": messages, "add_generation_prompt": prompt, "tools": None, "documents": None,
        "bos_token": "<s>", "eos_token": "</s>", **more,
    }


TALK = [turn("user", "Hi"), turn("assistant", " Hello <b>you</b> \n"), turn("user", "\n Bye? ")]
CALLS = [
    turn("user", "Weather in Zürich?"),
    turn("assistant", "", tool_calls=[
        {"id": "abc123def", "type": "function",
         "function": {"name": "weather", "arguments": {"city": "Zürich", "days": 2, "x": [1.5, None, True]}}},
    ]),
    turn("tool", '{"t": 7}', name="weather", tool_call_id="abc123def"),
    turn("assistant", "Seven degrees."),
    turn("user", "Thanks"),
]
CONVERSATIONS = {
    "talk": chat(TALK, True),
    "answered": chat(TALK[:2]),
    "system": chat([turn("system", " Be brief. ")] + TALK + [turn("assistant", "漢字 🎉")]),
    "tools": chat([turn("system", "Use tools.")] + CALLS, True, tools=[TOOL, TOOL]),
    "calls": chat(CALLS[:2], tools=[TOOL]),
    "think": chat(
        [turn("user", "1+1?"), turn("assistant", "<think>\nsum\n</think>\n\n2"), turn("user", "2+2?"),
         turn("assistant", "4", reasoning_content="again")], False, enable_thinking=False, date_string="1 May 2025"),
    "parts": chat([turn("user", [{"type": "text", "text": "See "}, {"type": "image"}, {"type": "text", "text": "it"}]),
                   turn("assistant", "Yes")], True, documents=[{"title": "T", "text": "x\ny"}]),
    "wrong": chat([turn("assistant", "me first"), turn("assistant", "again")]),
}
ALL = list(CONVERSATIONS)
PLAIN = ["talk", "answered", "system", "wrong"]
CONTENT = "{% set c = m.content if m.content is string else m.content|selectattr('type', 'equalto', 'text')|map(attribute='text')|join('') %}"

FAMILIES = [
    # ChatML, with and without a default system text
    "{% for m in messages %}{{'<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}"
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nHelp.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content']}}{% if (loop.last and add_generation_prompt) or not loop.last %}{{ '<|im_end|>' + '\n'}}{% endif %}{% endfor %}"
    "{% if add_generation_prompt and messages[-1]['role'] != 'assistant' %}{{ '<|im_start|>assistant\n' }}{% endif %}",
    # Llama 2
    "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}"
    "{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
    "{% if loop.index0 == 0 and system_message %}{% set content = '<<SYS>>\n' + system_message + '\n<</SYS>>\n\n' + message['content'] %}"
    "{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}"
    "{% elif message['role'] == 'assistant' %}{{ ' ' + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    # Llama 3.1: dates, tools in the system or the first user turn, calls as JSON
    "{{- bos_token }}\n{%- if not date_string is defined %}\n    {%- if strftime_now is defined %}\n        {%- set date_string = strftime_now(\"%d %b %Y\") %}\n"
    "    {%- endif %}\n{%- endif %}\n{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content']|trim %}\n"
    "    {%- set messages = messages[1:] %}\n{%- else %}\n    {%- set system_message = \"\" %}\n{%- endif %}\n"
    "{{- \"<|start_header_id|>system<|end_header_id|>\\n\\n\" }}\n{%- if tools is not none %}{{- \"Environment: ipython\\n\" }}{%- endif %}\n"
    "{{- \"Today Date: \" + date_string + \"\\n\\n\" }}\n{%- if tools is not none %}\n    {%- for t in tools %}\n        {{- t | tojson(indent=4) }}\n"
    "        {{- \"\\n\\n\" }}\n    {%- endfor %}\n{%- endif %}\n{{- system_message }}\n{{- \"<|eot_id|>\" }}\n{%- for message in messages %}\n"
    "    {%- if not (message.role == 'ipython' or message.role == 'tool' or 'tool_calls' in message) %}\n"
    "        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' }}\n"
    "    {%- elif 'tool_calls' in message %}\n        {%- if not message.tool_calls|length == 1 %}\n            {{- raise_exception(\"one call only\") }}\n        {%- endif %}\n"
    "        {%- set tool_call = message.tool_calls[0].function %}\n        {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' -}}\n"
    "        {{- '{\"name\": \"' + tool_call.name + '\", ' }}\n        {{- '\"parameters\": ' }}\n        {{- tool_call.arguments | tojson }}\n        {{- \"}\" }}\n"
    "        {{- \"<|eot_id|>\" }}\n    {%- elif message.role == \"tool\" or message.role == \"ipython\" %}\n        {{- \"<|start_header_id|>ipython<|end_header_id|>\\n\\n\" }}\n"
    "        {%- if message.content is mapping or message.content is iterable %}\n            {{- message.content | tojson }}\n        {%- else %}\n            {{- message.content }}\n"
    "        {%- endif %}\n        {{- \"<|eot_id|>\" }}\n    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}\n{%- endif %}\n",
    # Llama 3.2: custom_tools, calls as Python
    "{%- if custom_tools is defined %}{%- set tools = custom_tools %}{%- endif %}{{- bos_token }}{% for m in messages %}" + CONTENT +
    "{% if m.tool_calls %}{{ '[' }}{% for t in m.tool_calls %}{{ t.function.name }}({% for k, v in t.function.arguments.items() %}{{ k }}="
    "{% if v is string %}\"{{ v }}\"{% else %}{{ v }}{% endif %}{% if not loop.last %}, {% endif %}{% endfor %}){% endfor %}{{ ']' }}"
    "{% else %}{{ m.role }}: {{ c|trim }}{% endif %}<|eot_id|>{% endfor %}",
    # Qwen2.5 with tools
    "{%- if tools %}\n    {{- '<|im_start|>system\\n' }}\n    {%- if messages[0]['role'] == 'system' %}\n        {{- messages[0]['content'] }}\n    {%- else %}\n        {{- 'Help.' }}\n    {%- endif %}\n"
    "    {{- \"\\n\\n# Tools\\n<tools>\" }}\n    {%- for tool in tools %}\n        {{- \"\\n\" }}\n        {{- tool | tojson }}\n    {%- endfor %}\n    {{- \"\\n</tools><|im_end|>\\n\" }}\n{%- endif %}\n"
    "{%- for message in messages %}\n    {%- if (message.role == \"user\") or (message.role == \"system\" and not loop.first) or (message.role == \"assistant\" and not message.tool_calls) %}\n"
    "        {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}\n    {%- elif message.role == \"assistant\" %}\n        {{- '<|im_start|>' + message.role }}\n"
    "        {%- if message.content %}\n            {{- '\\n' + message.content }}\n        {%- endif %}\n        {%- for tool_call in message.tool_calls %}\n            {%- if tool_call.function is defined %}\n"
    "                {%- set tool_call = tool_call.function %}\n            {%- endif %}\n            {{- '\\n<tool_call>\\n{\"name\": \"' }}\n            {{- tool_call.name }}\n            {{- '\", \"arguments\": ' }}\n"
    "            {{- tool_call.arguments | tojson }}\n            {{- '}\\n</tool_call>' }}\n        {%- endfor %}\n        {{- '<|im_end|>\\n' }}\n    {%- elif message.role == \"tool\" %}\n"
    "        {%- if (loop.index0 == 0) or (messages[loop.index0 - 1].role != \"tool\") %}\n            {{- '<|im_start|>user' }}\n        {%- endif %}\n        {{- '\\n<tool_response>\\n' }}\n        {{- message.content }}\n"
    "        {{- '\\n</tool_response>' }}\n        {%- if loop.last or (messages[loop.index0 + 1].role != \"tool\") %}\n            {{- '<|im_end|>\\n' }}\n        {%- endif %}\n    {%- endif %}\n{%- endfor %}\n"
    "{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n{%- endif %}\n",
    # Qwen3: reasoning, the last query found from behind, enable_thinking
    "{%- set ns = namespace(multi_step_tool=true, last_query_index=messages|length - 1) %}\n{%- for message in messages[::-1] %}\n    {%- set index = (messages|length - 1) - loop.index0 %}\n"
    "    {%- if ns.multi_step_tool and message.role == \"user\" and message.content is string and not(message.content.startswith('<tool_response>') and message.content.endswith('</tool_response>')) %}\n"
    "        {%- set ns.multi_step_tool = false %}\n        {%- set ns.last_query_index = index %}\n    {%- endif %}\n{%- endfor %}\n{%- for message in messages %}\n"
    "    {%- if message.content is string %}\n        {%- set content = message.content %}\n    {%- else %}\n        {%- set content = '' %}\n    {%- endif %}\n    {%- if message.role == \"assistant\" %}\n"
    "        {%- set reasoning_content = '' %}\n        {%- if message.reasoning_content is string %}\n            {%- set reasoning_content = message.reasoning_content %}\n        {%- else %}\n            {%- if '</think>' in content %}\n"
    "                {%- set reasoning_content = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') %}\n                {%- set content = content.split('</think>')[-1].lstrip('\\n') %}\n            {%- endif %}\n        {%- endif %}\n"
    "        {%- if loop.index0 > ns.last_query_index %}\n            {%- if loop.last or (not loop.last and reasoning_content) %}\n                {{- '<|im_start|>' + message.role + '\\n<think>\\n' + reasoning_content.strip('\\n') + '\\n</think>\\n\\n' + content.lstrip('\\n') }}\n"
    "            {%- else %}\n                {{- '<|im_start|>' + message.role + '\\n' + content }}\n            {%- endif %}\n        {%- else %}\n            {{- '<|im_start|>' + message.role + '\\n' + content }}\n        {%- endif %}\n"
    "        {{- '<|im_end|>\\n' }}\n    {%- else %}\n        {{- '<|im_start|>' + message.role + '\\n' + content + '<|im_end|>' + '\\n' }}\n    {%- endif %}\n{%- endfor %}\n{%- if add_generation_prompt %}\n    {{- '<|im_start|>assistant\\n' }}\n"
    "    {%- if enable_thinking is defined and enable_thinking is false %}\n        {{- '<think>\\n\\n</think>\\n\\n' }}\n    {%- endif %}\n{%- endif %}",
    # Mistral v3 with tools
    "{%- if messages[0][\"role\"] == \"system\" %}\n    {%- set system_message = messages[0][\"content\"] %}\n    {%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%- set loop_messages = messages %}\n{%- endif %}\n"
    "{%- if not tools is defined %}\n    {%- set tools = none %}\n{%- endif %}\n{%- set user_messages = loop_messages | selectattr(\"role\", \"equalto\", \"user\") | list %}\n{{- bos_token }}\n{%- for message in loop_messages %}\n"
    "    {%- if message[\"role\"] == \"user\" %}\n        {%- if tools is not none and (message == user_messages[-1]) %}\n            {{- \"[AVAILABLE_TOOLS] [\" }}\n            {%- for tool in tools %}\n                {%- set tool = tool.function %}\n"
    "                {{- '{\"type\": \"function\", \"function\": {' }}\n                {%- for key, val in tool.items() if key != \"return\" %}\n                    {%- if val is string %}\n                        {{- '\"' + key + '\": \"' + val + '\"' }}\n"
    "                    {%- else %}\n                        {{- '\"' + key + '\": ' + val|tojson }}\n                    {%- endif %}\n                    {%- if not loop.last %}\n                        {{- \", \" }}\n                    {%- endif %}\n                {%- endfor %}\n"
    "                {{- \"}}\" }}\n                {%- if not loop.last %}\n                    {{- \", \" }}\n                {%- else %}\n                    {{- \"]\" }}\n                {%- endif %}\n            {%- endfor %}\n            {{- \"[/AVAILABLE_TOOLS]\" }}\n        {%- endif %}\n"
    "        {%- if loop.last and system_message is defined %}\n            {{- \"[INST] \" + system_message + \"\\n\\n\" + message[\"content\"] + \"[/INST]\" }}\n        {%- else %}\n            {{- \"[INST] \" + message[\"content\"] + \"[/INST]\" }}\n        {%- endif %}\n"
    "    {%- elif message.tool_calls is defined and message.tool_calls is not none %}\n        {{- \"[TOOL_CALLS] [\" }}\n        {%- for tool_call in message.tool_calls %}\n            {%- set out = tool_call.function|tojson %}\n            {{- out[:-1] }}\n"
    "            {%- if not tool_call.id is defined or tool_call.id|length != 9 %}\n                {{- raise_exception(\"ids have 9 letters\") }}\n            {%- endif %}\n            {{- ', \"id\": \"' + tool_call.id + '\"}' }}\n            {%- if not loop.last %}\n                {{- \", \" }}\n"
    "            {%- else %}\n                {{- \"]\" + eos_token }}\n            {%- endif %}\n        {%- endfor %}\n    {%- elif message[\"role\"] == \"assistant\" %}\n        {{- \" \" + message[\"content\"]|trim + eos_token}}\n"
    "    {%- elif message[\"role\"] == \"tool_results\" or message[\"role\"] == \"tool\" %}\n        {%- if message.content is defined and message.content.content is defined %}\n            {%- set content = message.content.content %}\n        {%- else %}\n            {%- set content = message.content %}\n        {%- endif %}\n"
    "        {{- '[TOOL_RESULTS] {\"content\": ' + content|string + \", \" }}\n        {{- '\"call_id\": \"' + message.tool_call_id + '\"}[/TOOL_RESULTS]' }}\n    {%- else %}\n        {{- raise_exception(\"no such role\") }}\n    {%- endif %}\n{%- endfor %}\n",
    # Gemma, Gemma 3
    "{{ bos_token }}{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}{% for message in messages %}"
    "{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('alternate') }}{% endif %}{% if (message['role'] == 'assistant') %}{% set role = 'model' %}{% else %}{% set role = message['role'] %}{% endif %}"
    "{{ '<start_of_turn>' + role + '\n' + message['content'] | trim + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{'<start_of_turn>model\n'}}{% endif %}",
    "{{ bos_token }}\n{%- if messages[0]['role'] == 'system' -%}\n    {%- if messages[0]['content'] is string -%}\n        {%- set first_user_prefix = messages[0]['content'] + '\n\n' -%}\n    {%- else -%}\n        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '\n\n' -%}\n    {%- endif -%}\n"
    "    {%- set loop_messages = messages[1:] -%}\n{%- else -%}\n    {%- set first_user_prefix = \"\" -%}\n    {%- set loop_messages = messages -%}\n{%- endif -%}\n{%- for message in loop_messages -%}\n"
    "    {{ '<start_of_turn>' + ('model' if message['role'] == 'assistant' else message['role']) + '\n' + (first_user_prefix if loop.first else \"\") }}\n    {%- if message['content'] is string -%}\n        {{ message['content'] | trim }}\n"
    "    {%- elif message['content'] is iterable -%}\n        {%- for item in message['content'] -%}\n            {%- if item['type'] == 'image' -%}\n                {{ '<start_of_image>' }}\n            {%- elif item['type'] == 'text' -%}\n                {{ item['text'] | trim }}\n            {%- endif -%}\n        {%- endfor -%}\n"
    "    {%- else -%}\n        {{ raise_exception(\"Invalid content type\") }}\n    {%- endif -%}\n    {{ '<end_of_turn>\n' }}\n{%- endfor -%}\n{%- if add_generation_prompt -%}\n    {{'<start_of_turn>model\n'}}\n{%- endif -%}\n",
    # Phi-3, Phi-4
    "{% for message in messages %}{% if message['role'] == 'system' %}{{'<|system|>\n' + message['content'] + '<|end|>\n'}}{% elif message['role'] == 'user' %}{{'<|user|>\n' + message['content'] + '<|end|>\n'}}"
    "{% elif message['role'] == 'assistant' %}{{'<|assistant|>\n' + message['content'] + '<|end|>\n'}}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    "{% for m in messages %}{% if m['role'] == 'system' and 'tools' in m and m['tools'] is not none %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|tool|>' + m['tools'] + '<|/tool|>' + '<|end|>' }}"
    "{% else %}{{ '<|' + m['role'] + '|>' + (m['content'] if m.content is string else m.content|length|string) + '<|end|>' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>' }}{% else %}{{ eos_token }}{% endif %}",
    # Zephyr, Vicuna, Alpaca, OpenChat, Guanaco, Falcon
    "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n"
    "{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "{% if messages[0]['role'] == 'system' %}{{ messages[0]['content'] | trim + '\n\n' }}{% set messages = messages[1:] %}{% endif %}{% for m in messages %}{% if m.role == 'user' %}USER: {{ m.content }} {% else %}ASSISTANT: {{ m.content ~ eos_token }}{% endif %}{% endfor %}"
    "{{ 'ASSISTANT:' if add_generation_prompt }}",
    "{% for m in messages if m.content %}{{ {'system': '', 'user': '### Instruction:\n', 'assistant': '### Response:\n'}.get(m.role, '### ' ~ m.role|title ~ ':\n') ~ m.content ~ '\n\n' }}{% endfor %}{% if add_generation_prompt %}### Response:\n{% endif %}",
    "{{ bos_token }}{% for message in messages %}{{ 'GPT4 Correct ' + message['role'].title() + ': ' + message['content'] + '<|end_of_turn|>'}}{% endfor %}{% if add_generation_prompt %}{{ 'GPT4 Correct Assistant:' }}{% endif %}",
    "{% for m in messages %}{{ loop.cycle('### Human: ', '### Assistant: ') }}{{ m['content'] }}{% endfor %}{% if add_generation_prompt %}### Assistant:{% endif %}",
    "{% for message in messages %}{% if not loop.first %}{{ '\n' }}{% endif %}{% if message['role'] == 'system' %}{{ 'System: ' }}{% elif message['role'] == 'user' %}{{ 'User: ' }}{% elif message['role'] == 'assistant' %}{{ 'Falcon: ' }}{% endif %}{{ message['content'] }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '\n' + 'Falcon:' }}{% endif %}",
    # DeepSeek
    "{% if not add_generation_prompt is defined %}{% set add_generation_prompt = false %}{% endif %}{% set ns = namespace(is_first=false, is_tool=false, is_output_first=true, system_prompt='') %}"
    "{%- for message in messages %}{%- if message['role'] == 'system' %}{% set ns.system_prompt = message['content'] %}{%- endif %}{%- endfor %}{{bos_token}}{{ns.system_prompt}}{%- for message in messages %}"
    "{%- if message['role'] == 'user' %}{%- set ns.is_tool = false -%}{{'<｜User｜>' + message['content']}}{%- endif %}{%- if message['role'] == 'assistant' and message['tool_calls'] %}{%- set ns.is_tool = false -%}"
    "{%- for tool in message['tool_calls']%}{%- if not ns.is_first %}{{'<｜Assistant｜><｜tool▁calls▁begin｜>' + tool['type'] + '<｜tool▁sep｜>' + tool['function']['name'] + '\n' + '```json' + '\n' + tool['function']['arguments']|tojson + '\n' + '```'}}{%- set ns.is_first = true -%}"
    "{%- else %}{{'\n' + tool['type']}}{%- endif %}{%- endfor %}{{'<｜end▁of▁sentence｜>'}}{%- endif %}{%- if message['role'] == 'assistant' and not message['tool_calls'] %}{%- if ns.is_tool %}{{'<｜tool▁outputs▁end｜>' + message['content'] + '<｜end▁of▁sentence｜>'}}"
    "{%- set ns.is_tool = false -%}{%- else %}{% set content = message['content'] %}{% if '</think>' in content %}{% set content = content.split('</think>')[-1] %}{% endif %}{{'<｜Assistant｜>' + content + '<｜end▁of▁sentence｜>'}}{%- endif %}{%- endif %}"
    "{%- if message['role'] == 'tool' %}{%- set ns.is_tool = true -%}{%- if ns.is_output_first %}{{'<｜tool▁outputs▁begin｜>' + message['content']}}{%- set ns.is_output_first = false %}{%- endif %}{%- endif %}{%- endfor -%}"
    "{% if ns.is_tool %}{{'<｜tool▁outputs▁end｜>'}}{% endif %}{% if add_generation_prompt and not ns.is_tool %}{{'<｜Assistant｜><think>\\n'}}{% endif %}",
    # Command-R: macros, documents
    "{%- macro kind(p) -%}{%- if p.enum -%}{{ p.enum|map('tojson')|join(' | ') }}{%- elif p.type == 'string' -%}str{%- elif p.type == 'integer' -%}int{%- else -%}{{ p.type }}{%- endif -%}{%- endmacro -%}"
    "{%- macro signature(f) -%}def {{ f.name }}({%- for n, p in f.parameters.properties.items() -%}{{ n }}: {{ kind(p) if n in f.parameters.required else 'Optional[' ~ kind(p) ~ '] = None' }}{{ ', ' if not loop.last }}{%- endfor -%}):\n    \"\"\"{{ f.description|replace('\"', \"'\") }}\n"
    "{% for n, p in f.parameters.properties|dictsort %}    {{ n|upper }}: {{ p.description|default('none') }}\n{% endfor %}    \"\"\"{%- endmacro -%}{{ bos_token }}{% for t in tools or [] %}{{ signature(t.function) }}\n{% endfor %}"
    "{% for d in documents or [] %}Document: {{ loop.index0 }}\n{% for k, v in d.items() %}{{ k }}: {{ v|string|indent(2) }}\n{% endfor %}{% endfor %}{% for m in messages %}{{ '<|START_OF_TURN_TOKEN|><|' ~ m.role|upper ~ '_TOKEN|>' }}{{ m.content|string|trim }}<|END_OF_TURN_TOKEN|>{% endfor %}"
    "{% if add_generation_prompt %}<|START_OF_TURN_TOKEN|><|CHATBOT_TOKEN|>{% endif %}",
    # Hermes: a macro that turns JSON types into text, recursion
    "{%- macro json_to_python_type(json_spec) %}\n{%- set basic = {\"string\": \"str\", \"number\": \"float\", \"integer\": \"int\", \"boolean\": \"bool\"} %}\n\n{%- if basic[json_spec.type] is defined %}\n    {{- basic[json_spec.type] }}\n"
    "{%- elif json_spec.type == \"array\" %}\n    {{- \"list[\" + json_to_python_type(json_spec|items) + \"]\"}}\n{%- elif json_spec.type is iterable %}\n    {{- \"Union[\" }}\n    {%- for t in json_spec.type %}\n        {{- json_to_python_type({\"type\": t}) }}\n"
    "        {%- if not loop.last %}\n            {{- \",\" }}\n        {%- endif %}\n    {%- endfor %}\n    {{- \"]\" }}\n{%- else %}\n    {{- \"Any\" }}\n{%- endif %}\n{%- endmacro %}\n\n{{- bos_token }}<|im_start|>system\n"
    "{%- for tool in tools or [] %}\n    {%- if tool.function is defined %}\n        {%- set tool = tool.function %}\n    {%- endif %}\n    {{- '{\"name\": \"' + tool.name + '(' }}\n    {%- for n, f in tool.parameters.properties|items %}\n"
    "        {{- n + \": \" + json_to_python_type(f) }}\n        {%- if not loop.last %}\n            {{- \", \" }}\n        {%- endif %}\n    {%- endfor %}\n    {{- ')\"}\\n' }}\n{%- endfor %}\n{{- '<|im_end|>\\n' }}\n"
    "{%- for m in messages %}\n    {%- if m.role == 'tool' and not (loop.previtem and loop.previtem.role == 'tool') %}\n        {{- '<|im_start|>' + m.role + '\\n' }}\n    {%- endif %}\n    {{- m.content|string }}{{ '<|im_end|>\\n' }}\n{%- endfor %}\n",
    # Granite, OLMo, Yi, InternLM, GLM, Exaone, MiniCPM, Cohere's generation blocks, SmolLM3
    "{%- if messages[0]['role'] == 'system' %}\n    {%- set system_message = messages[0]['content'] %}\n    {%- set loop_messages = messages[1:] %}\n{%- else %}\n    {%- set system_message = \"Knowledge Cutoff Date: April 2024.\nToday's Date: \" + strftime_now('%B %d, %Y') + \".\" %}\n"
    "    {%- if tools and documents %}\n        {%- set system_message = system_message + \" Both.\" %}\n    {%- elif tools %}\n        {%- set system_message = system_message + \" Tools.\" %}\n    {%- elif documents %}\n        {%- set system_message = system_message + \" Documents.\" %}\n    {%- endif %}\n"
    "    {%- set loop_messages = messages %}\n{%- endif %}\n{{- '<|start_of_role|>system<|end_of_role|>' + system_message + '<|end_of_text|>\n' }}\n{%- if tools %}\n    {{- '<|start_of_role|>tools<|end_of_role|>' }}\n    {{- tools | tojson(indent=4) }}\n    {{- '<|end_of_text|>\n' }}\n{%- endif %}\n"
    "{%- if documents %}\n    {%- for document in documents %}\n        {{- 'Document ' + loop.index | string + '\n' }}\n        {{- document['text'] }}\n        {%- if not loop.last %}\n            {{- '\n\n'}}\n        {%- endif%}\n    {%- endfor %}\n{%- endif %}\n"
    "{%- for message in loop_messages %}\n    {{- '<|start_of_role|>' + message['role'] + '<|end_of_role|>' + message['content']|string + '<|end_of_text|>\n' }}\n    {%- if loop.last and add_generation_prompt %}\n        {{- '<|start_of_role|>assistant' }}\n        {%- if controls %}\n"
    "            {{- ' ' + controls | tojson()}}\n        {%- endif %}\n        {{- '<|end_of_role|>' }}\n    {%- endif %}\n{%- endfor %}",
    "{{ eos_token }}{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    "[gMASK]<sop>{% for item in messages %}{% if item['tools'] is defined %}{{ '<|system|>' }}{% endif %}{% if item['content'] %}<|{{ item['role'] }}|>{{ item['metadata'] }}\n{{ item['content'] }}{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}",
    "{% for message in messages %}{% if loop.first and message['role'] != 'system' %}{{ '[|system|][|endofturn|]\n' }}{% endif %}{{ '[|' + message['role'] + '|]' + message['content'] }}{% if message['role'] == 'user' %}{{ '\n' }}{% else %}{{ '[|endofturn|]\n' }}{% endif %}{% endfor %}{% if add_generation_prompt %}{{ '[|assistant|]' }}{% endif %}",
    "{% set roles = {'user': '<用户>', 'assistant': '<AI>'} %}{% for message in messages %}{{ roles[message['role']] ~ message['content']|string|trim }}{% endfor %}",
    "{%- for m in messages -%}{{ '<|' ~ m.role ~ '|>' }}{%- if m.role == 'assistant' -%}{% generation %}{{ m.content }}{{ eos_token }}{% endgeneration %}{%- else -%}{{ m.content|string }}{{ '\n' }}{%- endif -%}{%- endfor -%}{{ '<|assistant|>' if add_generation_prompt else '' }}",
    "{%- macro wrap(tag) -%}<{{ tag }}>{{ caller(tag|length) }}</{{ tag }}>{%- endmacro -%}{%- set mode = '/think' if enable_thinking is not defined or enable_thinking else '/no_think' -%}{% call(n) wrap('meta') %}{{ mode }} {{ n }}{% endcall %}\n"
    "{% with n = messages|length, last = messages|last %}{{ n }} {{ last.role }}{% endwith %}\n{% for role, group in messages|groupby('role') %}{{ role }}={{ group|length }};{% endfor %}\n{% filter upper %}{% for m in messages %}{% if loop.index > 3 %}{% break %}{% endif %}{% if m.role == 'tool' %}{% continue %}{% endif %}{{ m.content|string|truncate(9, true) }}|{% endfor %}{% endfilter %}",
    "{%- set sep = joiner(' + ') -%}{%- for m in messages -%}{{ sep() }}{{ m.role }}{%- endfor -%}{{ '\n' }}{%- set c = cycler('a', 'b') -%}{%- for m in messages -%}{{ c.next() }}{{ loop.revindex }}{%- endfor %}\n{% raw %}{{ not run }}{% endraw %}\n{% set body %}{% for m in messages|reverse %}{{ m.content|string|e }}\n{% endfor %}{% endset %}{{ body|trim|indent(2, true) }}",
    # SmolLM3, Kimi, gpt-oss: loops over keys, arithmetic on indices, defaults
    "{%- set names = {'system': 'developer'} -%}{%- for m in messages -%}{{ '<|start|>' ~ names.get(m.role, m.role) }}{%- for k in ['tool_calls', 'name'] if m[k] is defined -%}{{ ' ' ~ k ~ '=' ~ m[k]|tojson(separators=(',', ':'), sort_keys=true) }}{%- endfor -%}"
    "{{ '<|channel|>' ~ ('analysis' if m.reasoning_content else 'final') ~ '<|message|>' ~ (m.reasoning_content or m.content)|string }}{{ '<|end|>' if (loop.index0 + 1) % 2 else '<|return|>' }}{%- endfor -%}{{ '<|start|>assistant' if add_generation_prompt }}",
]
TEMPLATES = [(text, ALL) for text in FAMILIES]
