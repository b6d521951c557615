"""Replies without a schema, in the forms that models and people use."""

# ruff: noqa: RUF001 - labels in other scripts

import json

import pytest

from generator.catalogue import load_catalogue
from generator.language import ExpressionError, show
from generator.llm.reply import decode_reply

CATALOGUE = load_catalogue()
ONE, TWO, THREE = "rank(reverse(ts_delta(close, 5)))", "ts_corr(rank(close), rank(volume), 10)", "rank(open)"
A, B = "rank(-ts_delta(close, 5))", "ts_corr(rank(close), rank(volume), 10)"
X, Y = '["rank",["reverse",["ts_delta","close",5]]]', '["ts_corr",["rank","close"],["rank","volume"],10]'


def outcomes(reply: str) -> list[str]:
    """Return each expression as text, each error as an exclamation mark with its message."""
    return [
        f"!{found.message}" if isinstance(found, ExpressionError) else show(found)
        for found in decode_reply(reply, CATALOGUE)
    ]


NESTED = {
    "one array": X,
    "an array a line": f"{X}\n{Y}",
    "a list": f"[{X},{Y}]",
    "a fenced list": f"```json\n[{X},\n {Y}]\n```",
    "numbered": f"1. {X}\n2. {Y}",
    "bulleted with explanations": f"- {X}: reversal of a week\n- {Y} - correlation of ranks",
    "text before and after": f"Sure! Here they are:\n[{X}, {Y}]\nHope that helps [a lot].",
    "several keys": f'{{"momentum": [{X}], "others": [{Y}]}}',
    "two objects": f'{{"expressions":[{X}]}}\n{{"expressions":[{Y}]}}',
    "objects with reasons": f'[{{"idea": "x", "array": {X}}}, {{"idea": "y", "array": {Y}}}]',
    "a name for each": f'{{"alpha1": {X}, "alpha2": {Y}}}',
    "deeper": f'{{"result": {{"alphas": [{X}, {Y}]}}}}',
    "an array in place of the list": f'{{"expressions": {X}}}\n{{"expressions": {Y}}}',
    "single quotes": f"[{X}, {Y}]".replace('"', "'"),
    "single quotes in an object": f"{{'expressions': [{X}, {Y}]}}".replace('"', "'"),
    "a trailing comma": f'{{"expressions": [{X}, {Y},]}}',
    "comments": f"[\n  {X}, // reversal\n  {Y} // correlation\n]",
    "footnotes": f"As in [1], windows of [5, 10] days:\n{X}\n{Y}",
    "signs for operators": '["rank",["-",["ts_delta","close",5]]]\n["ts_corr",["rank","close"],["rank","volume"],10]',
    "texts in arrays": '["rank", "-ts_delta(close, 5)"]\n["ts_corr", "rank(close)", ["rank", "volume"], "10"]',
    "in tags": f"<alpha>{X}</alpha>\n<alpha>{Y}</alpha>",
    "a list of one for each": f"[[{X}], [{Y}]]",
    "pairs of objects": f'{{"a": {{"expression": {X}, "why": "x"}}, "b": {{"expression": {Y}, "why": "y"}}}}',
    "two names, one word": f'{{"Expressions": [{X}, {Y}]}}',
    "with a note": f'{{"note": "close to open", "expressions": [{X}, {Y}]}}',
}


@pytest.mark.parametrize("form", NESTED)
def test_nested_arrays(form: str) -> None:
    wanted = [ONE] if form == "one array" else [ONE, TWO]
    assert outcomes(NESTED[form]) == wanted


