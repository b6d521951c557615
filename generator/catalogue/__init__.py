"""What an expression may be made of: BRAIN's operators and data fields.

`load_catalogue()` gives the 66 operators of an ordinary account with the commonest fields, as data files;
`from_brain` makes one of what BRAIN itself lists for an account; `save` and `load` keep that on disk with its
date.
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
