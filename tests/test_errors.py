import pytest

from millwright import errors
from millwright.errors import BadInput, BadSetting, MillwrightError, NotFound, choice, one_of


def tree_in_docstring() -> dict[str, tuple[int, int]]:
    """Class -> (HTTP status, exit code), as the docstring of errors.py draws them."""
    drawn = {}
    for line in (errors.__doc__ or "").splitlines():
        words = line.strip("│├└─ ").split()
        if len(words) >= 4 and words[2] == "exit":
            drawn[words[0]] = (int(words[1].rstrip(",")), int(words[3]))
    return drawn


def classes() -> dict[str, type[MillwrightError]]:
    return {
        name: thing
        for name, thing in vars(errors).items()
        if isinstance(thing, type) and issubclass(thing, MillwrightError)
    }


def test_every_error_has_the_status_and_exit_code_that_the_docstring_draws():
    assert {name: (found.status, found.exit_code) for name, found in classes().items()} == tree_in_docstring()


def test_what_the_user_can_mend_exits_with_2_and_what_he_cannot_with_1():
    for found in classes().values():
        is_users = issubclass(found, (BadInput, NotFound))
        assert found.exit_code == (2 if is_users else 1), found
        assert (400 <= found.status < 500) or not is_users, found


def test_bad_input_names_the_field():
    assert BadSetting("text must be a string", field="data.text").field == "data.text"
    assert BadInput("no").field is None


def test_an_unknown_name_is_the_value_of_its_error():
    with pytest.raises(BadInput) as raised:
        choice("method", "lorra", ["head", "lora"], field="train.method")
    assert (raised.value.field, raised.value.value) == ("train.method", "lorra")


def test_one_of_returns_a_known_name_unchanged():
    assert one_of("version", "v2", ["v1", "v2"]) == "v2"


def test_one_of_names_the_nearest_and_lists_what_there_is():
    with pytest.raises(
        NotFound, match=r"no method named 'lorra'; there are 'head', 'lora'\. Did you mean 'lora'\?"
    ):
        one_of("method", "lorra", ["head", "lora"])


def test_one_of_gives_no_hint_where_nothing_is_near():
    with pytest.raises(NotFound) as raised:
        one_of("version", "champion", ["v1"])
    assert str(raised.value) == "no version named 'champion'; there is 'v1'."


def test_one_of_says_none_where_nothing_exists():
    with pytest.raises(NotFound, match="there are none"):
        one_of("version", "v1", [])


def test_one_of_lists_twenty_names_at_most():
    with pytest.raises(NotFound) as raised:
        one_of("label", "x", (f"label{n}" for n in range(1000)))
    assert str(raised.value).count("'label") == 20
    assert "…" in str(raised.value)
