"""Every fault ends in correct outputs and a recovered error, or in one line with the code; the report stays clean."""

from __future__ import annotations

import re

import pytest

from tests.devices.ascend_models import SIDE

# Twelve batches; what went wrong is printed as a user sees it.
RUN = """
import logging
try:
    with open_device(sys.argv[1], "ascend310p3", devices={devices}) as device:
        inputs = [feed(1 + seed % device.batches[-1], seed) for seed in range(12)]
        for x, future in [(x, device.submit({{"image": x}})) for x in inputs]:
            check(future.result(), x)
        print("right;", "; ".join(device.recovered_errors()))
except CookbookError as error:
    print("error:", error)
"""


def run(on_double, model, devices="None", **environment) -> str:
    ran = on_double(RUN.format(devices=devices), model, **environment)
    assert ran.code == 0, ran.output
    for report in ran.reports:
        assert report["ok"], (report["violations"], report["leaks"])
    return ran.output.strip().splitlines()[-1]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("init:1:100003", "error: .*acl.init returned 100003"),
        ("load:1:500002", "error: .*acl.mdl.load_from_file returned 500002"),
        ("set_device:1:507899", "error: .*acl.rt.set_device returned 507899"),
        ("create_context:1:507899", "error: .*acl.rt.create_context returned 507899"),
        ("create_stream:2:207008", "error: .*acl.rt.create_stream returned 207008"),
        ("malloc:2:207001", "right; .*using 1 with batches of up to 2"),
        ("malloc:3:207001", "right; .*using 1 with batches of up to 2"),
        ("malloc:*:207001", "error: .*acl.rt.malloc returned 207001"),
        ("malloc_host:1:207000", "error: .*acl.rt.malloc_host returned 207000"),
        ("execute:3:507011", "right; a batch failed and was run again .*acl.mdl.execute_async returned 507011"),
        ("execute:3+:507011", "error: .*acl.mdl.execute_async returned 507011"),
        ("sync:5:507015", "right; a batch failed and was run again .*returned 507015"),
        ("memcpy:4:507899", "error: .*acl.rt.memcpy_async returned 507899"),
        ("memcpy:4:107000", "right; a batch failed and was run again .*acl.rt.memcpy_async returned 107000"),
    ],
)
def test_a_fault_of_one_device(static_om, on_double, fault, said):
    told = run(on_double, static_om, FAIL=fault)
    assert re.match(said, told), told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("load@1:*:500002", "right; device 1 is left out \\(.*acl.mdl.load_from_file returned 500002"),
        ("execute@0:*:507011", "right; .*device 0 failed: its batch was run again on device 1"),
        ("execute@0:3+:507899", "right; .*device 0 is left out, 1 remain \\(.*returned 507899"),
        ("set_device:*:507899", "error: .*acl.rt.set_device returned 507899"),
    ],
)
def test_a_fault_of_one_device_in_a_pool(static_om, on_double, fault, said):
    told = run(on_double, static_om, devices="[0, 1]", FAIL=fault)
    assert re.match(said, told), told


@pytest.mark.slow
def test_all_counts_the_devices_and_none_is_an_error(static_om, on_double):
    program = RUN.format(devices="'all'").replace("device.submit", "(device._members, device.submit)[1]")
    program = program.replace('print("right;"', 'print(len(device._members), "right;"')
    assert "3 right;" in on_double(program, static_om, DEVICES=3).output
    assert "finds no device: received devices: all" in run(on_double, static_om, devices="'all'", DEVICES=0)


@pytest.mark.slow
def test_a_device_number_beyond_the_last_is_named_and_the_rest_of_the_pool_continues(static_om, on_double):
    assert "acl.rt.set_device returned 107001" in run(on_double, static_om, devices="[5]")
    told = run(on_double, static_om, devices="[5, 0]")
    assert "right; device 5 is left out (" in told and "acl.rt.set_device returned 107001" in told


SAMPLE_BYTES = 4 * SIDE**3 * (2 + 1 + 2)  # image, mask and scores


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (7.5, "right; .*too small for 2 calls in flight with batches of 4 .*: using 1 with batches of up to 4"),
        (3.5, "right; .*using 1 with batches of up to 2"),
        (1.5, "right; .*using 1 with batches of up to 1"),
        (0.5, "error: .*acl.rt.malloc returned 207001"),
    ],
)
def test_too_little_memory_for_gears_means_fewer_calls_then_smaller_batches(gears_om, on_double, samples, said):
    import re

    weights = gears_om.stat().st_size
    told = run(on_double, gears_om, OOM_BYTES=int(weights + samples * SAMPLE_BYTES))
    assert re.match(said, told), told


