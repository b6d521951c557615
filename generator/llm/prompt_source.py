"""Source of prompts: keeps a theme for its calls, and corrects the window by their results."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

from fleet.clients.ollama import Ollama
from fleet.config.ladder import same_model
from fleet.runtime.errors import OllamaError
from generator.catalogue import Catalogue
from generator.catalogue.available import Scope
from generator.domain import Assignment, CallRecord, CallVerdict
from generator.llm.context_window import Window
from generator.llm.feedback import Feedback, Notebook
from generator.llm.prompt import Prompt, build_prompt
from generator.llm.themes import CALLS, ThemeKind, choose_arm, new_theme
from generator.pool.model import Member

# Contexts assumed before the server reports one. Ollama's default on small cards is 4096. The smallest models in
# use were trained on 2048.
_CAUTIOUS = 2048
_DEFAULT = 4096
_CONTEXT_TOO_SMALL = 1.25


@dataclass(slots=True)
class _Theme:
    """The theme in use: all that its prompts begin with, and the seed of its next call."""

    catalogue: Catalogue
    window: Window
    members: Sequence[Member]
    seed: int
    left: int = CALLS

    def serves(self, catalogue: Catalogue, window: Window) -> bool:
        """Return True if another call may use it."""
        return self.left > 0 and catalogue is self.catalogue and window == self.window


class PromptSource:
    """Makes prompts, and corrects the window by the results of their calls. Thread-safe."""

    def __init__(
        self,
        *,
        scope: Scope,
        notebook: Notebook,
        assignment: Assignment,
        ollama: Ollama,
        count: int,
        rng: Random,
    ) -> None:
        self._scope = scope
        self._notebook = notebook
        self._model = assignment.model
        self._ollama = ollama
        self._count = count
        self._rng = rng
        asked = assignment.options.get("num_ctx")
        self._asked = asked if isinstance(asked, int) and not isinstance(asked, bool) and asked > 0 else None
        self._window = Window(min(self._asked or _CAUTIOUS, _CAUTIOUS))
        self._known = False
        self._theme: _Theme | None = None
        self._lock = threading.Lock()

    @property
    def window(self) -> Window:
        """Return the context window of the next prompt."""
        with self._lock:
            return self._window

    def next(self) -> Prompt:
        """Return the next prompt. About ten in a row have one theme, unless catalogue or window change meanwhile."""
        catalogue, feedback = self._scope.catalogue, self._notebook.snapshot()
        with self._lock:
            theme = self._theme
            if theme is None or not theme.serves(catalogue, self._window):
                theme = self._theme = self._new_theme(catalogue, feedback)
            seed = theme.seed
            theme.seed, theme.left = theme.seed + 1, theme.left - 1
        return build_prompt(
            theme.catalogue,
            replace(feedback, members=theme.members),
            count=self._count,
            window=theme.window,
            seed=seed,
        )

    def _new_theme(self, catalogue: Catalogue, feedback: Feedback) -> _Theme:
        kinds = {ThemeKind.EXPLORE, ThemeKind.REFINE} if feedback.members else {ThemeKind.EXPLORE}
        arm = choose_arm(self._notebook.theme_results, kinds, self._rng)
        return _Theme(catalogue, self._window, feedback.members, new_theme(arm, self._rng))

    def learn(self, prompt: Prompt, call: CallRecord, verdict: CallVerdict) -> None:
        """Correct the window by the server's token count or refusal; after the first answer, read its size."""
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
        """Return the loaded model's context in tokens; a default if the server does not report it."""
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