TEXTS = {
    "a Python list": f"['{A}', '{B}']",
    "a Python list with a name": f"alphas = [\n    '{A}',\n    '{B}',\n]",
    "a Python list of mixed quotes": f"[\"{A}\", '{B}']",
    "names to texts": f'{{"alpha1": "{A}", "alpha2": "{B}"}}',
    "names to texts in another language": f'{{"反转因子": "{A}", "相关性": "{B}"}}',
    "objects": f'[{{"expression": "{A}", "reason": "as rank(open), but faster"}}, {{"expression": "{B}"}}]',
    "objects with other keys": f'[{{"名称": "反转", "表达式": "{A}"}}, {{"名称": "相关", "表达式": "{B}"}}]',
    "a name called alpha": f'[{{"alpha": "Reversal", "expression": "{A}"}}, {{"alpha": "C", "expression": "{B}"}}]',
    "a text of lines": f'{{"expressions": "{A}\\n{B}"}}',
    "texts with reasons": f'{{"expressions": ["{A} - a short reversal", "{B}: correlation"]}}',
    "Chinese labels": f"好的，以下是两个Alpha表达式：\n\n1. 短期反转因子：{A}\n2. 量价相关性因子：{B}\n",
    "Chinese labels with explanations": f"1、反转：{A}，捕捉反转\n2、相关：{B}（量价）",
    "Russian labels": f"Альфа 1: {A}\nАльфа 2: {B}",
    "French labels": f"Réversion à la moyenne : {A}\nCorrélation : {B}",
    "labels of several words": f"Short-Term Reversal: {A}\nVolume-Price Divergence (10 days): {B}",
    "labels with a dash": f"Reversal - {A}\nDivergence \N{EN DASH} {B}",
    "labels on a line of their own": f"**Reversal**\n{A}\n\n**Divergence**\n{B}",
    "labels with a number and a sign": f"Alpha 1 = {A}\nAlpha 2 = {B}",
    "names a line": f"alpha_1 = {A}\nalpha_2 = {B}",
    "names that are reused": f"alpha = {A}\nalpha = {B}",
    "quoted names": f'alpha_1 = "{A}"\nalpha_2 = "{B}"',
    "walrus": f"alpha_1 := {A}\nalpha_2 := {B}",
    "numbered names": f"1. alpha_1 = {A};\n2. alpha_2 = {B};",
    "explanations after a colon": f"{A}: short-term reversal\n{B}: correlation",
    "explanations after a dash": f"{A} - short-term reversal\n{B} - correlation",
    "explanations after an em dash": f"{A} \N{EM DASH} short-term reversal\n{B} \N{EM DASH} correlation",
    "explanations after an arrow": f"{A} -> short-term reversal\n{B} => correlation",
    "explanations in parentheses": f"{A} (short-term reversal)\n{B} (correlation)",
    "explanations after a comment sign": f"{A} # reversal of a week\n{B} // correlation",
    "label and explanation": f"1. Reversal: {A} - a week's move comes back\n2. Divergence: {B} - who leads",
    "a table": f"| # | Expression | Idea |\n|---|---|---|\n| 1 | {A} | reversal |\n| 2 | {B} | who leads |",
    "a table with backticks": f"| Name | Expression |\n|:--|:--|\n| R | `{A}` |\n| C | `{B}` |",
    "a table of tabs": f"1\t{A}\treversal\n2\t{B}\twho leads",
    "one line with commas": f"{A}, {B}",
    "one line with semicolons": f"{A}; {B};",
    "tags": f"<alpha>{A}</alpha>\n<alpha id=2>\n{B}\n</alpha>",
    "dollars": f"1. ${A}$\n2. ${B}$",
    "YAML": f"expressions:\n  - expression: {A}\n    reason: comes back\n  - expression: {B}\n    reason: who leads",
    "pairs": f'[["Reversal", "{A}"], ["Correlation", "{B}"]]',
    "comments after semicolons": f"{A}; // reversal\n{B}; # correlation",
    "labels with a number sign": f"Alpha #1: {A}\nAlpha #2: {B}",
    "labels in bold": f"**1. Reversal**: {A}\n**2. Correlation**: {B}",
    "a Python tuple": f"alphas = ('{A}', '{B}')",
    "a Python function": f"```python\ndef one():\n    return {A}\n\nsimulate('{B}', decay=4)\n```",
    "letters": f"a) {A}\nb) {B}",
    "Roman numbers": f"i. {A}\nii. {B}",
    "double dashes": f"{A}  -- short-term reversal\n{B}  --- correlation",
    "labels on one line": f"Alpha1:{A};Alpha2:{B}",
    "brackets of LaTeX": f"\\[ {A} \\]\n\\[ {B} \\]",
    "fields of an alpha": f"Alpha 1\n- Expression: {A}\n- Idea: price\nAlpha 2\n- Expression: {B}\n- Idea: volume",
    "bold": f"1. **{A}**\n2. **{B}**",
    "a quotation": f"> {A}\n> {B}",
    "brackets before": f"[Reversal] {A}\n[Divergence] {B}",
    "headings": f"### 1. Reversal\n`{A}`\n### 2. Divergence\n`{B}`",
    "full stops": f"1. {A}.\n2. {B}.",
    "fences": f"Reversal:\n```\n{A}\n```\nDivergence:\n```fastexpr\n{B}\n```",
    "names that are used": "d = ts_delta(close, 5);\nrank(-d)\nr = rank(volume)\nts_corr(rank(close), r, 10)",
    "escapes of Markdown": f"1. {A}\n2. {B}".replace("_", r"\_"),
    "escapes in JSON": f'{{"expressions": ["{A}", "{B}"]}}'.replace("_", r"\_"),
    "names in fonts of LaTeX": r"$$\text{rank}(-\text{ts\_delta}(\text{close}, 5))$$"
    "\n" r"$$\operatorname{ts\_corr}(\mathrm{rank}(close), \mathrm{rank}(volume), 10)$$",
    "parentheses of LaTeX": r"$rank\left(-ts\_delta(close, 5)\right)$ and $ts\_corr(rank(close), rank(volume),\ 10)$",
    "boxes of LaTeX": rf"\boxed{{\text{{{A}}}}}" "\n" rf"\boxed{{{B}}}",
    "Chinese commas": f"1. {A}\n2. {B}".replace(", ", "，"),
    "Chinese parentheses": f"1. {A}\n2. {B}".replace(", ", "，").replace("(", "（").replace(")", "）"),
    "explanations after a space": f"{A} captures a short reversal\n{B} shows who leads",
    "comments of Python in a list": f'[\n    "{A}",  # reversal\n    "{B}",  # correlation\n]',
    "CDATA": f"<alpha><![CDATA[{A}]]></alpha>\n<alpha><![CDATA[{B}]]></alpha>",
    "a token at the end": f"{A}\n{B}<|im_end|>\n<|im_start|>user\nrank(vwap)",
    "settings of each": f"```\n{A}\n```\n- **Settings**: decay=4, neutralization=industry\n```\n{B}\n```",
    "numbers in bold": f"**1.** {A}\n**2.** {B}",
    "numbers of two levels": f"1.1 {A}\n1.2. {B}",
    "numbers after a sign": f"#1 {A}\n#2 {B}",
    "prompts of Python": f">>> {A}\n>>> {B}",
    "backticks on one line": f"```{A}```\n```{B}```",
    "italics": f"*{A}*\n_{B}_",
    "tags with attributes": f'<alpha id="1">{A}</alpha>\n<alpha id="2" kind=\'x\'>{B}</alpha>',
    "special tokens": f"<|begin_of_solution|>{A}<|end_of_solution|>\n{B}<\uff5cend\u2581of\u2581sentence\uff5c>",
    "items of LaTeX": f"\\begin{{itemize}}\n\\item {A}\n\\item {B}\n\\end{{itemize}}",
    "zero-width signs": f"\u200e{A}\n{B}".replace("_", "_\u200d"),
    "explanations in Chinese parentheses": f"因子1：{A}（反转）\n因子2：{B}".replace("(", "（").replace(")", "）"),
    "Greek names": f"α = {A}\nβ₂ = {B}",
    "a list without quotes": f"expressions = [{A}, {B}]",
    "a JSON text over lines": f'{{"expressions": ["{A}", "{B}"]}}'.replace(", 5", ",\n 5"),
    "comments with words in parentheses": "rank(  # the cross-section (of a day)\n  # five days\n  -ts_delta(close, 5)\n)"
    f"\n{B} // who leads (of the two)",
    "a comma at the end": f"rank(\n  -ts_delta(close, 5),\n)\n{B}",
    "comments between assignments": f"```\n# the move\nd = ts_delta(close, 5)\n# its rank\nrank(-d)\n```\n{B}",
    "settings by name": f"expression = {A}\nregion = USA\ndecay = 4\n\nexpression = {B}\nregion = USA\ndecay = 4",
    "labels in another script with a dash": f"Альфа 1 \N{EN DASH} {A}\nПары - {B}",
    "explanations in another script after a dash": f"1. {A} \N{EN DASH} возврат\n2. {B} - пары",
    "lines with a backslash": f"{A}\nts_corr(rank(close), \\\n  rank(volume), 10)",
    "Python's division": f"{A}\nrank(close // open)\n{B}",
    "a mention before": f"The operators are ts_mean(x, d) and, e.g. rank(x) for (cross-sectional) ranks:\n{A}\n{B}",
    "broken in parentheses": "rank(\n  -ts_delta(close, 5)\n)\nts_corr(\n  rank(close),\n  rank(volume), 10)",
}  # fmt: skip