def test_no_room_for_the_weights_is_one_line(static_om, on_double):
    assert "acl.mdl.load_from_file returned 207001" in run(on_double, static_om, OOM_BYTES=100)


EACH_WAY = ["None", pytest.param("[0, 1]", marks=pytest.mark.slow)]
VOLUME = """
from helpers.inference import sliding_window
from helpers.inference.predictor import DevicePredictor

volume = feed(1, side={side} * 3)[0]
with open_device(sys.argv[1], "ascend310p3", devices={devices}) as device:
    call = DevicePredictor(device, "image", "scores")
    print("started")
    labels = sliding_window(volume, call, ({side},) * 3, classes=2, step=0.5, batch_size=4)
assert np.array_equal(labels, np.argmax(volume, axis=0)), "wrong mask"
print("right mask")
"""


@pytest.mark.parametrize("devices", EACH_WAY, ids=["one chip", "pool"])
def test_a_volume_in_batches_too_large_for_the_memory(gears_om, on_double, devices):
    oom = int(gears_om.stat().st_size + 3.5 * SAMPLE_BYTES)
    ran = on_double(VOLUME.format(side=SIDE, devices=devices), gears_om, OOM_BYTES=oom)
    assert "right mask" in ran.output, ran.output
    assert all(report["ok"] for report in ran.reports)
    assert sum(report["calls"].get("acl.mdl.execute_async", 0) for report in ran.reports) == 63  # of 125 windows


@pytest.mark.parametrize("devices", EACH_WAY, ids=["one chip", "pool"])
def test_an_interrupt_in_the_middle_of_a_volume_frees_everything(gears_om, on_double, devices):
    program = VOLUME.format(side=SIDE, devices=devices)
    ran = on_double(program, gears_om, interrupt_at="started", LATENCY_MS=200)
    assert "KeyboardInterrupt" in ran.output and "right mask" not in ran.output
    assert ran.reports
    for report in ran.reports:
        assert report["ok"], (report["violations"], report["leaks"])
        # Over 30 batches were to come; what had begun was let end.
        assert sum(chip["count"] for chip in report["executes"].values()) <= 8


def test_a_worker_killed_halfway_loses_no_batch(static_om, on_double):
    ran = on_double(
        """
        with open_device(sys.argv[1], "ascend310p3", devices=[0, 1, 2]) as device:
            futures = [device.submit({"image": feed(2, seed)}) for seed in range(100)]
            for seed, future in enumerate(futures):
                if seed == 20:
                    os.kill(device._members[1].device.worker.process.pid, signal.SIGKILL)
                check(future.result(), feed(2, seed))
            print("right;", "; ".join(device.recovered_errors()))
        """,
        static_om,
        LATENCY_MS=25,
        DEVICES=3,
    )
    assert ran.code == 0, ran.output
    assert "device 1 is left out, 2 remain (signal 9)" in ran.output
    assert "device 1 failed: its batch was run again on device" in ran.output
    assert len(ran.reports) == 2 and all(report["ok"] for report in ran.reports)


@pytest.mark.slow
def test_four_devices_share_two_hundred_patches_and_keep_their_order(static_om, on_double):
    ran = on_double(
        """
        with open_device(sys.argv[1], "ascend310p3", devices="all") as device:
            futures = [device.submit({"image": feed(1 + seed % 2, seed)}) for seed in range(200)]
            for seed, future in enumerate(futures):
                check(future.result(), feed(1 + seed % 2, seed))
            timings = device.timings()
            assert len(timings) == 200 and {timing.device for timing in timings} == {0, 1, 2, 3}
            assert sum(timing.samples for timing in timings) == 300
            assert all(timing.execute_s >= 0.02 for timing in timings)
            print("right;", device.recovered_errors())
        """,
        static_om,
        LATENCY_MS=20,
        DEVICES=4,
    )
    assert "right; []" in ran.output, ran.output
    counts = [chip["count"] for report in ran.reports for chip in report["executes"].values()]
    assert len(counts) == 4 and sum(counts) == 200 and min(counts) > 0
    assert all(report["ok"] for report in ran.reports)
