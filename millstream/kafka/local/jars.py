"""Apache Kafka's jars, copied once by Maven into the user's cache."""

import os
import shutil
import subprocess
from pathlib import Path

from millstream.kafka.local.state import Echo, KafkaUnavailable, locked

VERSION = "4.1.0"
DOWNLOAD_SECONDS = 900


def cache() -> Path:
    """Folder of the jars; if it exists, it is whole."""
    xdg = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says to ignore a relative path.
    root = xdg if xdg.is_absolute() else Path.home() / ".cache"
    return root / "millstream" / f"kafka-{VERSION}"


def jars(echo: Echo) -> Path:
    """Folder of the jars, downloaded if this is the first time.

    Raises:
        KafkaUnavailable: Maven cannot download them.
    """
    libs = cache()
    if libs.exists():
        return libs
    with locked(libs.with_name(f"{libs.name}.lock")):
        if libs.exists():
            return libs
        echo(f"Downloading Kafka {VERSION} with Maven into {libs} (43 MB, only this time) …")
        part = libs.with_name(f"{libs.name}.part")
        shutil.rmtree(part, ignore_errors=True)
        command: list[str | Path] = [
            "mvn",
            "-q",
            "-B",
            "-Dstyle.color=never",
            "-f",
            Path(__file__).with_name("pom.xml"),
        ]
        command += ["dependency:copy-dependencies", "-DincludeScope=runtime", f"-DoutputDirectory={part}"]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                errors="replace",
                check=False,
                timeout=DOWNLOAD_SECONDS,
            )
            failed, said = done.returncode != 0, (done.stdout + done.stderr).strip()
        except subprocess.TimeoutExpired:
            failed, said = True, f"no end after {DOWNLOAD_SECONDS} s"
        if failed:
            last = "\n".join(f"  {line}" for line in said.splitlines()[-12:])
            raise KafkaUnavailable(
                f"Maven could not download Kafka {VERSION}. Its last lines:\n{last}\n"
                "Check the network and the proxy or mirror in Maven's settings.xml and try again, or set"
                " KAFKA_BOOTSTRAP_SERVERS to a Kafka that runs already."
            )
        part.rename(libs)
    return libs
