"""Executes a notebook in this directory, and compares what its cells say with what is saved in it.

    notebook.py NOTEBOOK [--bless]

With nbclient and ipykernel it is executed as Jupyter does it; without them its cells are run one
after the other, and nothing is compared. With `--bless`, what the cells say is saved.
"""

import importlib.util
import json
import sys

path, bless = sys.argv[1], sys.argv[2:] == ["--bless"]
with open(path, encoding="utf-8") as file:
    saved = json.load(file)


def said(cell):
    """What a cell shows, as text."""
    texts = []
    for output in cell.get("outputs", []):
        text = output.get("text") or output.get("data", {}).get("text/plain") or ""
        texts.append(text if isinstance(text, str) else "".join(text))
    return "".join(texts)


def lines(text):
    return text.splitlines(keepends=True)


missing = [p for p in ("nbclient", "nbformat", "ipykernel") if not importlib.util.find_spec(p)]
if missing:
    print(f"skipped: {', '.join(missing)}: the cells ran outside of Jupyter, nothing was compared")
    names = {"__name__": "__main__"}
    for cell in saved["cells"]:
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), path, "exec"), names)
    sys.exit(0)

import nbclient
import nbformat

book = nbformat.from_dict(nbformat.read(path, as_version=4))
nbclient.NotebookClient(book, timeout=300, kernel_name="python3").execute()
if bless:
    for old, new in zip(saved["cells"], book["cells"]):
        if old["cell_type"] == "code":
            text = said(new)
            stream = {"name": "stdout", "output_type": "stream", "text": lines(text)}
            old["outputs"] = [stream] if text else []
    with open(path, "w", encoding="utf-8") as file:
        json.dump(saved, file, indent=1, ensure_ascii=False)
        file.write("\n")
    sys.exit(0)
for number, (old, new) in enumerate(zip(saved["cells"], book["cells"])):
    if old["cell_type"] == "code" and said(old) != said(new):
        sys.exit(f"cell {number} says\n{said(new)}\nand not, as saved,\n{said(old)}")
