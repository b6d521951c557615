import subprocess
import sys

PROGRAM = """
import sys
from monitor.sources.open import open_source
source = open_source("docker:ollama")
assert "requests" in sys.modules and "docker" in sys.modules
assert not {"chardet", "charset_normalizer"} & set(sys.modules), "they cost 5 to 10 MB and are never asked"
import charset_normalizer
from requests import Response
answer = Response()
answer._content = b"caf\\xc3\\xa9"
assert answer.text == "caf\u00e9"
"""


def test_a_docker_source_loads_no_guesser_of_encodings() -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
