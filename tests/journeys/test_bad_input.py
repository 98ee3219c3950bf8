"""Bad input through the real verbs: a clear message, the right exit code, nothing lost, no traceback."""

import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from millwright.surfaces import cli
from tests.conftest import csv_of, desk_rows

GOOD = csv_of(desk_rows(60))
FULL_DISK = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), int(sys.argv[1])))
from millwright.surfaces.cli import main
main(sys.argv[2:])
"""


def run(capsys, *arguments: str | Path) -> tuple[int, str]:
    """Exit code and what was said on stderr."""
    with pytest.raises(SystemExit) as end:
        cli.main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return end.value.code, said.err


def with_disk(size_bytes: int, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """A verb in a process that may not write a file beyond a size, as on a disk that is full."""
    command = [sys.executable, "-c", FULL_DISK, str(size_bytes), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"text,label\n", "has a header and no rows"),
        (csv_of([(text, "card") for text, _ in desk_rows(60)]).encode(), "every row has the label 'card'"),
        (csv_of([(text, f"l{n}") for n, (text, _) in enumerate(desk_rows(60))]).encode(), "has one row"),
        (csv_of([(str(n), "ab"[n % 2]) for n in range(60)]).encode(), "holds numbers, not text"),
        (
            csv_of([(f"w{n} x{n}", f"l{n // 2}") for n in range(10_002)]).encode(),
            "5,001 labels, the limit is 5,000",
        ),
    ],
    ids=["empty", "header only", "one class", "one row a class", "numbers", "5,001 labels"],
)
def test_files_that_teach_nothing_are_refused_with_exit_2(content, says, tmp_path, capsys):
    (tmp_path / "rows.csv").write_bytes(content)
    made = run(
        capsys,
        "new",
        tmp_path / "desk",
        "--data",
        tmp_path / "rows.csv",
        "--text",
        "text",
        "--label",
        "label",
    )
    code, said = made if made[0] else run(capsys, "prepare", "--project", tmp_path / "desk")
    assert code == 2
    assert says in said
    assert (tmp_path / "rows.csv").read_bytes() == content


def test_rows_without_a_label_and_with_odd_bytes_are_listed_and_the_rest_is_kept(make_project, capsys):
    odd = (
        b"no label here,\n"
        + b"with a \x00 zero,card\n"
        + "Zoë sent it,pin\n".encode()
        + "Zoë lost it,pin\n".encode("cp1252")
    )
    project = make_project(GOOD.encode() + odd)
    assert run(capsys, "prepare", "--project", project.folder)[0] == 0
    (listed,) = project.kept.glob("datasets/*/excluded.jsonl")
    assert '"row": 61, "reason": "empty label"' in listed.read_text(encoding="utf-8")
    (rows,) = project.kept.glob("datasets/*/rows.jsonl")
    text = rows.read_text(encoding="utf-8")
    assert "with a zero" in text.replace("  ", " ")
    assert text.count("Zoë") == 2
    assert len(text.splitlines()) == 63


def test_a_message_of_a_megabyte_is_listed_as_too_long(make_project, capsys):
    project = make_project(GOOD + "x" * 1_000_000 + ",card\n")
    assert run(capsys, "prepare", "--project", project.folder)[0] == 0
    (listed,) = project.kept.glob("datasets/*/excluded.jsonl")
    assert "longer than 20000 characters" in listed.read_text(encoding="utf-8")


def test_an_unknown_key_is_named_with_the_nearest(make_project, capsys):
    project = make_project(GOOD)
    settings = project.folder / "millwright.toml"
    settings.write_text(settings.read_text().replace("[train]", "[train]\nepoch = 3"))
    code, said = run(capsys, "train", "--project", project.folder)
    assert code == 2
    assert "'epoch'" in said
    assert "Did you mean 'epochs'?" in said


def test_a_port_in_use_is_told_before_anything_is_loaded(make_project):
    project = make_project(GOOD)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        # A process of its own: `serve` configures the logging of the process it runs in.
        command = [sys.executable, "-m", "millwright.surfaces.cli", "serve", "--project", str(project.folder)]
        done = subprocess.run([*command, "--port", port], capture_output=True, text=True, timeout=120)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "--port 0" in done.stderr


def test_a_full_disk_stops_new_without_leaving_half_a_project(tmp_path):
    (tmp_path / "rows.csv").write_text(GOOD)
    done = with_disk(100, "new", tmp_path / "desk", "--data", tmp_path / "rows.csv")
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "free space" in done.stderr
    assert not (tmp_path / "desk" / "millwright.toml").exists()


def test_a_full_disk_stops_prepare_and_the_next_one_goes_through(make_project, capsys):
    project = make_project(GOOD)
    done = with_disk(60_000, "prepare", "--project", project.folder)
    assert (done.returncode, "Traceback" in done.stderr) == (1, False)
    assert "free space" in done.stderr
    assert list(project.kept.glob("datasets/d-*")) == []
    assert run(capsys, "prepare", "--project", project.folder)[0] == 0


@pytest.mark.parametrize("verb", ["new", "prepare"])
def test_a_place_that_cannot_be_written_is_named(verb, tmp_path, make_project, capsys):
    if verb == "new":  # a file stands where the folder should be: that binds even the administrator
        (tmp_path / "rows.csv").write_text(GOOD)
        (tmp_path / "file").write_text("not a folder")
        code, said = run(capsys, "new", tmp_path / "file" / "desk", "--data", tmp_path / "rows.csv")
    else:
        project = make_project(GOOD)
        project.kept.write_text("not a folder")
        code, said = run(capsys, "prepare", "--project", project.folder)
    assert code == 1
    assert str(tmp_path) in said


def test_two_turns_at_once_are_told_apart(make_project, capsys):
    project = make_project(GOOD)
    holder = (
        "import sys\nfrom millwright.project import open_project\n"
        "with open_project(sys.argv[1]).lock('turn'):\n    print('held', flush=True)\n    sys.stdin.read()"
    )
    command = [sys.executable, "-c", holder, str(project.folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "held\n"
        code, said = run(capsys, "turn", "--project", project.folder)
        other.stdin.close()
    assert code == 1
    assert "another `turn` runs" in said


def test_ctrl_c_in_prepare_leaves_nothing_half_done(make_project, capsys):
    project = make_project(csv_of(desk_rows(200_000)))
    command = [sys.executable, "-m", "millwright.surfaces.cli", "prepare", "--project", str(project.folder)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        while not project.kept.exists() and process.poll() is None:
            pass  # until it has begun
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "run the same command again" in said
    assert list(project.kept.glob("datasets/d-*")) == []
    (project.folder / "rows.csv").write_text(GOOD)
    assert run(capsys, "prepare", "--project", project.folder)[0] == 0
