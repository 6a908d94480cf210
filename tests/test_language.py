"""The English of the project: wordings that read as translated are found, each with what to write instead.

The terms are in docs/glossary.md.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SUFFIXES = {".css", ".ipynb", ".j2", ".js", ".md", ".py", ".toml", ".txt", ".yaml"}
# This file, the Chinese texts, and the doubles, which word their messages as the vendors do.
NOT_READ = ("tests/test_language.py", "README.zh-CN.md", "tests/doubles/", "helpers/demo/anatomy/LICENSE")

_THINGS = "batch|call|case|chip|device|file|fold|label|line|machine|model|reader|recipe|run|user|volume|window"
_KINDS = (
    "bundle|case|checkpoint|complete|device|file|folder|graph|image|JSON|list|mapping|mask|name|notebook|number|picture"
    "|plan|scalar|text|valid|volume|whole|YAML"
)

# Pattern (a blank stands for any white space) -> what to write.
BANNED = {
    rf"(?<!there )\b(?:is|are|was|were) no (?:{_KINDS})\b": "is not a …",
    rf"\bone an? (?:{_THINGS})\b": "one … per …",
    rf"\b(?:bytes|calls|images|rows|samples|seconds|windows) an? (?:second|{_THINGS})\b": "… per …",
    r"\bmend(?:s|ed|ing)?\b": "recover, repair, fix",
    r"\bthe walk\b|\bwalk goes on\b": "the pipeline, the run continues",
    r"\bhabits that work\b": "compatibility",
    r"\b(?:told|tells?) apart\b": "distinguished, distinguishes",
    r"\b(?:is|are|was|were) told\b": "is reported, receives",
    r"\blet (?:be|go)\b": "left alone, released",
    r"\bst(?:ood|ands?) in for\b": "replaced by, replaces",
    r"\bst(?:ood|ands?) beside\b|\bbeside\b": "next to, as well as, in addition to",
    r"\b(?:file|files|folder|folders|run|runs|weights|notebook) (?:lies?|lay|stands?) (?:in|below|next)\b": "is in",
    r"\b(?:some|no)body\b|\bsomeone\b|\bwhoever\b": "the user, or the passive",
    r"(?<!by )\bhand(?:s|ed|ing)? on\b|\bhands over\b": "pass on, yield, return",
    r"\b(?:finished|stored) work\b|\bkey of work\b": "cache entry, artifact, cache key",
    r"\bcannot be had\b": "is not available",
    r"\bwhat is wrong with\b": "the problem of",
    r"\bwhere it is not\b": "otherwise, if not",
    r"\b(?:made|done) anew\b": "made again, recomputed",
    r"\basked about a\b|\bnetwork's answer\b": "run on a …, the network's output",
    r"\bfalls? silent\b|\btalks? nonsense\b": "stops, sends invalid data",
    r"\bwhich chip is it\b|\bcan offend it\b": "name the problem",
    r"\blies over an old one\b": "already exists",
    r"\blargest change\b|\bleast mean\b": "maximum difference, minimum mean",
    r"\bwithout your word\b": "unreviewed",
}
_PATTERNS = {
    re.compile(pattern.replace(" ", r"\s+") if "(?<" not in pattern else pattern, re.IGNORECASE): instead
    for pattern, instead in BANNED.items()
}


def _find(text: str) -> list[str]:
    """The banned wordings in a text: line, wording, and what to write."""
    found = []
    for pattern, instead in _PATTERNS.items():
        for match in pattern.finditer(text):
            wording = " ".join(match[0].split())
            found.append(f"line {text.count(chr(10), 0, match.start()) + 1}: {wording!r}; write: {instead}")
    return found


def _texts() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.split("\0")
    names = [name for name in listed if Path(name).suffix in SUFFIXES and not name.startswith(NOT_READ)]
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def test_no_text_has_a_banned_wording():
    if not (ROOT / ".git").exists():
        pytest.skip("no git repository: the texts of the project cannot be listed")
    paths = _texts()
    assert len(paths) > 300 and ROOT / "README.md" in paths and ROOT / "helpers" / "errors.py" in paths
    assert [
        f"{path.relative_to(ROOT)} {hit}" for path in paths for hit in _find(path.read_text(encoding="utf-8"))
    ] == []


@pytest.mark.parametrize(
    "sentence",
    [
        "The file is no whole plan of nnU-Net.",
        "Windows are written, one a\n    case.",
        "The errors were mended on the way.",
        "Without it the walk goes on.",
        "nnU-Net's habits that work",
        "Both are told apart by their names.",
        "The former run's file is let go.",
        "It is written beside the mask.",
        "The result is handed on to the next stage.",
        "It covers 20 windows a second.",
        "Somebody looks at it.",
    ],
)
def test_a_banned_wording_is_found(sentence):
    assert len(_find(sentence)) >= 1


@pytest.mark.parametrize(
    "sentence",
    [
        "There is no file of that name.",
        "Run the device by hand on another machine.",
        "The file is not a complete nnU-Net plan; one mask per case.",
        "The memory besides the image does not grow.",
        "The hand-over bundle travels between machines.",
    ],
)
def test_plain_english_is_left_alone(sentence):
    assert _find(sentence) == []
