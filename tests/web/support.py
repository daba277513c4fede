"""What the tests of the static build share: the command in a process, a booted build, and a listing."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
PYODIDE = ROOT / "node_modules" / "pyodide"
CACHE = ROOT / ".cache" / "web"
PATIENCE = 400  # seconds
COMMAND = "from durable_lite.cli import main; main()"

JOBS = """\
from durable_lite import Context, job


async def square(number: int) -> int:
    return number * number


@job
async def squares(ctx: Context, upto: int) -> list[int]:
    return [await ctx.step(f"square {number}", square, number) for number in range(upto)]
"""


def run(*args: object, folder: Path = ROOT, env: dict[str, str] | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        [str(arg) for arg in args],
        cwd=folder,
        env=dict(os.environ) | {"PYTHONDONTWRITEBYTECODE": "1"} | (env or {}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )


def attempt(*args: object, **options: Any) -> subprocess.CompletedProcess:
    """The command, however it ends."""
    return run(sys.executable, "-W", "error", "-c", COMMAND, *args, **options)


def command(*args: object, **options: Any) -> str:
    """What the command prints; it has to succeed."""
    done = attempt(*args, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def refused(*args: object, **options: Any) -> str:
    """The one line of a usage error."""
    done = attempt(*args, **options)
    assert (done.returncode, done.stdout) == (2, ""), done.stdout + done.stderr
    (line,) = done.stderr.splitlines()
    return line


def node() -> str:
    local = ROOT / "node_modules" / ".bin" / "node"
    found = str(local) if local.exists() else shutil.which("node")
    assert found
    return found


def boot(build: Path, code: str, folder: Path) -> Any:
    """The JSON that `code` evaluates to in a Pyodide that has nothing but the build."""
    script = folder / "boot_code.py"
    script.write_text(code, "utf-8")
    done = run(node(), Path(__file__).with_name("boot.mjs"), build, script, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads(done.stdout.splitlines()[-1])["value"]


def manifest(build: Path) -> dict[str, Any]:
    return json.loads((build / "durable-lite.json").read_text("utf-8"))


def listing(folder: Path) -> dict[str, tuple[bytes, int]]:
    """The bytes and the time of every file."""
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths
    }


def own_wheel(path, name="helper", requires=(), tag="py3-none-any", source="ANSWER = 42\n"):
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"]
    metadata += [f"Requires-Dist: {one}\n" for one in requires]
    wheel = path / f"{name}-1.0-{tag}.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.py", source)
        archive.writestr(f"{info}/METADATA", "".join(metadata))
        archive.writestr(f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tag}\n")
        archive.writestr(f"{info}/RECORD", "")
    return wheel
