"""`python3 -m generator.backtest.warm`: compiles the kernels into their disk cache.

Each operator of the catalogue is evaluated once on a small panel: the first real run then need not compile.
"""

from generator.backtest.result.evaluate import evaluate
from generator.backtest.settings import AlphaSettings
from generator.backtest.synthetic import synthetic_panel
from generator.catalogue import Kind, Operator, load_catalogue
from generator.language.ast import Call, Field, Node, Number, Text

_ARGUMENTS: dict[Kind, Node] = {
    Kind.MATRIX: Field("close"),
    Kind.GROUP: Field("sector"),
    Kind.INTEGER: Number(5),
    Kind.NUMBER: Number(2),
}


def simplest_call(operator: Operator) -> Call | None:
    """Return a call of the operator with its required arguments; None if a kind has no simple argument."""
    kinds = [parameter.kind for parameter in operator.required]
    if any(kind not in _ARGUMENTS for kind in kinds):
        return None
    edges = ((operator.one_of[-1], Text("0.5")),) if operator.one_of else ()
    return Call(operator.name, tuple(_ARGUMENTS[kind] for kind in kinds), edges)


def main() -> None:
    """Compile the kernels of the operators, of the default settings and of a decay."""
    calls = [simplest_call(operator) for operator in load_catalogue(higher=True).operators.values()]
    panel = synthetic_panel(days=60, instruments=20)
    evaluate([call for call in calls if call is not None], panel, AlphaSettings())
    evaluate([Field("close")], panel, AlphaSettings(decay=2))


if __name__ == "__main__":
    main()