@pytest.mark.parametrize("form", TEXTS)
def test_texts(form: str) -> None:
    assert [one for one in outcomes(TEXTS[form]) if not one.startswith("!")] == [ONE, TWO]


@pytest.mark.parametrize(
    "form",
    [
        "settings of each",
        "settings by name",
        "a mention before",
        "a token at the end",
        "explanations after a space",
    ],
)
def test_what_is_no_expression_is_no_error(form: str) -> None:
    assert outcomes(TEXTS[form]) == [ONE, TWO]


SEEN = [
    (
        f"Okay, the user wants alphas. Let me think.\nrank(volume)\nno that is bad.\n</think>\n\n1. {A}\n2. {B}",
        2,
    ),
    (f"['{A}', '{B}']", 2),
    (f'{{"alpha1": "{A}", "alpha2": "{B}"}}', 2),
    (f"好的，以下是两个Alpha表达式：\n\n1. 短期反转因子：{A}\n2. 量价相关性因子：{B}\n", 2),
    (f"alpha_1 = {A}\nalpha_2 = {B}\nalpha_3 = rank(open)", 3),
    (f"{A}: short-term reversal\n{B}: correlation", 2),
    (f'{{"expressions": "{A}"}}', 1),
    (f"Momentum: {A}\nReversal Alpha: {B}\nVolume-Price Divergence: rank(open)", 3),
]


