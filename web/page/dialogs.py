"""The dialog of an action: its effect, the token, and its result."""

import json

from nicegui import ui

from cli.subcommand import CommandResult
from web.access import AccessRules
from web.actions import Actions
from web.page.markup import text

_SENTENCES = {
    "pause": "Free the GPU: the running call is cut, the model is unloaded, and no automatic switch happens.",
    "resume": "End the pause: the generator goes on with its model.",
    "downgrade": "Go one rung down, to a smaller model. Climbing back stops there until `reset` or `unpin`.",
    "reset": "Go to the top of the ladder; count, pin and ceiling are cleared.",
}


class ActionDialog:
    """A dialog that asks before an action and for the token, which the tab then remembers."""

    def __init__(self, actions: Actions, rules: AccessRules, name: str, lane: str | None) -> None:
        self._actions = actions
        self._rules = rules
        self._name = name
        label = name.capitalize()
        with ui.dialog().props(f'aria-label="{label}"') as self._dialog, ui.element("div").classes("dialog"):
            where = "all lanes" if lane is None else lane
            ui.html(f"<h2>{text(f'{label} {where}')}?</h2><p>{text(_SENTENCES[name])}</p>", sanitize=False)
            self._for = None
            if name == "pause":
                self._for = self._field("For how long", "such as 30m or 2h; empty: until you resume")
            self._token = self._field("Token", "in run/web.token of the fleet's home", secret=True)
            (self._for or self._token).props("autofocus")  # QDialog itself takes the focus otherwise
            self._said = ui.html("", sanitize=False).classes("said").props('role="status"')
            with ui.element("div").classes("buttons"):
                self._button("Cancel", self._dialog.close)
                self._button(label, self._act).classes("go")

    def _field(self, label: str, hint: str, *, secret: bool = False) -> ui.input:
        ui.html(f"<b>{label}</b>, {hint}", sanitize=False).classes("label")
        made = ui.input(password=secret).props(f'autocomplete="off" dense outlined aria-label="{label}"')
        return made.classes("w-full").on("keydown.enter", self._act)

    @staticmethod
    def _button(label: str, clicked: object) -> ui.element:
        made = ui.element("button").props('type="button"')
        with made:
            ui.html(text(label), sanitize=False, tag="span")
        return made.on("click", clicked)  # type: ignore[arg-type]  # a handler of either kind

    async def open(self) -> None:
        """Open the dialog with the token that this tab knows."""
        self._said.content = ""
        known = await ui.run_javascript('sessionStorage.getItem("fleet.token") || ""')
        self._token.value = str(known)
        self._dialog.open()

    async def _act(self) -> None:
        token = str(self._token.value or "")
        if not self._rules.is_token(token):
            self._show(CommandResult(done=False, sentence="This is not the token."))
            return
        await ui.run_javascript(f'sessionStorage.setItem("fleet.token", {json.dumps(token)})')
        self._said.content = "It is being done …"
        duration = str(self._for.value or "") if self._for is not None else ""
        result = await self._actions.run(self._name, duration)
        self._show(result)
        if result.done:
            self._dialog.close()
            ui.notify(f"{self._name}: {result.sentence}", type="positive", multi_line=True)

    def _show(self, result: CommandResult) -> None:
        self._said.content = (
            f'<span class="{"good" if result.done else "bad"}">{text(result.sentence)}</span>'
        )
