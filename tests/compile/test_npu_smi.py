"""`npu-smi info` in the layouts of its releases, from the double and as published."""

from __future__ import annotations

import pytest

from helpers.compile.npu_smi import list_npu_devices, parse_board, parse_info

# Syllo/nvtop#421: a card with two devices, one of them busy, and a process table.
BUSY_DUO = """
+--------------------------------------------------------------------------------------------------------+
| npu-smi 24.1.0                                   Version: 24.1.0                                       |
+-------------------------------+-----------------+------------------------------------------------------+
| NPU     Name                  | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip    Device                | Bus-Id          | AICore(%)    Memory-Usage(MB)                        |
+===============================+=================+======================================================+
| 2       310P3                 | OK              | NA           47                0     / 0             |
| 0       0                     | 0000:01:00.0    | 87           9075 / 44216                            |
+-------------------------------+-----------------+------------------------------------------------------+
| 2       310P3                 | OK              | NA           46                0     / 0             |
| 1       1                     | 0000:01:00.0    | 0            1503 / 43693                            |
+===============================+=================+======================================================+
+-------------------------------+-----------------+------------------------------------------------------+
| NPU     Chip                  | Process id      | Process name             | Process memory(MB)        |
+===============================+=================+======================================================+
| 2       0                     | 12345           | python                   | 7600                      |
+===============================+=================+======================================================+
"""
# The 310B of a developer kit has no PCI bus; the name of a 310 consists of digits.
WITHOUT_BUS = """
+-------------------+-----------------+------------------------------------------------------+
| NPU     Name      | Health          | Power(W)     Temp(C)           Hugepages-Usage(page) |
| Chip    Device    | Bus-Id          | AICore(%)    Memory-Usage(MB)                        |
+===================+=================+======================================================+
| 0       310B4     | Alarm           | 0.0          56                15    / 15            |
| 0       0         | NA              | 0            1713 / 7545                             |
+===================+=================+======================================================+
| 1       310       | OK              | 12.8         44                0     / 970           |
| 0       4         | 0000:86:00.0    | 3            2703 / 8192                             |
+===================+=================+======================================================+
"""


@pytest.mark.parametrize(
    ("smi", "devices", "soc", "places", "total"),
    [
        ("310p", 2, "Ascend310P3", [(0, 0), (1, 0)], 21534),
        ("duo", 4, "Ascend310P3", [(0, 0), (0, 1), (1, 0), (1, 1)], 21534),
        ("910b", 3, "Ascend910B3", [(0, 0), (1, 0), (2, 0)], 21534),
        ("a3", 4, "Ascend910", [(0, 0), (0, 1), (1, 0), (1, 1)], 21534),
    ],
)
def test_every_layout_of_the_double(cann, smi, devices, soc, places, total):
    cann(SMI=smi, DEVICES=str(devices), SOC=soc)
    found = list_npu_devices()
    assert [(device.npu, device.chip) for device in found] == places
    assert {device.soc_version for device in found} == {soc}
    assert {device.memory_total_mb for device in found} == {total}
    assert not [device for device in found if device.is_busy]


def test_a_busy_device_is_distinguished_from_an_idle_one():
    first, second = parse_info(BUSY_DUO)
    assert (first.npu, first.chip, first.aicore_percent, first.processes) == (2, 0, 87.0, 1)
    assert (first.memory_used_mb, first.memory_total_mb) == (9075, 44216)
    assert first.is_busy and not second.is_busy
    assert "AI core 87 %, 1 processes" in str(first)


def test_a_device_without_a_bus_and_a_name_of_digits():
    kit, card = parse_info(WITHOUT_BUS)
    assert (kit.soc_version, kit.health) == ("Ascend310B4", "Alarm")
    assert (card.npu, card.soc_version, card.is_busy, card.processes) == (1, "Ascend310", True, None)


def test_without_a_card_there_are_no_devices(cann, monkeypatch):
    cann(DEVICES="0")
    assert list_npu_devices() == []
    monkeypatch.setenv("PATH", "/nowhere")
    assert list_npu_devices() == []


def test_the_board_has_the_full_name():
    board = "\tNPU ID                         : 3\n\tChip Name                      : Ascend910\n\tNPU Name : 9391\n"
    assert parse_board(board) == "Ascend910_9391"
    assert parse_board("\tChip Name : 950PR\n\tNPU Name : 9599\n") == "Ascend950PR_9599"
    assert parse_board("nothing") is None