@pytest.mark.parametrize(("reply", "count"), SEEN)
def test_replies_as_models_were_seen_to_write_them(reply: str, count: int) -> None:
    assert outcomes(reply) == [ONE, TWO, THREE][:count]


@pytest.mark.parametrize(
    ("reply", "found"),
    [
        ("1. -returns\n2. close/open - 1\n3. (high - low) / close",
         ["reverse(returns)", "subtract(divide(close, open), 1)", "divide(subtract(high, low), close)"]),
        ("0.5 * close / open", ["divide(multiply(0.5, close), open)"]),
        ("rank(close) - rank(open)", ["subtract(rank(close), rank(open))"]),
        ("Spread: close - open", ["subtract(close, open)"]),
        ("rank(close) - closee", ["!unknown field or name 'closee'"]),
        ("rank(close) - momentum", ["rank(close)"]),
        ("**2.** -returns", ["reverse(returns)"]),
        ("close/open - 1  # a ratio (of prices)", ["subtract(divide(close, open), 1)"]),
        ("close/open - 1 (the ratio of prices)", ["subtract(divide(close, open), 1)"]),
        ("因子：close/open - 1（价格）", ["subtract(divide(close, open), 1)"]),
        ("<li>close &gt; open ? rank(close) : rank(open)</li>", ["if_else(close > open, rank(close), rank(open))"]),
        ("close ≤ open ? rank(close) : rank(open)", ["if_else(close <= open, rank(close), rank(open))"]),
        ("- Пары \N{EN DASH} -close/open\n- Пары - close*open",
         ["divide(reverse(close), open)", "multiply(close, open)"]),
        ("Формула 3: close > open ? rank(close) : rank(open)", ["if_else(close > open, rank(close), rank(open))"]),
        ("\N{EN DASH}rank(close)", ["reverse(rank(close))"]),
        ("rank(close) \N{EN DASH} rank(open)", ["subtract(rank(close), rank(open))"]),
        ("rank(close) \N{DOT OPERATOR} rank(open)", ["multiply(rank(close), rank(open))"]),
        ("rank(close)²", ["power(rank(close), 2)"]),
        ("rank(close)**2", ["power(rank(close), 2)"]),
        ("\\frac{close}{open}", ["divide(close, open)"]),
        ("(\n  close - open\n) / (\n  high - low\n)", ["divide(subtract(close, open), subtract(high, low))"]),
        ("rank(close)\n  * rank(open)", ["multiply(rank(close), rank(open))"]),
        ("rank(close) *\n  rank(open)\nrank(high)", ["multiply(rank(close), rank(open))", "rank(high)"]),
        ("- rank(close)\n  - rank(open)\n- rank(high)", ["rank(close)", "rank(open)", "rank(high)"]),
        ("close > open\n  ? rank(close)\n  : rank(open)", ["if_else(close > open, rank(close), rank(open))"]),
        ("`rank(...)` ranks. Here rank(x) = the rank.\nrank(close)", ["rank(close)"]),
        ("Sorry :(\nrank(close)\nrank(open)", ["rank(close)", "rank(open)"]),
        ("close > open ? rank(close) : rank(open)", ["if_else(close > open, rank(close), rank(open))"]),
        ("rank(close) || rank(open)", ["or(rank(close), rank(open))"]),
        ("The ratio close/open is high.", []),
        ("- close\n- volume", []),
        ("Fields: close, open, volume", []),
        ("I used windows [5, 10, 20].", []),
        ('["group_rank(close, bucket(rank(cap), range="0,1,0.1"))",\n"rank(open)"]',
         ['group_rank(close, bucket(rank(cap), range="0,1,0.1"))', "rank(open)"]),
        ("1. rank(volume)\n2. rank(volume) * rank(close)", ["rank(volume)", "multiply(rank(volume), rank(close))"]),
        ("alpha_1: rank(volume)\nalpha_2: rank(volume) * rank(close)",
         ["rank(volume)", "multiply(rank(volume), rank(close))"]),
        ("rank(close) - ts_mean(clo", ["!the expression ends inside a parenthesis"]),
        ("alpha = ts_delta(close, 5)\nalpha *= -1\nrank(alpha)", ["rank(multiply(ts_delta(close, 5), -1))"]),
        ("The alpha is rank(close) * rank(open), or so.", ["multiply(rank(close), rank(open))"]),
        ("The expression close / open - 1 is an alpha. The formula is close / open - 1.",
         ["subtract(divide(close, open), 1)"]),
        ("The expression ts_mean(close, 5) / open is one.", ["divide(ts_mean(close, 5), open)"]),
        ("The alpha is not rank(close).", []),
        ("You could try `rank(volume)` or `rank(close)`.", ["rank(volume)", "rank(close)"]),
        ("I cannot give an alpha such as rank(close).", []),
        ("This alpha uses ts_delta(close, 5) for momentum.", []),
        ("rank(close)\nwhere rank(close) = close / open", ["rank(close)"]),
        ("I. rank(close)\nII. rank(open)\nIII. rank(high)", ["rank(close)", "rank(open)", "rank(high)"]),
        ("1. rank(close) 2. rank(open)", ["rank(close)", "rank(open)"]),
        ("Example: rank(close)", ["rank(close)"]),
        ("momentum = close", ["!the last statement assigns 'momentum' and gives no alpha"]),
    ],
)  # fmt: skip
def test_code_and_prose_are_distinguished(reply: str, found: list[str]) -> None:
    assert outcomes(reply) == found


