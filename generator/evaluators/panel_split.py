"""Split of the panel's days into train, validation and test: configured, stored, or made at the first reading."""

import logging
from typing import TYPE_CHECKING, Protocol

from fleet.config.schema import PanelSettings
from fleet.runtime.errors import GeneratorError
from fleet.runtime.logging import fields, with_sentence
from generator.domain import Split, storable

if TYPE_CHECKING:
    from generator.backtest.panel import Panel

_log = logging.getLogger(__name__)
TO_KEEP = "`python3 -m generator panel --new-split` keeps that, or both dates in [panel]"


class SplitStore(Protocol):
    """Keeps the splits of panels, by the panel's name in the settings."""

    def read(self, panel: str) -> Split | None:
        """Return the split of a panel, None if it has none yet."""

    def write(self, panel: str, split: Split) -> None:
        """Keep the split of a panel."""


class PanelSplit:
    """The split of the panel in use: configured, stored, or made at the panel's first reading and stored then.

    A panel that the stored split does not fit, such as a half-written one, gets another split. The stored one stays. A
    stored split of fewer days would turn days that alphas were chosen by into test days.
    """

    def __init__(self, settings: PanelSettings, splits: SplitStore | None) -> None:
        self._settings = settings
        self._splits = splits
        self._kept: Split | None = None

    @property
    def _name(self) -> str:
        return panel_name(self._settings)

    def of(self, panel: "Panel") -> Split | None:
        """Return the panel's split, None for too few days; raise GeneratorError if configured dates do not fit."""
        from generator.backtest.split import LEAST_DAYS  # noqa: PLC0415  # numpy: not before it is needed

        stored = self._stored()
        split = split_of(panel, self._settings, stored)
        if split is None:
            sentence = (
                f"the panel has {len(panel.dates)} days, fewer than {LEAST_DAYS}: it is not split into train, "
                f"validation and test, and alphas are judged on all days"
            )
            _log.warning("panel.unsplit", extra=with_sentence(sentence, days=len(panel.dates)))
        elif split != stored and self._splits is not None:
            stored = self._keep(self._splits, split, stored)
        self._kept = None if split is None else stored
        return split

    def _keep(self, splits: SplitStore, split: Split, stored: Split | None) -> Split:
        """Store a split unless the stored one does not fit the panel; return the stored one."""
        if stored is not None and not replaces(split, stored, self._settings):
            sentence = (
                f"the split of {self._name}, validation from {stored.validation_from} and test from "
                f"{stored.test_from}, does not fit its present days: another one is used meanwhile; {TO_KEEP}"
            )
            _log.warning(
                "panel.split_unfit", extra=with_sentence(sentence, panel=self._name, **split.as_json())
            )
            return stored
        splits.write(self._name, split)
        _log.info("panel.split", extra=fields(panel=self._name, **split.as_json()))
        return split

    def moved(self) -> bool:
        """Return True if another split was stored since."""
        return self._kept is not None and self._stored() not in {None, self._kept}

    def _stored(self) -> Split | None:
        return None if self._splits is None else self._splits.read(self._name)


def replaces(split: Split, stored: Split, settings: PanelSettings) -> bool:
    """Return True if a split is the stored one but for configured dates."""
    return split == Split(
        settings.validation_from or stored.validation_from, settings.test_from or stored.test_from
    )


def panel_name(settings: PanelSettings) -> str:
    """Return the panel's name in rulesets and in the table of splits."""
    return storable(settings.path) or "synthetic"


def split_of(panel: "Panel", settings: PanelSettings, stored: Split | None) -> Split | None:
    """Return a panel's split, None for too few days; raise GeneratorError if configured dates do not fit."""
    from generator.backtest.split import SplitError, choose_split  # noqa: PLC0415  # numpy: not before it is needed

    try:
        return choose_split(
            panel.dates,
            validation_from=settings.validation_from,
            test_from=settings.test_from,
            stored=stored,
        )
    except SplitError as error:
        raise GeneratorError(
            str(error), hint="Change [panel] validation_from and test_from, or leave both open."
        ) from error
