"""Catalogue of BRAIN's operators and data fields, which expressions may use.

`load_catalogue()` returns the bundled catalogue: the 66 operators of an ordinary account and the commonest fields.
`from_brain` makes a catalogue from BRAIN's lists for an account. `save` and `load` store one in a file with its date.
"""

from generator.catalogue.files import load, load_catalogue, save
from generator.catalogue.from_brain import from_brain
from generator.catalogue.model import Catalogue, DataField, Kind, Offer, Operator, Parameter

__all__ = [
    "Catalogue",
    "DataField",
    "Kind",
    "Offer",
    "Operator",
    "Parameter",
    "from_brain",
    "load",
    "load_catalogue",
    "save",
]
