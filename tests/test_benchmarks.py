"""The benchmarks start, and what they share computes what it says; they are run by `make bench`."""

import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parent / "benchmarks"
sys.path.insert(0, str(FOLDER))

import bench  # noqa: E402
import run  # noqa: E402


def test_help() -> None:
    script = str(FOLDER / "run.py")
    done = subprocess.run([sys.executable, script, "--help"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--quick" in done.stdout
    assert all(subject in done.stdout for subject in run.SUBJECTS)


@pytest.mark.parametrize("subject", run.SUBJECTS)
def test_docstring_is_a_section(subject: str) -> None:
    text = (FOLDER / f"{subject}.py").read_text(encoding="utf-8")
    paragraphs = text.split('"""')[1].strip().split("\n\n")
    assert paragraphs[0].endswith(".")
    assert paragraphs[-1].startswith("Not measured:")
    assert f'"{subject}", __doc__, options' in text


def spin(seconds: float) -> str:
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return f"{seconds:g}"


def test_race_measures_cpu_time_and_skips() -> None:
    def slow(size: int) -> str:
        return spin(0.004 * size)

    def asleep(size: int) -> str:
        time.sleep(0.2)
        return spin(0.01)

    def absent(size: int) -> None:
        raise bench.Skip("not installed")

    ways = {"fast": lambda size: spin(0.001 * size), "slow": slow, "asleep": asleep, "no": absent}
    result = bench.race(ways, [20, 40, 80], rounds=1)
    # Both ways wait for the clock of their own CPU time, so load does not change the ratio; the
    # overhead of measuring is far below the room left here.
    assert 2.5 < result.ratio("slow", "fast", 80)[0] < 4.5
    assert 0.7 < result.exponent("slow") < 1.2
    assert result.cpu("asleep", 20) < 0.1 < result.costs["asleep"][20][0].wall
    assert result.values["slow"][80] == "0.32"
    assert result.skipped == {"no": "not installed"}
    table = bench.table(result, "fast", [20, 40, 80], "spins")
    assert [row[0] for row in table["rows"]] == ["**fast**", "slow", "asleep"]
    assert table["head"] == ["", "20 spins", "40 spins", "80 spins", "grows like"]


def test_cpu_time_of_a_child_counts() -> None:
    code = "import time\nwhile time.process_time() < 0.5: pass"
    with bench.measured() as cost:
        subprocess.run([sys.executable, "-c", code], check=True)
    assert 0.45 < cost.cpu < 3  # no process uses more than it needs, so load does not matter


@pytest.mark.parametrize("name", ["statdp", "dp_sniper"])
def test_peers_of_the_auditor(name: str) -> None:
    import auditing_peers
    from audit_corpus import count_half_noise, count_laplace

    peer, pairs = getattr(auditing_peers, name), [([1] * 10, [1] * 9), ([1], [])]
    # Fixed seeds; with others, a false alarm would come up once in 1,000 runs, and half the noise
    # has twice the ε, 1.5 above the claim: missed far less often than that.
    caught = peer(count_half_noise, pairs, 1.5, 40_000, 0.001, np.random.default_rng(0))
    released = peer(count_laplace, pairs, 1.5, 40_000, 0.001, np.random.default_rng(0))
    assert caught.violates
    assert not released.violates
    assert 30_000 < caught.samples <= 40_000


def test_growth() -> None:
    assert bench.growth([10, 100, 1000], [1.0, 100.0, 10_000.0]) == pytest.approx(2)
    assert bench.growth([10], [1.0]) is None


def test_page(tmp_path: Path) -> None:
    result = {
        "subject": "lira", "title": "Shadow models", "date": "2026-01-02", "machine": "2 cores",
        "paragraphs": ["What ``vmap`` does.", "Not measured: GPUs."], "load": 0.5,
        "versions": {"Python": "3.11.7"}, "quick": False, "minutes": 1.5,
        "tables": [{"caption": "Speed:", "head": ["", "4 models"], "rows": [["**this**", "1 s"]]}],
        "sentence": "It is faster.", "skipped": {"a peer": "not installed"}, "costs": {},
    }  # fmt: skip
    (tmp_path / "lira.json").write_text(json.dumps(result), encoding="utf-8")
    page = run.page(run.stored(tmp_path))
    for line in (
        "## Shadow models",
        "What `vmap` does.",
        "|  | 4 models |",
        "| **this** | 1 s |",
        "**What it means.** It is faster.",
        "**Left out.** a peer (not installed).",
        "**Not measured.** GPUs.",
    ):
        assert line in page.splitlines()
    assert "*2026-01-02, 2 cores, load 0.5 at the end, Python 3.11.7; full sizes" in page
    result["paragraphs"].pop()
    with pytest.raises(ValueError, match="Not measured"):
        bench.section(result)


def test_stored_results_make_sections() -> None:
    stored = run.stored(run.RESULTS)
    if not stored:
        pytest.skip("no results are stored: `make bench` measures them")
    for result in stored:
        assert not result["quick"], f"{result['subject']} is stored with tiny sizes"
        assert bench.section(result).startswith(f"## {result['title']}")


def test_a_peer_answers_and_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "HERE", tmp_path)
    (tmp_path / "peers").mkdir()
    (tmp_path / "peers" / "serve.py").write_text((FOLDER / "peers" / "serve.py").read_text())
    (tmp_path / "peers" / "double.py").write_text(
        "from serve import serve\n\ndef answer(number):\n"
        "    print('not a reply')\n    return {'twice': 2 * number}\n\nserve(answer)\n"
    )
    peer = bench.Peer(lambda: Path(sys.executable), "double.py")
    with pytest.raises(bench.Skip):
        peer.ask(number=1)
    peer.warm_up(number=1)
    assert peer.ask(number=21) == {"twice": 42}
    with pytest.raises(RuntimeError, match="unsupported operand"):
        peer.ask(number=None)
    peer.close()