ODD_ARRAYS = [
    ('{"expressions": [{"rank": ["ts_delta", "close", 5]}]}', ["rank(ts_delta(close, 5))"]),
    ('{"expressions": [{"rank": [{"ts_delta": ["close", 5]}]}]}', ["rank(ts_delta(close, 5))"]),
    ('{"ts_corr": ["close", "volume", 10]}', ["ts_corr(close, volume, 10)"]),
    ('{"expressions": [["close", "-", "open"]]}', ["subtract(close, open)"]),
    ('[["rank", "close"], "/", ["rank", "open"]]', ["divide(rank(close), rank(open))"]),
    ('{"expressions": [["?", [">", "close", "open"], "close", "open"]]}', ["!unknown operator '?'"]),
    ('{"expressions": [["Rank", "close"]]}', ["!unknown operator 'Rank'"]),
    ('{"expressions": [["delta", "close"]]}', ["!unknown operator 'delta'"]),
    ('{"expressions": ["rank(close)", "rank(open)"]}', ["rank(close)", "rank(open)"]),
]


@pytest.mark.parametrize(("reply", "found"), ODD_ARRAYS)
def test_no_part_of_an_odd_array_is_taken_for_the_whole(reply: str, found: list[str]) -> None:
    assert outcomes(reply) == found


