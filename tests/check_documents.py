#!/usr/bin/env python3
"""Checks that what the documents say can be typed: their commands, files, links and printed output.

usage: check_documents.py PROGRAM SOURCE_DIR BUILD_DIR

Every fenced block of every README.md under the sources is read line by line. `mora` commands that
only look run as they stand; those that train are planned instead (--dry-run); options of the others
must stand in the command's --help. A block that begins with `$ COMMAND` shows output: its lines,
"..." apart, must be printed in that order. A YAML block is a run file, or a template where it says what
that reads: it must be accepted. What is neither is a test's failure, so that a new command gets a rule here.
"""

import glob
import os
import re
import shlex
import subprocess
import sys
import tempfile

PROGRAM, SOURCE, BUILD = sys.argv[1:4]
LOOKS = {"table", "info", "compare"}
PLACEHOLDERS = {"FILE.yaml", "CONFIG.yaml"}
# What belongs to the system.
OTHERS = {"cd", "cmake", "git", "mkdir", "scancel", "scontrol", "squeue", "tail"}
faults = []


def run(command):
    done = subprocess.run(command, cwd=SOURCE, text=True, capture_output=True, timeout=120)
    return done.returncode, done.stdout, done.stderr


def mora(arguments):
    return run([PROGRAM] + arguments)


def read(path):
    return open(os.path.join(SOURCE, path), encoding="utf-8").read()


def exists(path):
    return os.path.exists(os.path.join(SOURCE, path))


def check_options(place, help_command, words):
    """Every --option among words must stand in the help."""
    code, out, err = run(help_command)
    if code != 0:
        faults.append(f"{place}: {' '.join(help_command)} failed: {err.strip()}")
    for word in words:
        option = word.split("=")[0]
        if re.fullmatch(r"--[a-z][a-z-]*", option) and option not in out:
            faults.append(f"{place}: {option} is not in the help of {help_command[1:]}")


def check_run(place, words, files):
    """A `mora run`: planned where its file is there, or the block's own YAML."""
    check_options(place, [PROGRAM, "run", "--help"], words)
    names = [w for w in words if w.endswith(".yaml")]
    if len(names) != 1 or names[0] in PLACEHOLDERS:
        return
    path = files.get(names[0], names[0])
    if not exists(path):
        faults.append(f"{place}: there is no {path}")
        return
    arguments = ["run"] + [path if w == names[0] else w for w in words]
    if "--list" not in words and "--dry-run" not in words:
        arguments.append("--dry-run")
    code, _, err = mora(arguments + files.get("sets", []))
    # What a plan needs beyond the file may not be there: a model, data. That is named as missing.
    if code != 0 and "No such file or directory" not in err:
        faults.append(f"{place}: mora {shlex.join(arguments)}: {err.strip()}")


def check_mora(place, words, files):
    if words[0] == "run":
        check_run(place, words[1:], files)
        return
    help_of = [PROGRAM] + words[: 2 if words[0] == "data" else 1] + ["--help"]
    check_options(place, help_of, words)
    inputs = [w for w in words[1:] if not w.startswith("--")]
    if words[0] in LOOKS and inputs and exists(inputs[0]):
        code, out, err = mora(words)
        if code != 0 or not out:
            faults.append(f"{place}: mora {shlex.join(words)}: {err.strip()}")


def check_python(place, words):
    """Options must stand in the script or in one of the project's that it imports; a line must compile."""
    if words[0] == "-c":
        try:
            compile(words[1], place, "exec")
        except (SyntaxError, IndexError) as fault:
            faults.append(f"{place}: {fault}")
        return
    folder = os.path.dirname(place.split(":")[0])
    path = words[0] if exists(words[0]) else os.path.join(folder, words[0])
    if not exists(path):
        faults.append(f"{place}: there is no {words[0]}")
        return
    beside = glob.glob(os.path.join(SOURCE, os.path.dirname(path), "*.py"))
    imported = [p for p in beside if re.search(
        rf"^(from|import) {os.path.basename(p)[:-3]}\b", read(path), re.MULTILINE)]
    text = read(path) + "".join(read(p) for p in imported)
    # What stands behind "--" is handed to mora bench.
    here = words.index("--") if "--" in words else len(words)
    check_options(place, [PROGRAM, "bench", "--help"], words[here + 1 :])
    for word in words[1:here]:
        if word.startswith("--") and f'"{word}"' not in text:
            faults.append(f"{place}: {path} has no {word}")


def check_quickstart(place, words):
    code, out, _ = run(["./quickstart.sh", "--help"])
    for word in words:
        if code != 0 or f" {word} " not in out:
            faults.append(f"{place}: quickstart.sh has no {word}")


def check_ctest(place, words):
    """The label must be one of the build's."""
    labels = words[words.index("-L") + 1 :][:1] if "-L" in words else []
    for label in labels:
        code, out, _ = run(["ctest", "--test-dir", BUILD, "-N", "-L", label])
        if code != 0 or "Total Tests: 0" in out:
            faults.append(f"{place}: no test has the label {label}")


def check_sbatch(place, words):
    for word in words:
        if word.endswith(".sh") and not exists(word):
            faults.append(f"{place}: there is no {word}")


def check_side_by_side(place, words):
    """A script that does every run of some files: these must list them."""
    for word in words:
        if word.endswith(".yaml"):
            check_run(place, [word, "--list"], {})


def check_twin(place, words):
    """A script that prepares records and does the runs of a task: both must take its options."""
    if len(words) < 3 or not exists(f"experiments/{words[0]}/laptop.yaml"):
        faults.append(f"{place}: twin.sh has no task {' '.join(words)!r}")
    here = words.index("--") if "--" in words else len(words)
    check_options(place, [PROGRAM, "data", "prepare", "--help"], words[:here])
    check_options(place, [PROGRAM, "run", "--help"], words[here + 1 :])


