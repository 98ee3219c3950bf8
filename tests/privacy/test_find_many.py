from millwright.privacy import find_many as module
from millwright.privacy.detect import detector
from millwright.privacy.find_many import find_many

TEXTS = [
    "My name is John Smith and I live at 12 Baker Street, London",
    "",
    "write to js@example.org or call 13800138000 before 3 May 1990",
    "我叫王小明，住在北京市海淀区中关村大街1号",
    "nothing of anybody",
] * 12


def test_workers_find_what_one_process_finds(monkeypatch):
    finder = detector()
    alone = find_many(finder, TEXTS)
    monkeypatch.setattr(module, "LEAST_CHARACTERS", 0)
    monkeypatch.setattr(module, "PART_CHARACTERS", 300)
    assert len(module._parts(TEXTS)) > 3
    assert find_many(finder, TEXTS) == alone == [finder.find(text) for text in TEXTS]


def test_parts_hold_every_text_once_and_in_order(monkeypatch):
    monkeypatch.setattr(module, "PART_CHARACTERS", 3)
    assert module._parts(["a", "bcd", "", "efgh", "i"]) == [["a", "bcd"], ["", "efgh"], ["i"]]
