import pytest

from millwright.data.columns import check_text_is_not_numbers, recognise
from millwright.data.load import read_table
from millwright.errors import BadInput, NotFound
from tests.conftest import csv_of


def table(tmp_path, header, rows):
    (tmp_path / "rows.csv").write_text(csv_of(rows, header), encoding="utf-8")
    return read_table(tmp_path / "rows.csv")


def messages(count):
    return [f"please tell me where my card number {n} is, I wait since {n} days" for n in range(count)]


def test_banking_columns_are_recognised_by_name(tmp_path):
    found = recognise(
        table(tmp_path, ["text", "category"], [(m, "ab"[n % 2]) for n, m in enumerate(messages(8))])
    )
    assert (found.text, found.label, found.group, found.subject, found.slices) == (
        "text",
        "category",
        None,
        None,
        (),
    )


def test_columns_without_telling_names_are_recognised_by_content(tmp_path):
    rows = [(str(n), "abc"[n % 3], message) for n, message in enumerate(messages(30))]
    found = recognise(table(tmp_path, ["c1", "c2", "c3"], rows))
    assert (found.text, found.label) == ("c3", "c2")


def test_a_short_column_named_text_does_not_beat_the_long_one(tmp_path):
    rows = [("ok", "ab"[n % 2], message) for n, message in enumerate(messages(12))]
    assert recognise(table(tmp_path, ["text", "label", "story"], rows)).text == "story"


def test_customer_becomes_subject_and_keeps_a_persons_rows_together(tmp_path):
    rows = [(m, "ab"[n % 2], f"c{n}") for n, m in enumerate(messages(8))]
    found = recognise(table(tmp_path, ["message", "intent", "customer_id"], rows))
    assert (found.subject, found.group) == ("customer_id", "customer_id")


def test_a_conversation_is_the_group_and_not_the_subject(tmp_path):
    rows = [(m, "ab"[n % 2], f"c{n}", f"u{n}") for n, m in enumerate(messages(8))]
    found = recognise(table(tmp_path, ["message", "intent", "conversation", "user"], rows))
    assert (found.subject, found.group) == ("user", "conversation")


def test_a_column_of_few_words_is_a_slice(tmp_path):
    rows = [(m, "abc"[n % 3], ["web", "phone"][n % 2]) for n, m in enumerate(messages(60))]
    assert recognise(table(tmp_path, ["text", "label", "channel"], rows)).slices == ("channel",)


def test_every_column_that_was_found_has_a_reason(tmp_path):
    rows = [(m, "abc"[n % 3], ["web", "phone"][n % 2], f"u{n}") for n, m in enumerate(messages(60))]
    found = recognise(table(tmp_path, ["text", "label", "channel", "user"], rows))
    assert [reason.split(" = ")[0] for reason in found.reasons] == [
        "text",
        "label",
        "subject",
        "group",
        "slices",
    ]


def test_columns_that_were_named_are_taken_without_a_reason(tmp_path):
    rows = [(m, "ab"[n % 2], f"note {n}") for n, m in enumerate(messages(8))]
    found = recognise(table(tmp_path, ["text", "label", "note"], rows), text="note", label="label")
    assert (found.text, found.reasons) == ("note", ())


def test_a_named_column_that_is_missing_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(NotFound, match=r"no column in rows\.csv named 'labl'.*Did you mean 'label'\?"):
        recognise(table(tmp_path, ["text", "label"], [("a b", "x")]), label="labl")


def test_a_file_of_numbers_has_no_text(tmp_path):
    with pytest.raises(BadInput, match="--text"):
        recognise(table(tmp_path, ["a", "b"], [(str(n), str(n % 2)) for n in range(20)]))


def test_a_file_without_a_label_says_how_to_name_one(tmp_path):
    with pytest.raises(BadInput, match="--label"):
        recognise(table(tmp_path, ["message", "id"], [(m, str(n)) for n, m in enumerate(messages(20))]))


def test_one_column_cannot_be_text_and_label(tmp_path):
    with pytest.raises(BadInput, match="both text and label"):
        recognise(table(tmp_path, ["text", "label"], [("a b", "x")]), text="text", label="text")


def test_text_that_is_numbers_is_refused_and_some_numbers_are_fine(tmp_path):
    numbers = [(str(n / 7), "ab"[n % 2]) for n in range(100)]
    with pytest.raises(BadInput, match="holds numbers, not text"):
        check_text_is_not_numbers(table(tmp_path, ["text", "label"], numbers), "text")
    mixed = [("1200" if n % 2 else "no", "a") for n in range(100)]
    check_text_is_not_numbers(table(tmp_path, ["text", "label"], mixed), "text")


@pytest.mark.parametrize(
    "values", [["b2b", "b2c"], ["where is the money that I sent you on Monday last week?"] * 2]
)
def test_a_column_of_few_values_or_of_sentences_is_no_person_whatever_its_name(tmp_path, values):
    rows = [
        (m * 2, "ab"[n % 2], f"{values[n % 2]}{n if len(values[0]) > 9 else ''}")
        for n, m in enumerate(messages(60))
    ]
    found = recognise(table(tmp_path, ["message", "intent", "customer_type"], rows))
    assert (found.text, found.subject, found.group) == ("message", None, None)


def test_a_label_of_two_values_and_a_text_of_sentences_are_known_by_name(tmp_path):
    rows = [
        (m, "pos" if n % 2 else "neg", f"country {n % 30}", f"https://example.org/{'a' * 90}/{n}")
        for n, m in enumerate(messages(300))
    ]
    found = recognise(table(tmp_path, ["text", "sentiment", "country", "url"], rows))
    assert (found.text, found.label) == ("text", "sentiment")
