"""The Ascend device on the strict double of acl: correct outputs, and a report without violations or leaks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.devices.ascend_models import SIDE, convert, convert_static, double_model, run_on_double

EVERY_COUNT = """
with open_device(sys.argv[1], "ascend310p3") as device:
    print(device.inputs, device.outputs, device.batches, device.max_in_flight)
    inputs = [feed(1 + seed % device.batches[-1], seed) for seed in range(12)]
    futures = [device.submit({"image": x}) for x in inputs]
    answers = [future.result() for future in futures]
for x, answer in zip(inputs, answers, strict=True):
    check(answer, x)
    assert answer["mask"].dtype == np.int32 and np.array_equal(answer["mask"], np.argmax(x, axis=1))
"""


def assert_clean(ran) -> None:
    assert ran.code == 0, ran.output
    assert ran.reports, "acl was not used"
    for report in ran.reports:
        assert report["ok"], (report["violations"], report["leaks"])


@pytest.mark.parametrize("run_mode", [1, 0], ids=["host", "on the device"])
def test_a_static_batch_pads_and_cuts(static_om, on_double, run_mode):
    ran = on_double(EVERY_COUNT, static_om, RUN_MODE=run_mode)
    assert_clean(ran)
    assert f"dtype='float32', shape=(2, 2, {SIDE}, {SIDE}, {SIDE})" in ran.output and "(2,) 2" in ran.output
    assert ran.report["executes"]["0"] | {"busy_s": 0} == {"count": 12, "active": 0, "max_concurrent": 1, "busy_s": 0}
    assert ran.report["calls"]["acl.init"] == ran.report["calls"]["acl.finalize"] == 1


def test_everything_is_created_once_and_used_by_every_call(static_om, on_double):
    program = """
    with open_device(sys.argv[1], "ascend310p3") as device:
        for seed in range({count}):
            check(device.infer({{"image": feed(2, seed)}}), feed(2, seed))
    """
    few, many = (on_double(program.format(count=count), static_om).report["calls"] for count in (3, 30))
    grown = {name for name in many if many[name] != few[name]}
    assert grown == {
        "acl.rt.set_context",
        "acl.rt.memcpy_async",
        "acl.mdl.execute_async",
        "acl.rt.synchronize_stream_with_timeout",
    }
    assert not {"acl.util.numpy_to_ptr", "acl.util.ptr_to_numpy"} & set(many)


def test_gears_run_the_smallest_batch_that_holds_the_feeds(gears_om, on_double):
    ran = on_double(EVERY_COUNT, gears_om)
    assert_clean(ran)
    assert "(1, 2, 4) 2" in ran.output
    # 1, 2, 3 -> 4, 4: each call sets its gear, and each gear was looked at once when the model opened.
    assert ran.report["calls"]["acl.mdl.set_dynamic_batch_size"] == 12 + 3


def test_gears_of_two_window_sizes(tmp_path, on_double):
    shape = f"--input_shape=image:-1,2,-1,{SIDE},{SIDE}"
    gears = f"--dynamic_dims=1,{SIDE};2,{SIDE};1,8"
    model = convert(double_model(tmp_path / "open.onnx", 0), tmp_path / "dims", shape, gears, input_format="ND")
    ran = on_double(
        """
        with open_device(sys.argv[1], "ascend310p3") as device:
            print(device.inputs[0].shape, device.batches)
            for count, depth in ((1, 6), (2, 6), (1, 8)):
                x = np.ascontiguousarray(np.repeat(feed(count)[:, :, :1], depth, axis=2))
                check(device.infer({"image": x}), x)
            try:
                device.infer({"image": np.zeros((1, 2, 5, 6, 6), np.float32)})
            except CookbookError as error:
                print(error)
        """,
        model,
    )
    assert_clean(ran)
    assert f"(None, 2, None, {SIDE}, {SIDE}) (1, 2)" in ran.output
    assert "no gear of the model has the shapes" in ran.output


@pytest.mark.parametrize(
    ("options", "environment", "said"),
    [
        (["--out_nodes=best:0"], {}, "best:0 int32"),
        (["--output_type=FP16"], {}, "scores float16"),
        (["--input_fp16_nodes=image"], {}, "image float16"),
        ([], {"INT64": "keep"}, "mask int64"),
    ],
    ids=["out_nodes", "fp16 outputs", "fp16 inputs", "int64 kept"],
)
def test_names_and_types_are_those_of_the_model(tmp_path, on_double, options, environment, said):
    shape = f"--input_shape=image:1,2,{SIDE},{SIDE},{SIDE}"
    model = convert(double_model(tmp_path / "model.onnx"), tmp_path / "typed", shape, *options, **environment)
    ran = on_double(
        """
        with open_device(sys.argv[1], "ascend310p3") as device:
            for tensor in (*device.inputs, *device.outputs):
                print(tensor.name, tensor.dtype)
            x = feed(1).astype(device.inputs[0].dtype)
            answer = device.infer({"image": x})
        for tensor in device.outputs:
            assert str(answer[tensor.name].dtype) == tensor.dtype
            expected = 2 * x if tensor.name == "scores" else np.argmax(x, axis=1)
            assert np.allclose(answer[tensor.name], expected, rtol=1e-3, atol=0), tensor
        """,
        model,
    )
    assert_clean(ran)
    assert said in ran.output


def test_a_device_opens_again_in_the_same_process(static_om, on_double):
    ran = on_double(
        """
        for seed in range(3):
            with open_device(sys.argv[1], "ascend310p3", devices=[seed % 2]) as device:
                check(device.infer({"image": feed(2, seed)}), feed(2, seed))
        """,
        static_om,
    )
    assert_clean(ran)
    assert ran.report["calls"]["acl.init"] == 1
    assert ran.report["executes"]["0"]["count"] == 2 and ran.report["executes"]["1"]["count"] == 1


def test_two_devices_at_once_in_one_process(static_om, on_double):
    ran = on_double(
        """
        with open_device(sys.argv[1], "ascend310p3", devices=[0]) as one, \\
                open_device(sys.argv[1], "ascend310p3", devices=[1]) as other:
            for seed in range(4):
                check(one.infer({"image": feed(2, seed)}), feed(2, seed))
                check(other.infer({"image": feed(1, seed)}), feed(1, seed))
        """,
        static_om,
    )
    assert_clean(ran)


def test_copies_overlap_with_execution(static_om, on_double):
    """Two slots: while one executes 20 ms the other copies, so n calls take n executions, not n of everything."""
    ran = on_double(
        """
        with open_device(sys.argv[1], "ascend310p3") as device:
            for future in [device.submit({"image": feed(2)}) for _ in range(6)]:
                future.result()
            timings = device.timings()
            assert device.timings() == []
        for timing in timings:
            assert (timing.samples, timing.batch, timing.device) == (2, 2, 0)
            assert timing.execute_s >= 0.02 and timing.h2d_s > 0 and timing.d2h_s > 0
            assert timing.call_s >= timing.h2d_s + timing.execute_s + timing.d2h_s
        # A call that waits for the other's execution takes two of them; alone it would take one.
        waited = sum(timing.call_s > 0.035 for timing in timings)
        print(len(timings), "timings,", waited, "waited")
        assert waited >= 3
        """,
        static_om,
        LATENCY_MS=20,
    )
    assert_clean(ran)
    assert "6 timings" in ran.output


@pytest.mark.parametrize("error", ["ZeroDivisionError", "KeyboardInterrupt", "SystemExit"])
def test_an_exception_in_the_block_frees_everything(static_om, on_double, error):
    ran = on_double(
        f"""
        with open_device(sys.argv[1], "ascend310p3") as device:
            futures = [device.submit({{"image": feed(2)}}) for _ in range(8)]
            raise {error}
        """,
        static_om,
        LATENCY_MS=20,
    )
    assert ran.report["ok"], ran.report
    assert ran.report["executes"]["0"]["count"] < 8


def test_a_device_that_is_never_closed_is_freed_at_exit(static_om, on_double):
    ran = on_double(
        """
        device = open_device(sys.argv[1], "ascend310p3")
        check(device.infer({"image": feed(2)}), feed(2))
        """,
        static_om,
    )
    assert_clean(ran)


def test_closing_waits_for_a_call_that_an_interrupted_caller_abandoned(static_om, on_double):
    # An interrupt can hit the caller while the thread of a call starts: it runs unnoticed.
    ran = on_double(
        """
        device = open_device(sys.argv[1], "ascend310p3")
        session, answers = device._session, []
        thread = threading.Thread(target=lambda: answers.append(session.run({"image": feed(2)})))
        thread.start()
        time.sleep(0.05)
        device.close()
        check(answers[0][0], feed(2))
        try:
            session.run({"image": feed(2)})
        except RuntimeError as error:
            print(error)
        """,
        static_om,
        LATENCY_MS=200,
    )
    assert_clean(ran)
    assert "the session is closed" in ran.output


def test_without_acl_the_target_names_what_to_install(static_om):
    from helpers.devices import open_device
    from helpers.errors import DeviceError

    with pytest.raises(DeviceError, match=r"needs a module that is not installed.*acl.*CANN"):
        open_device(static_om, "ascend310p3")


def test_a_model_for_another_soc_is_refused_with_the_code(static_om, on_double):
    ran = on_double("open_device(sys.argv[1], 'ascend310p3')", static_om, SOC="Ascend310")
    assert ran.code == 1
    assert "acl.mdl.load_from_file returned 507008" in ran.output
    assert ran.report["leaks"]["device_refs"] == {} and ran.report["finalized"]


def test_a_truncated_file_is_refused_with_the_code(tmp_path: Path):
    whole = convert_static(tmp_path, 1)
    cut = tmp_path / "cut.om"
    cut.write_bytes(whole.read_bytes()[:-7])
    ran = run_on_double("open_device(sys.argv[1], 'ascend310p3')", cut, tmp_path)
    assert "acl.mdl.load_from_file returned 145006" in ran.output
    assert ran.report["ok"], ran.report
