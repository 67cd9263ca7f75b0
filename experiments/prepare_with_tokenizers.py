#!/usr/bin/env python3
"""The job of `mora data prepare FILE --template tulu --heldout 0`, done with Hugging Face's tokenizers.

    prepare_with_tokenizers.py FILE.jsonl tokenizer.json OUT.bin [FOLDER]

writes OUT.bin, tokens with the highest bit of each telling that it is learned, and OUT.idx, and tells the
time; given FOLDER, what mora made of the same file, compares the bytes of both. One thread, the records in
batches of 1,000; which tokens are learned is told by their places in the text.
"""
import json
import os
import resource
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import numpy
import tokenizers

BATCH = 1000


def render(record):
    """The text of a conversation, and the stretches of it that are learned."""
    parts, at, learned = ["<s>"], 3, []
    for message in record["messages"]:
        head, content = f"<|{message['role']}|>\n", message["content"].strip()
        if message["role"] == "assistant":
            content += "</s>"
            learned.append((at + len(head), at + len(head) + len(content)))
        parts += [head, content, "\n"]
        at += len(head) + len(content) + 1
    text = "".join(parts).rstrip()
    return text, learned


def mark(encoding, learned):
    """Tokens with their marks: a token is learned where it ends within a learned stretch."""
    ids = numpy.array(encoding.ids, dtype=numpy.uint16)
    ends = numpy.array([end for _, end in encoding.offsets])
    mask = numpy.zeros(len(ids), dtype=bool)
    for begin, end in learned:
        mask |= (ends > begin) & (ends <= end)
    return ids, mask


def main():
    path, model, out = sys.argv[1:4]
    tokenizer = tokenizers.Tokenizer.from_file(model)
    began, size = time.time(), 0
    with open(path, encoding="utf-8") as lines, open(out, "wb") as tokens, \
            open(os.path.splitext(out)[0] + ".idx", "wb") as index:
        batch = []

        def flush():
            encodings = tokenizer.encode_batch([text for text, _ in batch], add_special_tokens=False)
            for encoding, (_, learned) in zip(encodings, batch):
                ids, mask = mark(encoding, learned)
                places = numpy.flatnonzero(mask)
                first, behind = (places[0], places[-1] + 1) if len(places) else (len(ids), 0)
                (ids | (mask.astype(numpy.uint16) << 15)).astype("<u2").tofile(tokens)
                numpy.array([len(ids), len(places), first, behind], dtype="<u4").tofile(index)
            batch.clear()

        for line in lines:
            size += len(line.encode())
            batch.append(render(json.loads(line)))
            if len(batch) == BATCH:
                flush()
        flush()
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{size / 1e6:.1f} MB in {time.time() - began:.1f} s, {used.ru_utime + used.ru_stime:.1f} s of "
          f"processor time, peak memory {used.ru_maxrss / 1024:.0f} MiB")
    for ending in (".bin", ".idx") if len(sys.argv) > 4 else ():
        folder = sys.argv[4]
        names = sorted(n for n in os.listdir(folder) if n.startswith("train-") and n.endswith(ending))
        theirs = b"".join(open(os.path.join(folder, name), "rb").read() for name in names)
        ours = open(os.path.splitext(out)[0] + ending, "rb").read()
        same = "the same bytes" if theirs == ours else "OTHER BYTES"
        print(f"{ending}: {same} ({len(ours)}, {len(theirs)})")


if __name__ == "__main__":
    main()
