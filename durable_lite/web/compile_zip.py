"""Compiles the modules in a zip to byte code; run by the Python that will load them, not by ours.

`python compile_zip.py SOURCE TARGET PREFIX` is a program of its own and imports nothing of the package.
`x.py` becomes `x.pyc` beside it, which `zipimport` loads without its source, and which is checked
against nothing. Docstrings and asserts go (`-OO`); PREFIX says where tracebacks place the modules.
"""

import importlib.util
import marshal
import sys
import zipfile

UNCHECKED_HASH = (0b01).to_bytes(4, "little")  # the flags of PEP 552


def compile_zip(source: str, target: str, prefix: str) -> None:
    with zipfile.ZipFile(source) as modules, zipfile.ZipFile(target, "w") as compiled:
        for name in modules.namelist():
            data = modules.read(name)
            if name.endswith(".py"):
                code = compile(data, prefix + name, "exec", dont_inherit=True, optimize=2)
                head = importlib.util.MAGIC_NUMBER + UNCHECKED_HASH + importlib.util.source_hash(data)
                name, data = name + "c", head + marshal.dumps(code)
            compiled.writestr(zipfile.ZipInfo(name), data)


if __name__ == "__main__":
    compile_zip(*sys.argv[1:])
