"""The lines of a plain or gzip file."""

import gzip
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from millstream.sources.record import SourceError

CHUNK = 1 << 18
LONGEST_LINE = 16 << 20
GZIP_MAGIC = b"\x1f\x8b"
BOM = b"\xef\xbb\xbf"


@dataclass
class Reading:
    """The progress of reading a file, and its encodings.

    Attributes:
        position: bytes read of the file on disk.
        latin1: number of lines that are not UTF-8 and were read as latin-1.
    """

    position: int = 0
    latin1: int = 0

    def text(self, line: bytes) -> str:
        """Decode a line as UTF-8, else as latin-1, which accepts every byte."""
        try:
            return line.decode()
        except UnicodeDecodeError:
            self.latin1 += 1
            return line.decode("latin-1")


def lines(path: Path, reading: Reading) -> Iterator[bytes]:
    r"""Yield the lines with their ends (`\n`), without a byte order mark.

    The file's first bytes, not its name, tell whether it is gzip.

    Raises:
        SourceError: the file cannot be opened, is damaged, or ends within a gzip stream. All complete lines
            before the damage have been yielded; an incomplete line has not.
    """
    done, tail, start = 0, b"", True
    try:
        with path.open("rb") as file:
            packed = file.read(len(GZIP_MAGIC)) == GZIP_MAGIC
            file.seek(0)
            unpacked = gzip.GzipFile(fileobj=file) if packed else file
            while chunk := unpacked.read1(CHUNK):
                reading.position = file.tell()
                if start:
                    chunk, start = chunk.removeprefix(BOM), False
                for line in BytesIO(tail + chunk):
                    if not line.endswith(b"\n"):
                        tail = line
                        break
                    done += 1
                    yield line
                else:
                    tail = b""
                if len(tail) > LONGEST_LINE:
                    raise SourceError(
                        f"{path}: line {done + 1} is longer than {LONGEST_LINE:,} bytes. Is this a text file?"
                    )
    except EOFError:
        raise SourceError(
            f"{path}: the gzip stream ends too early, within line {done + 1}; everything before it was read. "
            "Fetch the file again and reload it: an event with an id of its own counts once."
        ) from None
    except (zlib.error, gzip.BadGzipFile) as exc:
        raise SourceError(
            f"{path}: the gzip stream is damaged after line {done}: {exc}. Fetch the file again; "
            f"`gzip -t {path}` checks whether it is complete."
        ) from None
    except OSError as exc:
        raise SourceError(f"{path}: cannot be read: {exc.strerror or exc}.") from None
    if tail:
        yield tail
