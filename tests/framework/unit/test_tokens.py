"""The file of tokens, and the command that makes its lines."""

import hmac
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from millstream.cli import main
from millstream.web.tokens import Tokens, TokensError, digest, parse

FIRST, SECOND, LATER = "first", "second", "later"


def line(name: str, scopes: str = "read") -> str:
    return f"{name} {scopes} {digest(name)}\n"


LINES = f"# who asks\n\n{line(FIRST)}{line(SECOND, 'operate,read')}"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "tokens"
    file.write_text(LINES)
    return file


def found(tokens: Tokens, token: str) -> str | None:
    one = tokens.find(token)
    return None if one is None else f"{one.name} {','.join(sorted(one.scopes))}"


def test_the_file_is_read_again(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokens = Tokens(file)
    assert [found(tokens, one) for one in (FIRST, SECOND, LATER)] == [
        "first read",
        "second operate,read",
        None,
    ]
    file.write_text(LINES + line(LATER))
    assert found(tokens, LATER) == "later read"
    about = file.stat()
    other = file.with_name("other")
    other.write_text(LINES + line("other"))
    os.utime(other, ns=(about.st_atime_ns, about.st_mtime_ns))
    other.replace(file)  # as old and as long as the former
    assert (found(tokens, LATER), found(tokens, "other"), caplog.messages) == (None, "other read", [])


def test_each_trouble_is_told_once(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokens = Tokens(file)

    def ask() -> tuple[bool, bool]:
        (one,) = {tokens.find(FIRST) is not None for _ in range(3)}
        return one, tokens.readable

    assert ask() == (True, True)
    file.unlink()
    assert ask() == (False, False)
    file.write_bytes(b"\xff" + LINES.encode())
    assert ask() == (False, False)
    file.write_text(f"a b\n{LINES}c d e f\n")
    assert ask() == (True, True)
    file.write_text(f"a b\n{LINES}c d e f g\n")
    assert ask() == (True, True)
    file.write_text("x\n" * 12)
    assert ask() == (False, True)
    for _ in range(2):
        file.write_text(LINES)
        assert ask() == (True, True)
        file.unlink()
        assert ask() == (False, False)
    told = [
        message.partition("(MILLSTREAM_TOKENS)")[2].partition(": wanted")[0] for message in caplog.messages
    ]
    assert told == [
        " cannot be read (No such file or directory): no token is let in",
        " cannot be read (it is no text): no token is let in",
        ": lines 1, 6 let nobody in",
        ": lines 1, 6 let nobody in",
        ": lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, … let nobody in",
        " cannot be read (No such file or directory): no token is let in",
        " cannot be read (No such file or directory): no token is let in",
    ]


@pytest.mark.parametrize(
    "bad",
    [
        "lonely",
        f"read {digest('x')}",
        f"one read {digest('x')} more",
        f"one write {digest('x')}",
        f"one read, {digest('x')}",
        f"one , {digest('x')}",
        f"one read {digest('x')[:-1]}",
        f"one read {digest('x')}0",
        f"one read {digest('x')[:-1]}g",
        f"one read {digest('x')[:-1]}ä",
        "one read the-token-itself",
    ],
)
def test_a_line_that_is_no_token(file: Path, bad: str) -> None:
    assert parse([line(FIRST), bad]) == (parse([line(FIRST)])[0], [2])
    file.write_text(line(FIRST) + bad)
    with pytest.raises(TokensError, match=r"line 2 let nobody in: wanted are a name, scopes") as caught:
        Tokens(file)
    assert bad not in str(caught.value)


def test_a_worker_does_not_start_without_its_file(tmp_path: Path) -> None:
    with pytest.raises(TokensError, match=r"none \(MILLSTREAM_TOKENS\) cannot be read \(No such file"):
        Tokens(tmp_path / "none")
    with pytest.raises(TokensError, match=r"cannot be read \(Is a directory"):
        Tokens(tmp_path)


def test_all_are_compared_in_constant_time(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []
    compare = hmac.compare_digest

    def spy(one: str, other: str) -> bool:
        compared.append((one, other))
        return compare(one, other)

    tokens = Tokens(file)
    monkeypatch.setattr(hmac, "compare_digest", spy)
    for token, name in ((FIRST, FIRST), (SECOND, SECOND), ("unknown", None)):
        compared.clear()
        one = tokens.find(token)
        assert (one and one.name) == name
        assert compared == [(digest(known), digest(token)) for known in (FIRST, SECOND)]


def test_the_command_makes_lines_of_the_file(file: Path) -> None:
    made = []
    for args in (["grafana"], ["ops", "--scope", "read", "--scope", "operate"], ["grafana"]):
        done = CliRunner().invoke(main, ["token", *args])
        assert done.exit_code == 0
        token = done.stderr.split()[-1]
        assert len(token) == 43
        assert token not in done.stdout
        with file.open("a") as lines:
            lines.write(done.stdout)
        made.append(token)
    tokens = Tokens(file)
    assert [found(tokens, token) for token in made] == ["grafana read", "ops operate,read", "grafana read"]
    for name in ("", "two words", "a#b", "a\tb", "a\x00b"):
        assert CliRunner().invoke(main, ["token", name]).exit_code == 2
