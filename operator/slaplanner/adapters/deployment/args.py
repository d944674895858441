"""The model's name and a worker's role, read from how its container is started.

Manifests write the same command line in many shapes: a list of words, `--flag=value`, or one shell
script of many lines with backslashes, comments and quoted JSON. All become one list of words first.
What a shell would only know at run time (`$MODEL` without a literal value) stays unknown: a name
that was merely guessed would select no series, and that would read as no traffic.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from slaplanner.core.model import Role

MODEL_FLAGS = ("--served-model-name", "--model-name", "--model", "--model-path")
"""In this order: what clients call the model comes before where it is loaded from."""

METRICS_PREFIX_FLAG = "--metrics-prefix"
METRICS_PREFIX_VARIABLE = "DYN_METRICS_PREFIX"

_MODE_FLAG = "--disaggregation-mode"
_STAGE_FLAGS = {
    "--is-prefill-worker": "prefill",
    "--multimodal-encode-prefill-worker": "prefill",
    "--is-decode-worker": "decode",
    "--multimodal-decode-worker": "decode",
    "--multimodal-encode-worker": "encode",
    "--multimodal-processor": "processor",
    "--embedding-worker": "embedding",
    "--classify-worker": "classify",
}
"""Flags of Dynamo's engines that say which stage of a request a worker takes."""
_STAGE_SCRIPT = re.compile(r"(?:\A|[/\w])(?P<stage>encode|processor)(?:_worker)?\.py\Z")
"""Older multimodal deployments start a script per stage (`components/video_encode_worker.py`)."""
_STAGES = frozenset({"prefill", "decode", "encode"})
"""What the mode's flag can say; other modes (agg, prefill_and_decode) take whole requests."""
_SHELL_PIECE = re.compile(
    r"""
      (?P<comment> (?<![^\s;&|()<>]) \#[^\n]* )
    | (?P<gap>     [\s;&|()<>]+ )
    | '(?P<single> [^']* )'?
    | "(?P<double> (?: [^"\\] | \\. )* )"?
    | \\(?P<escaped> . )
    | (?P<plain>   \$\([^)]*\)? | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_ONE_WORD = re.compile(r"\s*[{\[]|--[\w-]+=\s*[{\[]|\S*\Z|--[\w-]+=(?!.*\s--)", re.DOTALL)
"""JSON, a word without white space, or one flag with its value: anything else is a script."""
_ESCAPED_IN_QUOTES = re.compile(r"""\\(?:\n|([$`"\\]))""")
_NOT_IN_METRIC_NAMES = re.compile(r"[^a-zA-Z0-9_:]")
_VARIABLE = re.compile(r"\$(?:\((?P<kubernetes>\w+)\)|\{(?P<braced>\w+)\}|(?P<bare>\w+))")


_LONGEST_EXPANDED_CHARS = 1_024
"""Of one word after its variables were replaced: no name of a model is as long."""
_MOST_EXPANDED_CHARS = 16_384
"""Of all such words of one command line; the words after that keep their variables."""


def command_words(argv: Sequence[str], env: Mapping[str, str]) -> tuple[str, ...]:
    r"""The words of a command line, scripts inside it split as a shell would.

    An element with white space is a script, unless it is the value of the flag before it or looks
    like JSON. Variables with a literal value in *env* are replaced, within bounds: whoever writes the
    manifest must not choose how much memory reading it takes.

    >>> command_words(["bash", "-c", "exec serve \\\n --model 'a b' # why"], {})
    ('bash', '-c', 'exec', 'serve', '--model', 'a b')
    """
    words: list[str] = []
    for element in argv:
        follows_flag = bool(words) and words[-1].startswith("--") and "=" not in words[-1]
        is_value = follows_flag and not element.lstrip().startswith("-")
        if is_value or _ONE_WORD.match(element):
            words.append(element)
        else:
            words.extend(_shell_words(element))
    expanded: list[str] = []
    room = _MOST_EXPANDED_CHARS
    for word in words:
        expanded.append(_expanded(word, env, longest=min(room, _LONGEST_EXPANDED_CHARS)))
        if expanded[-1] != word:
            room -= len(expanded[-1])
    return tuple(expanded)


def model_from(words: Sequence[str]) -> str | None:
    """The model's name; None when no flag tells it, or only a variable that is not known here.

    >>> model_from(["--model=/cache/llama", "--served-model-name", "meta/Llama"])
    'meta/Llama'
    """
    for flag in MODEL_FLAGS:
        value = _value_of(flag, words)
        if value is not None:
            return None if "$" in value else value
    return None


def stage_from(words: Sequence[str]) -> str:
    """The stage that the engine is started for: prefill, decode, encode, ...

    Empty when the command line names no stage, or says that the engine takes whole requests.

    >>> stage_from(["python3", "components/video_encode_worker.py"]), stage_from(["--embedding-worker"])
    ('encode', 'embedding')
    """
    mode = _value_of(_MODE_FLAG, words)
    if mode is not None:
        return mode if mode in _STAGES else ""
    for word in words:
        if word in _STAGE_FLAGS:
            return _STAGE_FLAGS[word]
        if script := _STAGE_SCRIPT.search(word):
            return script["stage"]
    return ""


def role_from(words: Sequence[str]) -> Role | None:
    """The role that the engine is started with, if its command line says one."""
    stage = stage_from(words)
    return Role(stage) if stage in (Role.PREFILL.value, Role.DECODE.value) else None


def metrics_prefix_from(words: Sequence[str], env: Mapping[str, str]) -> str | None:
    """How the names of the frontend's metrics begin; None when neither a flag nor the environment says.

    Dynamo replaces what no metric's name can hold, and the series bear the replaced name.

    >>> metrics_prefix_from(["--metrics-prefix=nv-llm"], {"DYN_METRICS_PREFIX": "other"})
    'nv_llm'
    """
    told = _value_of(METRICS_PREFIX_FLAG, words) or env.get(METRICS_PREFIX_VARIABLE, "")
    prefix = _NOT_IN_METRIC_NAMES.sub("_", told)
    if "$" in told or not prefix.strip("_"):
        return None
    prefix = prefix.removeprefix("__")
    return f"_{prefix}" if prefix[0].isdigit() else prefix


def _value_of(flag: str, words: Sequence[str]) -> str | None:
    """The flag's first value that is not empty and not a flag itself."""
    for index, word in enumerate(words):
        value = None
        if word == flag and index + 1 < len(words):
            value = words[index + 1]
        elif word.startswith(f"{flag}="):
            value = word.removeprefix(f"{flag}=")
        if value and not value.startswith("--"):
            return value.strip()
    return None


def _expanded(word: str, env: Mapping[str, str], *, longest: int) -> str:
    """Replace `$(X)`, `${X}` and `$X` whose value is literal; the others stay as they are written.

    A word that would become longer than *longest* characters stays as it is written, too.
    """

    def known(match: re.Match[str]) -> str:
        name = match["kubernetes"] or match["braced"] or match["bare"]
        return env.get(name, match[0])

    # The length is known before anything is built: a short word can stand for gigabytes.
    grown = sum(len(known(match)) - len(match[0]) for match in _VARIABLE.finditer(word))
    return word if grown + len(word) > longest else _VARIABLE.sub(known, word)


def _shell_words(script: str) -> list[str]:
    """Split as a POSIX shell would, but never fail: an open quote ends with the script."""
    words: list[str] = []
    word: list[str] | None = None
    for piece in _SHELL_PIECE.finditer(script):
        if piece["comment"] is not None:
            continue
        if piece["gap"] is not None:
            if word is not None:
                words.append("".join(word))
            word = None
            continue
        if piece["escaped"] == "\n":
            continue
        word = [] if word is None else word
        if piece["double"] is not None:
            word.append(_ESCAPED_IN_QUOTES.sub(r"\1", piece["double"]))
        else:
            word.append(piece["escaped"] or piece["single"] or piece["plain"] or "")
    return [*words, "".join(word)] if word is not None else words
