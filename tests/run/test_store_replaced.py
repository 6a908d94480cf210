"""Two processes that store the same entry."""

from __future__ import annotations

import shutil
import threading

from helpers.run.store import Store, place_files


def test_an_entry_that_another_process_replaces_meanwhile_is_copied(tmp_path):
    store = Store(tmp_path / ".store")
    with store.working_folder() as folder:
        (folder / "a.txt").write_text("one", encoding="utf-8")
        work = store.keep("k" * 64, folder, {})
    shutil.move(work.folder, tmp_path / "away")
    threading.Timer(0.05, lambda: shutil.move(tmp_path / "away", work.folder)).start()
    place_files(work, tmp_path / "run")
    assert (tmp_path / "run" / "a.txt").read_text(encoding="utf-8") == "one"
