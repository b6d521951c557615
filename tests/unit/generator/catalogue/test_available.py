from generator.catalogue import Kind, load_catalogue
from generator.catalogue.available import Scope, with_fields
from generator.language import ExpressionError, read

CATALOGUE = load_catalogue()


def test_only_the_evaluators_fields_are_offered() -> None:
    scope = Scope(CATALOGUE, {"close": Kind.MATRIX, "sector": Kind.GROUP})
    assert set(scope.catalogue.fields) == {"close", "sector"}
    scope.restrict({"volume": Kind.MATRIX})
    assert set(scope.catalogue.fields) == {"volume"}
    scope.restrict(None)
    assert scope.catalogue.fields == CATALOGUE.fields


def test_a_panels_own_fields_can_be_used() -> None:
    catalogue = with_fields(CATALOGUE, {"my_signal": Kind.MATRIX, "my_group": Kind.GROUP})
    assert read("group_rank(my_signal, my_group)", catalogue).digest
    assert catalogue.fields["my_group"].kind is Kind.GROUP


def test_a_field_whose_name_no_expression_could_hold_is_left_out() -> None:
    names = dict.fromkeys(("a b", "rank", "true", "1x", "x\n", "é", ""), Kind.MATRIX)
    assert with_fields(CATALOGUE, {**names, "close": Kind.MATRIX}).fields.keys() == {"close"}


def test_a_field_that_the_panel_has_as_another_kind_is_of_that_kind() -> None:
    catalogue = with_fields(CATALOGUE, {"sector": Kind.MATRIX})
    assert not isinstance(read("rank(sector)", catalogue), ExpressionError)
