"""Every documented code of ATC and pyACL has a problem, a cause and a remedy in two languages."""

from __future__ import annotations

import re

import pytest
import yaml

from helpers.params.ascend_errors import atc_codes, explain_acl, explain_acl_message, explain_atc, user_language
from helpers.params.paths import PARAMS_FOLDER

# acl_base_rt.h, rt_error_codes.h and ge_error_codes.h, as far as inference can meet them.
# fmt: off
ACL = [
    100000, 100001, 100002, 100003, 100006, 100024, 100037, 107000, 107001, 107002, 107003, 107004, 107015,
    107019, 107020, 145000, 145001, 145002, 145003, 145006, 145007, 145011, 145012, 145013, 145020, 145021,
    145022, 200000, 207001, 207004, 207005, 207008, 207018, 245000, 245002, 500000, 500001, 500002, 500003,
    500004, 507008, 507011, 507012, 507014, 507015, 507018, 507046, 507899, 545001, 545601,
]
# fmt: on
# error_registry.cc and the guide's families.
# fmt: off
ATC = [
    "E10001", "E10002", "E10003", "E10005", "E10006", "E10007", "E10009", "E10010", "E10011", "E10016", "E10018",
    "E10022", "E10031", "E10035", "E10036", "E10037", "E10038", "E10039", "E10040", "E10041", "E10054", "E10056",
    "E11001", "E12001", "E13025", "E16001", "E16002", "E19010", "E19999", "E20001", "E40021", "E90003", "EZ3002",
    "EZ3003", "EZ9999", "EE1001", "EE9999", "EH9999", "EI0001",
]
# fmt: on


@pytest.mark.parametrize("code", ACL)
def test_return_codes_of_acl(code):
    english, chinese = explain_acl(code, "en"), explain_acl(code, "zh")
    assert english.code == chinese.code == str(code)
    _is_whole(english, chinese)


@pytest.mark.parametrize("code", ATC)
def test_codes_of_atc(code):
    english, chinese = explain_atc(f"[PID: 7] now Title({code}): text", "en"), explain_atc(f"{code}: text", "zh")
    assert english.code == chinese.code == code
    _is_whole(english, chinese)


def _is_whole(english, chinese):
    for text in (english.problem, english.cause, english.remedy):
        assert text and text.isascii()
    for text in (chinese.problem, chinese.cause, chinese.remedy):
        assert re.search(r"[\u4e00-\u9fff]", text)
    assert not english.problem.endswith(".") and not chinese.problem.endswith("。")
    assert english.remedy.endswith(".") and english.cause.endswith(".")


def test_no_two_codes_share_an_explanation_by_mistake():
    for name, allowed in (("atc_errors", 0), ("acl_codes", 0)):
        content = yaml.safe_load((PARAMS_FOLDER / "ascend" / f"{name}.yaml").read_text("utf-8"))
        entries = content["codes"] | content["families"] if name == "atc_errors" else content
        problems = [entry["en"][0] for entry in entries.values()]
        assert len(problems) - len(set(problems)) == allowed


def test_both_printed_forms_are_recognised_and_process_ids_are_not():
    assert atc_codes("[PID: 12345] 2024-01-01 Invalid_Argument(E10001): x\nE19999: Inner Error!") == [
        "E10001",
        "E19999",
    ]
    assert atc_codes("TE1000 PE10001x device E1") == []


def test_the_least_specific_code_is_chosen_last():
    assert explain_atc("E19999: Inner Error!\n EZ3003: no kernel", "en").code == "EZ3003"


def test_the_longest_matching_family_is_used():
    assert "option" in explain_atc("E10077: x", "en").problem
    assert "graph engine" in explain_atc("E17001: x", "en").problem
    assert explain_atc("EX1234: x", "en") is None and explain_acl(999999) is None


def test_an_entry_of_the_history_needs_both_text_and_code():
    assert "5.0.4" in explain_atc("E90003: tuple_reduce_sum not support", "en").problem
    assert "5.0.4" not in explain_atc("E90003: something else", "en").problem


def test_a_message_of_the_device_is_explained_by_its_code():
    found = explain_acl_message("acl.mdl.execute_async returned 507011: aicore exception 123456", "en")
    assert found.code == "507011" and "507011: The model failed on the device." in str(found)
    assert explain_acl_message("device 507011 is gone", "en") is None


@pytest.mark.parametrize(("value", "language"), [("zh_CN.UTF-8", "zh"), ("C.UTF-8", "en"), ("", "en")])
def test_the_locale_selects_the_language(monkeypatch, value, language):
    for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LANG", value)
    assert user_language() == language


def test_codes_that_people_meet_have_an_explanation_of_their_own():
    assert "parse an operator" in explain_atc("E19010: No parser is registered for Op [a, optype [B]]", "en").problem
    assert (
        "ASCEND_RT_VISIBLE_DEVICES" in explain_atc("Invalid_Argument(EE1001): The argument is invalid.", "en").cause
    )