B_OF = f"Explanation: `rank(close)` and `rank(volume)` are correlated.\n{B}"
MENTIONED = {
    "parts in a list": f"**{A}**\n- `ts_delta(close, 5)`: the change of a week\n- `rank(...)`: its rank\n{B}",
    "parts without backticks": f"Alpha 1: {A}\n- ts_delta(close, 5): the change\nAlpha 2: {B}\n- rank(volume): attention",
    "parts in a sentence": f"{A}\nWe first compute `ts_delta(close, 5)`, then rank it.\n{B_OF}",
    "parts step by step": f"Step 1: Change: ts_delta(close, 5)\nStep 2: Sign: -ts_delta(close, 5)\nFinal: {A}\nand\n{B}",
    "parts in a table": f"| 1 | `{A}` | Uses `ts_delta(close, 5)` |\n| 2 | `{B}` | Ranks |",
    "parts in Chinese": f"1. 反转：`{A}`，其中 `ts_delta(close, 5)` 表示变化\n2. 先计算 rank(volume)，然后求相关：{B}",
    "parts in tags": f"<alpha>{A}</alpha><reason>ts_delta(close, 5) falls</reason>\n<alpha>{B}</alpha>",
    "others in a sentence": f"I considered `rank(open)` but it is too simple. Instead:\n`{A}`\n`{B}`",
    "others as an example": f"For example, rank(open) is simple. Mine are:\n1. {A}\n2. {B}",
    "others after a label": f"Original: rank(open)\nImproved: {A}\nAnd: {B}",
    "others beside": f"`{A}` (equivalent to `-rank(ts_delta(close, 5))`)\n`{B}`, which is not like `rank(open)`.",
    "others to avoid": f"Avoid expressions like `rank(open)`.\nDo not use: rank(open)\nUse: {A}\nAnd: {B}",
    "others to avoid in Chinese": f"不要使用 rank(open)。\n使用：{A}\n使用：{B}",
    "others in an explanation": f"{A}\nRationale: if `close - open < 0`, it returns.\n설명: rank(open)은 아니다.\n{B}",
    "others rejected": f"rank(open) would not work.\n1. rank(open) - too simple\n2. {A}\n3. {B}",
    "others crossed out": f"\u274c rank(open)\n\u2705 {A}\n\u2705 {B}",
    "labels without a sign": f"A fall of prices `{A}`\n- `ts_delta(close, 5)`: move\nWho leads `{B}`\n- `rank(close)`: how",
    "numbered labels without a sign": f"1. A fall `{A}`\n- It uses no `rank(open)`.\n2. Who leads `{B}`",
    "in sentences alone": f"A good alpha could be `{A}`. Another is `{B}`, for example.",
    "in sentences without backticks": f"The first alpha is {A}.\nThe second alpha could be {B}, which leads.",
    "instead in a label": f"Alpha 1 (ranks instead of values): {A}\nAlpha 2 (not raw): {B}",
    "values of unknown keys": f'[{{"factor": "{A}", "why": "rank(open) is slow"}}, {{"factor": "{B}", "why": "x"}}]',
    "keys of two words": f'[{{"idea": "rank(open) leads", "alpha_expression": "{A}"}}, {{"factor_code": "{B}"}}]',
    "keys of former ones": f'{{"original_expression": "rank(open)", "expression": ["{A}", "{B}"]}}',
    "a key twice": f'{{"expression": "{A}", "expression": "{B}"}}',
    "a comment of C in JSON": f'{{"alphas": [\n"{A}",\n/* of ranks */ "{B}"\n]}}',
    "arrays as texts": f'{{"expressions": [{json.dumps(X)}, {json.dumps(Y)}]}}',
    "names in a sentence": f"First define d = ts_delta(close, 5).\nThen alpha = rank(-d).\nAlso: {B}",
    "names defined below": f"alpha = rank(-d)\nwhere d = ts_delta(close, 5)\nbeta = {B}",
    "a sign and an assignment": f"x = rank(close)\nx *= volume\nx -= open\n{A}\n{B}",
    "tokens of a template": f"[INST] Give me two [/INST] {A}\n{B}",
}  # fmt: skip


