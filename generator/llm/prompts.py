"""The prompts of one run: each with a seed of its own, each fitting what is known of the model's context."""

import threading
from random import Random

from fleet.clients.ollama import Ollama
from fleet.config.ladder import same_model
from fleet.runtime.errors import OllamaError
from generator.catalogue.available import Scope
from generator.config import Assignment
from generator.domain import CallRecord
from generator.llm.context_window import Window
from generator.llm.feedback import Notebook
from generator.llm.prompt import Prompt, build_prompt
from generator.llm.throttle import CallVerdict

# Until the server has said more. Ollama's own default is 4096 on small cards, and the smallest models in use
# were trained on 2048.
_CAUTIOUS = 2048
_DEFAULT = 4096
_CONTEXT_TOO_SMALL = 1.25


class PromptSource:
    """Makes prompts, and learns from what came of them; safe for any thread."""

    def __init__(
        self,
        *,
        scope: Scope,
        notebook: Notebook,
        assignment: Assignment,
        ollama: Ollama,
        count: int,
        chance: Random,
    ) -> None:
        self._scope = scope
        self._notebook = notebook
        self._model = assignment.model
        self._ollama = ollama
        self._count = count
        self._chance = chance
        asked = assignment.options.get("num_ctx")
        self._asked = asked if isinstance(asked, int) and not isinstance(asked, bool) and asked > 0 else None
        self._window = Window(min(self._asked or _CAUTIOUS, _CAUTIOUS))
        self._known = False
        self._lock = threading.Lock()

    @property
    def window(self) -> Window:
        """Return the context that prompts are made for."""
        with self._lock:
            return self._window

    def next(self) -> Prompt:
        """Return the next prompt."""
        with self._lock:
            seed, window = self._chance.getrandbits(31), self._window
        page = self._notebook.page()
        return build_prompt(self._scope.catalogue, page, count=self._count, window=window, seed=seed)

    def learn(self, prompt: Prompt, call: CallRecord, verdict: CallVerdict) -> None:
        """Correct the window by what the server counted or refused; ask it once how large it is."""
        with self._lock:
            self._window = self._window.corrected(prompt.estimated, call.prompt_tokens)
            if verdict is CallVerdict.CONTEXT:
                self._window = Window(self._window.tokens, self._window.correction * _CONTEXT_TOO_SMALL)
            ask = call.answered and not self._known
            self._known = self._known or ask
        if ask:
            tokens = self._context()
            with self._lock:
                self._window = Window(tokens, self._window.correction)

    def _context(self) -> int:
        """Return the tokens that the loaded model really has, as far as the server tells."""
        try:
            loaded = [row for row in self._ollama.loaded() if same_model(row.name, self._model)]
            if loaded and loaded[0].context_length:
                return loaded[0].context_length
            info = self._ollama.show(self._model).info
        except OllamaError:
            return self._asked or _DEFAULT
        trained = [value for key, value in info.items() if key.endswith(".context_length")]
        most = trained[0] if trained and isinstance(trained[0], int) else _DEFAULT
        return min(self._asked or _DEFAULT, most)
