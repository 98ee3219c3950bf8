"""Label Studio's and Argilla's own libraries read what we write for them, where they are installed.

They are no dependency: without its package a test is skipped and says so. docs/review.md tells how to run it.
"""

import pytest

from millwright.review.exchange import TOOLS, labelling_config
from millwright.review.items import Item

LABELS = ("card", "pin <1>", 'transfer & "more"')
QUEUE = [
    Item("row:1f3a", "where is my card?", "suspect", "pin <1>", (("card", 0.75), ("pin <1>", 0.2))),
    Item("prediction:77", "money & <fees>", "margin", None, (('transfer & "more"', 0.5),)),
    Item("row:2", "说中文", "chance", "card", ()),
]


def test_label_studio_takes_our_configuration_tasks_and_predictions():
    interface = pytest.importorskip("label_studio_sdk.label_interface", reason="needs label-studio-sdk")
    write, read = TOOLS["label-studio"]
    config = interface.LabelInterface(labelling_config(LABELS))
    assert config.validate() is None  # it raises
    assert set(config.get_control("label").labels) == set(LABELS)
    for item in QUEUE:
        task = write(item)
        assert config.validate_task({"data": task["data"]})  # 2.1.2 cannot take predictions along
        annotation = {"result": write(QUEUE[0])["predictions"][0]["result"], "completed_by": 3}
        assert config.validate_annotation(annotation)
        assert read({**task, "annotations": [annotation]}) == [(item.id, "3", "card")]
        for prediction in task["predictions"]:
            assert config.validate_prediction(prediction, return_errors=True) == []
    wrong = write(QUEUE[0])["predictions"][0]
    wrong["result"][0]["value"]["choices"] = ["no label of ours"]
    assert config.validate_prediction(wrong, return_errors=True) != []


def test_argilla_takes_our_records_and_keeps_them():
    argilla = pytest.importorskip("argilla", reason="needs argilla")
    write, read = TOOLS["argilla"]
    who = "0d53b4c7-6a5b-4a5c-9d3c-4a5d5c1f3a10"
    for item in QUEUE:
        record = argilla.Record.from_dict(write(item))
        assert record.id == item.id
        assert record.fields["text"] == item.text
        assert record.metadata["reason"] == item.reason
        assert [(one.question_name, one.value) for one in record.suggestions] == [
            ("label", label) for label, _ in item.choices[:1]
        ]
        said = argilla.Response(question_name="label", value="card", user_id=who, status="submitted")
        labelled = argilla.Record(id=item.id, fields={"text": item.text}, responses=[said])
        assert read(labelled.to_dict()) == [(item.id, who, "card")]