def command_of(line):
    """The words of a command line without its comment, its environment and its launcher."""
    words = shlex.split(re.sub(r"\s+(#|\(\d\)).*$", "", line), comments=True)
    while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
        words.pop(0)
    if words and words[0] == "mpirun":
        while words and not words[0].endswith("mora"):
            words.pop(0)
    return words


def check_command(place, line, files):
    line = re.sub(r"^\w+=\$\((.*?)(\s*\|.*)?\)$", r"\1", line)  # runs=$(mora ... | wc -l)
    words = command_of(line)
    if not words:
        return
    head, rest = os.path.basename(words[0]), words[1:]
    if head == "mora":
        check_mora(place, rest, files)
    elif head in {"python", "python3"}:
        check_python(place, rest)
    elif head == "quickstart.sh":
        check_quickstart(place, rest)
    elif head == "ctest":
        check_ctest(place, rest)
    elif head == "sbatch":
        check_sbatch(place, rest)
    elif head == "side_by_side.sh":
        check_side_by_side(place, rest)
    elif head == "twin.sh":
        check_twin(place, rest)
    elif head not in OTHERS:
        faults.append(f"{place}: no rule for {line!r}")


def check_shown(place, command, shown, files):
    """Lines shown below a command must be printed, in order."""
    check_command(place, command, files)
    words = command_of(command)
    if os.path.basename(words[0]) != "mora" or words[1] not in LOOKS:
        return
    _, out, _ = mora(words[1:])
    printed = iter(out.splitlines())
    for line in shown:
        if line.strip() in {"", "..."}:
            continue
        if not any(line.rstrip() == have.rstrip() for have in printed):
            faults.append(f"{place}: not printed by {command}: {line!r}")
            return


def blocks_of(text):
    """Yields (line number, language, lines) of every fenced block."""
    lines, at = text.splitlines(), 0
    while at < len(lines):
        fence = re.match(r"\s*```(\w*)", lines[at])
        if not fence:
            at += 1
            continue
        end = at + 1
        while end < len(lines) and not re.match(r"\s*```", lines[end]):
            end += 1
        yield at + 2, fence.group(1), lines[at + 1 : end]
        at = end + 1


def joined(lines):
    """Yields (offset, command), lines that end in a backslash put together."""
    whole, first = "", 0
    for offset, line in enumerate(lines):
        first = first if whole else offset
        whole += line.strip()
        if whole.endswith("\\"):
            whole = whole[:-1] + " "
            continue
        yield first, whole
        whole = ""


def check_links(path, text):
    for target in re.findall(r"\]\(([^)#:]+)\)", text):
        if not os.path.exists(os.path.join(SOURCE, os.path.dirname(path), target)):
            faults.append(f"{path}: the link {target} leads nowhere")
    for target in re.findall(r"`((?:src|tests|slurm|analysis|experiments)/[\w./-]+)`", text):
        if not exists(target):
            faults.append(f"{path}: there is no {target}")


def check_template(place, lines, folder):
    template, records = os.path.join(folder, "own.yaml"), os.path.join(folder, "none.jsonl")
    open(template, "w", encoding="utf-8").write("\n".join(lines) + "\n")
    open(records, "w", encoding="utf-8").close()
    code, _, err = mora(["data", "inspect", records, "--template", template])
    if code != 0:
        faults.append(f"{place}: {err.strip()}")


def check_sets(place, lines, folder):
    """Sets of evaluation: read, so that nothing but their files is missing."""
    path = os.path.join(folder, "sets.yaml")
    open(path, "w", encoding="utf-8").write("\n".join(lines) + "\n")
    _, _, err = mora(["eval", "none", "--set", path, "--data", folder])
    if "has none of its files" not in err:
        faults.append(f"{place}: {err.strip()}")


def check_document(path, folder):
    text = read(path)
    check_links(path, text)
    files = {}
    for number, language, lines in blocks_of(text):
        place = f"{path}:{number}"
        if language == "yaml" and any(line.startswith("reads:") for line in lines):
            check_template(place, lines, folder)
        elif language == "yaml" and lines and lines[0] == "sets:":
            check_sets(place, lines, folder)
        elif language == "yaml":
            name = re.search(r"^run:\s*\{name: ([\w-]+)", "\n".join(lines), re.MULTILINE)
            name = f"{name.group(1)}.yaml" if name else "run.yaml"
            example = os.path.join(folder, name)
            open(example, "w", encoding="utf-8").write("\n".join(lines) + "\n")
            files[name] = example
            # The model that the quickstart makes may not be there yet: its shape is.
            shape = re.search(r"config: (experiments/models/[\w./-]+)", "\n".join(lines))
            files["sets"] = [] if shape and exists(shape.group(1)) else [
                "--set", "model.init=random", "--set",
                "model.config=experiments/models/uuid-laptop.json"]
            check_run(place, [example], files)
        elif lines and lines[0].startswith("$ "):
            check_shown(place, lines[0][2:], lines[1:], files)
        elif language in {"", "sh", "bash"}:
            for offset, line in joined(lines):
                check_command(f"{path}:{number + offset}", line, files)


def main():
    documents = sorted(
        os.path.relpath(p, SOURCE)
        for pattern in ("README.md", "*/README.md", "tests/*/README.md")
        for p in glob.glob(os.path.join(SOURCE, pattern)))
    with tempfile.TemporaryDirectory() as folder:
        for path in documents:
            check_document(path, folder)
    for fault in faults:
        print(fault)
    print(f"{len(documents)} documents, {len(faults)} faults")
    return 1 if faults or not documents else 0


if __name__ == "__main__":
    sys.exit(main())
