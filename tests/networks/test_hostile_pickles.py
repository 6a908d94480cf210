"""Ways to run code from a pickle, each tried on every reader: none is called, all are refused in one line."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from helpers.errors import CheckpointError
from helpers.networks.checkpoint import load_state_dict
from helpers.networks.safe_pickle import read_plain_pickle


def _text(text: str) -> bytes:
    return pickle.BINUNICODE + len(text.encode()).to_bytes(4, "little") + text.encode()


def _global(module: str, name: str) -> bytes:
    return _text(module) + _text(name) + pickle.STACK_GLOBAL


def _call(module: str, name: str, *arguments: str) -> bytes:
    """A pickle that calls a function with texts."""
    given = pickle.MARK + b"".join(map(_text, arguments)) + pickle.TUPLE
    return b"\x80\x04" + _global(module, name) + given + pickle.REDUCE + b"."


CALLS: dict[str, Callable[[str], bytes]] = {
    "os.system": lambda place: _call("os", "system", f"mkdir {place}"),
    "posix.system": lambda place: _call("posix", "system", f"mkdir {place}"),
    "os.mkdir": lambda place: _call("os", "mkdir", place),
    "subprocess.getoutput": lambda place: _call("subprocess", "getoutput", f"mkdir {place}"),
    "eval": lambda place: _call("builtins", "eval", f"__import__('os').mkdir({place!r})"),
    "exec": lambda place: _call("builtins", "exec", f"import os; os.mkdir({place!r})"),
    "exec in Python 2": lambda place: _call("__builtin__", "exec", f"import os; os.mkdir({place!r})"),
    "import_module": lambda place: _call("importlib", "import_module", "antigravity"),
    "run_path": lambda place: _call("runpy", "run_path", place),
    "code of pdb": lambda place: _call("pdb", "run", f"import os; os.mkdir({place!r})"),
    "code of timeit": lambda place: _call("timeit", "timeit", f"import os; os.makedirs({place!r}, exist_ok=True)"),
    "code of numpy": lambda place: _call(
        "numpy.testing._private.utils", "runstring", f"import os; os.mkdir({place!r})"
    ),
    "torch.hub": lambda place: _call("torch.hub", "load", place, "x"),
    "torch.load": lambda place: _call("torch", "load", place),
    "pickle.loads": lambda place: _call("_pickle", "loads", place),
    "a name with dots": lambda place: _call("torch.serialization", "os.mkdir", place),
    "a name with dots in ours": lambda place: _call("helpers.networks.safe_pickle", "os.mkdir", place),
    "a class of the standard library": lambda place: _call("pathlib", "Path.mkdir", place),
    "pydoc.locate": lambda place: _call("pydoc", "locate", "os.mkdir"),
    "codecs.decode": lambda place: _call("codecs", "decode", place, "rot13"),
}


def _protocol_0(place: str) -> bytes:
    return f"cos\nmkdir\n(V{place}\ntR.".encode()


def _getattr_chain(place: str) -> bytes:
    """getattr(torch, "os").mkdir, with the names as plain texts."""
    owner = _global("builtins", "getattr") + _global("torch", "serialization") + _text("os") + pickle.TUPLE2
    function = _global("builtins", "getattr") + owner + pickle.REDUCE + _text("mkdir") + pickle.TUPLE2 + pickle.REDUCE
    return b"\x80\x04" + function + _text(place) + pickle.TUPLE1 + pickle.REDUCE + b"."


def _instance(place: str) -> bytes:
    """The opcode INST, which calls without REDUCE."""
    return f"(V{place}\nios\nmkdir\n.".encode()


def _new_object(place: str) -> bytes:
    """The opcode NEWOBJ."""
    return (
        b"\x80\x04" + _global("subprocess", "Popen") + _text(f"mkdir {place}") + pickle.TUPLE1 + pickle.NEWOBJ + b"."
    )


def _state(place: str) -> bytes:
    """The opcode BUILD, which calls __setstate__ or sets attributes."""
    maker = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    state = pickle.EMPTY_DICT + _text("__class__") + _global("os", "mkdir") + pickle.SETITEM
    return b"\x80\x04" + maker + state + pickle.BUILD + b"."


def _extension(place: str) -> bytes:
    return b"\x80\x04" + pickle.EXT1 + b"\x01" + _text(place) + pickle.TUPLE1 + pickle.REDUCE + b"."


OPCODES = {
    "protocol 0": _protocol_0,
    "a chain of getattr": _getattr_chain,
    "INST": _instance,
    "NEWOBJ": _new_object,
    "BUILD": _state,
    "EXT1": _extension,
}
HOSTILE = {**CALLS, **OPCODES}


def _write_zip(path: Path, content: bytes) -> None:
    """The form of torch.save since 1.6."""
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in {"data.pkl": content, "version": b"3\n", "byteorder": b"little"}.items():
            archive.writestr(f"archive/{name}", data)


READERS = {
    "plain pickle": (lambda path, content: path.write_bytes(content), read_plain_pickle),
    "checkpoint": (lambda path, content: path.write_bytes(content), load_state_dict),
    "zipped checkpoint": (_write_zip, load_state_dict),
}


@pytest.mark.parametrize(("write", "read"), READERS.values(), ids=READERS)
@pytest.mark.parametrize("make", HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, make, write, read):
    witness = tmp_path / "was_run"
    write(tmp_path / "evil.pth", make(str(witness)))
    with pytest.raises(CheckpointError) as caught:
        read(tmp_path / "evil.pth")
    assert not witness.exists()
    assert "evil.pth" in caught.value.line() and "\n" not in caught.value.line()


@pytest.mark.parametrize("name", ["os.mkdir", "exec", "protocol 0", "INST", "a name with dots"])
def test_an_unrestricted_reader_would_run_it(tmp_path, name):
    witness = tmp_path / "was_run"
    pickle.loads(HOSTILE[name](str(witness)))
    assert witness.exists()


@pytest.mark.parametrize(("write", "read"), READERS.values(), ids=READERS)
def test_a_pickle_that_would_fill_the_memory_does_not(tmp_path, write, read):
    """Lists of lists, each ten times the one before: endless if they were copied instead of referred to."""
    content = b"\x80\x04" + pickle.EMPTY_LIST + pickle.MEMOIZE
    content += b"".join(
        pickle.EMPTY_LIST + pickle.MEMOIZE + pickle.MARK + (pickle.BINGET + bytes([n])) * 10 + b"e" for n in range(40)
    )
    write(tmp_path / "evil.pth", content + b".")
    if read is load_state_dict:
        with pytest.raises(CheckpointError):
            read(tmp_path / "evil.pth")
    else:
        assert len(read(tmp_path / "evil.pth")) == 10  # references, not copies
