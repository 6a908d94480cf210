"""netron: how long a build opens files, one server per model, reached the way the user reaches JupyterLab."""

from __future__ import annotations

import datetime
import socket
import time
import urllib.request
from types import SimpleNamespace

import pytest

from helpers.view import netron_frame
from helpers.view.netron_frame import frame_address, offer_netron


class TestNetron:
    @pytest.fixture
    def built(self, tmp_path, monkeypatch):
        (tmp_path / "index.html").write_text('<meta name="date" content="2026-01-01 10:00:00">', encoding="utf-8")
        spec = SimpleNamespace(origin=str(tmp_path / "__init__.py"))
        monkeypatch.setattr(netron_frame.importlib.util, "find_spec", lambda name: spec)
        return tmp_path

    def _after(self, days: int) -> str:
        return netron_frame.describe_netron(datetime.date(2026, 1, 1) + datetime.timedelta(days))

    def test_the_remaining_days_are_counted(self, built):
        assert self._after(0).endswith("0 days old, opens files for 180 more days")
        assert self._after(180).endswith("opens files for 0 more days")

    def test_an_expired_build_is_reported(self, built):
        assert "181 days old: it no longer opens files" in self._after(181)

    def test_a_build_without_a_date_is_reported(self, built):
        (built / "index.html").write_text("<html>", encoding="utf-8")
        assert "build date not found" in self._after(0)

    def test_the_installed_build_has_a_date(self):
        assert "days old" in netron_frame.describe_netron()

    def test_a_missing_package_is_reported(self, monkeypatch):
        monkeypatch.setattr(netron_frame.importlib.util, "find_spec", lambda name: None)
        assert netron_frame.describe_netron() == "not installed"


def closed(port: int, within_s: float = 20) -> bool:
    end = time.monotonic() + within_s  # the server's thread ends in its own time
    while time.monotonic() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return True
        time.sleep(0.05)
    return False


class TestFrame:
    @pytest.fixture
    def model(self, tmp_path):
        import onnx
        from onnx import TensorProto, helper

        value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "ab"]
        graph = helper.make_graph([helper.make_node("Relu", ["a"], ["b"])], "g", value[:1], value[1:])
        onnx.save(helper.make_model(graph), tmp_path / "m.onnx")
        return tmp_path / "m.onnx"

    @pytest.fixture
    def opened(self, monkeypatch):
        """The addresses netron was started on and the frames that were shown; all servers end with the test."""
        import IPython.display
        import netron

        starts, frames, real = [], [], netron.start
        monkeypatch.setattr(netron, "start", lambda *a, **k: starts.append(real(*a, **k)) or starts[-1])
        monkeypatch.setattr(IPython.display, "display", frames.append)
        monkeypatch.setattr(netron_frame, "_proxy_prefix", lambda: None)
        monkeypatch.setattr(netron_frame, "_SERVERS", {})
        yield SimpleNamespace(starts=starts, frames=frames)
        for address in starts:
            netron.stop(address)

    def test_a_headless_run_gets_a_line_of_text(self, model):
        shown = offer_netron(model, False)
        assert "Headless run" in repr(shown) and "Headless run" in shown._repr_html_()

    def test_nothing_starts_before_the_click_and_the_hint_explains_the_page(self, model, opened):
        box = offer_netron(model, True)
        assert opened.starts == []
        assert "consent" in box.children[1].value and "180 days" in box.children[1].value
        assert "days old" in box.children[1].value

    def test_a_click_opens_it_on_loopback_and_another_click_closes_the_previous_port(self, model, opened):
        for _ in range(2):
            offer_netron(model, True).children[0].click()  # the cell is run again, and the button clicked again
        (first, second) = opened.starts
        assert first[0] == second[0] == "127.0.0.1" and first[1] != second[1]
        assert closed(first[1])
        with urllib.request.urlopen(opened.frames[-1].src, timeout=20) as answer:
            assert b"netron" in answer.read(100_000).lower()


@pytest.mark.parametrize(
    ("prefix", "address"),
    [
        (None, "http://127.0.0.1:9000"),
        ("/", "/proxy/9000/"),
        ("/user/a b/", "/user/a%20b/proxy/9000/"),
        ("/user/a%20b/", "/user/a%20b/proxy/9000/"),
        ("/user/anna@example.org/", "/user/anna@example.org/proxy/9000/"),
        ("/user/anna%40example.org/", "/user/anna%40example.org/proxy/9000/"),
        ("/user/50%25/", "/user/50%25/proxy/9000/"),
        ("/user/a+b%2Bc/", "/user/a+b%2Bc/proxy/9000/"),
        ("/user/\u00e4/", "/user/%C3%A4/proxy/9000/"),
    ],
)
def test_a_proxy_is_used_if_there_is_one(monkeypatch, prefix, address):
    monkeypatch.setattr(netron_frame, "_proxy_prefix", lambda: prefix)
    assert frame_address("127.0.0.1", 9000) == address


@pytest.mark.parametrize(
    ("installed", "servers", "hub", "prefix"),
    [
        (False, [], "/user/anna/", None),
        (True, [], None, None),  # no server of this kernel is known, which leaves loopback
        (True, [{"pid": 7, "base_url": "/lab/"}], None, "/lab/"),
        (True, [{"pid": 8, "base_url": "/other/"}], None, None),
        (True, [], "/user/anna/", "/user/anna/"),
    ],
)
def test_the_prefix_is_from_the_server_that_started_the_kernel(monkeypatch, installed, servers, hub, prefix):
    monkeypatch.setattr(netron_frame.importlib.util, "find_spec", lambda name: object() if installed else None)
    monkeypatch.setattr("jupyter_server.serverapp.list_running_servers", lambda: iter(servers))
    monkeypatch.setattr(netron_frame.os, "getppid", lambda: 7)
    monkeypatch.delenv("JPY_PARENT_PID", raising=False)
    monkeypatch.delenv("JUPYTERHUB_SERVICE_PREFIX", raising=False)
    if hub:
        monkeypatch.setenv("JUPYTERHUB_SERVICE_PREFIX", hub)
    assert netron_frame._proxy_prefix() == prefix