LISTS = [
    "Momentum: {}\nReversal: {}",
    "1. Momentum: {}\n2. Reversal: {}",
    "1. **Momentum**: `{}`\n2. **Reversal**: `{}` (it falls)",
    "1. {} - momentum\n2. {} - reversal",
    "- `{}`: the rank\n- `{}`: its opposite",
    "| name | alpha |\n|---|---|\n| momentum | {} |\n| reversal | {} |",
]


@pytest.mark.parametrize("form", LISTS)
def test_an_alpha_of_a_list_may_be_a_part_of_another(form: str) -> None:
    first, second = "rank(ts_delta(close, 5))", "ts_mean(rank(ts_delta(close, 5)), 10)"
    assert outcomes(form.format(first, second)) == [first, second]


@pytest.mark.parametrize("form", MENTIONED)
def test_what_a_reply_mentions_is_no_alpha(form: str) -> None:
    wanted = [ONE, TWO]
    if form == "a sign and an assignment":
        wanted.insert(0, "subtract(multiply(rank(close), volume), open)")
    trees = [one for one in outcomes(MENTIONED[form]) if not one.startswith("!")]
    assert sorted({*trees}) == sorted(wanted)


THOUGHTS = {
    "an end alone": f"Okay, let me think.\nrank(volume)\nno that is bad.\n</think>\n\n1. {A}",
    "both marks": f"<think>\nrank(volume)\n</think>\n{A}",
    "in the middle": f"Here:\n<think>rank(volume) is bad</think>\n{A}",
    "JSON in the thoughts": f'<think>{{"expressions": [["rank", "volume"]]}}</think>{{"expressions": [{X}]}}',
    "thinking": f"<thinking>\nrank(volume)\n</thinking>\n{A}",
    "brackets": f"[THINK]rank(volume)[/THINK]{A}",
    "channels": "<|channel|>analysis<|message|>Maybe rank(volume).<|end|>"
    f"<|start|>assistant<|channel|>final<|message|>{A}<|return|>",
    "channels, begun in the prompt": f"Maybe:\nrank(volume)<|end|><|start|>assistant<|channel|>final<|message|>{A}",
    "channels without their signs": f"analysisMaybe rank(volume)\nrank(volume)\nassistantfinal{A}",
}


@pytest.mark.parametrize("form", THOUGHTS)
def test_drafts_in_thinking_are_no_alphas(form: str) -> None:
    assert outcomes(THOUGHTS[form]) == [ONE]


@pytest.mark.parametrize(
    "reply",
    [
        "<think>rank(volume)",
        "<think>\nrank(volume)\nrank(open)",
        "<|channel|>analysis<|message|>rank(volume)",
        "<|channel|>analysis<|message|>rank(volume)<|end|>",
    ],
)
def test_thinking_without_an_answer_has_no_expressions(reply: str) -> None:
    assert outcomes(reply) == []


@pytest.mark.parametrize("cut", range(3, 60, 7))
def test_no_part_of_a_cut_expression_is_taken(cut: int) -> None:
    text = '["multiply",["rank","close"],["ts_delta",["rank","open"],5]]'
    assert outcomes(f'{{"expressions": [{X}, {text[:cut]}') == [ONE]
